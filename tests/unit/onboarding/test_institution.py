"""The institution's file: what is right is read, every flaw is named, and one bad file leaves the others alone."""

import subprocess
import sys
from datetime import date

import pytest
import yaml

from kfr.onboarding import fields
from kfr.onboarding.guide import TASKS
from kfr.onboarding.institution import InstitutionFileError, institutions, read_institution
from tests.conftest import ROOT

ORGANISATION = "312345676"
FULL = {
    "name": "Eksempelbanken AS",
    "organisation_number": ORGANISATION,
    "contacts": {
        role: {"name": "Kari Nordmann", "email": f"{role}@bank.example", "phone": "22 00 00 00"}
        for role in ("main", "technical", "security", "business")
    },
    "signatory": {"name": "Ola Nordmann", "email": "ola@bank.example"},
    "concessions": ["Bank"],
    "collection_accounts": ["1234.56.78903"],
    "wanted_integration_start": date(2026, 9, 1),
    "wanted_production_loading": date(2026, 11, 2),
    "connections": {"register": "kfr_bank", "warehouse": "bank_dwh"},
    "thresholds": {"removals": 50, "reject_share": 0.05},
    "tasks": {
        task: {"state": "done", "date": date(2026, 8, 17), "by": "Kari"} for task in ("A-1", "A-2", "B-1")
    },
}


def write(include, said, name="institution.yaml"):
    path = include / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(said if isinstance(said, str) else yaml.safe_dump(said, allow_unicode=True))
    return path


def changed(**changes):
    return {**FULL, **changes}


def test_a_full_file_is_read_and_lacks_nothing_for_the_registration_form(tmp_path):
    one = read_institution(write(tmp_path, FULL), tmp_path)
    assert one.missing == []
    assert one.collection_accounts == ("12345678903",)
    assert (one.kfr_conn_id, one.warehouse_conn_id) == ("kfr_bank", "bank_dwh")
    assert one.thresholds == {"removals": 50, "reject_share": 0.05}
    assert one.progress("B-1").state == "done"
    assert one.progress("C-1").state == "open"
    assert "12345678903" not in repr(one)


def test_the_file_as_delivered_is_right_and_says_nothing_yet():
    (one,) = institutions(ROOT / "include")
    assert one.flaw is None
    assert (one.suffix, one.kfr_conn_id, one.asset_uri) == ("", "kfr_default", "kfr://register/default")
    assert one.sql_folder == ROOT / "include" / "sql"
    assert {"name", "contacts.security", "collection_accounts"} <= set(one.missing)
    named = yaml.safe_load(one.path.read_text())["tasks"]
    assert list(named) == list(TASKS)


def test_no_file_at_all_is_an_institution_that_has_said_nothing(tmp_path):
    (one,) = institutions(tmp_path)
    assert one.flaw is None
    assert one.dag_id("kfr_initial_load") == "kfr_initial_load"


FLAWS = [
    (changed(nmae="x"), "nmae: is not a field"),
    (changed(organisation_number="312345677"), "organisation_number: has a check digit"),
    (changed(organisation_number="31234567"), "organisation_number: is not an organisation number"),
    (changed(contacts={"boss": {}}), "contacts.boss: is not a field"),
    (
        changed(contacts={"main": {"name": "Kari", "email": "kari"}}),
        "contacts.main.email: is no mail address",
    ),
    (changed(contacts={"main": {"email": "k@b.no"}}), "contacts.main.name: is missing"),
    (
        changed(collection_accounts=["1234.56.78903", "1234.56.78904"]),
        "collection_accounts, entry 2: has a check",
    ),
    (changed(collection_accounts=[12345678903]), "collection_accounts, entry 1: is not text"),
    (changed(collection_accounts=["123"]), "collection_accounts, entry 1: is no account number"),
    (changed(wanted_integration_start="1. sept"), "wanted_integration_start: is no day"),
    (changed(connections="kfr"), "connections: is not a list of fields"),
    (changed(concessions="Bank"), "concessions: is not a list"),
    (changed(thresholds={"reject_share": 5}), "thresholds.reject_share: is a share above 1"),
    (changed(thresholds={"removals": -1}), "thresholds.removals: is not a number of 0 or more"),
    (changed(thresholds={"removals": "many"}), "thresholds.removals: is not a number of 0 or more"),
    (changed(tasks={"E-1": {"state": "done"}}), "tasks.E-1: is not a field"),
    (changed(tasks={"A-1": {"state": "finished"}}), "tasks.A-1.state: is unknown"),
    (changed(tasks={"A-1": {"state": "done"}}), "tasks.A-1: is done without a date or a name"),
    ("name: x\nname: y\n", "line 1: is no YAML (name stands twice)"),
    ("name: [x\n", "line 2: is no YAML"),
    ("- name\n", "institution.yaml: is not a list of fields"),
]


