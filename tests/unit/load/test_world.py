import subprocess
import sys

from kfr.load.world import Run
from tests.simulator import FaultKind
from tests.unit.load.one_load import OneLoad


def test_each_run_has_a_folder_of_its_own_and_all_share_the_state(load: OneLoad):
    one, other = load.world, load.with_run(run_id="another").world
    one.place.write("plan", b"x")
    one.state.write("lease", b"x")
    assert not other.place.exists("plan")
    assert other.state.exists("lease")


def test_a_look_up_has_patience_with_a_passing_fault(load: OneLoad):
    (customer,) = load.join(1)
    load.world.register.register_one(customer)
    load.fault(FaultKind.STATUS, "look_up", times=3, status=503)
    assert load.world.look_up(customer, load.today, load.today)
    assert len(load.calls("look_up")) == 4


def test_a_number_that_the_register_refuses_is_not_there(load: OneLoad):
    assert not load.world.finds(12_345_678_901, load.today, load.today)


def test_a_run_asks_the_guards_and_fills_files_unless_told_otherwise():
    run = Run(dag_id="kfr_initial_load", run_id="manual__1")
    assert (run.approval, run.dry_run, run.as_of, run.scope) == ("auto", False, None, "everyone")
    assert run.max_batch_bytes == 10_000_000


def test_a_load_needs_no_airflow():
    program = (
        "import sys, pkgutil, importlib, kfr.load\n"
        "[importlib.import_module(f'kfr.load.{m.name}') for m in pkgutil.iter_modules(kfr.load.__path__)]\n"
        "sys.exit('airflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
