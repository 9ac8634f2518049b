"""What Airflow hands to a callback when a task has failed, or a run is late."""

import asyncio
from types import SimpleNamespace
from typing import Any

from kfr.hooks.world import world_of
from kfr.load.upload import NotLoaded
from kfr.notifications import cases
from kfr.notifications.callbacks import alert_late
from tests.unit.stand import SQL_FOLDER, Stand

SECRET = "01010112345"
CORRELATION_ID = "c0ffee00-0000-4000-8000-000000000000"
TRIES = 6
ASKED = {"fingerprint": "f" * 64, "added": 5, "removals": 700, "findings": [{"message": "many removals"}]}


def not_loaded(label: str = "0002", late: int = 2, done: int = 1) -> NotLoaded:
    return NotLoaded(label, late=late, done=done, files=12, correlation_id=CORRELATION_ID)


def failed(
    stand: Stand,
    error: BaseException,
    task_id: str = "upload_batch_file",
    index: int = -1,
    *,
    attempt: int = 1,
    **more: Any,
) -> Any:
    """What Airflow hands to a callback."""
    context = stand.context(**more)
    context["exception"] = error
    context["ti"] = SimpleNamespace(
        task_id=task_id,
        map_index=index,
        try_number=attempt,
        max_tries=TRIES - 1,
        get_task_states=lambda **_: stand.ti.get_task_states(**_, task_ids=[]),
    )
    return context


def recover(stand: Stand, run_id: str = "manual__1") -> None:
    """A load for everyone, as of today, is proven."""
    stand.staging.state.write_json("watermark", {"as_of": stand.today.isoformat(), "run": run_id})
    with world_of(stand.context(run_id), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        cases.recovered(world, since=world.now)


def flat(text: str) -> str:
    return " ".join(text.split())


def late(stand: Stand, run_type: str = "scheduled") -> None:
    run = {"dag_id": "kfr_periodic_load", "dag_run_id": "scheduled__1", "run_type": run_type}
    asyncio.run(alert_late(context={"dag_run": run, "deadline": {}}, kfr_conn_id="kfr_default"))
