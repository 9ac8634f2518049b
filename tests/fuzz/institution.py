"""The institution that meets what is hostile: its settings, certificate and clock."""

import base64
from datetime import UTC, datetime

from kfr.register.certificate import load_keystore
from kfr.register.settings import Settings
from tests.keystores import ORGANISATION, PASSWORD, make_keystore
from tests.simulator.clock import VirtualClock

KEYSTORE = make_keystore()
NOW = datetime.now(UTC)
CLOCK = VirtualClock()
SETTINGS = Settings(
    environment="test",
    fid=ORGANISATION,
    base_url="https://register.test/kar-ws/api/v1",
    client_id="the-client",
    keystore="unused",
    keystore_password=PASSWORD,
    maskinporten_issuer="https://maskinporten.test/",
    staging_key=bytes(32),
    requests_per_second=1e6,
)
CERTIFICATE = load_keystore(
    base64.b64encode(KEYSTORE).decode(), PASSWORD, expected_organisation=None, environment="test", at=NOW
)


def assert_quotes_nothing(error: Exception, *secrets: str) -> None:
    """Neither the error nor what it came from shows any of these."""
    shown = f"{error} {error!r} {vars(error)}"
    assert not any(secret in shown for secret in secrets)
    assert error.__cause__ is None
