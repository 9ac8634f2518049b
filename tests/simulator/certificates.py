"""Enterprise certificates as Maskinporten reads them out of an assertion's `x5c` (contract, section 4)."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID

from tests.simulator.identifiers import is_identifier

ISSUERS = {
    "production": {
        "Buypass Class 3 CA G2 ST Business",
        "Buypass Class 3 CA G2 HT Business",
        "Buypass Class 3 CA 3",
        "Commfides Legal Person - G3",
    },
    "test": {
        "Buypass Class 3 Test4 CA 3",
        "Buypass Class 3 Test4 CA G2 ST Business",
        "Commfides Legal Person - G3 - TEST",
    },
}
OTHER_WORLD = {"production": "test", "test": "production"}


class Untrusted(Exception):  # noqa: N818 - what Maskinporten says, not a flaw of the simulator
    """The certificate is turned down with an MP code."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A key that may sign assertions, and the organisation that holds it."""

    key: RSAPublicKey
    organisation: str


@dataclass(frozen=True, slots=True)
class Authority:
    """Who is trusted: certificates issued by one of `trusted`, or equal to one; anyone's when that is empty."""

    environment: str
    trusted: Sequence[x509.Certificate] = ()

    def holder(self, x5c: object, at: datetime) -> Holder:
        """Who an `x5c` header names; Untrusted with MP-120 or MP-123."""
        leaf = _read_leaf(x5c)
        key = leaf.public_key()
        if not isinstance(key, RSAPublicKey):
            raise Untrusted("MP-123", "the certificate's key is not RSA")
        if not leaf.not_valid_before_utc <= at <= leaf.not_valid_after_utc:
            raise Untrusted("MP-123", "the certificate is not valid now")
        if not _may_authenticate(leaf):
            raise Untrusted("MP-123", "the certificate is not for authentication")
        issuers = {str(name.value) for name in leaf.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)}
        if issuers & ISSUERS[OTHER_WORLD[self.environment]]:
            raise Untrusted("MP-120", "the certificate belongs to the other environment")
        if self.trusted and not any(_vouches_for(one, leaf) for one in self.trusted):
            raise Untrusted("MP-123", "the certificate's issuer is not trusted")
        return Holder(key=key, organisation=_organisation(leaf))


def _read_leaf(x5c: object) -> x509.Certificate:
    if not isinstance(x5c, list) or len(x5c) != 1 or not isinstance(x5c[0], str):
        raise Untrusted("MP-123", "x5c is a list with only the leaf certificate")
    try:
        return x509.load_der_x509_certificate(base64.b64decode(x5c[0], validate=True))
    except (ValueError, binascii.Error):
        raise Untrusted("MP-123", "x5c does not hold a certificate in base64 DER") from None


def _vouches_for(trusted: x509.Certificate, leaf: x509.Certificate) -> bool:
    if trusted == leaf:
        return True
    try:
        leaf.verify_directly_issued_by(trusted)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _may_authenticate(leaf: x509.Certificate) -> bool:
    try:
        return leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return True


def _organisation(leaf: x509.Certificate) -> str:
    """The organisation number of the subject, from any of the three places; "" when there is none."""
    patterns = (
        (NameOID.ORGANIZATION_IDENTIFIER, r"NTRNO-(\d{9})"),
        (NameOID.SERIAL_NUMBER, r"(\d{9})"),
        (NameOID.ORGANIZATION_NAME, r".* - (\d{9})"),
    )
    for oid, pattern in patterns:
        for name in leaf.subject.get_attributes_for_oid(oid):
            match = re.fullmatch(pattern, str(name.value))
            if match and is_identifier(match[1]):
                return match[1]
    return ""
