"""`make fuzz`: the properties of what is hostile, with inputs that atheris bends towards new code.

Each target has a process of its own, since atheris ends the one that it runs in. What was found once is tried first:
inputs that reached new code lie in `.fuzz/`, by target, and an input that broke a property in hypothesis' own folder,
so that pytest shows it again.
"""

import argparse
import subprocess
import sys
from importlib import import_module
from pathlib import Path

FOLDER = Path(".fuzz")
TOOLS = FOLDER / "tools"
RATE_PREFIX = "stat::number_of_executed_units:"

TARGETS = {
    "identifiers": "tests.unit.relationships.test_identifiers:test_a_column_is_judged_as_each_of_its_rows_by_the_rules",
    "batch_files": "tests.unit.relationships.test_batch_file:test_the_files_hold_everything_once_in_order_and_none_is_too_large",
    "columns": "tests.fuzz.test_columns:test_a_column_of_dates_keeps_every_day_or_is_refused_without_a_value",
    "dates": "tests.fuzz.test_columns:test_what_a_driver_gives_as_dates_is_kept_or_refused_without_a_value",
    "register": "tests.fuzz.test_answers:test_no_answer_of_a_register_ends_in_an_undocumented_error_or_in_one_that_quotes",
    "maskinporten": "tests.fuzz.test_answers:test_no_answer_of_maskinporten_ends_in_an_undocumented_error_or_in_one_that_quotes",
    "connections": "tests.fuzz.test_connection:test_a_connection_gives_settings_that_can_be_used_or_a_configuration_error_without_a_secret",
    "keystores": "tests.fuzz.test_connection:test_no_bytes_of_a_keystore_end_in_another_error_than_the_documented_one",
    "certificates": "tests.fuzz.test_connection:test_no_certificate_within_a_keystore_ends_in_another_error_than_the_documented_one",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.here:
        _drive(options.targets[0], options.seconds)
    broken = [name for name in options.targets or TARGETS if not _run(name, options.seconds)]
    print(f"Broken: {', '.join(broken)}" if broken else "No property was broken.")
    return 1 if broken else 0


def _run(name: str, seconds: int) -> bool:
    """Drive one target in a process of its own, and say how it went."""
    log = FOLDER / f"{name}.log"
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds), "--here"]
    FOLDER.mkdir(exist_ok=True)
    with log.open("w") as lines:
        status = subprocess.run(command, stdout=lines, stderr=subprocess.STDOUT, check=False).returncode
    count = [line for line in log.read_text(errors="replace").splitlines() if line.startswith(RATE_PREFIX)]
    tried = count[-1].removeprefix(RATE_PREFIX).strip() if count else "?"
    print(f"{name}: {tried} inputs in {seconds} s: {f'BROKEN, see {log}' if status else 'holds'}", flush=True)
    return status == 0


def _drive(name: str, seconds: int) -> None:
    """Give the process to atheris, which ends it."""
    sys.path.insert(0, str(TOOLS))
    import atheris

    with atheris.instrument_imports(include=["kfr"]):
        module, test = TARGETS[name].split(":")
        fuzz_one_input = getattr(import_module(module), test).hypothesis.fuzz_one_input
    corpus = FOLDER / "inputs" / name
    corpus.mkdir(parents=True, exist_ok=True)
    flags = (f"-max_total_time={seconds}", "-print_final_stats=1", f"-artifact_prefix={FOLDER}/{name}-")
    atheris.Setup([sys.argv[0], *flags, str(corpus)], fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
