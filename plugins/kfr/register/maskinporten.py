"""Tokens from Maskinporten: a signed assertion in, an opaque token out, reused while it lasts (RFC 7523)."""

import asyncio
import base64
import json
import re
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import jwt

from kfr.clock import Clock
from kfr.register.certificate import EnterpriseCertificate
from kfr.register.errors import KfrError, MaskinportenRefused, Retriable
from kfr.register.limits import (
    ASSERTION_SECONDS,
    LONGEST_TOKEN_SECONDS,
    TOKEN_LEEWAY_SECONDS,
    TOKEN_SECONDS,
)
from kfr.register.settings import Settings
from kfr.register.transport import describe, open_async_client, open_client, read_retry_after
from kfr.register.watch import Watch, unwatched

SCOPE: Final = "bits:kundeforhold.write"  # OAS, FAQ
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
OPERATION: Final = "token"

ASSERTION_REUSED: Final = "MP-012"
CLOCKS_DIFFER: Final = "MP-130"
AGED_SECONDS: Final = 2.0  # an answer that took longer may be to an assertion that grew too old on its way
REMEDIES: Final[Mapping[str, str]] = {  # DIG
    "MP-011": "a parameter was not accepted: look at login, kid and consumer_org",
    "MP-100": "the client is unknown: look at login, and that it was made in this environment",
    "MP-110": "the audience is wrong: look at maskinporten_issuer, its slash at the end included",
    "MP-120": "certificate and environment do not match: use the certificate ordered for this environment",
    "MP-121": "the certificate or key has expired: put a new one in place, and register it if kid is set",
    "MP-122": "the certificate belongs to another organisation than the client: look at keystore and login",
    "MP-123": "the certificate (x5c) was not accepted: use Buypass' or Commfides' for authentication",
    "MP-124": "the signature was not accepted: keystore and environment differ, or kid names another key",
    CLOCKS_DIFFER: "the clocks differ by more than ten seconds: synchronise this machine's clock (NTP)",
    "MP-200": f"the scope is not known: add {SCOPE} to the client in Digdir's self-service",
    "MP-201": f"the client does not have the scope: add {SCOPE} to it in Digdir's self-service",
    "MP-250": "the institution has no access to the scope: ask DSOP@bits.no for it (ONB B-1, 1-3 days)",
    "MP-251": "the scope is not delegated: the institution delegates it to the supplier in Altinn",
    "forbidden": "the institution has no access to the scope: ask DSOP@bits.no for it (ONB B-1)",
}
_UNKNOWN = "look the code up in Digdir's list of Maskinporten's errors"
_NO_CODE = "look at maskinporten_issuer, and at proxies and gateways on the way"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    value: str = field(repr=False)
    until: float  # on the monotonic clock; from then on it is not used


