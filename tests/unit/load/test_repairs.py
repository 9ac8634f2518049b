"""What a file's proof has found missing is not forgotten by a worker that dies: whoever goes on looks at all of it."""

import pytest

from kfr.load import removal, verification
from kfr.load.upload import NotLoaded
from kfr.load.verification import NotEqual
from kfr.relationships.packing import DAY_BITS, DAY_MASK, ids_of
from tests.faults.fuse import Crash, Trap
from tests.faults.institution import Institution
from tests.simulator import FaultKind, Switches
from tests.simulator.register import Act
from tests.unit.load.one_load import OneLoad


def loaded(folder, seed: int, customers: int, **more) -> OneLoad:
    load = OneLoad(Institution(folder, seed=seed, **more))
    load.join(customers)
    load.load()
    removal.remove_ended(load.world)
    return load


def dies(load: OneLoad, point: str, nth: int = 1) -> None:
    """The proof of the load, in a worker that dies."""
    load.institution.fuse.add(Trap(kind="crash", nth=nth, when="after", point=point))
    with pytest.raises(Crash):
        verification.verify(load.world)
    load.institution.fuse.disarm()
    load.institution.fuse.replace()


def is_proven(load: OneLoad) -> bool:
    try:
        verification.verify(load.world)
    except (NotEqual, NotLoaded):
        return False
    return True


def missing(load: OneLoad, *, without: list[int] = ()) -> set[int]:
    filed = ids_of(load.world.place.read_array("files/0001")).tolist()
    return set(filed) - set(without) - load.registered.keys()


@pytest.mark.parametrize(
    "seed", [6, 9]
)  # the sample, and every witness of the repair, are in what was loaded of it
def test_a_repair_of_which_a_part_is_lost_is_seen_also_by_a_worker_that_did_not_send_it(folder, seed):
    load = loaded(folder, seed, 200, sample_size=20, switches=Switches(row_order="shuffled"))
    for customer in sorted(load.registered)[::3]:
        load.institution.simulator.plant_defect("missing", customer)
    load.fault(FaultKind.FILE_PARTLY_LOADED, share=0.985)
    dies(load, "register_file")
    load.institution.clock.advance(600)
    assert not is_proven(load)
    assert "File 0001: a count was begun; counting all 200." in load.institution.said
    assert len(missing(load)) == 2
    assert not missing(load) & set(load.proven)


@pytest.mark.parametrize("seed", [0, 7])  # in one the sample would pass if it were drawn anew
@pytest.mark.parametrize("writes", [1, 2, 3])  # a checkpoint before the first row, then one for each twenty
@pytest.mark.parametrize("leaving", [0, 4])
def test_a_count_is_of_the_rows_that_it_counts_and_a_miss_stays_one_when_customers_are_removed_meanwhile(
    folder, seed, writes, leaving, monkeypatch
):
    monkeypatch.setattr(verification, "COUNTED_AT_ONCE", 20)
    load = loaded(folder, seed, 100, sample_size=10)
    rows = ids_of(load.world.place.read_array("files/0001")).tolist()
    for customer in rows[leaving : leaving + 1] + rows[20:24] + rows[60::5]:
        load.institution.simulator.plant_defect("missing", customer)
    dies(load, "write run counted", writes)
    load.end(rows[:leaving])
    removal.remove_ended(load.world)
    assert is_proven(load)
    assert not missing(load, without=rows[:leaving])


def test_who_has_come_between_the_sample_and_the_count_is_not_sent_again(folder, monkeypatch):
    load = loaded(folder, 0, 30, sample_size=100)
    row = int(load.world.place.read_array("files/0001")[7])
    simulator = load.institution.simulator
    simulator.plant_defect("missing", row >> DAY_BITS)
    count = verification._count_fully

    def it_comes(*of):
        simulator._register.record(
            row >> DAY_BITS, simulator._advance(), Act.REGISTER, simulator.switches, day=row & DAY_MASK
        )
        return count(*of)

    monkeypatch.setattr(verification, "_count_fully", it_comes)
    sent = len(load.calls("register_file"))
    assert is_proven(load)
    assert len(load.calls("register_file")) == sent
    assert not missing(load)
