"""The environment in which Airflow finds the simulated world, for the demo, `make ui` and the system tests.

Only the standard library is imported at the top: a system test needs it before Airflow is imported.
"""

import json
import secrets
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
POOLS = {"kfr_register": 1}  # one slot, held for the moment in which the lease is taken or given back
SENSITIVE_FIELDS = "keystore,staging_key"  # fields of the connection that Airflow does not mask by itself
MAIL_FROM = "kfr@bank.example"
MAIL_TO_BITS = "dsop@bits.example"
MAIL_TO_ONCALL = "oncall@bank.example"

Connection = dict[str, Any]  # in the form of Airflow's JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A running simulator: where it listens, and what a client needs to get in.

    `url` is that of its own pages (`/simulator/…`), `base_url` the register's, `issuer` Maskinporten's.
    """

    pid: int
    url: str
    base_url: str
    issuer: str
    fid: str
    client_id: str
    keystore: str
    keystore_password: str = field(repr=False)
    smtp_host: str = "127.0.0.1"
    smtp_port: int
    rows_per_second: float

    @classmethod
    def from_ready(cls, ready: Mapping[str, Any], rows_per_second: float) -> Self:
        """Read the line that `python -m tests.simulator` prints when it is ready."""
        return cls(
            **{
                name: ready[name]
                for name in ("pid", "url", "base_url", "issuer", "fid", "client_id", "keystore")
            },
            keystore_password=Path(ready["keystore_password_file"]).read_text(),
            smtp_port=ready["smtp_port"],
            rows_per_second=rows_per_second,
        )


@contextmanager
def simulator(folder: Path, *, rows_per_second: float, max_seconds: float = 3600) -> Iterator[Stand]:
    """Run the simulator as a process, with its keystore in `folder`; RuntimeError if it does not start."""
    from tests.system.guard import Guard

    command = [sys.executable, "-m", "tests.simulator", "--keystore-out", str(folder)]
    command += ["--rows-per-second", str(rows_per_second), "--max-seconds", str(max_seconds)]
    with (
        Guard(max_seconds) as guard,
        guard.start(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"the simulator ended with {process.wait()}")
            yield Stand.from_ready(json.loads(line), rows_per_second)
        finally:
            guard.end(process)


def duckdb_warehouse(database: Path) -> Connection:
    return {"conn_type": "duckdb", "host": str(database)}


def postgres_warehouse(dsn: str) -> Connection:
    """A plain PostgreSQL connection for a URI like `postgresql://user:password@host:5432/database`."""
    parts = urlsplit(dsn)
    return {
        "conn_type": "postgres",
        "host": parts.hostname,
        "port": parts.port,
        "login": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "schema": parts.path.lstrip("/"),
    }


def adbc_warehouse(dsn: str) -> Connection:
    """The same database by ADBC.

    `AdbcHook` would write the extra fields into the URI, where libpq refuses them: so the URI is given whole.
    """
    extra = {"driver": "adbc_driver_postgresql", "dialect": "postgresql", "db_kwargs": {"uri": dsn}}
    return {**postgres_warehouse(dsn), "conn_type": "adbc", "extra": extra}


def connections(
    stand: Stand, warehouse: Connection, fields: Mapping[str, Any] | None = None
) -> dict[str, Connection]:
    """Return the three connections of a load; `fields` are more fields of the connection to the register."""
    extra = {
        "environment": "test",
        "fid": stand.fid,
        "keystore": stand.keystore,
        "maskinporten_issuer": stand.issuer,
        "staging_key": b64encode(secrets.token_bytes(32)).decode(),
        "rows_per_second": stand.rows_per_second,
        "requests_per_second": 200,  # the real register is asked ten times more gently
    }
    return {
        "kfr_default": {
            "conn_type": "kfr",
            "host": stand.base_url,
            "port": 443,
            "login": stand.client_id,
            "password": stand.keystore_password,
            "extra": {**extra, **(fields or {})},
        },
        "kfr_warehouse": warehouse,
        "smtp_default": {
            "conn_type": "smtp",
            "host": stand.smtp_host,
            "port": stand.smtp_port,
            "extra": {"disable_tls": True, "disable_ssl": True, "from_email": MAIL_FROM},
        },
    }


def variables(staging: Path) -> dict[str, str]:
    return {
        "kfr_mail_to": MAIL_TO_BITS,
        "kfr_oncall_mail": MAIL_TO_ONCALL,
        "kfr_staging": staging.absolute().as_uri(),
    }


def environment(
    *,
    stand: Stand,
    warehouse: Connection,
    staging: Path,
    fields: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Return the environment variables of a process in which Airflow shall find all this.

    `fields` are more fields of the connection to the register, `options` those of Airflow's section `[kfr]`.
    Each call makes a new staging key: keep the result for as long as the staging folder.
    """
    found = {"AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES": SENSITIVE_FIELDS}
    for name, connection in connections(stand, warehouse, fields).items():
        found[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(connection)
    for name, value in variables(staging).items():
        found[f"AIRFLOW_VAR_{name.upper()}"] = value
    for name, value in (options or {}).items():
        found[f"AIRFLOW__KFR__{name.upper()}"] = str(value)
    return found


def create_pools() -> None:
    """Make the pools in the metadata database of this process's Airflow (`dag.test()`)."""
    from airflow.models.pool import Pool

    for name, slots in POOLS.items():
        Pool.create_or_update_pool(name, slots=slots, description="", include_deferred=False)
