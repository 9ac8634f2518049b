"""Run each property of hostile input under atheris, guided by coverage: `python -m tests.fuzz --seconds 60`.

What was tried lies in `.fuzz/`, by property, and is built upon by the next run. What breaks a property is kept by
hypothesis, so that `make test TEST_ARGS=tests/fuzz` then repeats it in its smallest form.
"""

import argparse
import importlib
import random
import subprocess
import sys
import time
from pathlib import Path

WORK = Path(".fuzz")
LONGEST_INPUT = 4096  # bytes
SEEDS = 100
GRACE_SECONDS = 60
MEANT = "inputs that meant something:"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each property")
    parser.add_argument("--only", help="the properties whose name has this in it")
    parser.add_argument("--run", help=argparse.SUPPRESS)  # the one that this process is for
    options = parser.parse_args()
    if options.run:
        fuzz(options.run, options.seconds)
    names = [name for name in properties() if (options.only or "") in name]
    failed = [name for name in names if not run_apart(name, options.seconds)]
    print(f"{len(names) - len(failed)} of {len(names)} properties held")
    if failed:
        print("Run `make test TEST_ARGS=tests/fuzz` to see in the smallest form what broke the others.")
    return 1 if failed else 0


def properties() -> list[str]:
    module = importlib.import_module("tests.fuzz.test_hostile_input")
    return [name for name in vars(module) if name.startswith("test_")]


def run_apart(name: str, seconds: int) -> bool:
    """Run one in a process of its own, which libFuzzer ends, and say what it did in one line."""
    command = [sys.executable, "-m", "tests.fuzz", "--run", name, "--seconds", str(seconds)]
    began = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + GRACE_SECONDS, check=False
    )
    figures = [line for line in done.stderr.splitlines() if line.startswith((MEANT, "Done "))]
    print(
        f"{name}: {', '.join(figures[-2:]) or 'did not start'}, {time.monotonic() - began:.0f} s", flush=True
    )
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
    return done.returncode == 0


def fuzz(name: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["kfr"]):
        module = importlib.import_module("tests.fuzz.test_hostile_input")
    corpus = WORK / "corpus" / name
    sow(corpus)
    property_of = getattr(module, name).hypothesis.fuzz_one_input
    tried = [0, 0]

    def try_one(data: bytes) -> None:
        tried[0] += 1
        tried[1] += property_of(data) is not None  # None: the bytes were too few, or drew what has no meaning
        if tried[0] % 500 == 0:
            print(f"{MEANT} {tried[1]} of {tried[0]}", file=sys.stderr, flush=True)

    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", "-len_control=0", "-timeout=30"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={WORK}/", str(corpus)], try_one)
    atheris.Fuzz()


def sow(corpus: Path) -> None:
    """Give a corpus its first inputs, long enough to draw from; those of an earlier run stay."""
    corpus.mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)
    for number in range(SEEDS):
        (corpus / f"seed-{number}").write_bytes(chance.randbytes(chance.randint(1, LONGEST_INPUT)))


if __name__ == "__main__":
    sys.exit(main())
