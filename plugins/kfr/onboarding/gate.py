"""The guide's gate before a load in production: what must be done first is done, or a person says why not (ONB)."""

from typing import Final

from kfr.load.report import GATE
from kfr.load.world import World
from kfr.onboarding.guide import open_musts
from kfr.onboarding.institution import Institution
from kfr.register.errors import Fatal

MUST_BE_SAID: Final = "start_despite"  # the param that holds the reason


class GateClosed(Fatal):
    """Raised when a task of the guide is open that must be done before this one; nothing was sent."""


def pass_gate(world: World, institution: Institution, task_id: str, *, reason: str, by: str | None) -> None:
    """Let a load in production pass when all that must be done before ``task_id`` is done.

    With a ``reason``, given ``by`` a person, it passes all the same; both stand in the run's report. Test and
    dry runs pass. Raises GateClosed, which names the open tasks and who acts.
    """
    world.place.delete(GATE)  # what an earlier try said does not count for this one
    missing = open_musts(task_id, institution.tasks)
    if world.settings.environment != "production" or world.run.dry_run or not missing:
        return
    named = "; ".join(f"{task.id} {task.title} ({task.who})" for task in missing)
    if not reason.strip():
        raise GateClosed(
            f"Before {task_id} in production must be done: {named}. When they are, write them into "
            f"{institution.path.name} and clear this task. A person who must start before that triggers a new run "
            f"with the param {MUST_BE_SAID}: why. Nothing was sent."
        )
    if not by:
        raise GateClosed(
            f"Before {task_id} in production must be done: {named}. {MUST_BE_SAID} counts only in a run that a "
            "person triggered. Nothing was sent."
        )
    open_ids = [task.id for task in missing]
    world.place.write_json(GATE, {"open": open_ids, "reason": reason.strip(), "by": by})
    world.say(f"Started by {by} although {', '.join(open_ids)} are open: {reason.strip()}")
