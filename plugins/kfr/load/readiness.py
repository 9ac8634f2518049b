"""Is everything in place for a load? Found out in seconds, each flaw with its remedy."""

from kfr.clock import oslo_today
from kfr.load.world import World
from kfr.relationships.agreements import read_agreements

PROBE = "readiness"


def check(world: World) -> list[str]:
    """Try everything that a load needs, in the order in which it needs it; return what was found in place.

    Certificate, key and token are tried by the first call to the register. Raises the error of the first
    flaw, as the load would meet it.
    """
    today = oslo_today(world.clock)
    world.register.look_up(int(world.settings.fid), today, today)
    world.state.write(PROBE, b"probe")
    world.state.read(PROBE)
    world.state.delete(PROBE)
    with world.warehouse.agreements(today) as snapshot:
        read_agreements(next(snapshot.batches()))
        rows = snapshot.expected_rows
    world.mailer.check()
    found = ["certificate, Maskinporten and register answer", "staging can be written and read"]
    found += [f"the warehouse answers ({rows:,} rows)" if rows is not None else "the warehouse answers"]
    found += [f"the mail server answers (mails go to {world.mail_to})"]
    for line in found:
        world.say(line)
    return found
