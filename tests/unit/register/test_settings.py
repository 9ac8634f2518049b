import base64

import pytest

from kfr.register.errors import ConfigurationError
from kfr.register.settings import BASE_URLS, EXTRA_FIELDS, ISSUERS, Settings

FID = "312345676"
KEY = bytes(range(32))
EXTRA = {
    "environment": "test",
    "fid": FID,
    "keystore": "keys/kfr.p12",
    "staging_key": base64.b64encode(KEY).decode(),
}


def read(*, host=None, login="the-client", password="a secret", without=(), **extra):
    fields = {name: value for name, value in {**EXTRA, **extra}.items() if name not in without}
    return Settings.from_fields(host=host, login=login, password=password, extra=fields)


def flaw(**fields):
    with pytest.raises(ConfigurationError) as caught:
        read(**fields)
    return str(caught.value)


@pytest.mark.parametrize(
    ("environment", "base_url", "issuer"),
    [
        ("test", "https://preprod.api.bits.no/kar-ws/api/v1", "https://test.maskinporten.no/"),
        ("production", "https://api.bits.no/kar-ws/api/v1", "https://maskinporten.no/"),
    ],
)
def test_four_fields_and_a_client_are_enough(environment, base_url, issuer):
    settings = read(environment=environment)
    assert settings == Settings(
        environment=environment,
        fid=FID,
        base_url=base_url,
        client_id="the-client",
        keystore="keys/kfr.p12",
        keystore_password="a secret",
        maskinporten_issuer=issuer,
        staging_key=KEY,
        rows_per_second=250,
        requests_per_second=20,
        sample_size=2995,
    )


def test_every_field_of_the_connection_is_read():
    settings = read(
        host="https://gateway.example/kfr/",
        maskinporten_issuer="https://tokens.example",
        consumer_org=FID,
        kid="key-1",
        rows_per_second="1000.5",
        requests_per_second=5,
        sample_size="300",
    )
    assert settings.base_url == "https://gateway.example/kfr"
    assert settings.maskinporten_issuer == "https://tokens.example/"
    assert (settings.consumer_org, settings.kid) == (FID, "key-1")
    assert (settings.rows_per_second, settings.requests_per_second) == (1000.5, 5)
    assert settings.sample_size == 300
    assert isinstance(settings.sample_size, int)


def test_a_field_left_blank_in_the_form_counts_as_absent():
    blank = dict.fromkeys(
        ("consumer_org", "kid", "maskinporten_issuer", "rows_per_second", "sample_size"), ""
    )
    assert read(host="  ", **blank) == read()
    assert read(**dict.fromkeys(blank)) == read()


@pytest.mark.parametrize("name", ["environment", "fid", "keystore", "staging_key"])
def test_a_missing_field_is_named(name):
    assert flaw(without=[name]).startswith(f"{name}: is missing")
    assert flaw(**{name: " "}).startswith(f"{name}: is missing")


def test_a_missing_client_or_password_is_named():
    assert flaw(login=None).startswith("login: is missing")
    assert flaw(password=None).startswith("password: is missing")
    assert flaw(password="").startswith("password: is missing")


def test_an_unknown_field_is_refused_by_name_and_the_known_ones_are_told():
    message = flaw(rows_per_sec="250")
    assert message.startswith("rows_per_sec: is not a field")
    assert all(name in message for name in EXTRA_FIELDS)


@pytest.mark.parametrize("value", ["prod", "TEST", "preprod"])
def test_an_environment_is_test_or_production(value):
    assert "it is test or production" in flaw(environment=value)


@pytest.mark.parametrize(
    "value", ["31234567", "3123456760", "312 345 676", "31234567A", "٣١٢٣٤٥٦٧٦", "NO312345676"]
)
def test_an_institution_is_nine_digits(value):
    assert flaw(fid=value).startswith("fid: is not an organisation number")


@pytest.mark.parametrize("value", ["312345677", "000000000", "312345667"])
def test_an_institution_with_a_wrong_check_digit_is_a_slip_of_the_pen(value):
    assert flaw(fid=value).startswith("fid: has a check digit that is not right")


def test_an_institution_given_as_a_json_number_is_understood():
    assert read(fid=int(FID)).fid == FID


@pytest.mark.parametrize("name", ["fid", "keystore", "kid"])
def test_a_field_of_another_type_is_named(name):
    assert flaw(**{name: ["x"]}).startswith(f"{name}: is a list")


def test_a_consumer_is_the_institution_itself():
    assert flaw(consumer_org="212345679").startswith("consumer_org: is not the institution's number")


def test_only_a_supplier_may_use_a_certificate_of_another_organisation():
    assert read().certificate_organisation == FID
    assert read(consumer_org=FID).certificate_organisation is None


