"""Each rule of the token endpoint has an assertion that breaks it."""

import base64
import json
import uuid
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests import keystores
from tests.simulator.certificates import Holder
from tests.unit.simulator.caller import CLIENT_ID, FID, GRANT_TYPE, SCOPE, Caller, make_simulator, make_x5c


def code_of(answer):
    """The MP code in an error, or the OAuth error where there is none."""
    body = answer.json()
    return body.get("error_uri", body["error"]).rpartition("/")[2]


def test_a_right_assertion_gives_an_opaque_token_for_two_minutes(caller):
    answer = caller.ask_token()
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 120, SCOPE)
    assert "." not in body["access_token"]


@pytest.mark.parametrize("algorithm", ["RS384", "RS512"])
def test_the_longer_hashes_are_taken(caller, algorithm):
    assert caller.ask_token(algorithm=algorithm).status_code == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "https://maskinporten.no/"}, "MP-110"),
        ({"aud": "https://test.maskinporten.no"}, "MP-110"),  # without the slash
        ({"aud": "https://test.maskinporten.no/token"}, "MP-110"),
        ({"iss": "somebody"}, "MP-100"),
        ({"scope": "bits:kundeforhold.read"}, "MP-200"),
        ({"scope": f"{SCOPE} {SCOPE}"}, "MP-200"),
        ({"nbf": 1}, "invalid_grant"),
        ({"sub": CLIENT_ID}, "invalid_grant"),
        ({"jti": None}, "invalid_grant"),
        ({"iat": None}, "invalid_grant"),
        ({"exp": None}, "invalid_grant"),
        ({"aud": None}, "invalid_grant"),
        ({"iss": None}, "invalid_grant"),
        ({"scope": None}, "invalid_grant"),
        ({"jti": ""}, "invalid_grant"),
        ({"aud": ["https://test.maskinporten.no/"]}, "invalid_grant"),
        ({"iat": 1.5}, "invalid_grant"),
        ({"consumer_org": "298765438"}, "MP-251"),
    ],
)
def test_a_claim_that_is_wrong_missing_or_too_many_is_refused(caller, changes, code):
    answer = caller.ask_token(caller.claims(**changes))
    assert (answer.status_code >= 400, code_of(answer)) == (True, code)


def test_the_refusal_of_an_extra_claim_says_invalid_assertion(caller):
    assert caller.ask_token(caller.claims(nbf=1)).json()["error_description"] == "Invalid assertion"


@pytest.mark.parametrize(
    ("issued", "expires"),
    [(-11, 60), (11, 60), (0, 121), (5, 5), (5, 3), (-5, 0)],
    ids=[
        "issued too long ago",
        "issued in the future",
        "lives too long",
        "at once",
        "backwards",
        "has expired",
    ],
)
def test_an_assertion_outside_its_time_is_refused(caller, issued, expires):
    now = caller.claims()["iat"]
    answer = caller.ask_token(caller.claims(iat=now + issued, exp=now + expires))
    assert code_of(answer) == "MP-130"


@pytest.mark.parametrize(("issued", "expires"), [(-10, 60), (10, 60), (0, 120)])
def test_an_assertion_at_the_very_limit_of_its_time_is_taken(caller, issued, expires):
    now = caller.claims()["iat"]
    assert caller.ask_token(caller.claims(iat=now + issued, exp=now + expires)).status_code == 200


def test_an_assertion_is_used_once(caller):
    claims = caller.claims()
    assert caller.ask_token(claims).status_code == 200
    assert code_of(caller.ask_token(claims)) == "MP-012"


def test_a_refused_assertion_does_not_use_its_jti_up(caller):
    claims = caller.claims(jti="once")
    assert caller.ask_token(claims | {"aud": "elsewhere"}).status_code == 400
    assert caller.ask_token(claims).status_code == 200


