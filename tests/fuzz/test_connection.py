"""Whatever stands in a connection: settings that can be used, or the documented error, without a secret."""

import base64
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs12
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kfr.register.certificate import load_keystore
from kfr.register.errors import CertificateError, ConfigurationError
from kfr.register.settings import BASE_URLS, EXTRA_FIELDS, ISSUERS, Settings
from tests.fuzz.institution import KEYSTORE, NOW, assert_quotes_nothing
from tests.keystores import ORGANISATION, PASSWORD, make_certificate, rsa_key

SECRET = "s3cr3t-that-nobody-must-see"
SECRETS = ("keystore", "staging_key")

URLS = st.one_of(
    st.sampled_from([*BASE_URLS.values(), *ISSUERS.values(), "https://oidc-ver2.difi.no/"]),
    st.builds(
        "{}://{}{}{}".format,
        st.sampled_from(["https", "http", "HTTPS", "ftp", "https:"]),
        st.text(max_size=12)
        | st.sampled_from(
            [
                "127.0.0.1",
                "[::1]",
                "localhost",
                "xn--",
                "a..b",
                "\u00e9.no",
                "127.1",
                "localhost.",
                f"{SECRET}@a.no",
            ]
        ),
        st.sampled_from(["", ":443", ":0", ":65535", ":x", ":", "?", "#"]),
        st.text(max_size=8).map("/{}".format) | st.just(""),
    ),
    st.text(max_size=20),
)
TEXTS = st.text(max_size=12) | st.sampled_from([SECRET, "", " ", base64.b64encode(bytes(32)).decode()])
VALUES = st.one_of(
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(TEXTS, max_size=2),
    st.dictionaries(TEXTS, TEXTS, max_size=2),
)
RIGHT = {
    "environment": "test",
    "fid": ORGANISATION,
    "keystore": "kfr.p12",
    "staging_key": base64.b64encode(bytes(32)).decode(),
}
EXTRAS = st.builds(
    lambda right, changes: right | changes,
    st.just(RIGHT),
    st.dictionaries(st.sampled_from(EXTRA_FIELDS), VALUES | URLS, max_size=3),
)


@settings(deadline=None)
@given(st.none() | URLS, st.none() | TEXTS, st.none() | TEXTS, EXTRAS)
@example("https://\x80.no", "x", "x", RIGHT)
@example("https://register.no?", "x", "x", RIGHT)
@example("https://xn--", "x", "x", RIGHT)
def test_a_connection_gives_settings_that_can_be_used_or_a_configuration_error_without_a_secret(
    host, login, password, extra
):
    try:
        made = Settings.from_fields(host=host, login=login, password=password, extra=extra)
    except ConfigurationError as error:
        assert_quotes_nothing(error, SECRET)
        return
    assert SECRET not in repr(made) or SECRET in str([login, extra.get("kid")])
    for address, path in ((made.base_url, "/customers"), (made.maskinporten_issuer, "token")):
        url = httpx.Request("GET", address + path).url
        assert url.path.endswith(path)
        assert url.host == urlsplit(address).hostname
        assert url.scheme == "https" or url.host in {"localhost", "::1"} or url.host.startswith("127.")
    assert made.rows_per_second > 0
    assert made.requests_per_second > 0
    assert made.sample_size >= 1


USAGE = bytes.fromhex("0603551d0f0101ff04")  # the extension's name, critical, and the type of what follows
LEAF = make_certificate(rsa_key()).public_bytes(Encoding.DER)


@st.composite
def bent(draw, content):
    """The bytes with a few of them changed; their number stays, or no length in them would be right."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


def open_keystore(content, password):
    """Open it as a connection does; only the documented error may come out."""
    try:
        load_keystore(
            base64.b64encode(content).decode() if isinstance(content, bytes) else content,
            password,
            expected_organisation=ORGANISATION,
            environment="test",
            at=NOW,
        )
    except CertificateError as error:
        assert_quotes_nothing(error, SECRET)


@settings(deadline=None)
@given(
    bent(KEYSTORE) | st.binary(max_size=60) | st.text(max_size=60),
    st.sampled_from([PASSWORD, SECRET]) | st.text(max_size=6),
)
@example(KEYSTORE, "\0")
def test_no_bytes_of_a_keystore_end_in_another_error_than_the_documented_one(content, password):
    open_keystore(content, password)


@pytest.mark.filterwarnings("ignore")  # cryptography warns of much that is odd
@settings(max_examples=50, deadline=None)  # each checks an RSA key
@given(bent(LEAF))
@example(LEAF.replace(USAGE, USAGE[:-1] + b"\x02"))
def test_no_certificate_within_a_keystore_ends_in_another_error_than_the_documented_one(der):
    try:
        leaf = x509.load_der_x509_certificate(der)
        content = pkcs12.serialize_key_and_certificates(b"x", rsa_key(), leaf, None, NoEncryption())
    except Exception:  # noqa: BLE001 - no one could put it into a keystore
        return
    open_keystore(content, "")


def test_a_certificate_with_an_extension_twice_cannot_be_read():
    usage, key_id = bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d0e")
    leaf = x509.load_der_x509_certificate(LEAF)
    builder = x509.CertificateBuilder(
        leaf.issuer, leaf.subject, leaf.public_key(), 1, leaf.not_valid_before_utc, leaf.not_valid_after_utc
    )
    for extension in (leaf.extensions[0].value, x509.SubjectKeyIdentifier(bytes(20))):
        builder = builder.add_extension(extension, critical=False)
    der = builder.sign(rsa_key(), SHA256()).public_bytes(Encoding.DER).replace(key_id, usage)
    twice = x509.load_der_x509_certificate(der)
    open_keystore(pkcs12.serialize_key_and_certificates(b"x", rsa_key(), twice, None, NoEncryption()), "")
