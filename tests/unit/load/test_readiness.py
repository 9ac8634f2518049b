from dataclasses import replace
from datetime import date

import pytest

from kfr.load.readiness import check
from kfr.load.warehouse import WarehouseError
from kfr.load.world import MailNotSent
from kfr.register.errors import AccessRefused, ConfigurationError, KfrError, MaskinportenRefused
from tests.simulator import FaultKind
from tests.unit.load.one_load import OneLoad


def test_what_is_in_place_is_said_and_nothing_is_left_behind(load: OneLoad):
    load.join(3)
    found = check(load.world)
    assert [line for line in found if line.startswith("the warehouse answers (3 rows, ")]
    assert load.institution.said == found
    assert not [path for path in load.institution.folder.rglob("*") if path.is_file()]
    assert {e.operation for e in load.institution.simulator.log} == {"token", "look_up"}


def test_only_the_institution_s_own_number_is_looked_up(load: OneLoad):
    check(load.world)
    (looked_up,) = load.calls("look_up")
    assert looked_up.customer_id == int(load.institution.settings.fid)


@pytest.mark.parametrize(
    ("kind", "operation", "more", "error"),
    [
        (FaultKind.MASKINPORTEN_ERROR, "token", {"code": "MP-100"}, MaskinportenRefused),
        (FaultKind.STATUS, "look_up", {"status": 403}, AccessRefused),
        (FaultKind.NO_CONNECTION, "look_up", {}, KfrError),
    ],
)
def test_a_register_or_maskinporten_that_does_not_let_us_in_is_met_here(load, kind, operation, more, error):
    load.fault(kind, operation, times=9, **more)
    with pytest.raises(error):
        check(load.world)


class _Broken:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def agreements(self, as_of: date) -> None:
        raise self._error

    def check(self) -> None:
        raise self._error


@pytest.mark.parametrize("error", [ConfigurationError("no such column"), WarehouseError("down")])
def test_a_warehouse_that_does_not_answer_is_met_here(load: OneLoad, error: Exception):
    with pytest.raises(type(error)):
        check(replace(load.world, warehouse=_Broken(error)))


def test_a_mail_server_that_does_not_answer_is_met_here(load: OneLoad):
    with pytest.raises(MailNotSent):
        check(replace(load.world, mailer=_Broken(MailNotSent("no"))))


def test_a_staging_place_that_cannot_be_written_is_met_here(load: OneLoad):
    (load.institution.folder / "test").write_text("a file where a folder should be")
    with pytest.raises(ConfigurationError, match="kfr_staging"):
        check(load.world)
