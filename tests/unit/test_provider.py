import json
import re
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.resources import files

import jsonschema
import pytest

from kfr.provider import get_provider_info
from kfr.register.settings import EXTRA_FIELDS
from tests.conftest import ROOT


def fields() -> dict:
    return get_provider_info()["connection-types"][0]["conn-fields"]


def test_airflow_s_own_schema_takes_the_description():
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_description_is_found_by_its_entry_point():
    (found,) = entry_points(group="apache_airflow_provider", name="provider_info").select(
        value="kfr.provider:get_provider_info"
    )
    assert found.load() is get_provider_info


def test_every_name_in_the_description_is_a_class_that_is_there():
    from airflow.sdk.module_loading import import_string

    info = get_provider_info()
    hook = import_string(info["connection-types"][0]["hook-class-name"])
    assert hook.conn_type == info["connection-types"][0]["connection-type"]
    for link in info["extra-links"]:
        assert import_string(link).name


def test_the_form_has_the_fields_that_the_connection_takes_and_no_others():
    assert sorted(fields()) == sorted(EXTRA_FIELDS)


def test_the_port_is_asked_for_since_airflow_s_button_does_not_test_a_connection_without_one():
    behaviour = get_provider_info()["connection-types"][0]["ui-field-behaviour"]
    assert "port" not in behaviour["hidden-fields"]
    assert "443" in behaviour["relabeling"]["port"]


@pytest.mark.parametrize("name", ["keystore", "staging_key"])
def test_a_secret_is_typed_into_a_field_that_hides_it(name: str):
    assert fields()[name]["schema"]["format"] == "password"


def test_every_setting_that_is_read_is_described_with_the_same_default():
    options = get_provider_info()["config"]["kfr"]["options"]
    read = {}
    for path in (ROOT / "plugins" / "kfr").rglob("*.py"):
        for name, default in re.findall(
            r'conf\.get\w*\(\s*"kfr",\s*"(\w+)",\s*fallback=([^)\s]+(?: [^)]*?)?)\)', path.read_text()
        ):
            read[name] = default.strip('"')
    assert set(read) == set(options)
    numbers = {
        n: float(d.replace("_", "")) for n, d in read.items() if d.replace(".", "").replace("_", "").isdigit()
    }
    assert numbers == {n: float(options[n]["default"]) for n in numbers}


def test_describing_the_package_loads_nothing_of_airflow_nor_data_libraries():
    program = "import sys, kfr.provider; sys.exit(bool({'airflow', 'pandas', 'pyarrow', 'httpx'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
