"""Is everything in place for a load? Found out in seconds, each flaw with its remedy."""

from uuid import uuid4

from kfr.clock import Clock, oslo_today
from kfr.load.papers import check_papers
from kfr.load.staging import Place
from kfr.load.warehouse import Warehouse
from kfr.load.world import Mailer, World
from kfr.register.client import RegisterClient
from kfr.register.errors import ConfigurationError, Fatal
from kfr.register.settings import Settings
from kfr.relationships.agreements import read_agreements

PROBE = "readiness"


def check(world: World) -> list[str]:
    """Try everything that a load needs, in the order in which it needs it; return what was found in place.

    Certificate, key and token are tried by the first call to the register. Raises the error of the first
    flaw, as the load would meet it.
    """
    found = [
        check_register(world.register, world.settings, world.clock),
        check_staging(world.state),
        check_warehouse(world.warehouse, world.clock),
        check_mail(world.mailer) + f" (mails go to {world.mail_to})",
        check_papers(world.papers),
    ]
    for line in found:
        world.say(line)
    return found


def check_register(register: RegisterClient, settings: Settings, clock: Clock) -> str:
    """Look up the institution's own number, which is hardly a customer's; either answer is right."""
    today = oslo_today(clock)
    register.look_up(int(settings.fid), today, today)
    return "certificate, Maskinporten and register answer"


def check_staging(state: Place) -> str:
    """Write, read and delete, and see that what lies there is sealed."""
    probe = uuid4().bytes * 4
    try:
        state.write(PROBE, probe)
        sealed, opened = state.read_sealed(PROBE), state.read(PROBE)
        state.delete(PROBE)
    except OSError as error:
        raise ConfigurationError(
            f"The staging place cannot be written or read ({type(error).__name__}); let the Variable "
            "kfr_staging name a place that workers and triggerer may write to"
        ) from None
    if opened != probe or probe in sealed:
        raise Fatal("What is written to the staging place does not come back, or lies there in clear text.")
    return "staging can be written and read, and is encrypted"


def check_warehouse(warehouse: Warehouse, clock: Clock) -> str:
    """Run the two SQL files; columns and types are checked on the first batch."""
    began = clock.monotonic()
    with warehouse.agreements(oslo_today(clock)) as snapshot:
        rows = snapshot.expected_rows
        read_agreements(next(snapshot.batches()))
    counted = f"{rows:,} rows, " if rows is not None else ""
    return f"the warehouse answers ({counted}{clock.monotonic() - began:.1f} s to the first batch)"


def check_mail(mailer: Mailer) -> str:
    """Log in to the mail server; nothing is sent."""
    mailer.check()
    return "the mail server answers"
