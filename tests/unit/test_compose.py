"""docker-compose.yaml, read by a real compose parser and checked by the specification; no engine is needed."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from compose_spec import PyCompose

from kfr.register.settings import Settings
from tests import compose, environment, postgres
from tests.simulator import __main__ as simulator
from tests.system import airflow_processes, ui

FILE = environment.ROOT / "docker-compose.yaml"
TEXT = FILE.read_text()
ONE_SHOT = {"init", "warehouse-seed"}
# What `make ui` sets and this file does not, with the reason.
ONLY_ON_ONE_MACHINE = {
    "AIRFLOW_HOME": "the image's",
    "AIRFLOW__API__HOST": "on the command line",
    "AIRFLOW__API__PORT": "on the command line",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "tests wait for it",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "tests wait for it",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "tests wait for it",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "tests share few cores",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "tests share few cores",
    "PYTHONUNBUFFERED": "the image's",
}
OF_THE_MACHINE = re.compile(r"_(FOLDER|FILE|KEY|SECRET|ALCHEMY_CONN)$|__KFR__")  # a value of its own on each
AIRFLOW = {"init", "api-server", "scheduler", "dag-processor", "triggerer"}


def run_compose(values: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What podman-compose makes of the file: variables put in, anchors merged, dependencies resolved."""
    command = [sys.executable, "-m", "podman_compose", "--dry-run", "-f", str(FILE), "config"]
    told = {"PATH": os.defpath, "PYTHONPATH": "", **values}
    return subprocess.run(command, env=told, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def values() -> dict[str, str]:
    return compose.new_secrets()


@pytest.fixture(scope="module")
def project(values) -> dict[str, Any]:
    """The whole file with its variables; PyCompose refuses what the compose specification does not know."""
    read = run_compose(values)
    assert read.returncode == 0, read.stderr
    return PyCompose.from_yaml(read.stdout).to_dict()


@pytest.fixture(scope="module")
def services(project) -> dict[str, Any]:
    return project["services"]


def test_everything_of_an_installation_is_there(services):
    assert set(services) == AIRFLOW | ONE_SHOT | {"postgres", "warehouse", "simulator", "mail"}


def test_the_secrets_that_are_made_are_those_that_are_asked_for(values):
    assert set(re.findall(r"\$\{(\w+):\?", TEXT)) == set(values)


@pytest.mark.parametrize("name", sorted(compose.new_secrets()))
def test_without_a_secret_nothing_starts_and_the_message_says_where_to_get_one(values, name):
    read = run_compose({key: value for key, value in values.items() if key != name})
    assert read.returncode != 0
    assert "see the head of docker-compose.yaml" in read.stderr


def test_no_secret_stands_in_the_file_and_none_gets_into_the_image():
    assigned = re.findall(r"(?:PASSWORD|SECRET|SECRET_KEY|FERNET_KEY|STAGING_KEY): (.+)", TEXT)
    assert assigned
    assert all(value.startswith("${") for value in assigned)
    assert re.findall(r"://\w+:(?!\$\{)[^/@\s]+@", TEXT) == []
    assert ".env" in (environment.ROOT / ".dockerignore").read_text().splitlines()


def test_every_service_that_stays_has_a_health_check_and_the_others_end(services):
    unchecked = {name for name, service in services.items() if "healthcheck" not in service}
    assert unchecked == ONE_SHOT
    assert services["init"]["restart"] == "no"


def test_a_service_waits_until_what_it_needs_is_healthy_or_done(services):
    waits = {
        (name, needed): rule["condition"]
        for name, service in services.items()
        for needed, rule in service.get("depends_on", {}).items()
    }
    for (_, needed), condition in waits.items():
        ends = needed in ONE_SHOT
        assert condition == ("service_completed_successfully" if ends else "service_healthy")
    assert {needed for name, needed in waits if name == "init"} == {
        "postgres", "simulator", "mail", "warehouse-seed",
    }  # fmt: skip
    assert all((name, "init") in waits for name in AIRFLOW - {"init"})


def test_nothing_is_published_beyond_this_machine(services):
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


def test_airflow_shares_the_network_of_the_simulator_where_plain_http_is_allowed(services):
    assert {services[name]["network_mode"] for name in AIRFLOW} == {"service:simulator"}


def test_volumes_that_are_mounted_are_declared(project, services):
    mounted = {volume.split(":")[0] for one in services.values() for volume in one.get("volumes", [])}
    assert mounted == set(project["volumes"])


def test_images_of_others_are_pinned(services):
    others = {service["image"] for service in services.values() if "build" not in service}
    assert all(re.fullmatch(r"[\w/]+:v?\d[\w.]*", image) for image in others), others


def test_the_simulator_understands_its_command_line(services):
    *_, script = services["simulator"]["command"]
    words = script.split(" > ")[0].split()
    assert words[:4] == ["exec", "python", "-m", "tests.simulator"]
    options = simulator._parse(words[4:])
    assert (options.port, options.keystore_out) == (8089, compose.STAND.parent)
    assert script.endswith(f" > {compose.STAND}")
    assert options.rows_per_second == float(services["init"]["environment"]["ROWS_PER_SECOND"])


def test_the_settings_that_init_imports_are_accepted_by_the_package(tmp_path, monkeypatch, values, services):
    with environment.simulator(tmp_path, rows_per_second=2500, max_seconds=60) as stand:
        given = services["init"]["environment"]
        for name in ("SMTP_HOST", "SMTP_PORT", "WAREHOUSE_DSN", "ROWS_PER_SECOND", *values):
            monkeypatch.setenv(name, str(given.get(name, values.get(name))))
        ready = tmp_path / "ready.json"
        (tmp_path / "password").write_text(stand.keystore_password)
        fields = ("pid", "url", "base_url", "issuer", "fid", "client_id", "keystore", "smtp_port")
        line = {name: getattr(stand, name) for name in fields}
        ready.write_text(json.dumps({**line, "keystore_password_file": str(tmp_path / "password")}))
        compose.write_settings(tmp_path / "settings", ready)
    made = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "settings").iterdir()}
    register = made["connections"]["kfr_default"]
    settings = Settings.from_fields(
        host=register["host"], login=register["login"], password=register["password"], extra=register["extra"]
    )
    assert settings.rows_per_second == 2500
    assert made["connections"]["kfr_warehouse"]["password"] == values["WAREHOUSE_PASSWORD"]
    assert made["connections"]["smtp_default"]["host"] in services
    assert made["pools"]["kfr_register"]["slots"] == 1
    assert made["passwords"] == {"admin": values["AIRFLOW_ADMIN_PASSWORD"]}
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "settings").iterdir()} == {0}


