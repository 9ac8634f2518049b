import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from kfr.register.certificate import ISSUERS, REMEDIES, Flaw, load_keystore
from kfr.register.errors import CertificateError
from tests.keystores import (
    AUTHENTICATION,
    ORGANISATION,
    PASSWORD,
    SIGNING,
    make_certificate,
    make_keystore,
    rsa_key,
)

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
VALID = {"not_before": NOW - timedelta(days=400), "not_after": NOW + timedelta(days=600)}
OTHER = "212345679"


def load(content, *, password=PASSWORD, expected=ORGANISATION, environment="test", at=NOW):
    keystore = content if isinstance(content, str) else base64.b64encode(content).decode()
    return load_keystore(keystore, password, expected_organisation=expected, environment=environment, at=at)


def flaw(expected_flaw, content, **options):
    with pytest.raises(CertificateError) as caught:
        load(content, **options)
    assert caught.value.code == expected_flaw.value
    assert REMEDIES[expected_flaw] in str(caught.value)
    return str(caught.value)


def made(**options):
    return make_keystore(**{**VALID, **options})


@pytest.mark.parametrize("place", ["organizationIdentifier", "serialNumber", "O"])
def test_the_organisation_number_is_found_in_each_of_its_three_places(place):
    assert load(made(place=place)).organisation_number == ORGANISATION


def test_a_right_keystore_gives_key_leaf_and_what_readiness_shows():
    certificate = load(made())
    leaf = x509.load_der_x509_certificate(certificate.leaf_der)
    assert isinstance(certificate.key, RSAPrivateKey)
    assert leaf.public_key() == certificate.key.public_key()
    assert certificate.issuer == "Buypass Class 3 Test4 CA G2 ST Business"
    assert certificate.not_after == VALID["not_after"]
    assert certificate.environment == "test"


@pytest.mark.parametrize(("issuer", "environment"), ISSUERS.items())
def test_each_issuer_serves_its_environment_and_no_other(issuer, environment):
    keystore = made(issuer=issuer)
    assert load(keystore, environment=environment).issuer == issuer
    other = "test" if environment == "production" else "production"
    assert f"is for {environment}" in flaw(Flaw.ENVIRONMENT, keystore, environment=other)


def test_the_contract_s_issuers_are_all_there():
    assert sorted(name for name, environment in ISSUERS.items() if environment == "production") == [
        "Buypass Class 3 CA 3",
        "Buypass Class 3 CA G2 HT Business",
        "Buypass Class 3 CA G2 ST Business",
        "Commfides Legal Person - G3",
    ]
    assert len(ISSUERS) == 7


@pytest.mark.parametrize("issuer", ["Somebody CA", "buypass class 3 ca 3", "Buypass Class 3 CA 3 - TEST"])
def test_an_issuer_that_is_not_known_is_refused(issuer):
    flaw(Flaw.ISSUER, made(issuer=issuer), environment="production")


def test_the_certificate_of_another_organisation_is_refused():
    flaw(Flaw.ORGANISATION, made(organisation=OTHER))


def test_a_supplier_s_certificate_may_be_anyone_s():
    assert load(made(organisation=OTHER), expected=None).organisation_number == OTHER


@pytest.mark.parametrize("number", ["31234567", "3123456760", "31234567x"])
@pytest.mark.parametrize("place", ["organizationIdentifier", "serialNumber", "O"])
def test_what_is_not_nine_digits_is_no_organisation_number(place, number):
    flaw(Flaw.NO_ORGANISATION, made(place=place, organisation=number), expected=None)


def test_a_certificate_without_a_number_is_refused():
    flaw(Flaw.NO_ORGANISATION, made(place="none"))


@pytest.mark.parametrize("seconds", [1, 86_400])
def test_an_expired_certificate_is_refused_with_its_last_day(seconds):
    message = flaw(Flaw.EXPIRED, made(), at=VALID["not_after"] + timedelta(seconds=seconds))
    assert f"{VALID['not_after']:%Y-%m-%d}" in message


def test_a_certificate_that_is_not_valid_yet_is_refused_with_its_first_day():
    message = flaw(Flaw.NOT_YET_VALID, made(), at=VALID["not_before"] - timedelta(seconds=1))
    assert f"{VALID['not_before']:%Y-%m-%d}" in message


