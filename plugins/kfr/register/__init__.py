"""The outside world over HTTP: the register, Maskinporten, and the certificate that opens them."""
