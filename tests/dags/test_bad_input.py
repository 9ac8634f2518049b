"""Bad input: each flaw is named with its remedy by the first task that can see it, and nothing leaves the house."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from tests.dags import bad_input as bad

READY, EXTRACT = "check_readiness", "extract_relationships"
TOMORROW = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()  # in Oslo, too
OTHER_ORGANISATION = "313456782"
SELECT = "SELECT {} FROM agreements"
COUNT_TOO_MANY = (
    "SELECT count(*) + 1 FROM agreements WHERE started_on <= DATE '{{ as_of }}' OR started_on IS NULL"
)

FLAWS = {
    "no connection": (
        bad.without("AIRFLOW_CONN_KFR_DEFAULT"),
        READY,
        ["no connection kfr_default", "type kfr"],
    ),
    "a missing field": (bad.connection(fid=None), READY, ["fid: is missing", "9 digits"]),
    "no client id": (bad.connection(login=None), READY, ["login: is missing", "Maskinporten"]),
    "a field of another name": (bad.connection(orgnr="1"), READY, ["orgnr", "is not a field"]),
    "a wrong keystore password": (
        bad.connection(password="wrong"),
        READY,
        ["the password is wrong", "the connection's password"],
    ),
    "an expired certificate": (bad.expired_keystore, READY, ["expired on", "Buypass or Commfides"]),
    "an EC certificate": (bad.keystore(key="ec"), READY, ["not RSA", "Maskinporten takes RSA only"]),
    "another organisation's certificate": (
        bad.keystore(organisation=OTHER_ORGANISATION),
        READY,
        ["belongs to another organisation than fid", "consumer_org"],
    ),
    "an old Maskinporten host": (
        bad.connection(maskinporten_issuer="https://oidc-ver2.difi.no/"),
        READY,
        ["oidc-ver2.difi.no is gone", "https://test.maskinporten.no/"],
    ),
    "plain http to another machine": (
        bad.connection(host="http://register.example/kar-ws/api/v1"),
        READY,
        ["host: is plain http to another machine", "use https"],
    ),
    "a staging key of the wrong length": (
        bad.connection(staging_key="c2hvcnQ="),
        READY,
        ["staging_key: is 5 bytes long and must be 32"],
    ),
    "fields that Airflow would not mask": (
        bad.without("AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES"),
        READY,
        ["does not mask", "sensitive_var_conn_names", "keystore,staging_key"],
    ),
    "no pool": (bad.no_pool, READY, ["kfr_register is missing", "airflow pools set kfr_register 1"]),
    "a pool of two slots": (bad.two_slots, READY, ["kfr_register has 2 slots", "airflow pools set"]),
    "nobody to mail to": (bad.without("AIRFLOW_VAR_KFR_MAIL_TO"), READY, ["Variable kfr_mail_to is not set"]),
    "no mail server": (bad.mail_server_away, READY, ["smtp_default", "cannot be reached"]),
    "no warehouse connection": (
        bad.without("AIRFLOW_CONN_KFR_WAREHOUSE"),
        READY,
        ["There is no connection kfr_warehouse", "Create it under Admin, Connections"],
    ),
    "SQL without a column": (
        bad.sql("agreements.sql", SELECT.format("customer_id, started_on")),
        READY,
        ["agreements.sql does not give the column ended_on", "AS"],
    ),
    "SQL of a column that the table lacks": (
        bad.statement("ALTER TABLE agreements RENAME COLUMN ended_on TO finished_on"),
        READY,
        ["does not run agreements.sql", "a table or column that is missing"],
    ),
    "numbers for text": (
        bad.sql("agreements.sql", SELECT.format("length(customer_id) AS customer_id, started_on, ended_on")),
        READY,
        ["the column customer_id as int64", "leading zeros"],
    ),
    "text for a date": (
        bad.sql("agreements.sql", SELECT.format("customer_id, started_on::text AS started_on, ended_on")),
        READY,
        ["the column started_on as string", "cast it to the calendar date"],
    ),
    "SQL that does not render": (
        bad.sql("agreements.sql", "SELECT {{ as_off }}"),
        READY,
        ["agreements.sql", "as_off", "as_of"],
    ),
    "a count that does not match": (
        bad.sql("count_agreements.sql", COUNT_TOO_MANY),
        EXTRACT,
        ["count_agreements.sql counted", "Nothing was sent"],
    ),
    "a full disk at the start": (bad.full_disk(READY), READY, ["No space left", "kfr_staging"]),
    "a full disk at the extract": (bad.full_disk(EXTRACT), EXTRACT, ["No space left", "clear this task"]),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_named_with_its_remedy_and_nothing_is_sent(bank, flaw):
    spoil, task, words = FLAWS[flaw]
    spoil(bank)
    run = bank.trigger()
    assert run.go() == "failed"
    assert run.states[task] == "failed", run.errors
    assert [word for word in words if word not in run.errors[task]] == [], run.errors[task]
    assert_nothing_left(bank)


def test_a_day_in_the_future_is_refused(bank):
    run = bank.trigger(as_of=TOMORROW)
    assert run.go() == "failed"
    assert "lies in the future" in run.errors[EXTRACT]
    assert_nothing_left(bank)


@pytest.mark.parametrize("task", ["upload_batch_file", "close_arrivals", "remove_ended"])
def test_a_disk_that_is_full_in_the_middle_of_a_load_loses_nothing(bank, task):
    bad.full_disk(task)(bank)
    run = bank.trigger()
    run.go(until="register_arrivals")
    bank.change([*bank.churn.leave(1), *bank.churn.arrive(1), *bank.churn.arrive_back_dated(1)])
    assert run.go() == "failed"
    assert "No space left" in run.errors[task]
    assert bank.d4_mails == []

    bank.trouble = contextlib.nullcontext
    run.clear(task)
    assert run.go() == "success", run.errors
    assert bank.is_right
    assert bank.proven == set(bank.register)
    assert bank.removed_too_early == []
    assert len(bank.d4_mails) == 1


def assert_nothing_left(bank):
    """Nothing has left the house: no file, no call that changes anything, no mail."""
    assert bank.sent() == []
    assert bank.mails_to_bits == []
