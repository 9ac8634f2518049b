from typing import Any

import pytest

from kfr.operators.pool import SEEN, require_pool
from kfr.register.errors import ConfigurationError
from tests.unit.stand import Stand, Store


def context(stand: Stand, **seen: Any) -> dict[str, Any]:
    stand.store = Store(seen)
    return stand.context()


def test_one_slot_is_what_a_load_needs(stand: Stand):
    require_pool(context(stand, **{SEEN: 1}))


@pytest.mark.parametrize(("slots", "said"), [(0, "is missing"), (2, "has 2 slots")])
def test_any_other_pool_is_refused_with_the_command_that_makes_it(stand: Stand, slots: int, said: str):
    with pytest.raises(ConfigurationError, match=rf"{said}.*airflow pools set kfr_register 1"):
        require_pool(context(stand, **{SEEN: slots}))


def test_a_scheduler_without_the_plugin_is_told_from_a_missing_pool(stand: Stand):
    with pytest.raises(ConfigurationError, match="without this package's plugin"):
        require_pool(context(stand))


def test_a_run_without_a_scheduler_minds_no_pool(stand: Stand):
    local = context(stand)
    local["dag_run"].triggering_user_name = "dag_test"
    require_pool(local)
