"""The institution that meets what is hostile: its settings, certificate and clock."""

import base64
from dataclasses import replace
from datetime import UTC, datetime

from kfr.register.certificate import load_keystore
from tests import settings
from tests.keystores import PASSWORD, make_keystore
from tests.simulator.clock import VirtualClock

KEYSTORE = make_keystore()
NOW = datetime.now(UTC)
CLOCK = VirtualClock()
SETTINGS = replace(settings.SETTINGS, requests_per_second=1e6)
CERTIFICATE = load_keystore(
    base64.b64encode(KEYSTORE).decode(), PASSWORD, expected_organisation=None, environment="test", at=NOW
)


def assert_quotes_nothing(error: Exception, *secrets: str) -> None:
    """Neither the error nor what it came from shows any of these."""
    shown = f"{error} {error!r} {vars(error)}"
    assert not any(secret in shown for secret in secrets)
    assert error.__cause__ is None
