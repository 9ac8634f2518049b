"""The enterprise certificate (virksomhetssertifikat): PKCS#12 in, key and leaf certificate out.

Maskinporten answers a certificate that cannot work with one of a dozen codes, after a network call and
often about something else. So every rule that can be checked here is checked here, with the remedy.
That the certificate is genuine is not checked: Maskinporten does that, with the authorities' own roots.
"""

import base64
import binascii
import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from cryptography.x509.oid import NameOID

from kfr.register.errors import CertificateError
from kfr.register.settings import Environment

ISSUERS: Final[Mapping[str, Environment]] = {
    "Buypass Class 3 CA G2 ST Business": "production",
    "Buypass Class 3 CA G2 HT Business": "production",
    "Buypass Class 3 CA 3": "production",
    "Commfides Legal Person - G3": "production",
    "Buypass Class 3 Test4 CA 3": "test",
    "Buypass Class 3 Test4 CA G2 ST Business": "test",
    "Commfides Legal Person - G3 - TEST": "test",
}

# A PKCS#12 file is a DER sequence whose first element is the version, 3 (RFC 7292).
_PKCS12_START = re.compile(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03", re.DOTALL)


class Flaw(StrEnum):
    """What is wrong with a keystore or its certificate; the ``code`` of a CertificateError."""

    NOT_FOUND = "not_found"
    NOT_READABLE = "not_readable"
    NOT_PKCS12 = "not_pkcs12"
    PASSWORD = "password"  # noqa: S105 - the name of a flaw
    NO_KEY = "no_key"
    NO_CERTIFICATE = "no_certificate"
    NOT_RSA = "not_rsa"
    KEY_USAGE = "key_usage"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    ISSUER = "issuer"
    ENVIRONMENT = "environment"
    NO_ORGANISATION = "no_organisation"
    ORGANISATION = "organisation"


_ORDER = "order an enterprise certificate from Buypass or Commfides (ONB A-3)"
_AUTHENTICATION = "of the set that was delivered use the one for authentication, with its key"

REMEDIES: Final[Mapping[Flaw, str]] = {
    Flaw.NOT_FOUND: "give a path that exists on every worker and triggerer, or the file's base64",
    Flaw.NOT_READABLE: "let the user that runs Airflow read it, and no one else",
    Flaw.NOT_PKCS12: "give the .p12 file as it was delivered, not a PEM file, a Java keystore or a .cer",
    Flaw.PASSWORD: "put the keystore's password into the connection's password; if only openssl pkcs12 "
    "-legacy opens it, export it anew",
    Flaw.NO_KEY: _AUTHENTICATION,
    Flaw.NO_CERTIFICATE: _AUTHENTICATION,
    Flaw.NOT_RSA: f"Maskinporten takes RSA only: {_ORDER} with an RSA key",
    Flaw.KEY_USAGE: _AUTHENTICATION,
    Flaw.NOT_YET_VALID: "wait until then, use the earlier one, or set the machine's clock",
    Flaw.EXPIRED: _ORDER,
    Flaw.ISSUER: _ORDER,
    Flaw.ENVIRONMENT: "use the certificate that was ordered for this environment",
    Flaw.NO_ORGANISATION: _ORDER,
    Flaw.ORGANISATION: "use the institution's own, or set consumer_org if a supplier asks on its behalf",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnterpriseCertificate:
    """A certificate that passed every check. ``not_after`` is aware, in UTC; ``leaf_der`` is public."""

    key: RSAPrivateKey = field(repr=False)
    leaf_der: bytes = field(repr=False)
    organisation_number: str
    issuer: str
    not_after: datetime
    environment: Environment


def load_keystore(
    keystore: str, password: str, *, expected_organisation: str | None, environment: Environment, at: datetime
) -> EnterpriseCertificate:
    """Open a PKCS#12 keystore and check that its certificate can be used now, here, by this institution.

    ``keystore`` is a path (absolute or under AIRFLOW_HOME) or the file's base64; ``at`` an aware moment;
    ``expected_organisation`` None accepts any (a supplier's certificate). Raises CertificateError.
    """
    key, leaf = _open(_content(keystore), password)
    if not isinstance(key, RSAPrivateKey):
        raise _error(Flaw.NOT_RSA, "the certificate's key is not RSA")
    try:
        return _check(key, leaf, expected_organisation, environment, at)
    except (ValueError, x509.DuplicateExtension):  # its parts are read when they are asked for
        raise _error(Flaw.NO_CERTIFICATE, "the certificate for its key cannot be read") from None


def _check(
    key: RSAPrivateKey,
    leaf: x509.Certificate,
    organisation: str | None,
    environment: Environment,
    at: datetime,
) -> EnterpriseCertificate:
    _check_usage(leaf)
    _check_validity(leaf, at)
    issuer = _check_issuer(leaf, environment)
    return EnterpriseCertificate(
        key=key,
        leaf_der=leaf.public_bytes(Encoding.DER),
        organisation_number=_check_organisation(leaf, organisation),
        issuer=issuer,
        not_after=leaf.not_valid_after_utc,
        environment=environment,
    )


def _error(flaw: Flaw, cause: str) -> CertificateError:
    return CertificateError(f"keystore: {cause}; {REMEDIES[flaw]}", code=flaw.value)


def _content(keystore: str) -> bytes:
    path = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / keystore.strip()
    if _is_file(path):
        return _read(path)
    try:
        return base64.b64decode("".join(keystore.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _error(Flaw.NOT_FOUND, "is neither a file on this machine nor base64") from None


def _is_file(path: Path) -> bool:
    # A long base64 is no name that a file system knows, and says so by an OSError.
    with contextlib.suppress(OSError, ValueError):
        return path.is_file()
    return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _error(Flaw.NOT_READABLE, f"the file cannot be read ({error.strerror})") from None


@lru_cache(maxsize=4)  # opening costs 44 ms, and every task and look-up pass asks
def _open(content: bytes, password: str) -> tuple[PrivateKeyTypes, x509.Certificate]:
    if not _PKCS12_START.match(content):
        raise _error(Flaw.NOT_PKCS12, "the content is not PKCS#12")
    try:
        if "\0" in password:
            raise ValueError("cryptography would panic, which no one catches")
        store = pkcs12.load_pkcs12(content, password.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise _error(Flaw.PASSWORD, "could not be opened: the password is wrong, or it is damaged") from None
    if store.key is None:
        raise _error(Flaw.NO_KEY, "holds no private key")
    # The certificate is the key's own, wherever it stands in the file: they are matched on opening.
    if store.cert is None:
        raise _error(Flaw.NO_CERTIFICATE, "holds no certificate for its key")
    return store.key, store.cert.certificate


def _check_usage(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return  # no extension means no restriction (RFC 5280)
    if not usage.digital_signature:
        raise _error(Flaw.KEY_USAGE, "the certificate is not for authentication (digitalSignature)")


def _check_validity(leaf: x509.Certificate, at: datetime) -> None:
    if at < leaf.not_valid_before_utc:
        raise _error(
            Flaw.NOT_YET_VALID, f"the certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}"
        )
    if at > leaf.not_valid_after_utc:
        raise _error(Flaw.EXPIRED, f"the certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d}")


def _check_issuer(leaf: x509.Certificate, environment: Environment) -> str:
    issuer = next(iter(_values(leaf.issuer, NameOID.COMMON_NAME)), "")
    if issuer not in ISSUERS:
        raise _error(Flaw.ISSUER, "the certificate's issuer is not one of Buypass or Commfides that is known")
    if ISSUERS[issuer] != environment:
        cause = f"the certificate is for {ISSUERS[issuer]}, and the connection's environment is {environment}"
        raise _error(Flaw.ENVIRONMENT, cause)
    return issuer


def _check_organisation(leaf: x509.Certificate, expected: str | None) -> str:
    number = organisation_number_of(leaf.subject)
    if number is None:
        raise _error(Flaw.NO_ORGANISATION, "the certificate names no organisation number")
    if expected not in {None, number}:
        raise _error(Flaw.ORGANISATION, "the certificate belongs to another organisation than fid")
    return number


def organisation_number_of(subject: x509.Name) -> str | None:
    """The number in the first of the three places that has one: SEID 2, then the older two."""
    places = (
        (NameOID.ORGANIZATION_IDENTIFIER, r"NTRNO-([0-9]{9})"),
        (NameOID.SERIAL_NUMBER, r"([0-9]{9})"),
        (NameOID.ORGANIZATION_NAME, r".* - ([0-9]{9})"),
    )
    for oid, pattern in places:
        for value in _values(subject, oid):
            if found := re.fullmatch(pattern, value):
                return found[1]
    return None


def _values(name: x509.Name, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value).strip() for attribute in name.get_attributes_for_oid(oid)]
