"""Maskinporten's token endpoint (DIG, RFC 7523): checks an assertion in every respect and gives an opaque token."""

import base64
import binascii
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from tests.simulator.certificates import Authority, Holder, Untrusted
from tests.simulator.messages import Answer, Request, encode, gateway_page

SCOPE = "bits:kundeforhold.write"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_SECONDS = 120
ASSERTION_SECONDS = 120
CLOCK_SECONDS = 10  # how far `iat` may lie from our clock

HASHES = {"RS256": hashes.SHA256(), "RS384": hashes.SHA384(), "RS512": hashes.SHA512()}
REQUIRED_CLAIMS = {"aud", "iss", "iat", "exp", "jti", "scope"}
OPTIONAL_CLAIMS = {"consumer_org", "resource"}
HEADER_FIELDS = {"alg", "typ", "x5c", "kid"}

# The OAuth error that goes with an MP code, and the status; what is not here is invalid_grant, 400.
OAUTH_ERRORS = {
    "MP-011": ("invalid_request", 400),
    "MP-100": ("invalid_client", 400),
    "MP-200": ("invalid_scope", 400),
    "MP-201": ("invalid_scope", 400),
    "MP-250": ("access_denied", 403),
    "MP-251": ("access_denied", 403),
    "forbidden": ("forbidden", 403),  # the scope is not granted to the consumer
}


class TurnedDown(Exception):  # noqa: N818 - what Maskinporten says, not a flaw of the simulator
    """The assertion breaks a rule; the code may be "" where no document names one."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token stands for; Maskinporten gives none but for the register's scope."""

    organisation: str
    expires: float  # seconds since 1970


@dataclass(slots=True, kw_only=True)
class Maskinporten:
    """The issuer. `suppliers` may ask on the institution's behalf; `registered_keys` go by `kid`."""

    issuer: str
    authority: Authority
    fid: str
    client_id: str | None
    rng: random.Random
    suppliers: frozenset[str] = frozenset()
    registered_keys: Mapping[str, Holder] = field(default_factory=dict)
    _grants: dict[str, Grant] = field(default_factory=dict)
    _used: dict[str, float] = field(default_factory=dict)  # jti -> when its assertion expires

    def grant_of(self, token: str, at: datetime) -> Grant | None:
        """What a token stands for; None when it is unknown or has expired."""
        grant = self._grants.get(token)
        return grant if grant is not None and at.timestamp() < grant.expires else None

    def serve(self, request: Request, path: str, at: datetime) -> Answer:
        """Answer a request for a path below the issuer."""
        if path == ".well-known/oauth-authorization-server" and request.method == "GET":
            return Answer(status=200, body=encode(self._metadata()))
        if path != "token":
            return gateway_page(404)
        if request.method != "POST":
            return gateway_page(405)
        try:
            return self._give_token(request, at)
        except (TurnedDown, Untrusted) as refusal:
            return oauth_error(refusal.code, str(refusal))

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "token_endpoint": f"{self.issuer}token",
            "grant_types_supported": [GRANT_TYPE],
            "token_endpoint_auth_signing_alg_values_supported": list(HASHES),
        }

    def _give_token(self, request: Request, at: datetime) -> Answer:
        header, claims, signed, signature = _split(_read_assertion(request))
        holder = self._holder(header, at)
        try:
            holder.key.verify(signature, signed, PKCS1v15(), HASHES[header["alg"]])
        except InvalidSignature:
            raise TurnedDown("MP-124", "the signature is wrong") from None
        _check_shape(claims)
        self._check_times(claims, at)
        self._check_claims(claims, holder.organisation)
        self._use(claims, at)
        token = f"{self.rng.getrandbits(256):064x}"
        expires = at.timestamp() + TOKEN_SECONDS
        self._grants = {key: grant for key, grant in self._grants.items() if grant.expires > at.timestamp()}
        self._grants[token] = Grant(organisation=self.fid, expires=expires)
        body = {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "scope": SCOPE}
        return Answer(status=200, body=encode(body))

    def _holder(self, header: Mapping[str, Any], at: datetime) -> Holder:
        if str(header.get("alg")) not in HASHES:
            raise TurnedDown("MP-124", "alg is RS256, RS384 or RS512")
        if set(header) - HEADER_FIELDS or ("x5c" in header) == ("kid" in header):
            raise TurnedDown("MP-123", "the header names the key by x5c or by kid, and nothing else")
        if "x5c" in header:
            return self.authority.holder(header["x5c"], at)
        if str(header["kid"]) not in self.registered_keys:
            raise TurnedDown("MP-124", "no key is registered under this kid")
        return self.registered_keys[header["kid"]]

    def _check_times(self, claims: Mapping[str, Any], at: datetime) -> None:
        now, issued, expires = at.timestamp(), claims["iat"], claims["exp"]
        if not issued < expires <= issued + ASSERTION_SECONDS:
            raise TurnedDown("MP-130", f"exp lies at most {ASSERTION_SECONDS} s after iat")
        if not now - CLOCK_SECONDS <= issued <= now + CLOCK_SECONDS:
            raise TurnedDown("MP-130", f"iat lies more than {CLOCK_SECONDS} s from our clock")
        if expires <= now:
            raise TurnedDown("MP-130", "the assertion has expired")

    def _check_claims(self, claims: Mapping[str, Any], organisation: str) -> None:
        if claims["aud"] != self.issuer:
            raise TurnedDown("MP-110", f"the audience is {self.issuer}")
        if self.client_id is not None and claims["iss"] != self.client_id:
            raise TurnedDown("MP-100", "the client is unknown, or of another environment")
        if claims["scope"] != SCOPE:
            raise TurnedDown("MP-200", f"the scope is {SCOPE}")
        if "consumer_org" not in claims:
            if organisation != self.fid:
                raise TurnedDown("MP-122", "the certificate is another organisation's")
            return
        if claims["consumer_org"] != self.fid or organisation not in {self.fid, *self.suppliers}:
            raise TurnedDown("MP-251", "the consumer has not delegated the access")

    def _use(self, claims: Mapping[str, Any], at: datetime) -> None:
        self._used = {jti: expires for jti, expires in self._used.items() if expires > at.timestamp()}
        if claims["jti"] in self._used:
            raise TurnedDown("MP-012", "the assertion was used before")
        self._used[claims["jti"]] = claims["exp"]


