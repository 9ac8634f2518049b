import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.load.sealing import StateDamaged
from kfr.load.staging import Place, Staging, StagingFull, StateMissing, run_key
from tests.conftest import ROOT

KEY = bytes(range(32))
FID = "312345676"


@pytest.fixture
def staging(folder: Path) -> Staging:
    return Staging(folder, KEY, environment="test", fid=FID)


@pytest.fixture
def place(staging: Staging) -> Place:
    return staging.state


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_written_is_read_as_it_was(place: Place):
    place.write("bytes", b"some bytes")
    place.write_json("facts", {"version": 3, "who": "312345676"})
    place.write_array("rows/one", np.array([3, 1, 2], np.int64))
    assert place.read("bytes") == b"some bytes"
    assert place.read_json("facts") == {"version": 3, "who": "312345676"}
    assert place.read_array("rows/one").tolist() == [3, 1, 2]
    assert place.read_array("rows/one").dtype == np.int64


def test_an_institution_has_a_place_of_its_own_in_each_environment(folder: Path, staging: Staging):
    staging.state.write("lease", b"a")
    staging.run("one-run").write("plan", b"b")
    assert {str(path.relative_to(folder)) for path in files_of(folder)} == {
        f"test/{FID}/state/lease",
        f"test/{FID}/runs/one-run/plan",
    }


def test_only_the_owner_reads_a_file_and_its_folder(folder: Path, place: Place):
    old = os.umask(0)
    try:
        place.write("rows/one", b"x")
    finally:
        os.umask(old)
    (path,) = files_of(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_lies_there_in_clear(folder: Path, place: Place):
    place.write_array("rows/one", np.array([17_912_345_678], np.int64))
    (path,) = files_of(folder)
    raw = np.array([17_912_345_678], np.int64).tobytes()
    assert raw not in path.read_bytes()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_old_file_and_says_what_to_free(
    code: int, folder: Path, place: Place, monkeypatch: pytest.MonkeyPatch
):
    place.write("mirror", b"the old one")

    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)  # where a file system that allocates late says so
    with pytest.raises(StagingFull, match=r"Free space.*kfr_staging.*clear"):
        place.write("mirror", b"the new one")
    assert place.read("mirror") == b"the old one"
    assert len(files_of(folder)) == 1  # the half file is gone, or the disk would stay full


def test_a_worker_that_dies_while_it_writes_leaves_the_old_file_or_the_new_one(folder: Path, place: Place):
    place.write("mirror", b"0" * 2_000_000)
    program = (
        "import sys; from pathlib import Path; from kfr.load.staging import Staging\n"
        f"place = Staging(Path(sys.argv[1]), bytes(range(32)), environment='test', fid='{FID}').state\n"
        "print('ready', flush=True)\n"
        "while True:\n    for digit in b'12': place.write('mirror', bytes([digit]) * 2_000_000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, cwd=ROOT
    ) as writer:
        assert writer.stdout
        assert writer.stdout.readline()
        time.sleep(0.1)
        writer.send_signal(signal.SIGKILL)
    found = place.read("mirror")
    assert found in {bytes([digit]) * 2_000_000 for digit in b"012"}


def test_what_a_dead_worker_left_half_written_is_no_file_of_the_place(folder: Path, place: Place):
    place.write("sends/one", b"x")
    (folder / place.scope / "sends" / ".two.0123.tmp").write_bytes(b"half")
    assert place.names("sends") == ["sends/one"]


def test_a_missing_file_is_an_error_and_never_empty(place: Place):
    for read in (place.read, place.read_json, place.read_array):
        with pytest.raises(StateMissing, match=rf"test/{FID}/state/mirror is missing.*put it back"):
            read("mirror")


def test_a_file_moved_to_another_name_or_institution_does_not_open(folder: Path, place: Place):
    place.write("mirrors/1", b"x")
    (folder / place.scope / "mirrors/1").rename(folder / place.scope / "mirrors/2")
    with pytest.raises(StateDamaged):
        place.read("mirrors/2")
    other = Staging(folder, KEY, environment="production", fid=FID).state
    other.write("mirrors/2", b"y")
    (folder / place.scope / "mirrors/2").replace(folder / other.scope / "mirrors/2")
    with pytest.raises(StateDamaged):
        other.read("mirrors/2")


def test_names_are_those_of_one_folder_in_order_and_none_where_there_is_no_folder(place: Place):
    for name in ("sends/b", "sends/a", "rows/a"):
        place.write(name, b"x")
    assert place.names("sends") == ["sends/a", "sends/b"]
    assert place.names("nothing") == []


def test_deleting_twice_is_deleting_once(place: Place):
    place.write("takeover", b"x")
    place.delete("takeover")
    place.delete("takeover")
    assert not place.exists("takeover")


