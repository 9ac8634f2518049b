"""Every test of a step has an institution in a box, in virtual time; nothing of it is a mock."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.institution import Institution, fast_folder
from tests.unit.load.one_load import OneLoad


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder in memory: state is flushed to disk at every write."""
    with tempfile.TemporaryDirectory(dir=fast_folder(), prefix="kfr-") as name:
        yield Path(name)


@pytest.fixture
def institution(folder: Path) -> Institution:
    return Institution(folder)


@pytest.fixture
def load(institution: Institution) -> OneLoad:
    """A first load of a bank that has no customers yet."""
    return OneLoad(institution)


@pytest.fixture
def loaded(load: OneLoad) -> OneLoad:
    """Thirty customers loaded and proven, and nothing loading any more."""
    load.join(30)
    load.load()
    return load


@pytest.fixture
def began(load: OneLoad) -> OneLoad:
    """The register is taken, and nothing was sent yet."""
    load.acquire()
    return load


@pytest.fixture
def planned(load: OneLoad) -> OneLoad:
    """Thirty customers, planned as one file, nothing sent."""
    load.join(30)
    load.plan()
    return load
