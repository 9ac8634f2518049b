"""What every step of a load has in common as an Airflow operator."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from airflow.sdk import BaseOperator, BaseOperatorLink, RetryDecision, RetryPolicy, WeightRule
from airflow.sdk.configuration import conf

from kfr.links.page import PageLink
from kfr.notifications.callbacks import alert_failure, alert_retry
from kfr.onboarding.institution import DEFAULT, Institution
from kfr.register.errors import Fatal, KfrError, Refused

if TYPE_CHECKING:
    from kfr.load.world import World

INCLUDE_FOLDER = Path("include")
SQL_FOLDER = INCLUDE_FOLDER / "sql"
PAPERS = "papers"  # below include/
FILES_AT_ONCE = 2  # so that the register never idles while one file is proven

# What may be looked up at the same time: the files in flight and the arrivals. Each takes its share, so that
# no task has to know of the others and the connection's rate is kept.
SHARE_WHILE_LOADING = 1 / (FILES_AT_ONCE + 1)


class KfrRetryPolicy(RetryPolicy):
    """
    Retry by what the class of an error says may be done (see `kfr.register.errors`).

    :param delay: before the first retry; the task doubles it at each. An error that says when to ask again, later
        than that, is retried then: a `Retry-After`, or the time at which a file must have settled.
    """

    def __init__(self, delay: timedelta) -> None:
        self.delay = delay

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
    ) -> RetryDecision:
        del max_tries, context
        if isinstance(exception, Fatal):
            return RetryDecision.fail("a person must change something")
        if isinstance(exception, Refused):
            return RetryDecision.fail("it would be refused again")
        wanted = timedelta(seconds=(isinstance(exception, KfrError) and exception.retry_after) or 0)
        if wanted > self.delay * 2 ** (try_number - 1):
            return RetryDecision.retry(wanted, "not before this can help")
        return RetryDecision.default()


def retry_delay() -> timedelta:
    """How long before the first retry of a task; each one doubles it."""
    return timedelta(seconds=conf.getint("kfr", "retry_seconds", fallback=60))


def retrying() -> dict[str, Any]:
    """How every task of a load retries, and who is told, for a Dag's `default_args`."""
    delay = retry_delay()
    return {
        "retries": conf.getint("kfr", "retries", fallback=5),
        "retry_delay": delay,
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(hours=1),
        "retry_policy": KfrRetryPolicy(delay),
        "on_failure_callback": alert_failure,
        "on_retry_callback": alert_retry,
    }


def defaults_of(institution: Institution) -> dict[str, Any]:
    """What every task of an institution's Dag is told, as the Dag's `default_args`."""
    return {
        "owner": "kfr",
        "institution": institution.key,
        "include": str(institution.include),
        "sql_folder": str(institution.sql_folder),
        "thresholds": {**institution.thresholds, "agreed_test_users": institution.agreed_test_users},
        # Who is further along goes first: runs that ask for the register kept its holder from giving it back.
        "weight_rule": WeightRule.UPSTREAM,
        **retrying(),
    }


class InWorld(Protocol):
    """A task of an institution: a step or a sensor."""

    sql_folder: str
    include: str
    thresholds: dict[str, float]
    share: float

    @property
    def log(self) -> Any: ...


@contextmanager
def world_of_task(task: InWorld, context: Any) -> Iterator["World"]:
    """The world of a task: its run, with the institution's own limits and papers."""
    from kfr.hooks.world import world_of

    with world_of(context, sql_folder=task.sql_folder, share=task.share, say=task.log.info) as found:
        limits = replace(found.run.limits, **task.thresholds)  # type: ignore[arg-type]
        yield replace(found, papers=Path(task.include) / PAPERS, run=replace(found.run, limits=limits))


class KfrStepOperator(BaseOperator):
    """
    Run one step of a load in the world of its run.

    :param sql_folder: folder of the warehouse's SQL files, relative to the Dag file's parent or absolute.
    :param institution: key of the institution whose Dag this is.
    :param include: folder of the institutions' files, the cases and the papers.
    :param thresholds: the fields of `guards.Limits` that the institution sets itself.
    """

    share = 1.0  # of the connection's request rate
    operator_extra_links: tuple[BaseOperatorLink, ...] = (PageLink(),)

    def __init__(
        self,
        *,
        sql_folder: str | Path = SQL_FOLDER,
        institution: str = DEFAULT,
        include: str | Path = INCLUDE_FOLDER,
        thresholds: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql_folder = str(sql_folder)
        self.institution = institution
        self.include = str(include)
        self.thresholds = dict(thresholds or {})

    def world(self, context: Any) -> AbstractContextManager["World"]:
        """The world of this task, for the length of a step."""
        return world_of_task(self, context)

    def read_file(self, world: "World") -> Institution:
        """The institution's file as it is now; ConfigurationError when it has a flaw, or is not the register's."""
        from kfr.onboarding.institution import find_institution

        institution = find_institution(self.institution, Path(self.include))
        institution.require_own_register(world.settings)
        return institution

    def execute(self, context: Any) -> Any:
        """Run the step; what it returns goes to XCom, so it holds counts and labels only."""
        with self.world(context) as world:
            return self.step(world)

    def step(self, world: "World") -> Any:
        """What this operator does."""
        raise NotImplementedError
