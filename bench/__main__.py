"""`make bench`: every figure of `docs/performance.md`, each as a ratio to its floor, measured in one run.

Machines are noisy, so only the ratios of one run mean anything: what is compared takes turns, and the median of the
rounds' ratios is shown. Each measured thing runs in a process of its own. Peak memory is of that whole process.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import loads, others, real, tables
from bench.report import Line, show, write
from tests import postgres

RESULTS = Path(__file__).resolve().parent / "results"
PEERS = tables.CACHE / "peers"


def main() -> None:
    options = _parse()
    most, lines = max(options.agreements), []
    for part in _parts(options, most):
        show(part)
        sys.stdout.flush()
        lines += part
        settings = f'BENCH_ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else ""
        write(lines, options.results, f"{most // 1000}k-agreements", settings)  # a later part may fail
    missed = [line.what for line in lines if line.reached is False]
    print(
        f"\n{sum(line.reached is True for line in lines)} goals reached, {len(missed)} not: {'; '.join(missed)}"
    )
    print(f"Written to {options.results}")


def _parts(options: argparse.Namespace, most: int) -> Iterator[list[Line]]:
    with tempfile.TemporaryDirectory(prefix="kfr-bench-") as name, _drain() as port:
        folder = Path(name)
        folder.chmod(0o755)
        peers = PEERS if (PEERS / "bin" / "python").exists() else None
        if not peers:
            print("polars, dlt and drt-core do not install here (bench/peers.txt): no peers are measured")
        with postgres.running() as server:
            for rows in options.agreements:
                tables.CACHE.mkdir(exist_ok=True)
                _generate(rows)
                yield loads.measure(rows, options.rounds, server, folder=folder, peers=peers, drain=port)
        yield others.measure_difference(min(most, others.LARGEST_COMPARED), options.rounds, folder)
        yield others.measure_register(options.calls, options.rounds, folder, port)
        yield others.measure_virtual(min(most, others.LARGEST_VIRTUAL), folder)
        yield others.measure_parsing(options.rounds, folder)
        if options.airflow:
            yield real.measure()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--agreements",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[1_000_000],
        help="rows of the tables, separated by commas; in full: 1000000,5000000,20000000",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=2_000, help="single calls to the register in a round")
    parser.add_argument(
        "--airflow", action="store_true", help="a load with real Airflow processes, too: ten minutes more"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table and the picture")
    return parser.parse_args()


def _generate(rows: int) -> None:
    """In a process of its own: this one stays small."""
    code = f"from bench import tables; tables.arrow_file({rows})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tables.CACHE.parent)


@contextmanager
def _drain() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.drain"], stdout=subprocess.PIPE, text=True, cwd=tables.CACHE.parent
    ) as process:
        try:
            yield int(process.stdout.readline() if process.stdout else 0)
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
