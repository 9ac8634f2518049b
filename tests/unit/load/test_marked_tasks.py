"""Tasks that a person has marked as done: nothing was done by that, and what follows must say so."""

import pytest

from kfr.load import extract, lease, reconciliation, verification
from tests.unit.load.one_load import customers_of, verify


def test_removals_that_a_person_marked_as_done_are_no_proof(loaded):
    loaded.end(customers_of(loaded)[:3])
    with pytest.raises(verification.NotEqual, match="Clear remove_ended"):
        verification.verify(loaded.world)
    assert verify(loaded.world).misses == 0


def test_a_comparison_that_a_person_marked_as_done_is_none(loaded):
    loaded.finish()
    lease.release(loaded.world)
    load = loaded.next("kfr_reconcile")
    assert load.acquire()
    extract.extract_relationships(load.world)
    with pytest.raises(reconciliation.NotCompared, match="Clear compare_register"):
        reconciliation.require_over(load.world)
    assert not reconciliation.compare(load.world, full=True, seconds=0.0)
    with pytest.raises(reconciliation.NotCompared):
        reconciliation.require_over(load.world)
    assert reconciliation.compare(load.world, full=True, seconds=1e6)
    reconciliation.require_over(load.world)
