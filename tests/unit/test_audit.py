import json

import pytest

from tests.audit import COULD_NOT_LOOK, FOUND, judge

SOUND = {"name": "jinja2", "version": "3.1.6", "vulns": []}
WEAK = {
    "name": "jinja2",
    "version": "2.4.1",
    "vulns": [{"id": "PYSEC-2014-8", "fix_versions": ["2.7.2"]}, {"id": "PYSEC-2014-82", "fix_versions": []}],
}
SKIPPED = {"name": "kfr", "skip_reason": "not found"}


def report(*packages):
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_known_weakness_fails_and_is_named_with_the_version_that_mends_it():
    code, said = judge(report(SOUND, WEAK, SKIPPED), "Found 2 known vulnerabilities in 1 package")
    assert code == FOUND
    assert said.splitlines() == [
        "jinja2 2.4.1: PYSEC-2014-8, mended in 2.7.2",
        "jinja2 2.4.1: PYSEC-2014-82, mended in none",
    ]


def test_no_known_weakness_passes_with_the_number_of_packages():
    assert judge(report(SOUND, SOUND), "No known vulnerabilities found")[0] == 0
    assert "2 packages" in judge(report(SOUND, SOUND), "")[1]


@pytest.mark.parametrize("found", ["", "Traceback", "[]", "{}", "null", report(), report(SOUND, SKIPPED)])
def test_what_was_not_looked_up_does_not_pass_for_sound(found):
    code, said = judge(found, "Traceback\n  x\nConnectionError: no such host\n")
    assert code == COULD_NOT_LOOK
    assert said.startswith("Not checked for known weaknesses (")
    assert "make audit" in said
    assert "\n" not in said
