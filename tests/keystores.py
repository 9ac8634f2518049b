"""Enterprise certificates made at run time, the right ones and the ones with a flaw.

Keys are made once per process (an RSA key costs up to 100 ms). What must be trusted for a keystore is
``trust()``: the certificates of the authorities that were used, by name.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    KeySerializationEncryption,
    NoEncryption,
    pkcs12,
)
from cryptography.x509.oid import NameOID

TEST_ISSUER = "Buypass Class 3 Test4 CA G2 ST Business"
PRODUCTION_ISSUER = "Buypass Class 3 CA G2 ST Business"
PASSWORD = "correct horse"
ORGANISATION = "312345676"  # the series of 2 and 3 holds test organisations only

AUTHENTICATION = frozenset({"digital_signature", "key_encipherment"})
SIGNING = frozenset({"content_commitment"})  # nonRepudiation alone
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority of this process: its root certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


_authorities: dict[str, Authority] = {}


@cache
def rsa_key(label: str = "leaf") -> rsa.RSAPrivateKey:
    """One RSA key a label and process."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def authority(issuer: str = TEST_ISSUER) -> Authority:
    """The authority of that common name; all share one key."""
    if issuer not in _authorities:
        name, key, now = _issuer_name(issuer), rsa_key("authority"), datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3650))
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        _authorities[issuer] = Authority(certificate=certificate, key=key)
    return _authorities[issuer]


def trust() -> dict[str, x509.Certificate]:
    """The root certificate of every authority used so far in this process, by common name."""
    return {name: made.certificate for name, made in _authorities.items()}


def make_keystore(
    *,
    organisation: str = ORGANISATION,
    place: str = "organizationIdentifier",
    issuer: str = TEST_ISSUER,
    password: str | None = PASSWORD,
    key: str = "rsa",
    key_label: str = "leaf",
    usage: frozenset[str] | None = AUTHENTICATION,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    with_key: bool = True,
    with_certificate: bool = True,
    with_chain: bool = True,
) -> bytes:
    """A PKCS#12 keystore as Buypass or Commfides deliver it.

    ``place`` is where the organisation number stands: ``organizationIdentifier``, ``serialNumber``, ``O``
    or ``none``. ``key`` is ``rsa`` or ``ec``; another ``key_label`` gives another key. ``usage`` None
    leaves the extension out. ``not_before`` and ``not_after`` default to a year ago and two years ahead.
    """
    private: Key = rsa_key(key_label) if key == "rsa" else ec.generate_private_key(ec.SECP256R1())
    leaf = make_certificate(
        private,
        organisation=organisation,
        place=place,
        issuer=issuer,
        usage=usage,
        not_before=not_before,
        not_after=not_after,
    )
    encryption: KeySerializationEncryption = (
        NoEncryption() if password is None else BestAvailableEncryption(password.encode())
    )
    return pkcs12.serialize_key_and_certificates(
        b"authentication",
        private if with_key else None,
        leaf if with_certificate else None,
        [authority(issuer).certificate] if with_chain else None,
        encryption,
    )


def make_certificate(
    key: Key,
    *,
    organisation: str = ORGANISATION,
    place: str = "organizationIdentifier",
    issuer: str = TEST_ISSUER,
    usage: frozenset[str] | None = AUTHENTICATION,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> x509.Certificate:
    """The certificate alone, signed by the authority of that name; options as in ``make_keystore``."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject_name(organisation, place))
        .issuer_name(_issuer_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before or now - timedelta(days=365))
        .not_valid_after(not_after or now + timedelta(days=730))
    )
    if usage is not None:
        allowed = {name: name in usage for name in _USAGES}
        builder = builder.add_extension(x509.KeyUsage(**allowed), critical=True)
    return builder.sign(authority(issuer).key, hashes.SHA256())


def _issuer_name(common_name: str) -> x509.Name:
    return _name((NameOID.COUNTRY_NAME, "NO"), (NameOID.COMMON_NAME, common_name))


def _subject_name(organisation: str, place: str) -> x509.Name:
    suffix = f" - {organisation}" if place == "O" else ""
    parts = [
        (NameOID.COUNTRY_NAME, "NO"),
        (NameOID.ORGANIZATION_NAME, f"EKSEMPELBANKEN AS{suffix}"),
        (NameOID.COMMON_NAME, "EKSEMPELBANKEN AS"),
    ]
    if place == "organizationIdentifier":
        parts.append((NameOID.ORGANIZATION_IDENTIFIER, f"NTRNO-{organisation}"))
    if place == "serialNumber":
        parts.append((NameOID.SERIAL_NUMBER, organisation))
    return _name(*parts)


def _name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
