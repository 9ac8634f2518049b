"""What the connection to the register says, checked before anything is sent.

Every flaw is a ConfigurationError that names the field, the cause and the remedy. A value is never shown:
it may have been a secret in the wrong field.
"""

import base64
import binascii
import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, cast
from urllib.parse import urlsplit

from kfr.register.errors import ConfigurationError
from kfr.register.limits import REGISTER_ROWS_PER_SECOND, REQUESTS_PER_SECOND, SAMPLE_SIZE

Environment = Literal["test", "production"]

BASE_URLS: Final[Mapping[Environment, str]] = {  # OAS
    "test": "https://preprod.api.bits.no/kar-ws/api/v1",
    "production": "https://api.bits.no/kar-ws/api/v1",
}
ISSUERS: Final[Mapping[Environment, str]] = {  # DIG; the slash belongs to the name
    "test": "https://test.maskinporten.no/",
    "production": "https://maskinporten.no/",
}
RETIRED_ISSUER_HOSTS: Final = frozenset({"oidc-ver2.difi.no", "ver2.maskinporten.no"})  # ONB C-2

MAX_PORT: Final = 65_535
STAGING_KEY_BYTES: Final = 32
_NEW_KEY = "python -c 'import base64, os; print(base64.b64encode(os.urandom(32)).decode())'"