def test_a_signature_by_another_key_is_refused(caller):
    answer = caller.ask_token(key=keystores.rsa_key("another"))
    assert code_of(answer) == "MP-124"


def test_a_symmetric_algorithm_is_refused(caller):
    answer = caller.ask_token(key="x" * 32, algorithm="HS256")
    assert code_of(answer) == "MP-124"


def test_an_unsigned_assertion_is_refused(caller):
    header = json.dumps({"alg": "none", "x5c": make_x5c(caller.simulator.clock)})
    parts = [
        base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        for text in (header, json.dumps(caller.claims()))
    ]
    assert code_of(caller.post_assertion(f"{parts[0]}.{parts[1]}.")) == "MP-124"


@pytest.mark.parametrize("assertion", ["", "a.b", "a.b.c", "W10.W10.", "é.b.c"])
def test_what_is_no_jwt_is_refused(caller, assertion):
    assert code_of(caller.post_assertion(assertion)) == "MP-011"


def test_a_jwt_is_not_padded(caller):
    assertion = jwt.encode(
        caller.claims(), keystores.rsa_key(), "RS256", {"x5c": make_x5c(caller.simulator.clock)}
    )
    assert code_of(caller.post_assertion(f"{assertion}==")) == "MP-011"
    assert caller.post_assertion(assertion).status_code == 200


def test_the_chain_does_not_go_into_x5c(caller):
    x5c = make_x5c(caller.simulator.clock) * 2
    assert code_of(caller.ask_token(header={"x5c": x5c})) == "MP-123"


@pytest.mark.parametrize("x5c", [[], "text", [7], ["%%%"], ["bm90IGEgY2VydGlmaWNhdGU="]])
def test_an_x5c_without_a_certificate_is_refused(caller, x5c):
    assert code_of(caller.ask_token(header={"x5c": x5c})) == "MP-123"


def test_a_header_that_names_no_key_or_two_or_more_than_a_key_is_refused(caller):
    x5c = make_x5c(caller.simulator.clock)
    for header in ({}, {"x5c": x5c, "kid": "a"}, {"x5c": x5c, "x5t": "a"}):
        assert code_of(caller.ask_token(header=header)) == "MP-123"


def make_ec_header(clock):
    return make_x5c(clock, key=ec.generate_private_key(ec.SECP256R1()))


def test_an_ec_certificate_is_refused(caller):
    answer = caller.ask_token(header={"x5c": make_ec_header(caller.simulator.clock)})
    assert code_of(answer) == "MP-123"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"organisation": "298765438"}, "MP-122"),
        ({"place": "none"}, "MP-122"),
        ({"issuer": keystores.PRODUCTION_ISSUER}, "MP-120"),
        ({"issuer": "A stranger"}, "MP-123"),
        ({"usage": keystores.SIGNING}, "MP-123"),
    ],
)
def test_the_wrong_certificate_is_refused(caller, options, code):
    answer = caller.ask_token(header={"x5c": make_x5c(caller.simulator.clock, **options)})
    assert code_of(answer) == code


@pytest.mark.parametrize(("begins", "ends"), [(-3, -1), (1, 3)])
def test_a_certificate_that_is_not_valid_today_is_refused(caller, begins, ends):
    now = caller.simulator.clock.now()
    x5c = make_x5c(
        caller.simulator.clock, not_before=now + timedelta(days=begins), not_after=now + timedelta(days=ends)
    )
    assert code_of(caller.ask_token(header={"x5c": x5c})) == "MP-123"


@pytest.mark.parametrize("place", ["organizationIdentifier", "serialNumber", "O"])
def test_the_organisation_number_is_read_from_all_three_places(caller, place):
    x5c = make_x5c(caller.simulator.clock, place=place)
    assert caller.ask_token(header={"x5c": x5c}).status_code == 200


def test_a_test_certificate_is_refused_in_production():
    caller = Caller(make_simulator(environment="production"))
    assert code_of(caller.ask_token()) == "MP-120"


