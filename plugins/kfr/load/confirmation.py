"""The mail D-4 to Bits when a first load is proven (ONB D-4)."""

from kfr.load import lease, planning, report, verification
from kfr.load.deliveries import deliver
from kfr.load.world import World
from kfr.register.errors import Fatal


def send_confirmation(world: World) -> str:
    """Send D-4 for a load that is proven; return the Message-ID.

    :raises DeliveryUnknown: an earlier attempt may have sent it; clearing the task sends it again.
    """
    lease.check(world)
    planning.require_current(world)  # else another run has written since the proof, and its figures are old
    proof = verification.read(world)
    if any(s.misses for s in proof.strata):
        raise Fatal("The load is not proven, so D-4 is not sent. Clear verify_register first.")
    holder = lease.current(world)
    generation = holder.generation if holder else None
    return deliver(world, "d-4", report.confirmation(world), ask=True, lease=generation)