@pytest.mark.parametrize(
    "old", ["https://oidc-ver2.difi.no/idporten-oidc-provider/", "https://VER2.maskinporten.no/"]
)
@pytest.mark.parametrize("environment", ["test", "production"])
def test_a_retired_maskinporten_is_refused_by_name_with_the_new_one(old, environment):
    message = flaw(environment=environment, maskinporten_issuer=old)
    assert old.split("/")[2].lower() in message
    assert "is gone" in message
    assert ISSUERS[environment] in message


@pytest.mark.parametrize(("environment", "other"), [("test", "production"), ("production", "test")])
def test_the_hosts_of_one_environment_are_refused_in_the_other(environment, other):
    for field, values in (("host", BASE_URLS), ("maskinporten_issuer", ISSUERS)):
        for url in (
            values[other],
            values[other].upper().replace("HTTPS", "https"),
            values[other].replace(".no", ".no."),
            values[other].replace(".no", "\u3002no"),  # a full stop too, where a name is looked up
        ):
            message = flaw(environment=environment, **{field: url})
            assert message.startswith(f"{field}: ")
            assert f"is the host of {other}" in message
            assert values[environment] in message


@pytest.mark.parametrize("environment", ["test", "production"])
def test_the_hosts_of_the_environment_itself_are_taken(environment):
    settings = read(
        environment=environment,
        host=BASE_URLS[environment] + "/",
        maskinporten_issuer=ISSUERS[environment].rstrip("/"),
    )
    assert settings.base_url == BASE_URLS[environment]
    assert settings.maskinporten_issuer == ISSUERS[environment]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:9", "[::1]:8080", "127.8.9.1"])
def test_plain_http_reaches_this_machine(host):
    assert read(host=f"http://{host}/kfr").base_url == f"http://{host}/kfr"


@pytest.mark.parametrize(
    "host", ["preprod.api.bits.no", "10.0.0.1", "localhost.example", "[::2]", "127.0.0.1.nip.io"]
)
def test_plain_http_goes_nowhere_else(host):
    for field in ("host", "maskinporten_issuer"):
        message = flaw(**{field: f"http://{host}/"})
        assert message.startswith(f"{field}: is plain http to another machine")


@pytest.mark.parametrize(
    "url",
    [
        "preprod.api.bits.no",
        "ftp://gateway.example/",
        "https://",
        "https://user:word@gateway.example/",
        "https://gateway.example/?a=b",
        "https://gateway.example/#part",
        "https://gateway .example/",
        "https://gateway.example\\@other.example/",
        "https://gateway.example:port/",
        "https://gateway.example:65536/",
        "https://gateway.example/?",
        "https://gateway.example/#",
        "https://gateway\x80.example/",
        "https://999.1.1.1/",
        "https://gateway.example/\x1b",
        "https://[::1/",
        "https://xn--/",
    ],
)
def test_what_is_not_a_plain_url_is_refused_with_an_example(url):
    for field, known in (("host", BASE_URLS), ("maskinporten_issuer", ISSUERS)):
        message = flaw(**{field: url})
        assert message == f"{field}: is not a plain URL; write it like {known['test']}"


@pytest.mark.parametrize("length", [16, 31, 33, 64])
def test_a_staging_key_of_another_length_is_refused_with_the_way_to_make_one(length):
    message = flaw(staging_key=base64.b64encode(bytes(length)).decode())
    assert f"is {length} bytes long and must be 32" in message
    assert "os.urandom(32)" in message


@pytest.mark.parametrize("text", ["not base64!", "AAA", "ø" * 44])
def test_a_staging_key_that_is_not_base64_is_refused(text):
    assert flaw(staging_key=text).startswith("staging_key: is not base64")


@pytest.mark.parametrize("name", ["rows_per_second", "requests_per_second", "sample_size"])
@pytest.mark.parametrize("value", [0, -1, "fast", True, float("nan"), "inf", [1], 10**400])
def test_a_rate_is_a_number_above_zero(name, value):
    assert flaw(**{name: value}).startswith(f"{name}: is not a number above zero")


def test_a_sample_is_a_whole_number_of_look_ups():
    assert flaw(sample_size=2.5).startswith("sample_size: is not a whole number")


def test_no_secret_shows_when_settings_are_printed():
    shown = repr(read(keystore="MIIabc", password="the password"))
    assert "MIIabc" not in shown
    assert "the password" not in shown
    assert repr(KEY) not in shown
    assert base64.b64encode(KEY).decode() not in shown


@pytest.mark.parametrize(
    "field",
    ["environment", "fid", "consumer_org", "staging_key", "sample_size", "host", "maskinporten_issuer"],
)
def test_a_secret_in_the_wrong_field_is_not_repeated(field):
    assert "S3cret" not in flaw(**{field: "S3cret S3cret"})
