"""What the package costs Airflow while nothing runs."""

import importlib
import importlib.util
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bench.measure import ROOT, peak_mb

HEAVY = ("pandas", "pyarrow", "numpy", "duckdb", "adbc_driver_manager", "adbc_driver_postgresql", "polars")


def dag_files() -> list[str]:
    return sorted(path.name for path in (ROOT / "dags").glob("*.py"))


def dag_file(name: str) -> Generator[dict[str, Any]]:
    """Import a Dag file as the Dag processor does, where Airflow is imported already."""
    import airflow.sdk  # noqa: F401

    before = set(sys.modules)
    spec = importlib.util.spec_from_file_location("parsed", ROOT / "dags" / name)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(name)
    module = importlib.util.module_from_spec(spec)
    yield {}
    spec.loader.exec_module(module)
    new = set(sys.modules) - before
    yield {"modules": len(new), "heavy": sorted(new & set(HEAVY))}


def institutions(*, number: int, folder: str) -> Generator[dict[str, Any]]:
    """Read what the institutions are, as each Dag file does to make its Dags."""
    from kfr.onboarding.institution import institutions

    include = Path(folder) / "include"
    (include / "institutions").mkdir(parents=True, exist_ok=True)
    said = (ROOT / "include" / "institution.yaml").read_text(encoding="utf-8")
    names = ["institution", *(f"institutions/bank_{other}" for other in range(number - 1))]
    for name in names:
        (include / f"{name}.yaml").write_text(said, encoding="utf-8")
    yield {}
    yield {"institutions": len(institutions(include))}


def plugin() -> Generator[dict[str, Any]]:
    """What every Airflow process loads: the plugin, and the provider's description."""
    import airflow.sdk  # noqa: F401

    memory, before = peak_mb(), set(sys.modules)
    yield {}
    importlib.import_module("kfr.plugin")
    importlib.import_module("kfr.provider").get_provider_info()
    yield {"mb": peak_mb() - memory, "heavy": sorted((set(sys.modules) - before) & set(HEAVY))}
