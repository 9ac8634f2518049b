from pathlib import Path

import pytest

from kfr.load import lease, mirror, rejects
from kfr.load.rotation import RegisterHeld, rotate
from kfr.load.sealing import StateDamaged
from kfr.load.staging import Staging, StateMissing
from tests.faults import institution as box
from tests.faults.fuse import Crash, fused_staging
from tests.faults.institution import KEY
from tests.keystores import ORGANISATION
from tests.unit.load.one_load import OneLoad

NEW = bytes(range(32, 64))


@pytest.fixture
def loaded(load: OneLoad) -> OneLoad:
    """A first load and the next, which failed half way; nobody holds the register."""
    load.join(20)
    load = load.first().next()
    load.join(5)
    load.end(load.proven[:2])
    load.plan(first_load=False)
    load.send()
    rejects.keep(load.world, "extract", [{"customer_id": "1"}])
    lease.release(load.world)
    return load


def staging(load: OneLoad, key: bytes) -> Staging:
    return fused_staging(
        load.institution.folder, key, load.institution.fuse, environment="test", fid=ORGANISATION
    )


def contents(place_of: Staging) -> dict[str, bytes]:
    return {name: place_of.everything.read(name) for name in place_of.everything.files()}


def test_everything_that_lasts_opens_under_the_new_key_and_only_under_that(loaded):
    before = contents(staging(loaded, KEY))
    done = rotate(staging(loaded, KEY), staging(loaded, NEW))
    lasting = {name: plain for name, plain in before.items() if not name.startswith("runs/")}
    assert contents(staging(loaded, NEW)) == lasting
    assert (done.sealed, done.removed) == (len(lasting), len(before) - len(lasting))
    assert {name.split("/")[0] for name in lasting} == {"state", "rejects"}
    for name in lasting:
        with pytest.raises(StateDamaged):
            staging(loaded, KEY).everything.read(name)


def test_a_new_run_under_the_new_key_ends_at_the_warehouse_s_state(loaded, monkeypatch):
    rotate(staging(loaded, KEY), staging(loaded, NEW))
    monkeypatch.setattr(box, "KEY", NEW)
    load = loaded.next()
    proof = load.run_through()
    assert proof.misses == 0
    assert sorted(load.registered) == sorted(int(c) for c in load.institution.desired())
    assert sorted(load.proven) == sorted(load.registered)


def test_a_run_from_before_cannot_go_on_and_draw_its_samples_anew(loaded, monkeypatch):
    rotate(staging(loaded, KEY), staging(loaded, NEW))
    monkeypatch.setattr(box, "KEY", NEW)
    loaded.acquire()
    with pytest.raises(StateMissing, match="trigger a new run"):
        loaded.send()
    assert mirror.is_readable(loaded.world)


def test_a_crash_at_any_touch_is_made_good_by_running_it_again(loaded):
    before = contents(staging(loaded, KEY))
    lasting = {name: plain for name, plain in before.items() if not name.startswith("runs/")}
    for touches in range(1, 300):
        loaded.institution.fuse.set(touches)
        try:
            rotate(staging(loaded, KEY), staging(loaded, NEW))
        except Crash:
            loaded.institution.fuse.replace()
            continue
        break
    else:
        pytest.fail("rotating touches the world for ever")
    assert contents(staging(loaded, NEW)) == lasting


def test_until_it_has_ended_no_run_can_take_the_register(loaded, monkeypatch):
    """Else a half-sealed mirror would look damaged, and a reconciliation would make a new one."""
    monkeypatch.setattr(box, "KEY", NEW)
    for touches in range(5, 1000, 7):
        loaded.institution.fuse.set(touches)
        try:
            rotate(staging(loaded, KEY), staging(loaded, NEW))
        except Crash:
            loaded.institution.fuse.replace()
        else:
            break
        with pytest.raises(StateDamaged):
            loaded.next().acquire()
    assert loaded.next().acquire()


@pytest.mark.parametrize("half_way", [False, True])
def test_while_a_run_holds_the_register_nothing_is_changed(loaded, half_way):
    loaded.acquire()
    if half_way:
        staging(loaded, NEW).state.write_json("lease", staging(loaded, KEY).state.read_json("lease"))
    before = {p: p.read_bytes() for p in Path(loaded.institution.folder).rglob("*") if p.is_file()}
    with pytest.raises(
        RegisterHeld, match=rf"Run {loaded.run.run_id} of kfr_periodic_load holds the register"
    ):
        rotate(staging(loaded, KEY), staging(loaded, NEW))
    assert {p: p.read_bytes() for p in Path(loaded.institution.folder).rglob("*") if p.is_file()} == before


def test_a_file_that_opens_under_neither_key_is_named_and_all_others_are_done(loaded):
    damaged = loaded.institution.folder / loaded.world.state.scope / "mirror"
    sealed = damaged.read_bytes()
    damaged.write_bytes(b"nonsense")
    with pytest.raises(StateDamaged, match=r"1 files open under neither key: state/mirror\. All others"):
        rotate(staging(loaded, KEY), staging(loaded, NEW))
    with pytest.raises(StateDamaged):
        staging(loaded, NEW).state.read("lease")  # it has not ended
    damaged.write_bytes(sealed)  # as restored from a backup
    rotate(staging(loaded, KEY), staging(loaded, NEW))
    assert "state/mirror" in contents(staging(loaded, NEW))


def test_a_wrong_old_key_changes_nothing(loaded):
    before = contents(staging(loaded, KEY))
    with pytest.raises(StateDamaged):
        rotate(staging(loaded, bytes(32)), staging(loaded, NEW))
    loaded.world.state.delete("lease")  # nor without a lease to see it by
    with pytest.raises(StateDamaged):
        rotate(staging(loaded, bytes(32)), staging(loaded, NEW))
    before.pop("state/lease")
    assert contents(staging(loaded, KEY)) == before


def test_an_institution_without_state_has_nothing_to_seal(load):
    done = rotate(staging(load, KEY), staging(load, NEW))
    assert (done.sealed, done.removed) == (0, 0)
