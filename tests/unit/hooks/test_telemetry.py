"""What is measured of a load, read where it arrives: statsd's packets, the spans, the lineage."""

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk._shared.observability.metrics.stats import _get_backend
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kfr.hooks.kfr import KfrHook
from kfr.hooks.world import world_of
from kfr.load import lease, planning, upload
from kfr.notifications import cases
from kfr.operators import load
from kfr.register.errors import Fatal, KfrError
from tests.conftest import ROOT
from tests.leaks import Finder
from tests.simulator import Fault, FaultKind
from tests.unit.operators.test_load import customers, operator
from tests.unit.stand import SQL_FOLDER, Stand

LISTED = re.compile(r"^\| `(kfr\.[^`]+)`", re.MULTILINE)


class Packets:
    """A statsd server: what was sent to it, oldest first."""

    def __init__(self, receiver: socket.socket) -> None:
        self.receiver, self.read = receiver, list[str]()

    def __call__(self) -> dict[str, list[str]]:
        """The values by name, as they are on the wire: `3|c`, `12|g`, `0.52|ms`."""
        try:
            while True:
                self.read.append(self.receiver.recv(65_536).decode())
        except BlockingIOError:
            pass
        found: dict[str, list[str]] = {}
        for packet in self.read:
            name, _, value = packet.partition(":")
            found.setdefault(name.removeprefix("airflow."), []).append(value)
        return found


@pytest.fixture
def packets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Packets]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(receiver.getsockname()[1]))
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
        yield Packets(receiver)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "False")
        _get_backend().statsd.close()
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter
    exporter.shutdown()


def whole_load(stand: Stand) -> list[str]:
    """A load that is recorded without a proof, a token that is refused, an alert; who is in it."""
    new = customers(5)
    stand.join(*new, "12345678901")
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        lease.acquire(world, finished=lambda _: False, heartbeat_seconds=1, first_load=True)
    operator(load.KfrExtractOperator).execute(stand.context())
    operator(load.KfrPlanOperator, first_load=True).execute(stand.context())
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        planning.approve(world, by="kari")
    operator(load.KfrAnnounceOperator).execute(stand.context())
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        upload.upload(world, "0001")
        cases.disagrees(world, 1, 5)
        cases.notice_sent(world, ["2026-11-23"])
    with pytest.raises(Fatal):
        operator(load.KfrRecordMirrorOperator, verified_by="verify").execute(stand.context())
    return new


def test_a_load_is_measured_by_what_statsd_gets(stand: Stand, packets: Packets):
    stand.clock.sleep(60)
    whole_load(stand)
    got = packets()
    assert got["kfr.calls.send_file.201"] == ["1|c"]
    assert re.fullmatch(r"[\d.]+\|ms", got["kfr.call.send_file"][0])
    assert len(got["kfr.calls.token.200"]) == len(got["kfr.call.token"]) >= 1
    assert got["kfr.rows.rows"][-1] == "6|g"
    assert got["kfr.rows.rejected"][-1] == "1|g"
    assert got["kfr.plan.added"][-1] == "5|g"
    assert (got["kfr.files.planned"][-1], got["kfr.files.proven"][-1]) == ("1|g", "0|g")
    assert (got["kfr.sends.open"][-1], got["kfr.sends.unproven"][-1]) == ("1|g", "1|g")
    assert got["kfr.register.possible"][-1] == "5|g"
    assert int(got["kfr.certificate.days_left"][-1].removesuffix("|g")) > 300
    assert got["kfr.alerts.disagrees"] == got["kfr.alerts.rejects"] == got["kfr.alerts.notice"] == ["1|c"]
    assert (got["kfr.alerts.open"][0], got["kfr.alerts.open"][-1]) == ("0|g", "2|g")
    assert got["kfr.loads.not_proven"] == ["1|c"]
    assert float(got["kfr.load"][0].removesuffix("|ms")) >= 0


def test_how_a_call_and_a_task_failed_is_counted_by_code(stand: Stand, packets: Packets):
    for fault in (
        Fault(kind=FaultKind.STATUS, operation="look_up", nth=1, status=503),
        Fault(kind=FaultKind.RESET_BEFORE_WORK, operation="look_up", nth=2),
    ):
        stand.simulator.faults.add(fault)
    day = stand.today
    with KfrHook().get_conn() as client:
        for _ in range(2):
            with pytest.raises(KfrError):
                client.look_up(int(stand.simulator.fid), day, day)
    with (
        pytest.raises(Fatal),
        world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None),
    ):
        raise Fatal("no")
    got = packets()
    assert got["kfr.calls.look_up.503"] == ["1|c"]
    assert got["kfr.calls.look_up.Retriable"] == ["1|c"]
    assert len(got["kfr.call.look_up"]) == 2
    assert got["kfr.errors.Fatal"] == ["1|c"]