def oauth_error(code: str, description: str) -> Answer:
    """Maskinporten's error body (DIG)."""
    error, status = OAUTH_ERRORS.get(code, ("invalid_grant", 400))
    body = {"error": error, "error_description": description}
    if code.startswith("MP-"):
        body["error_uri"] = f"https://docs.digdir.no/docs/Maskinporten/errors/{code}"
    return Answer(status=status, body=encode(body), code=code or error)


def _read_assertion(request: Request) -> str:
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise TurnedDown("MP-011", "the request is form-encoded")
    form = parse_qs(request.body.decode("latin-1"), keep_blank_values=True)
    if set(form) != {"grant_type", "assertion"} or any(len(values) != 1 for values in form.values()):
        raise TurnedDown("MP-011", "the parameters are grant_type and assertion")
    if form["grant_type"] != [GRANT_TYPE]:
        raise TurnedDown("MP-011", f"the grant type is {GRANT_TYPE}")
    return form["assertion"][0]


def _split(assertion: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Header, claims, what is signed, and the signature."""
    try:
        header, claims, signature = assertion.split(".")
        read = [json.loads(_decode(part)) for part in (header, claims)]
        signed, signature_bytes = f"{header}.{claims}".encode(), _decode(signature)
    except (ValueError, binascii.Error):
        raise TurnedDown("MP-011", "the assertion is not a JWT") from None
    if not all(isinstance(part, dict) for part in read):
        raise TurnedDown("MP-011", "the assertion is not a JWT")
    return read[0], read[1], signed, signature_bytes


def _decode(part: str) -> bytes:
    if "=" in part:
        raise ValueError("a JWT is not padded")
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _check_shape(claims: Mapping[str, Any]) -> None:
    if not REQUIRED_CLAIMS <= set(claims) <= REQUIRED_CLAIMS | OPTIONAL_CLAIMS:
        raise TurnedDown("", "Invalid assertion")  # no claim may be missing, and none added (DIG)
    texts = set(claims) - {"iat", "exp"}
    if not all(isinstance(claims[name], str) and claims[name] for name in texts):
        raise TurnedDown("", "Invalid assertion")
    if not all(type(claims[name]) is int for name in ("iat", "exp")):
        raise TurnedDown("", "Invalid assertion")