def test_a_run_s_files_are_removed_and_the_state_stays(folder: Path, staging: Staging):
    run = staging.run("one-run")
    for name in ("plan", "files/0001", "files/0002"):
        run.write(name, b"x")
    staging.run("another-run").write("plan", b"x")
    staging.state.write("mirror", b"x")
    assert run.remove_all() == 3
    assert run.remove_all() == 0
    assert {path.name for path in files_of(folder)} == {"plan", "mirror"}


def test_a_file_moved_to_another_run_does_not_open(folder: Path, staging: Staging):
    one, other = staging.run("one-run"), staging.run("another-run")
    for run in (one, other):
        run.write("files/0001", b"x")
    (folder / one.scope / "files/0001").replace(folder / other.scope / "files/0001")
    with pytest.raises(StateDamaged):
        other.read("files/0001")


def test_everything_of_an_institution_opens_from_one_place_too(staging: Staging):
    staging.state.write("mirrors/1", b"mirror")
    staging.run("one-run").write("files/0001", b"file")
    staging.rejects("one-run").write("extract", b"rejects")
    names = ["rejects/one-run/extract", "runs/one-run/files/0001", "state/mirrors/1"]
    assert staging.everything.files() == names
    assert [staging.everything.read(name) for name in names] == [b"rejects", b"file", b"mirror"]
    assert staging.everything.files("nothing") == []


def test_a_file_or_a_folder_is_removed_and_counted(staging: Staging):
    for name in ("files/0001", "files/0002", "plan"):
        staging.run("one-run").write(name, b"x")
    assert staging.everything.remove("runs/one-run/plan") == 1
    assert staging.everything.remove("runs/one-run") == 2
    assert staging.everything.files() == []


def test_leftovers_of_killed_writers_are_found_and_no_others(folder: Path, staging: Staging):
    staging.state.write("sends/one", b"x")
    (folder / staging.state.scope / "sends" / ".two.0123.tmp").write_bytes(b"half")
    assert staging.everything.leftovers() == ["state/sends/.two.0123.tmp"]
    assert staging.everything.files() == ["state/sends/one"]


def test_an_object_store_has_the_same_files(staging: Staging):
    from airflow.sdk import ObjectStoragePath

    remote = Staging(ObjectStoragePath("memory://kfr"), KEY, environment="test", fid=FID)  # type: ignore[arg-type]
    remote.state.write("mirrors/1", b"mirror")
    remote.run("one-run").write("files/0001", b"file")
    assert remote.everything.files() == ["runs/one-run/files/0001", "state/mirrors/1"]
    assert remote.everything.names("runs") == ["runs/one-run"]
    assert remote.everything.leftovers() == []
    assert remote.everything.remove("runs/one-run") == 1
    assert remote.everything.files() == ["state/mirrors/1"]
    remote.everything.remove("state/mirrors/1")


RUN_IDS = st.text(st.sampled_from("ab:+-_.T0"), min_size=1, max_size=12)


@given(RUN_IDS, RUN_IDS)
def test_two_runs_never_meet_in_one_folder(one: str, other: str):
    assert (run_key("kfr_periodic_load", one) == run_key("kfr_periodic_load", other)) == (one == other)


@pytest.mark.parametrize(
    "run_id", ["scheduled__2026-11-23T00:00:00+00:00", "../../etc", "a/b\\c", "x" * 500, "æøå"]
)
def test_a_run_s_folder_is_a_plain_short_name(run_id: str):
    key = run_key("kfr_initial_load", run_id)
    assert len(key) <= 93
    assert all(c.isascii() and (c.isalnum() or c == "-") for c in key)


def test_a_place_shows_neither_key_nor_root_when_it_is_printed(folder: Path, staging: Staging):
    shown: list[Any] = [staging.state, staging.run("one-run")]
    assert str(folder) not in repr(shown)
    assert repr(staging.state) == f"Place(test/{FID}/state)"


def test_a_file_is_created_once_by_whoever_is_first(folder: Path, place: Place):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: place.create_json("alerts/load", {"by": number}), range(32)))
    assert created.count(True) == 1
    assert place.read_json("alerts/load") == {"by": created.index(True)}
    assert len(files_of(folder)) == 1


def test_on_an_object_store_a_file_that_is_there_is_not_created_either():
    from kfr.hooks.kfr import staging_root
    from kfr.load.sealing import Seal

    place = Place(staging_root("memory://kfr/created"), Seal(bytes(32)), "test/312345676/state")
    assert [place.create_json("alerts/load", 1), place.create_json("alerts/load", 2)] == [True, False]
    assert place.read_json("alerts/load") == 1
    place.remove_all()


def test_a_file_that_is_there_is_not_created(place: Place):
    place.write_json("alerts/load", 1)
    assert not place.create_json("alerts/load", 2)
    assert place.read_json("alerts/load") == 1
