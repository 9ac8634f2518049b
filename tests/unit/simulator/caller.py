"""Raw requests to the stand-in, written from the contract and without the package's client."""

import base64
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.serialization import Encoding

from kfr.clock import Clock
from tests import keystores
from tests.simulator import Simulator, Switches, VirtualClock
from tests.simulator.identifiers import text_of

FID = keystores.ORGANISATION
CLIENT_ID = "a-client"
SCOPE = "bits:kundeforhold.write"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=xyz"}

ORGANISATION = "298765438"
ORGANISATIONS = ("298765438", "298765446", "298765454")


def make_simulator(*, rate: float = 1.0, switches: Switches | None = None, **options: Any) -> Simulator:
    """A simulator in virtual time that trusts the authority of `keystores`, at one row a second."""
    trusted = [keystores.authority().certificate]
    defaults = {"clock": VirtualClock(), "fid": FID, "client_id": CLIENT_ID, "trusted": trusted}
    return Simulator(rows_per_second=rate, switches=switches or Switches(), **(defaults | options))


def make_x5c(clock: Clock, **options: Any) -> list[str]:
    """The header of a certificate that is valid on the clock's day."""
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return _make_x5c(midnight, **options)


@cache
def _make_x5c(now: datetime, key: Any = None, **options: Any) -> list[str]:
    times = {"not_before": now - timedelta(days=30), "not_after": now + timedelta(days=30)}
    leaf = keystores.make_certificate(key or keystores.rsa_key(), **(times | options))
    return [base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()]


def make_frame(customers: bytes, boundary: str = "xyz") -> bytes:
    """The multipart body of a batch file."""
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="customer_type"\r\n\r\nDSOPBANK\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="customers"; filename="customers.csv"\r\n'
        "Content-Type: text/plain\r\n\r\n"
    ).encode() + (customers + f"\r\n--{boundary}--\r\n".encode())


class Caller:
    """An institution that calls the register and gets its tokens as it should, unless told otherwise."""

    def __init__(self, simulator: Simulator, http: httpx.Client | None = None) -> None:
        self.simulator = simulator
        self.http = http or httpx.Client(transport=simulator.sync_transport(), timeout=5.0)
        self.institution = f"{simulator.base_url}/customers/financialInstitutions/{FID}"
        self.relationship = f"{self.institution}/relationshipType/DSOPBANK"
        self._token = ""
        self._token_ends = 0.0

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Right claims, with changes; None leaves one out."""
        now = int(self.simulator.clock.now().timestamp())
        claims = {
            "aud": self.simulator.issuer,
            "iss": CLIENT_ID,
            "iat": now,
            "exp": now + 100,
            "jti": str(uuid.uuid4()),
            "scope": SCOPE,
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def ask_token(
        self,
        claims: Mapping[str, Any] | None = None,
        *,
        header: Mapping[str, Any] | None = None,
        key: Any = None,
        algorithm: str = "RS256",
    ) -> httpx.Response:
        header = {"x5c": make_x5c(self.simulator.clock)} if header is None else header
        assertion = jwt.encode(
            dict(claims or self.claims()), key or keystores.rsa_key(), algorithm, headers=dict(header)
        )
        return self.post_assertion(assertion)

    def post_assertion(self, assertion: str, **form: str) -> httpx.Response:
        fields = {"grant_type": GRANT_TYPE, "assertion": assertion} | form
        return self.http.post(f"{self.simulator.issuer}token", data=fields)

    def token(self) -> str:
        now = self.simulator.clock.monotonic()
        if now >= self._token_ends:
            self._token = self.ask_token().json()["access_token"]
            self._token_ends = now + 110
        return self._token

    def headers(self, customer_id: str | None = None, **changes: str | None) -> dict[str, str]:
        """Right headers, with changes; None leaves one out."""
        headers = {"Authorization": f"Bearer {self.token()}", "CorrelationID": str(uuid.uuid4())}
        headers |= {} if customer_id is None else {"CustomerID": customer_id}
        return {name: value for name, value in (headers | changes).items() if value is not None}

    def register(self, customer_id: str = ORGANISATION) -> httpx.Response:
        return self.http.post(self.relationship, headers=self.headers(customer_id))

    def remove(self, customer_id: str = ORGANISATION) -> httpx.Response:
        return self.http.delete(self.relationship, headers=self.headers(customer_id))

    def look_up(
        self, customer_id: str = ORGANISATION, first: str | None = None, last: str | None = None
    ) -> httpx.Response:
        window = {"fromDate": first, "toDate": last or first} if first else {}
        return self.http.get(f"{self.institution}/", headers=self.headers(customer_id), params=window)

    def finds(
        self, customer_id: str = ORGANISATION, first: str | None = None, last: str | None = None
    ) -> bool:
        answer = self.look_up(customer_id, first, last)
        assert answer.status_code == 200, answer.text
        return any(bank["organizationID"] == FID for bank in answer.json()["banks"])

    def send(self, customers: str | bytes) -> httpx.Response:
        customers = customers.encode() if isinstance(customers, str) else customers
        return self.post_file(make_frame(customers))

    def post_file(self, body: bytes, **changes: str | None) -> httpx.Response:
        return self.http.post(
            f"{self.institution}/batch", headers=self.headers(**(MULTIPART | changes)), content=body
        )

    def starts(self) -> dict[str, str]:
        """The active relationships with their starts, read past the front door."""
        held = self.simulator.relationships()
        return {text_of(one): start.isoformat() for one, (start, end) in held.items() if end is None}