EXTRA_FIELDS: Final = (
    "environment", "fid", "keystore", "maskinporten_issuer", "consumer_org", "kid", "staging_key",
    "rows_per_second", "requests_per_second", "sample_size",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A checked connection. ``base_url`` has no slash at the end, ``maskinporten_issuer`` has one."""

    environment: Environment
    fid: str
    base_url: str
    client_id: str
    keystore: str = field(repr=False)
    keystore_password: str = field(repr=False)
    maskinporten_issuer: str
    consumer_org: str | None = None
    kid: str | None = None
    staging_key: bytes = field(repr=False)
    rows_per_second: float = REGISTER_ROWS_PER_SECOND
    requests_per_second: float = REQUESTS_PER_SECOND
    sample_size: int = SAMPLE_SIZE

    @property
    def certificate_organisation(self) -> str | None:
        """Whose certificate it must be: the institution's; None for a supplier's, of unknown number."""
        return None if self.consumer_org else self.fid

    @classmethod
    def from_fields(
        cls, *, host: str | None, login: str | None, password: str | None, extra: Mapping[str, Any]
    ) -> Self:
        """Check the fields of an Airflow connection.

        ``host`` is the base URL (default by environment), ``login`` the Maskinporten client id,
        ``password`` the keystore's password, ``extra`` the fields of EXTRA_FIELDS. A blank field counts
        as absent. Raises ConfigurationError.
        """
        for name in extra:
            if name not in EXTRA_FIELDS:
                raise _flaw(str(name), "is not a field of this connection", f"use {', '.join(EXTRA_FIELDS)}")
        environment = _environment(_text(extra, "environment"))
        fid = check_organisation_number("fid", _required(extra, "fid"))
        return cls(
            environment=environment,
            fid=fid,
            base_url=_base_url(host, environment),
            client_id=_required({"login": login}, "login", "the client id at Maskinporten"),
            keystore=_required(extra, "keystore", "the path of the PKCS#12 file, or its base64"),
            keystore_password=_password(password),
            maskinporten_issuer=_issuer(_text(extra, "maskinporten_issuer"), environment),
            consumer_org=_consumer_org(_text(extra, "consumer_org"), fid),
            kid=_text(extra, "kid"),
            staging_key=staging_key_of(_required(extra, "staging_key", f"the output of {_NEW_KEY}")),
            rows_per_second=_rate(extra, "rows_per_second", REGISTER_ROWS_PER_SECOND),
            requests_per_second=_rate(extra, "requests_per_second", REQUESTS_PER_SECOND),
            sample_size=_whole(_rate(extra, "sample_size", SAMPLE_SIZE), "sample_size"),
        )


def _flaw(name: str, cause: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{name}: {cause}; {remedy}")


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        # An organisation number as a JSON number has no quotes; that is what the person meant.
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise _flaw(name, f"is a {type(value).__name__}", "give it as text")
    return value.strip() or None


def _required(fields: Mapping[str, Any], name: str, what: str = "the institution's 9 digits") -> str:
    value = _text(fields, name)
    if value is None:
        raise _flaw(name, "is missing", f"give {what}")
    return value


def _password(password: str | None) -> str:
    if not password:
        raise _flaw("password", "is missing", "give the password of the keystore")
    return password


def _environment(value: str | None) -> Environment:
    if value not in BASE_URLS:
        raise _flaw("environment", "is missing or unknown", "it is test or production")
    return cast("Environment", value)


def check_organisation_number(name: str, value: str) -> str:
    """Give the number back; ConfigurationError, naming the field, when it is none."""
    if not re.fullmatch(r"[0-9]{9}", value):
        raise _flaw(name, "is not an organisation number", "give the 9 digits without spaces")
    weighted = sum(
        weight * int(digit) for weight, digit in zip((3, 2, 7, 6, 5, 4, 3, 2), value, strict=False)
    )
    if (weighted + int(value[8])) % 11 or int(value) == 0:
        raise _flaw(name, "has a check digit that is not right", "compare it with Brønnøysundregistrene")
    return value


def _consumer_org(value: str | None, fid: str) -> str | None:
    if value is not None and value != fid:
        raise _flaw(
            "consumer_org",
            "is not the institution's number (fid)",
            "give fid if a supplier asks on the institution's behalf, else leave it empty",
        )
    return value


def _base_url(value: str | None, environment: Environment) -> str:
    text = (value or "").strip()
    if not text:
        return BASE_URLS[environment]
    host = _checked_host("host", text, BASE_URLS[environment])
    _refuse_other_environment("host", host, BASE_URLS, environment)
    return text.rstrip("/")


def _issuer(value: str | None, environment: Environment) -> str:
    new = ISSUERS[environment]
    if value is None:
        return new
    host = _checked_host("maskinporten_issuer", value, new)
    if host in RETIRED_ISSUER_HOSTS:
        raise _flaw("maskinporten_issuer", f"{host} is gone", f"use {new}")
    _refuse_other_environment("maskinporten_issuer", host, ISSUERS, environment)
    return value.rstrip("/") + "/"


def _checked_host(name: str, text: str, example: str) -> str:
    """The host of a URL that can be called, as it will be called: in ASCII, in lower case, without a last dot."""
    from httpx import URL, InvalidURL  # a Dag file must not load it

    # Read as it is read when it is called: for another reader api.bits。no is not the host that it leads to.
    try:
        url = URL(text)
        _ = url.host  # a request reads it, and fails where a label (xn--…) says nothing
    except (InvalidURL, UnicodeError):
        url = URL("")
    host = url.raw_host.decode("ascii").rstrip(".").lower()
    plain = host and (url.port or 0) <= MAX_PORT and not re.search(r"[\s\\?#@]", text)
    if url.scheme not in {"https", "http"} or not plain:
        raise _flaw(name, "is not a plain URL", f"write it like {example}")
    if url.scheme == "http" and not _is_loopback(host):
        raise _flaw(name, "is plain http to another machine", "use https")
    return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_other_environment(
    name: str, host: str, known: Mapping[Environment, str], environment: Environment
) -> None:
    for other, theirs in known.items():
        if other != environment and host == urlsplit(theirs).hostname:
            raise _flaw(
                name,
                f"{host} is the host of {other}, and environment is {environment}",
                f"use {known[environment]}, or change the environment and the keystore with it",
            )


def staging_key_of(text: str) -> bytes:
    """The 32 bytes of a staging key as base64; ConfigurationError when it is none."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _flaw("staging_key", "is not base64", f"make one by {_NEW_KEY}") from None
    if len(key) != STAGING_KEY_BYTES:
        cause = f"is {len(key)} bytes long and must be {STAGING_KEY_BYTES}"
        raise _flaw("staging_key", cause, f"make one by {_NEW_KEY}")
    return key


def _rate(extra: Mapping[str, Any], name: str, default: float) -> float:
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise _flaw(name, "is not a number above zero", f"leave it empty for {default}")
    return number


def _whole(number: float, name: str) -> int:
    if number != int(number):
        raise _flaw(name, "is not a whole number", f"leave it empty for {SAMPLE_SIZE}")
    return int(number)
