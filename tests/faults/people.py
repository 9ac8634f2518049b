"""What the people around a load do, by the runbook."""

from dataclasses import replace

from kfr.load import removal
from kfr.load.journal import is_open, schedule
from kfr.load.world import Run
from kfr.relationships.guards import Limits
from tests.faults.institution import Institution

GENEROUS = Limits(shrink_share=0.9, removals=10_000, removal_share=1.0, reject_share=0.5)
WATCHFUL = Limits(removals=10_000, removal_share=1.0, reject_share=0.5)  # a shrunken extract asks


def close_hopeless_sends(institution: Institution, run: Run, *, hasty: bool = False) -> None:
    """After asking Bits: close the sends that will never load; a `hasty` answer is true of none that loads yet."""
    world = institution.world(run)
    sends, rate = world.journal.sends(), institution.settings.rows_per_second
    plans = schedule(sends, rate)
    while institution.simulator.pending_rows and not hasty:
        institution.clock.advance(600)
    for send in sends:
        plan = plans.get(send.name)
        overdue = plan and world.now > plan.settled_at + run.loading_grace
        if plan and overdue and is_open(send, plan, world.now) and not send.proven_at:
            removal._close_what_shows(world)
            current = next(s for s in world.journal.sends() if s.name == send.name)
            if current.proven_at is None:
                loads = institution.simulator._register._loads
                institution.closed_in_haste |= {load.file for load in loads if not load.finished}
                world.journal.put(replace(current, closed_because="Bits says that it was never loaded"))