class TokenSource:
    """Gives the token that is valid now, and fetches a new one when there is none.

    May be shared by threads, or by the coroutines of one event loop: they wait for one fetch. Both forms
    raise MaskinportenRefused when a person must act and Retriable when the same may work later.
    """

    def __init__(
        self,
        settings: Settings,
        certificate: EnterpriseCertificate,
        clock: Clock,
        *,
        transport: httpx.BaseTransport | None = None,
        async_transport: httpx.AsyncBaseTransport | None = None,
        watch: Watch = unwatched,
    ) -> None:
        self._settings = settings
        self._certificate = certificate
        self._clock = clock
        self._transport = transport
        self._async_transport = async_transport
        self._watch = watch
        self._held: _Token | None = None
        self._lock = threading.Lock()
        self._async_lock = asyncio.Lock()

    def token(self) -> str:
        """Give a token to a worker."""
        with self._lock:
            return self._usable() or self._fetch()

    async def atoken(self) -> str:
        """Give a token to a trigger."""
        async with self._async_lock:
            return self._usable() or await self._afetch()

    def invalidate(self, refused: str | None = None) -> None:
        """Forget the held token after a 401; only if it is ``refused``, when that is given.

        Ten calls that were refused with one token must lead to one new token, not to ten.
        """
        if self._held is not None and refused in {None, self._held.value}:
            self._held = None

    def _usable(self) -> str | None:
        held = self._held
        return held.value if held is not None and self._clock.monotonic() < held.until else None

    # One client a fetch: there is one in two minutes, longer than the other side keeps a connection open.

    def _fetch(self) -> str:
        asked_at, failure = self._clock.monotonic(), None
        with self._watch(OPERATION, None) as ended, open_client(self._transport) as client:
            try:
                response = client.post(self._url, data=self._form())
                ended(str(response.status_code))
            except httpx.HTTPError as error:
                failure = _failed(error)
                ended(type(failure).__name__)
        # Raised out here so that httpx's error, which holds the request and the assertion, is not chained.
        if failure:
            raise failure
        return self._keep(response, asked_at)

    async def _afetch(self) -> str:
        asked_at, failure = self._clock.monotonic(), None
        with self._watch(OPERATION, None) as ended:
            async with open_async_client(self._async_transport) as client:
                try:
                    response = await client.post(self._url, data=self._form())
                    ended(str(response.status_code))
                except httpx.HTTPError as error:
                    failure = _failed(error)
                    ended(type(failure).__name__)
        if failure:
            raise failure
        return self._keep(response, asked_at)

    @property
    def _url(self) -> str:
        return f"{self._settings.maskinporten_issuer}token"

    def _form(self) -> dict[str, str]:
        return {"grant_type": GRANT, "assertion": self._sign()}

    def _sign(self) -> str:
        """A new assertion: it may be used once (``jti``), and holds the contract's claims and no other."""
        issued_at = int(self._clock.now().timestamp())
        claims = {
            "aud": self._settings.maskinporten_issuer,
            "iss": self._settings.client_id,
            "iat": issued_at,
            "exp": issued_at + ASSERTION_SECONDS,
            "jti": str(uuid.uuid4()),
            "scope": SCOPE,
        }
        if self._settings.consumer_org:
            claims["consumer_org"] = self._settings.consumer_org
        return jwt.encode(claims, self._certificate.key, algorithm="RS256", headers=self._header())

    def _header(self) -> dict[str, Any]:
        # PyJWT adds a "typ" of its own; None takes it out, so that only what the contract names is sent.
        if self._settings.kid:
            return {"typ": None, "kid": self._settings.kid}
        return {"typ": None, "x5c": [base64.b64encode(self._certificate.leaf_der).decode()]}

    def _keep(self, response: httpx.Response, asked_at: float) -> str:
        answer = _parse(response)
        if response.status_code != httpx.codes.OK:
            waited = self._clock.monotonic() - asked_at
            raise _refusal(response, answer, read_retry_after(response, self._clock.now()), waited)
        value = answer.get("access_token")
        if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
            raise Retriable("Maskinporten's answer holds no token", status=200, operation=OPERATION)
        # Counted from before the request: however long the answer took, it is not used too long.
        self._held = _Token(value=value, until=asked_at + _lifetime(answer) - TOKEN_LEEWAY_SECONDS)
        return value


def _parse(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _lifetime(answer: Mapping[str, Any]) -> float:
    seconds = answer.get("expires_in", TOKEN_SECONDS)
    # Bounded first: JSON has integers that are too large for a float.
    return float(max(0, min(seconds, LONGEST_TOKEN_SECONDS))) if isinstance(seconds, int | float) else 0.0


def _failed(error: httpx.HTTPError) -> Retriable:
    return Retriable(f"Maskinporten was not reached: {describe(error)}", operation=OPERATION)


def _refusal(
    response: httpx.Response, answer: Mapping[str, Any], retry_after: float | None, waited: float
) -> KfrError:
    status, code = response.status_code, _error_code(answer)
    used_up = code == ASSERTION_REUSED or (code == CLOCKS_DIFFER and waited > AGED_SECONDS)
    if status in {408, 429} or status >= httpx.codes.INTERNAL_SERVER_ERROR or used_up:
        message = "Maskinporten gave no token this time: try again"
        return Retriable(message, status=status, code=code, operation=OPERATION, retry_after=retry_after)
    remedy = REMEDIES.get(code, _UNKNOWN) if code else _NO_CODE
    return MaskinportenRefused(
        f"Maskinporten gives no token: {remedy}", status=status, code=code, operation=OPERATION
    )


def _error_code(answer: Mapping[str, Any]) -> str | None:
    """``MP-121`` from wherever it stands, else ``error`` if it is a plain word; free text is left behind."""
    described = json.dumps([answer.get("error_uri"), answer.get("error_description")])
    if found := re.search(r"\bMP-[0-9]{3}\b", described):
        return found[0]
    error = answer.get("error")
    return error if isinstance(error, str) and re.fullmatch(r"[a-z_]{1,40}", error) else None
