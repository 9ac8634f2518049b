"""The world of a task: what Airflow knows, put together for the steps of a load."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from airflow.sdk import Variable
from airflow.sdk.configuration import conf

from kfr.clock import SystemClock, oslo_date
from kfr.hooks.kfr import KfrHook, certificate_of, staging_root, staging_url
from kfr.hooks.mail import SmtpMailer
from kfr.hooks.warehouse import SqlWarehouse
from kfr.load.deliveries import BITS
from kfr.load.retention import Retention
from kfr.load.staging import Staging
from kfr.load.world import Run, Scope, World
from kfr.register.errors import ConfigurationError, KfrError
from kfr.relationships.batch_file import MAX_BODY_BYTES
from kfr.relationships.guards import Limits

MAIL_VARIABLE = "kfr_mail_to"


@contextmanager
def world_of(
    context: Any, *, sql_folder: str | Path, share: float = 1.0, say: Callable[[str], None]
) -> Iterator[World]:
    """Build the world of the running task from its run's params, and close its connections at the end."""
    params, hook = context["params"], KfrHook(context["params"]["kfr_conn_id"], share=share)
    settings, clock = hook.settings, SystemClock()
    root = staging_root(staging_url())
    with hook.get_conn() as register:
        world = World(
            settings=settings,
            clock=clock,
            certificate=certificate_of(settings, clock),
            register=register,
            warehouse=SqlWarehouse(params["warehouse_conn_id"], sql_folder),
            staging=Staging(root, settings.staging_key, environment=settings.environment, fid=settings.fid),
            mailer=SmtpMailer(),
            mail_to=mail_to(settings.environment),
            run=run_of(context),
            say=say,
        )
        trouble = None
        try:
            yield world
        except KfrError as error:
            trouble = error
            raise
        finally:
            publish(context, world, trouble)


def publish(context: Any, world: World, trouble: KfrError | None = None) -> None:
    """Leave how things stand where the page finds it, in XCom, which needs neither key nor state folder; measure it.

    Showing must never fail a load, so what goes wrong here is said in the log and passed over.
    """
    from kfr.hooks.telemetry import show_standing
    from kfr.load.summary import XCOM_KEY, summarise

    try:
        summary = summarise(world, trouble)
        context["ti"].xcom_push(XCOM_KEY, summary)
        show_standing(summary, oslo_date(world.clock.now()))
    except Exception as error:  # noqa: BLE001 - see above
        world.say(f"The page is not told how things stand ({type(error).__name__}).")


def run_of(context: Any) -> Run:
    """The run as its params and the installation's settings describe it."""
    params, dag_run = context["params"], context["dag_run"]
    backfill = dag_run.run_type == "backfill"
    scope: Scope = params.get("scope") or ("interval" if backfill else "everyone")
    return Run(
        dag_id=dag_run.dag_id,
        run_id=dag_run.run_id,
        as_of=date.fromisoformat(params["as_of"]) if params.get("as_of") else None,
        dry_run=params.get("dry_run", False),
        approval=params.get("approval", "auto"),
        scope=scope,
        compare_with=params.get("compare_with") or ("register" if backfill else "mirror"),
        interval=_interval(dag_run) if scope == "interval" else None,
        reason=params.get("reason") or "",
        max_batch_bytes=conf.getint("kfr", "max_batch_bytes", fallback=MAX_BODY_BYTES),
        loading_grace=conf.getint("kfr", "loading_grace", fallback=3600),
        limits=_limits(),
        retention=_retention(),
    )


def _limits() -> Limits:
    """The guards' limits, as the installation sets them."""
    return Limits(
        shrink_share=conf.getfloat("kfr", "shrink_percent", fallback=20.0) / 100,
        removals=conf.getint("kfr", "removals", fallback=500),
        removal_share=conf.getfloat("kfr", "removal_percent", fallback=2.0) / 100,
        reject_share=conf.getfloat("kfr", "reject_percent", fallback=1.0) / 100,
    )


def _retention() -> Retention:
    """How long is kept what, as the installation sets it."""
    return Retention(
        staged_days=conf.getint("kfr", "keep_staged_days", fallback=14),
        rejects_days=conf.getint("kfr", "keep_rejects_days", fallback=30),
        mirrors=conf.getint("kfr", "keep_mirrors", fallback=35),
        reports_years=conf.getint("kfr", "keep_reports_years", fallback=5),
    )


def _interval(dag_run: Any) -> tuple[date, date] | None:
    """The Oslo days of a run's data interval; None for a scheduled one, which begins at the watermark.

    A run triggered without a logical date, or by an asset, has no interval.
    """
    if dag_run.run_type == "scheduled" or dag_run.data_interval_start is None:
        return None
    return oslo_date(dag_run.data_interval_start), oslo_date(dag_run.data_interval_end)


def mail_to(environment: str) -> str:
    """Bits in production; elsewhere whom the Variable names, so that no test mail reaches Bits by itself."""
    if environment == "production":
        return BITS
    address: str | None = Variable.get(MAIL_VARIABLE, default=None)
    if not address:
        raise ConfigurationError(
            f"The Variable {MAIL_VARIABLE} is not set, so there is nobody to mail to in the test environment. "
            "Set it to an address of your own."
        )
    return address
