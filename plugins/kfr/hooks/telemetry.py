"""What is measured, through Airflow's own stats and OpenTelemetry; the names are listed in docs/operations.md.

Counts, times and codes: no customer, no address. Where neither is set up in Airflow, all of it does nothing.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfr.register.settings import Settings
    from kfr.register.watch import Ended

WAITING = ("due", "intended", "held")  # removals that have not been sent


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWatch:
    """Give each call to the outside a span, a time, and a count by how it ended."""

    fid: str
    environment: str

    @classmethod
    def of(cls, settings: "Settings") -> "CallWatch":
        return cls(fid=settings.fid, environment=settings.environment)

    @contextmanager
    def __call__(self, operation: str, correlation_id: str | None) -> Iterator["Ended"]:
        from airflow.sdk.observability import stats
        from opentelemetry.trace import SpanKind, get_tracer

        tags = {"fid": self.fid, "environment": self.environment}
        how, began = "broken_off", time.monotonic()

        def ended(said: str) -> None:
            nonlocal how
            how = said

        # An exception is never recorded: its text may come from anywhere.
        with get_tracer("kfr").start_as_current_span(
            f"kfr.{operation}", kind=SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield ended
            finally:
                span.set_attributes({**tags, "kfr.ended": how, "kfr.correlation_id": correlation_id or ""})
                stats.timing(f"kfr.call.{operation}", timedelta(seconds=time.monotonic() - began), tags=tags)
                stats.incr(f"kfr.calls.{operation}.{how}", tags=tags)


def show_standing(summary: Mapping[str, Any], today: date) -> None:
    """Set the gauges to how the register, and the run under way, stand; see `kfr.load.summary`."""
    from airflow.sdk.observability import stats

    tags = {"fid": summary["fid"], "environment": summary["environment"]}
    for name, value in _gauges(summary, today):
        stats.gauge(f"kfr.{name}", value, tags=tags)
    if summary["trouble"]:
        stats.incr(f"kfr.errors.{summary['trouble'].partition(':')[0]}", tags=tags)


def count_load(settings: "Settings", *, proven: bool, seconds: float) -> None:
    """Count a load that has ended, and how long it took."""
    from airflow.sdk.observability import stats

    tags = {"fid": settings.fid, "environment": settings.environment}
    stats.incr(f"kfr.loads.{'proven' if proven else 'not_proven'}", tags=tags)
    stats.timing("kfr.load", timedelta(seconds=seconds), tags=tags)


def count_alert(topic: str) -> None:
    """Count an alert that was sent."""
    from airflow.sdk.observability import stats

    stats.incr(f"kfr.alerts.{topic}")


def _gauges(summary: Mapping[str, Any], today: date) -> Iterator[tuple[str, float]]:
    yield "certificate.days_left", summary["certificate_days"]
    if register := summary["register"]:
        yield "register.proven", register["proven"]
        yield "register.possible", register["possible"]
        if register["as_of"]:
            yield "register.days_behind", (today - date.fromisoformat(register["as_of"])).days
    yield "removals.waiting", sum(summary["removals"][name] for name in WAITING)
    yield "sends.open", summary["open"]["sends"]
    yield "sends.unproven", summary["open"]["unproven"]
    yield "alerts.open", len(summary["alerts"])
    parts: Mapping[str, Callable[[Any], Iterator[tuple[str, float]]]] = {
        "extract": lambda v: ((f"rows.{fate}", count) for fate, count in v["rows"].items()),
        "plan": lambda v: ((f"plan.{what}", v[what]) for what in ("added", "start_changed", "removals")),
        "files": lambda v: iter((("files.planned", len(v)), ("files.proven", _proven(v)))),
        "removals": lambda v: ((f"removals.{what}", count) for what, count in v.items()),
        "proof": lambda v: ((f"proof.{what}", v[what]) for what in ("look_ups", "misses")),
    }
    for part, gauges in parts.items():
        if part in summary["run"]:
            yield from gauges(summary["run"][part])


def _proven(files: list[dict[str, Any]]) -> int:
    return sum(f["status"] == "proven" for f in files)
