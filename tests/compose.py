"""What docker-compose.yaml runs beside Airflow: its secrets, its sample warehouse, its settings.

`secrets` needs nothing but Python, since it comes before the image is built.
"""

import json
import os
import secrets
import sys
from base64 import b64encode, urlsafe_b64encode
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests import environment

STAND = Path("/stand/ready.json")  # written by the simulator
STAGING = Path("/airflow/staging")
SEED = 1


def new_secrets() -> dict[str, str]:
    """Return a fresh value for every variable that docker-compose.yaml asks for."""
    names = ("POSTGRES_PASSWORD", "WAREHOUSE_PASSWORD", "AIRFLOW_ADMIN_PASSWORD", "AIRFLOW_SECRET_KEY")
    found = {name: secrets.token_urlsafe(24) for name in names}  # good in a URI as they are
    found["AIRFLOW_JWT_SECRET"] = secrets.token_urlsafe(48)
    found["AIRFLOW_FERNET_KEY"] = urlsafe_b64encode(secrets.token_bytes(32)).decode()
    found["KFR_STAGING_KEY"] = b64encode(secrets.token_bytes(32)).decode()
    return found


def print_secrets() -> None:
    for name, value in new_secrets().items():
        print(f"{name}={value}")


def seed_warehouse() -> None:
    """Fill the warehouse with synthetic agreements, unless it has some."""
    import psycopg2

    from kfr.clock import SystemClock, oslo_today
    from tests.warehouse.generator import generate
    from tests.warehouse.loading import into_postgres

    dsn = os.environ["WAREHOUSE_DSN"]
    with closing(psycopg2.connect(dsn)) as database, database.cursor() as cursor:
        cursor.execute("SELECT to_regclass('agreements')")
        if cursor.fetchone() != (None,):
            return
    generated = generate(int(os.environ["RELATIONSHIPS"]), SEED, oslo_today(SystemClock()))
    into_postgres(generated.agreements, dsn)


def write_settings(folder: Path, stand_file: Path = STAND) -> None:
    """Write what the `init` service imports into Airflow: its environment and the simulator's ready line."""
    stand = environment.Stand.from_ready(
        json.loads(stand_file.read_text()), float(os.environ["ROWS_PER_SECOND"])
    )
    stand = replace(stand, smtp_host=os.environ["SMTP_HOST"], smtp_port=int(os.environ["SMTP_PORT"]))
    warehouse = environment.postgres_warehouse(os.environ["WAREHOUSE_DSN"])
    fields = {"staging_key": os.environ["KFR_STAGING_KEY"]}
    pools = {
        name: {"slots": slots, "description": "", "include_deferred": False}
        for name, slots in environment.POOLS.items()
    }
    folder.mkdir(exist_ok=True)
    for name, content in (
        ("connections.json", environment.connections(stand, warehouse, fields)),
        ("variables.json", environment.variables(STAGING)),
        ("pools.json", pools),
        ("passwords.json", {"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}),
    ):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(json.dumps(content))


if __name__ == "__main__":
    if sys.argv[1:] == ["secrets"]:
        print_secrets()
    elif sys.argv[1:2] == ["settings"]:
        write_settings(Path(sys.argv[2]))
    else:
        seed_warehouse()