def test_without_authorities_anyones_certificate_of_the_right_organisation_is_trusted():
    caller = Caller(make_simulator(trusted=()))
    stranger = make_x5c(caller.simulator.clock, issuer="A stranger")
    assert caller.ask_token(header={"x5c": stranger}).status_code == 200
    other = make_x5c(caller.simulator.clock, issuer="A stranger", organisation="298765438")
    assert code_of(caller.ask_token(header={"x5c": other})) == "MP-122"


def test_a_known_leaf_is_trusted_without_its_authority():
    leaf = keystores.make_certificate(keystores.rsa_key(), issuer="A stranger")
    known = make_simulator(trusted=[leaf])
    known.clock.set(leaf.not_valid_after_utc - timedelta(days=1))
    header = {"x5c": [base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()]}
    assert Caller(known).ask_token(header=header).status_code == 200


def test_a_supplier_asks_on_the_institutions_behalf_only_when_it_is_delegated():
    supplier = "298765438"
    trusting, strict = make_simulator(suppliers=frozenset({supplier})), make_simulator()
    for simulator, code in ((trusting, None), (strict, "MP-251")):
        caller = Caller(simulator)
        header = {"x5c": make_x5c(simulator.clock, organisation=supplier)}
        answer = caller.ask_token(caller.claims(consumer_org=FID), header=header)
        assert (None if answer.status_code == 200 else code_of(answer)) == code


def test_a_supplier_that_names_no_consumer_is_refused():
    caller = Caller(make_simulator(suppliers=frozenset({"298765438"})))
    header = {"x5c": make_x5c(caller.simulator.clock, organisation="298765438")}
    assert code_of(caller.ask_token(header=header)) == "MP-122"


def test_a_kid_serves_only_a_client_with_a_registered_key():
    holder = Holder(key=keystores.rsa_key().public_key(), organisation=FID)
    registered, other = make_simulator(registered_keys={"a-key": holder}), make_simulator()
    assert Caller(registered).ask_token(header={"kid": "a-key"}).status_code == 200
    assert code_of(Caller(other).ask_token(header={"kid": "a-key"})) == "MP-124"


def test_the_form_is_checked(caller):
    assertion = jwt.encode(caller.claims(), keystores.rsa_key(), "RS256")
    wrong_type = caller.post_assertion(assertion, grant_type="client_credentials")
    extra = caller.post_assertion(assertion, resource="a")
    as_json = caller.http.post(
        f"{caller.simulator.issuer}token", json={"grant_type": GRANT_TYPE, "assertion": assertion}
    )
    assert [code_of(answer) for answer in (wrong_type, extra, as_json)] == ["MP-011"] * 3


def test_the_metadata_name_the_token_endpoint(caller):
    answer = caller.http.get(f"{caller.simulator.issuer}.well-known/oauth-authorization-server").json()
    assert answer["issuer"] == caller.simulator.issuer
    assert answer["token_endpoint"] == f"{caller.simulator.issuer}token"


def test_other_paths_and_methods_are_not_served(caller):
    assert caller.http.get(f"{caller.simulator.issuer}token").status_code == 405
    assert caller.http.post(f"{caller.simulator.issuer}tokens").status_code == 404


def test_a_token_ends_after_two_minutes_and_another_is_had(caller):
    first = caller.token()
    caller.simulator.clock.sleep(119)
    headers = caller.headers("298765438", Authorization=f"Bearer {first}")
    assert caller.http.get(f"{caller.institution}/", headers=headers).status_code == 200
    caller.simulator.clock.sleep(1)
    assert caller.http.get(f"{caller.institution}/", headers=headers).status_code == 401
    assert caller.look_up().status_code == 200


def test_tokens_differ_each_time(caller):
    tokens = {caller.ask_token(caller.claims(jti=str(uuid.uuid4()))).json()["access_token"] for _ in range(3)}
    assert len(tokens) == 3
