"""One measured job: `python -m bench.jobs NAME JSON`; prints seconds, CPU, peak memory and facts as JSON.

A job module's function of that name takes the arguments and gives the facts. A generator may prepare first: what
comes before its first `yield` is not measured.
"""

import importlib
import inspect
import json
import sys
import time
from typing import Any

from bench.measure import peak_mb


def main(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    module, _, function = name.partition(".")
    made = getattr(importlib.import_module(f"bench.{module}"), function)(**arguments)
    if inspect.isgenerator(made):
        next(made)
    began, cpu = time.perf_counter(), time.process_time()
    if inspect.isgenerator(made):
        facts = next(made, {})
    else:
        raise TypeError(f"{name} must be a generator: it prepares, yields, works and yields its facts")
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": peak_mb(),
        "facts": facts or {},
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