@pytest.mark.parametrize(("said", "flaw"), FLAWS, ids=[flaw for _, flaw in FLAWS])
def test_a_flaw_is_named_with_its_remedy(tmp_path, said, flaw):
    with pytest.raises(InstitutionFileError) as raised:
        read_institution(write(tmp_path, said), tmp_path)
    assert f"- {flaw}" in str(raised.value)
    (line,) = [line for line in str(raised.value).splitlines() if flaw in line]
    assert ";" in line, "no remedy"


def test_all_flaws_are_named_at_once_and_no_value_is_quoted(tmp_path):
    said = changed(organisation_number="312345677", collection_accounts=["12345678904"], concessions="Bank")
    with pytest.raises(InstitutionFileError) as raised:
        read_institution(write(tmp_path, said), tmp_path)
    assert str(raised.value).count("\n- ") == 3
    assert "312345677" not in str(raised.value)
    assert "12345678904" not in str(raised.value)


DONE = {"state": "done", "date": date(2026, 8, 17), "by": "Kari"}
UP_TO_B = dict.fromkeys(("A-1", "A-2", "A-4", "A-5", "A-6", "A-7", "B-1", "B-2", "B-3"), DONE)
CONTRADICTIONS = [
    ({"B-1": DONE}, "tasks.B-1: is done, and A-1, A-2 must be done before it"),
    ({**UP_TO_B, "C-3": DONE}, "tasks.C-3: is done, and C-2 must be done before it"),
    (
        {**UP_TO_B, "C-2": DONE, "C-3": DONE, "D-1": DONE},
        "tasks.D-1: is done, and A-8 must be done before it",
    ),
    (
        {**UP_TO_B, "A-8": DONE, "C-2": DONE, "C-3": DONE, "D-3": DONE},
        "tasks.D-3: is done, and D-1, D-2 must be",
    ),
    ({"A-1": {**DONE, "date": date(2199, 1, 1)}}, "tasks.A-1: its date lies in the future"),
    (
        {"A-1": DONE, "A-2": DONE, "B-2": {**DONE, "date": date(2026, 8, 16)}},
        "tasks.B-2: was done before A-1",
    ),
]


@pytest.mark.parametrize(("tasks", "flaw"), CONTRADICTIONS, ids=[flaw for _, flaw in CONTRADICTIONS])
def test_states_that_cannot_all_be_true_are_refused(tmp_path, tasks, flaw):
    with pytest.raises(InstitutionFileError, match=flaw):
        read_institution(write(tmp_path, changed(tasks=tasks)), tmp_path)


def test_each_institution_has_its_own_names_and_a_bad_file_touches_no_other(tmp_path):
    write(tmp_path, FULL)
    write(tmp_path, "organisation_number: 1\n", "institutions/bank_a.yaml")
    write(tmp_path, {"name": "B", "organisation_number": "312345684"}, "institutions/bank_b.yaml")
    first, bad, good = institutions(tmp_path)
    assert (first.flaw, good.flaw) == (None, None)
    assert "organisation_number" in bad.flaw
    assert [one.dag_id("kfr_initial_load") for one in (first, bad, good)] == [
        "kfr_initial_load",
        "kfr_initial_load__bank_a",
        "kfr_initial_load__bank_b",
    ]
    assert (good.asset_name, good.asset_uri) == ("kfr_register__bank_b", "kfr://register/bank_b")
    assert (good.kfr_conn_id, good.warehouse_conn_id) == ("kfr_bank_b", "kfr_warehouse_bank_b")


@pytest.mark.parametrize(
    "shared", [{"organisation_number": ORGANISATION}, {"connections": {"register": "kfr_bank"}}]
)
def test_of_two_institutions_with_one_register_the_second_is_refused(tmp_path, shared):
    write(tmp_path, FULL)
    write(tmp_path, shared, "institutions/copy.yaml")
    first, second = institutions(tmp_path)
    assert first.flaw is None
    assert f"{next(iter(shared))}" in second.flaw


def test_a_file_name_that_makes_no_dag_id_is_a_flaw_and_not_a_lost_institution(tmp_path):
    write(tmp_path, FULL)
    write(tmp_path, {}, "institutions/Bank A.yaml")
    assert "the file's name" in institutions(tmp_path)[1].flaw
    assert institutions(tmp_path)[1].dag_id("kfr_initial_load") == "kfr_initial_load__bank_a"


def test_twenty_files_are_twenty_institutions_and_are_read_by_the_fast_loader(tmp_path):
    """Every Dag file reads them all; `make bench` says how long that takes."""
    write(tmp_path, FULL)
    for number in range(19):
        write(
            tmp_path, (ROOT / "include" / "institution.yaml").read_text(), f"institutions/bank_{number}.yaml"
        )
    assert len(institutions(tmp_path)) == 20
    assert issubclass(fields._OnceOnly, yaml.CSafeLoader)


def test_a_dag_file_loads_nothing_heavy_with_it():
    code = "import sys, kfr.onboarding.institution; print([m for m in ('numpy', 'pandas', 'pyarrow', 'httpx', 'openpyxl', 'docx') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
