"""The difference of two populations, calls to the register, a load in virtual time, and Dag parsing."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import parsing
from bench.loads import SMALLEST_JUDGED, environment_of
from bench.measure import Took, job, middle, program, ratio
from bench.report import Line
from bench.tables import arrow_file
from tests import environment

LARGEST_COMPARED = LARGEST_VIRTUAL = 5_000_000  # rows
LIMIT = 500.0  # requests a second
TOKEN_CALLS = 10_000
FILE_BYTES = 9_990_000
INSTITUTIONS = 20  # of one group


def measure_difference(size: int, rounds: int, folder: Path) -> list[Line]:
    part = f"Difference of two populations of {size:,} (0.5 % added, removed, changed)"
    env = _env(folder)
    job("differences.prepare", {"size": size, "folder": folder}, env=env)
    comm = ["comm", "-3", folder / "desired.txt", folder / "mirror.txt"]
    took: dict[str, list[Took]] = {"comm": [], "ours": [], "duckdb": []}
    for _ in range(rounds):
        took["comm"].append(program(comm, env={**env, "LC_ALL": "C"}, output=folder / "comm.txt"))
        for way in ("ours", "duckdb"):
            took[way].append(job(f"differences.{way}", {"folder": folder}, env=env))
    names = {
        "comm": "GNU comm on sorted text (the floor)",
        "ours": "ours: both opened, compared, the result sealed",
        "duckdb": "DuckDB: two anti-joins and a join",
    }
    return [
        _line(
            part,
            names[way],
            middle(found),
            ratio=ratio(found, took["comm"]),
            unit="x comm",
            goal=("<=", 1.5) if way == "ours" and size >= SMALLEST_JUDGED else None,
        )
        for way, found in took.items()
    ]


def measure_register(calls: int, rounds: int, folder: Path, drain: int) -> list[Line]:
    env = _env(folder)
    part = "The register's side, on loopback"
    with environment.simulator(folder / "simulator", rows_per_second=1e9) as stand:
        told = asdict(stand)
        took: dict[str, list[Took]] = {}
        jobs: Mapping[str, Mapping[str, Any]] = {
            "bare_singles": {},
            "singles": {"rate": 1e6},
            "singles at the limit": {"rate": LIMIT},
            "bare_in_flight": {},
            "singles_in_flight": {"rate": 1e6},
            "look_ups": {"rate": 1e6},
            "look_ups_in_flight": {"rate": 1e6},
        }
        for seed in range(rounds):
            for number, (name, more) in enumerate(jobs.items()):
                arguments = {"stand": told, "calls": calls, "seed": seed * 100 + number, **more}
                took.setdefault(name, []).append(job(f"register.{name.split()[0]}", arguments, env=env))
    lines = [
        _rate(part, "bare httpx loop, kept alive: POST and DELETE in turn (the floor)", took["bare_singles"]),
        _rate(part, "ours, no limit", took["singles"], took["bare_singles"], goal=0.8),
        _limited(part, took["singles at the limit"]),
        _at_most(part, took["singles at the limit"]),
        _rate(part, "raw asyncio loop, 4 in flight", took["bare_in_flight"]),
        _rate(
            part, "ours, 4 clients in threads, no limit", took["singles_in_flight"], took["bare_in_flight"]
        ),
        _rate(part, "ours, look-ups one by one", took["look_ups"]),
        _rate(part, "ours, look-ups of a trigger, 4 in flight", took["look_ups_in_flight"]),
    ]
    return [*lines, *_upload(part, rounds, folder, drain, env), _tokens(part, env)]


def _limited(part: str, took: list[Took]) -> Line:
    rate = statistics.median(t.facts["calls"] / t.seconds for t in took)
    return Line(
        part=part,
        what=f"ours, requests_per_second = {LIMIT:g}",
        seconds=middle(took).seconds,
        ratio=rate / LIMIT * 100,
        unit="% of the set rate",
        goal=(">=", 95.0),
        note=f"{rate:,.0f} a second",
    )


def _at_most(part: str, took: list[Took]) -> Line:
    return Line(
        part=part,
        what=f"most answers within any second, at {LIMIT:g}",
        ratio=max(t.facts["most_in_a_second"] for t in took),
        unit="calls",
        goal=("<=", LIMIT + 1),  # both ends of a second of evenly spaced calls
    )


def _rate(
    part: str, what: str, took: list[Took], floor: list[Took] | None = None, goal: float | None = None
) -> Line:
    found = middle(took)
    return _line(
        part,
        what,
        found,
        ratio=1 / ratio(took, floor) if floor else None,
        unit="of its floor's rate",
        goal=(">=", goal) if goal else None,
        note=f"{found.facts['calls'] / found.seconds:,.0f} a second",
    )


def _upload(part: str, rounds: int, folder: Path, drain: int, env: Mapping[str, str]) -> list[Line]:
    file = folder / "customers.csv"
    file.write_bytes((b"01015780000#2020-01-01," * (FILE_BYTES // 23))[:-1])
    curl = ["curl", "-s", "-w", "%{time_total}", "-o", "/dev/null", "-H", "Expect:"]
    curl += [
        "-F",
        "customer_type=DSOPBANK",
        "-F",
        f"customers=@{file};type=text/plain;filename=customers.csv",
    ]
    ratios, ours_all, curl_all = [], [], []
    for _ in range(rounds):
        ours = statistics.median(job("register.upload", {"port": drain, "file": file}, env=env).facts["each"])
        theirs = []
        for _ in range(7):
            said = folder / "curl.txt"
            program([*curl, f"http://127.0.0.1:{drain}/batch"], output=said)
            theirs.append(float(said.read_text()))
        ours_all.append(ours)
        curl_all.append(statistics.median(theirs))
        ratios.append(ours / curl_all[-1])
    return [
        Line(part=part, what="curl sends 10 MB (the floor)", seconds=statistics.median(curl_all)),
        Line(
            part=part,
            what="ours sends 10 MB",
            seconds=statistics.median(ours_all),
            ratio=statistics.median(ratios),
            unit="x curl",
            goal=("<=", 1.3),
            note=f"{statistics.median(ours_all) * 1000:.1f} ms against {statistics.median(curl_all) * 1000:.1f} ms",
        ),
    ]


def _tokens(part: str, env: Mapping[str, str]) -> Line:
    found = job("register.tokens", {"calls": TOKEN_CALLS}, env=env)
    return Line(
        part=part,
        what=f"assertions signed for {TOKEN_CALLS:,} calls at 20 a second (a token lasts 120 s)",
        ratio=found.facts["signed"],
        unit="signings",
        note="virtual time",
    )


def measure_virtual(rows: int, folder: Path) -> list[Line]:
    arrow_file(rows)
    found = job("virtual.load", {"rows": rows}, env=_env(folder))
    facts = found.facts
    part = f"A load of {rows:,} agreements at 250 a second, in virtual time"
    return [
        Line(
            part=part,
            what="the register idles between the first file and the last row",
            seconds=found.seconds,
            ratio=facts["idle_share"] * 100,
            unit="% of the time",
            goal=("<=", 1.0),
            note=f"{facts['files']} files, {facts['hours']:.2f} hours",
        ),
        Line(
            part=part,
            what="worker slots held while waiting for the register to load",
            ratio=facts["worker_seconds_waiting"],
            unit="slot seconds",
            goal=("<=", 0.0),
            note=f"{facts['worker_seconds']:.1f} s more at the pace of {facts['look_ups']:,} look-ups",
        ),
    ]


def measure_parsing(rounds: int, folder: Path) -> list[Line]:
    env, part = _env(folder), "What the package costs Airflow while nothing runs"
    lines, whole = [], 0.0
    for name in parsing.dag_files():
        took = [job("parsing.dag_file", {"name": name}, env=env) for _ in range(rounds + 1)][1:]
        found = middle(took)
        whole += found.seconds
        heavy = found.facts["heavy"]
        lines += [
            Line(
                part=part,
                what=f"dags/{name}: parsed beyond importing Airflow",
                seconds=found.seconds,
                cpu_seconds=found.cpu_seconds,
                peak_mb=found.peak_mb,
                ratio=found.seconds,
                unit="s",
                goal=("<=", 0.3),
                note=f"{found.facts['modules']} modules",
            ),
            Line(
                part=part,
                what=f"dags/{name}: heavy modules that Airflow does not bring",
                ratio=len(heavy),
                unit="modules",
                goal=("<=", 0),
                note=", ".join(heavy),
            ),
        ]
    many = {"number": INSTITUTIONS, "folder": str(folder)}
    took = [job("parsing.institutions", many, env=env) for _ in range(rounds + 1)][1:]
    read = middle(took)
    took = [job("parsing.plugin", {}, env=env) for _ in range(rounds + 1)][1:]
    found = middle(took)
    return [
        *lines,
        _line(
            part,
            f"the files of {read.facts['institutions']} institutions, read by each Dag file",
            read,
            ratio=read.seconds,
            unit="s",
            goal=("<=", 0.1),
        ),
        _line(
            part,
            "plugin and provider, in each Airflow process at its start",
            found,
            note=f"{found.facts['mb']:.1f} MB",
        ),
        Line(
            part=part,
            what="Dag processor, all files again every 30 s",
            ratio=whole / 30 * 100,
            unit="% of a core",
            note="beyond importing Airflow, which it does for any file",
        ),
    ]


def _line(part: str, what: str, took: Took, **more: Any) -> Line:
    return Line(
        part=part, what=what, seconds=took.seconds, cpu_seconds=took.cpu_seconds, peak_mb=took.peak_mb, **more
    )


def _env(folder: Path) -> dict[str, str]:
    return environment_of(folder, "postgresql://nobody@127.0.0.1:1/none", folder / "none.duckdb")
