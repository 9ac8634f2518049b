from datetime import UTC, datetime

import httpx
import pytest

from kfr.register.certificate import EnterpriseCertificate, load_keystore
from kfr.register.maskinporten import TokenSource
from kfr.register.settings import Settings
from tests.keystores import ORGANISATION, PASSWORD, make_keystore
from tests.settings import SETTINGS
from tests.simulator.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> EnterpriseCertificate:
    path = tmp_path_factory.mktemp("keystore") / "kfr.p12"
    path.write_bytes(make_keystore())
    return load_keystore(
        str(path), PASSWORD, expected_organisation=ORGANISATION, environment="test", at=datetime.now(UTC)
    )


class Maskinporten:
    """Gives token-1, token-2 and so on, each for two minutes; keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json={"access_token": f"token-{len(self.requests)}", "expires_in": 120})


@pytest.fixture
def maskinporten() -> Maskinporten:
    return Maskinporten()


@pytest.fixture
def tokens(settings, certificate, clock, maskinporten) -> TokenSource:
    transport = httpx.MockTransport(maskinporten)
    return TokenSource(settings, certificate, clock, transport=transport, async_transport=transport)
