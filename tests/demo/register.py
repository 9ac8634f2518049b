"""The simulated register, as its own pages show it."""

import json
from pathlib import Path
from typing import Any, Self

import httpx

DEFECTS = ("missing", "leftover", "other_start")
TIMEOUT_SECONDS = 60.0


class Register:
    """Follows the register's log; `events` is what has happened there so far."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/simulator", timeout=TIMEOUT_SECONDS, trust_env=False)
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._http.close()

    def read_on(self) -> None:
        log = self._get("/log", since=len(self.events)).text
        self.events += [json.loads(line) for line in log.splitlines()]

    def count(self, kind: str) -> int:
        return sum(event["kind"] == kind for event in self.events)

    def rows(self, kind: str) -> int:
        return sum(int(event["rows"]) for event in self.events if event["kind"] == kind)

    def removals_too_early(self) -> int:
        """How many DELETEs came before the last file was loaded: such a one can come to life again."""
        kinds = [event["kind"] for event in self.events]
        loaded = [number for number, kind in enumerate(kinds) if kind == "file_loaded"]
        return kinds[: loaded[-1] if loaded else None].count("remove_one")

    def save_state(self, path: Path) -> None:
        """Write what the register holds: CSV `customer_id,started_on,ended_on`."""
        path.write_bytes(self._get("/state").content)

    def mails(self) -> list[dict[str, Any]]:
        return list(self._get("/mails").json())

    def spoil(self) -> None:
        """Plant a defect of each kind."""
        for kind in DEFECTS:
            self._http.post("/defects", json={"kind": kind}).raise_for_status()

    def _get(self, path: str, **params: int) -> httpx.Response:
        return self._http.get(path, params=params).raise_for_status()
