from importlib.metadata import entry_points

from kfr.operators.pool import PoolObserver
from kfr.plugin import KfrPlugin


def test_airflow_finds_the_plugin_by_its_entry_point():
    (found,) = [p for p in entry_points(group="airflow.plugins") if p.value == "kfr.plugin:KfrPlugin"]
    assert found.load() is KfrPlugin


def test_the_plugin_lets_the_scheduler_say_whether_the_pool_exists():
    assert [type(listener) for listener in KfrPlugin.listeners] == [PoolObserver]