def test_the_sample_warehouse_is_filled_once(monkeypatch):
    import psycopg2

    monkeypatch.setenv("RELATIONSHIPS", "300")
    with postgres.running() as server:
        monkeypatch.setenv("WAREHOUSE_DSN", server.create_database("warehouse"))
        compose.seed_warehouse()
        database = psycopg2.connect(os.environ["WAREHOUSE_DSN"])
        with database, database.cursor() as cursor:
            cursor.execute("DELETE FROM agreements WHERE ctid NOT IN (SELECT ctid FROM agreements LIMIT 7)")
        compose.seed_warehouse()
        with database, database.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM agreements")
            assert cursor.fetchone() == (7,)
        database.close()


def test_the_parts_of_airflow_are_those_of_make_ui_with_the_same_commands(services):
    parts = {name: services[name]["command"][1:] for name in AIRFLOW - {"init"}}
    assert all(services[name]["command"][0] == "airflow" for name in parts)
    address = ["--host", "0.0.0.0", "--port", "8080"]  # in a network of its own
    wanted = {
        part: [part, *airflow_processes.ARGUMENTS.get(part, [])] for part in airflow_processes.COMPONENTS
    }
    wanted["api-server"] += address
    assert parts == wanted


def test_airflow_is_set_up_as_in_make_ui(services, tmp_path):
    """Connections, variables and pools need no look: both have them from `tests.environment`."""
    own = airflow_processes._settings(tmp_path, tmp_path, tmp_path, "", "http://127.0.0.1:8080")
    told = {"AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES": environment.SENSITIVE_FIELDS}
    told |= {f"AIRFLOW__KFR__{name.upper()}": "" for name in ui.OPTIONS}
    here = {n: str(v) for n, v in services["scheduler"]["environment"].items()}
    there = own | told
    assert {name for name in here if name not in there} == set()
    missing = {n for n in there if n not in here and not n.startswith("AIRFLOW__KFR__")}
    assert missing == set(ONLY_ON_ONE_MACHINE)
    fixed = [name for name in here if not OF_THE_MACHINE.search(name)]
    assert len(fixed) >= 9
    differ = {n: (here[n], there[n]) for n in fixed if here[n].lower() != there[n].lower()}
    assert differ == {}