def test_a_certificate_is_valid_from_its_first_to_its_last_second():
    assert load(made(), at=VALID["not_before"])
    assert load(made(), at=VALID["not_after"])


def test_a_keystore_opened_before_is_checked_again_for_the_time_of_now():
    keystore = made()
    load(keystore)
    flaw(Flaw.EXPIRED, keystore, at=VALID["not_after"] + timedelta(days=1))


def test_an_elliptic_curve_is_refused_for_maskinporten_takes_rsa_only():
    flaw(Flaw.NOT_RSA, made(key="ec"))


def test_the_signing_certificate_of_the_set_is_refused():
    assert "for authentication" in flaw(Flaw.KEY_USAGE, made(usage=SIGNING))


@pytest.mark.parametrize("usage", [AUTHENTICATION, AUTHENTICATION | SIGNING, {"digital_signature"}, None])
def test_a_certificate_that_may_authenticate_is_taken(usage):
    assert load(made(usage=usage))


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + " ", "æøå"])
def test_a_wrong_password_is_called_that_and_is_not_repeated(password):
    message = flaw(Flaw.PASSWORD, made(), password=password)
    assert "password is wrong" in message
    assert PASSWORD not in message


def test_a_password_with_norwegian_letters_opens_its_keystore():
    assert load(made(password="blåbærsyltetøy"), password="blåbærsyltetøy")


def test_a_damaged_keystore_does_not_open():
    flaw(Flaw.PASSWORD, made()[:-100])


def test_what_is_not_pkcs12_is_called_that():
    pem = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    der = make_certificate(rsa_key(), **VALID).public_bytes(Encoding.DER)
    java = b"\xfe\xed\xfe\xed\x00\x00\x00\x02"
    for content in (pem, der, java, b"", b"\x30"):
        flaw(Flaw.NOT_PKCS12, content)


def test_a_keystore_without_a_key_is_refused():
    flaw(Flaw.NO_KEY, made(with_key=False))


def test_a_key_without_its_certificate_is_refused():
    flaw(Flaw.NO_CERTIFICATE, made(with_certificate=False))


def test_the_leaf_is_the_certificate_of_the_key_wherever_it_stands():
    leaf = make_certificate(rsa_key(), **VALID)
    unmarked = pkcs12.serialize_key_and_certificates(
        None, rsa_key(), None, [make_certificate(rsa_key("authority")), leaf], NoEncryption()
    )
    assert load(unmarked, password="").leaf_der == leaf.public_bytes(Encoding.DER)


def test_a_path_is_read_absolute_or_under_airflow_home(tmp_path, monkeypatch):
    keys = tmp_path / "home" / "keys"
    keys.mkdir(parents=True)
    (keys / "kfr.p12").write_bytes(made())
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    assert load(str(keys / "kfr.p12")) == load("keys/kfr.p12")


def test_base64_may_be_broken_into_lines():
    content = made()
    assert load(base64.encodebytes(content).decode()) == load(content)


def test_a_renewed_file_is_read_anew(tmp_path):
    path = tmp_path / "kfr.p12"
    path.write_bytes(made())
    load(str(path))
    path.write_bytes(made(organisation=OTHER))
    assert load(str(path), expected=OTHER).organisation_number == OTHER


@pytest.mark.parametrize(
    "value", ["/nowhere/kfr.p12", "keys/kfr.p12", "not base64", "A" * 5000 + "!", "a\0b"]
)
def test_what_is_neither_file_nor_base64_is_refused_without_being_shown(value, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    assert value not in flaw(Flaw.NOT_FOUND, value)


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="needs a file that is there and cannot be read"
)
def test_a_file_that_cannot_be_read_is_told_from_one_that_is_not_there():
    assert "Input/output error" in flaw(Flaw.NOT_READABLE, "/proc/self/mem")


def test_neither_key_nor_certificate_shows_when_it_is_printed():
    certificate = load(made())
    assert set(repr(certificate).split("(")[1].split("=")) & {"key", "leaf_der"} == set()
    assert "RSAPrivateKey" not in repr(certificate)
    assert repr(certificate.leaf_der[:20]) not in repr(certificate)


def test_every_flaw_has_a_remedy():
    assert set(REMEDIES) == set(Flaw)