def test_each_call_is_a_span_with_its_correlation_id_and_how_it_ended(
    stand: Stand, spans: InMemorySpanExporter
):
    stand.simulator.faults.add(Fault(kind=FaultKind.RESET_BEFORE_WORK, operation="look_up", nth=2))
    with KfrHook().get_conn() as client, trace.get_tracer("a task").start_as_current_span("task"):
        client.look_up(int(stand.simulator.fid), stand.today, stand.today)
        with pytest.raises(KfrError) as broken:
            client.look_up(int(stand.simulator.fid), stand.today, stand.today)
    token, first, second, task = spans.get_finished_spans()
    assert [s.name for s in (token, first, second)] == ["kfr.token", "kfr.look_up", "kfr.look_up"]
    assert [s.parent.span_id for s in (token, first, second)] == [task.context.span_id] * 3
    assert (first.attributes["kfr.ended"], second.attributes["kfr.ended"]) == ("200", "Retriable")
    assert second.attributes["kfr.correlation_id"] == broken.value.correlation_id
    assert first.attributes["environment"] == "test"
    assert not second.events  # no exception's text


def test_no_customer_is_in_what_is_measured(stand: Stand, packets: Packets, spans: InMemorySpanExporter):
    new = [*whole_load(stand), "12345678901"]
    with KfrHook().get_conn() as client:
        client.look_up(int(new[0]), stand.today, stand.today)
        client.register_one(int(new[0]))
    packets()
    told = [*packets.read, *map(ReadableSpan.to_json, spans.get_finished_spans())]
    assert len(told) > 40
    finder = Finder(new)
    assert [text for text in told if finder.find(text.encode())] == []
    assert finder.find(f"kfr.calls.{new[0]}".encode())  # what would be found


def test_every_metric_is_listed_and_every_one_listed_is_sent(stand: Stand, packets: Packets):
    """`<…>` in the list stands for one word."""
    whole_load(stand)
    listed = LISTED.findall((ROOT / "docs" / "operations.md").read_text())
    patterns = {name: re.sub(r"<[^>]+>", r"\\w+", name.replace(".", r"\.")) for name in listed}
    sent = [name for name in packets() if name.startswith("kfr.")]
    assert [name for name in sent if not any(re.fullmatch(p, name) for p in patterns.values())] == []
    seldom = {"kfr.errors.<error>", "kfr.proof.<what>", "kfr.removals.<what>", "kfr.register.days_behind"}
    missing = {name for name, p in patterns.items() if not any(re.fullmatch(p, n) for n in sent)}
    assert missing <= seldom


def test_lineage_names_the_statement_that_was_read_and_no_customer(stand: Stand, collector: Any):
    (new,) = customers(1)
    stand.join(new)
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        lease.acquire(world, finished=lambda _: False, heartbeat_seconds=1, first_load=True)
    operator(load.KfrExtractOperator).execute(stand.context())
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        world.warehouse.agreements_of([new])
    (told,) = collector.collected_assets.extra
    assert told.key == "sql_job"
    assert "FROM agreements" in told.value["sql"]
    assert not Finder([new]).find(json.dumps(told.value).encode())


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The real collector, which Airflow makes where a plugin such as OpenLineage's reads lineage."""
    from airflow.providers.common.sql.hooks import lineage
    from airflow.sdk import lineage as sdk

    found = sdk.HookLineageCollector()
    for module in (lineage, sdk):
        monkeypatch.setattr(module, "get_hook_lineage_collector", lambda: found)
    return found


def test_the_register_s_asset_has_a_converter_for_openlineage():
    from airflow.sdk import Asset
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    from kfr.links.lineage import register_dataset

    converters = ProvidersManagerTaskRuntime().asset_to_openlineage_converters
    assert converters["kfr"] is register_dataset
    asset = Asset(name="kfr_register", uri="kfr://register/default")
    assert asset.normalized_uri == "kfr://register/default"
