"""`make faults N=…`: seeded fault runs of a whole first load in virtual time, every promise checked after each."""

import argparse
import sys
import time

from tests.faults.scenario import play_seed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="the first seed; each run takes the next one")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    began, broken = time.monotonic(), 0
    for seed in range(options.seed, options.seed + options.runs):
        result = play_seed(seed)
        broken += bool(result.problems)
        if options.verbose or result.problems:
            print(result, flush=True)
            if result.problems:
                print("  " + "\n  ".join(result.errors[-6:]), flush=True)
    seconds = time.monotonic() - began
    print(f"{options.runs} fault runs from seed {options.seed} in {seconds:.1f} s: {broken} broke a promise")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
