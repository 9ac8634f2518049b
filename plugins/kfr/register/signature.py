"""A signature that an auditor can check with openssl: RS256 over the bytes of a file, kept beside it.

RS256 is RSASSA-PKCS1-v1_5 over SHA-256 (RFC 7518), by the key of the enterprise certificate. The certificate
goes with it; that it is genuine is shown by its chain to Buypass or Commfides.
"""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from kfr.register.certificate import EnterpriseCertificate, organisation_number_of
from kfr.register.errors import Refused


class SignatureWrong(Refused):
    """The bytes are not those that were signed, or not by the key of this certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What stands beside the signed bytes."""

    signature: bytes
    certificate: bytes  # PEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signed, as the certificate says; moments in UTC."""

    organisation_number: str | None
    issuer: str
    valid_from: datetime
    valid_until: datetime


def sign(content: bytes, certificate: EnterpriseCertificate) -> Signed:
    """Sign with the institution's key."""
    leaf = x509.load_der_x509_certificate(certificate.leaf_der)
    return Signed(
        signature=certificate.key.sign(content, PKCS1v15(), SHA256()),
        certificate=leaf.public_bytes(Encoding.PEM),
    )


def verify(content: bytes, signed: Signed) -> Signer:
    """Who signed these very bytes; SignatureWrong if nobody did by this certificate's key."""
    try:
        leaf = x509.load_pem_x509_certificate(signed.certificate)
        key = leaf.public_key()
    except ValueError:
        raise SignatureWrong("The certificate is not a PEM certificate.") from None
    if not isinstance(key, RSAPublicKey):
        raise SignatureWrong("The certificate's key is not RSA, so it did not sign this.")
    try:
        key.verify(signed.signature, content, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise SignatureWrong(
            "The signature is not right: the file was changed after it was signed, or another key signed it."
        ) from None
    issuer = leaf.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Signer(
        organisation_number=organisation_number_of(leaf.subject),
        issuer=str(issuer[0].value) if issuer else "",
        valid_from=leaf.not_valid_before_utc,
        valid_until=leaf.not_valid_after_utc,
    )
