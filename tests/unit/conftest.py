from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bank's connections, and the simulator behind them over HTTP and SMTP, in virtual time."""
    from tests.unit.stand import open_stand

    with open_stand(tmp_path, monkeypatch) as stand:
        yield stand
