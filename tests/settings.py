"""A connection's settings, for tests that make no call outside."""

from kfr.register.settings import Settings
from tests.keystores import ORGANISATION, PASSWORD

SETTINGS = Settings(
    environment="test",
    fid=ORGANISATION,
    base_url="https://register.test/kar-ws/api/v1",
    client_id="the-client",
    keystore="unused",
    keystore_password=PASSWORD,
    maskinporten_issuer="https://maskinporten.test/",
    staging_key=bytes(32),
)
