"""What strikes at a touch of the world: a crash, a full disk, a short write, a pause in which others go on.

Every write of state, call over HTTP and mail touches the fuse before and after; a touch names its point.
"""

import errno
import io
import json
import marshal
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import httpx
import numpy as np

from kfr.load.sealing import Seal
from kfr.load.staging import Place, Staging
from kfr.relationships.packing import Ints
from tests.faults.store import MemoryPath

Kind = Literal["crash", "full disk", "short write", "pause"]
NPY_HEADER = 10  # bytes before an array's header: the magic, the version and the length of what follows
SHORT = 20  # bytes that a short write leaves on the disk

OPERATIONS = {"GET": "look_up", "DELETE": "remove_one"}


class Crash(BaseException):
    """The worker is dead. Not an Exception: nothing in the package may catch it."""


@dataclass(eq=False)
class Trap:
    """Strikes at the nth touch of its points from now on, so many times in a row."""

    kind: Kind
    nth: int
    when: Literal["before", "after", ""] = ""
    point: str = ""  # how the point's name begins; "" any
    times: int = 1

    def is_at(self, point: str, when: str) -> bool:
        return when.startswith(self.when) and point.startswith(self.point)


class Fuse:
    """The traps of one institution. Blown by a crash, it stays so until a new worker starts."""

    def __init__(self) -> None:
        self._traps: list[Trap] = []
        self._blown = False
        self.touches = 0
        self.struck: Counter[tuple[str, str]] = Counter()  # by kind and point
        self.pause: Callable[[], None] = lambda: None

    def set(self, touches: int) -> None:
        """Crash at the nth touch, and let nothing else happen."""
        self._traps = [Trap(kind="crash", nth=touches)]

    def add(self, trap: Trap) -> None:
        self._traps.append(trap)

    def disarm(self) -> None:
        self._traps.clear()
        self._blown = False

    def replace(self) -> None:
        """A new worker starts."""
        self._blown = False

    def touch(self, point: str = "", when: str = "before") -> Kind | None:
        """Say that the world is touched; what strikes the touch itself, if the worker survives it."""
        if self._blown:
            raise Crash
        self.touches += 1
        for trap in list(self._traps):
            if trap not in self._traps or not trap.is_at(point, when):  # a pause may have ended others
                continue
            trap.nth -= 1
            if trap.nth > 0:
                continue
            trap.times -= 1
            if trap.times <= 0:
                self._traps.remove(trap)
            self.struck[trap.kind, f"{when} {point}"] += 1
            if trap.kind == "crash":
                self._blown = True
                raise Crash
            if trap.kind == "pause":
                self.pause()
                continue
            return trap.kind
        return None


class HasFuse(Protocol):
    """Whoever's fuse is in force now."""

    fuse: Fuse


def operation_of(method: str, url: str) -> str:
    if url.endswith("/token"):
        return "token"
    if url.endswith("/batch"):
        return "register_file"
    return OPERATIONS.get(method, "register_one")


class FusedTransport(httpx.BaseTransport):
    """Touches before a request leaves and when its answer has come; `seen` is told of both."""

    def __init__(
        self,
        inner: httpx.BaseTransport,
        owner: HasFuse,
        seen: Callable[[str, httpx.Request, httpx.Response | None], None] = lambda *_: None,
    ) -> None:
        self._inner, self._owner, self._seen = inner, owner, seen

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        point = operation_of(request.method, str(request.url))
        self._owner.fuse.touch(point)
        self._seen(point, request, None)
        response = self._inner.handle_request(request)
        self._seen(point, request, response)
        self._owner.fuse.touch(point, "after")
        return response


class _FusedPlace(Place):
    def __init__(self, root: Path, seal, scope: str, fuse: Fuse) -> None:
        super().__init__(root, seal, scope)
        self._fuse, self._root = fuse, root
        self._key = (root / scope).key if isinstance(root, MemoryPath) else ""
        self._kind = "run" if "/runs/" in scope else "state"

    def write(self, name: str, plain: bytes) -> None:
        point = self._point("write", name)
        with _disk(self._root, self._fuse.touch(point)):
            super().write(name, plain)
        self._fuse.touch(point, "after")

    def exists(self, name: str) -> bool:
        if not isinstance(self._root, MemoryPath):
            return super().exists(name)
        return self._root.store.holds(f"{self._key}/{name}")

    def names(self, folder: str) -> list[str]:
        if not isinstance(self._root, MemoryPath):
            return super().names(folder)
        found = self._root.store.folders.get(f"{self._key}/{folder}", ())
        return sorted([f"{folder}/{name}" for name in found if not name.endswith(".tmp")])

    def _chunks(self, name: str) -> Iterator[bytes]:
        if not isinstance(self._root, MemoryPath) or not self.exists(name):
            return super()._chunks(name)
        return iter(_opened(self._seal, (self._folder / name).read_bytes(), f"{self.scope}/{name}"))

    def read_json(self, name: str) -> Any:
        if not isinstance(self._root, MemoryPath) or not self.exists(name):
            return super().read_json(name)
        return marshal.loads(_json(self._seal, (self._folder / name).read_bytes(), f"{self.scope}/{name}"))

    def read_array(self, name: str) -> Ints:
        if not isinstance(self._root, MemoryPath) or not self.exists(name):
            return super().read_array(name)
        return _array(self._seal, (self._folder / name).read_bytes(), f"{self.scope}/{name}").copy()

    def delete(self, name: str) -> None:
        point = self._point("delete", name)
        self._fuse.touch(point)
        super().delete(name)
        self._fuse.touch(point, "after")

    def remove(self, name: str) -> int:
        self._fuse.touch(self._point("remove", name))
        return super().remove(name)

    def _point(self, what: str, name: str) -> str:
        return f"{what} {self._kind} {name.partition('/')[0].partition('.')[0]}"


@lru_cache(maxsize=2000)
def _opened(seal: Seal, sealed: bytes, name: str) -> tuple[bytes, ...]:
    """What was opened once under the same name needs no second opening: a run reads its journal again and again."""
    return tuple(seal.open_in_chunks(io.BytesIO(sealed), name))


@lru_cache(maxsize=2000)
def _json(seal: Seal, sealed: bytes, name: str) -> bytes:
    """The values, marshalled: each reader gets some of its own, and quicker than from JSON."""
    return marshal.dumps(json.loads(b"".join(_opened(seal, sealed, name))))


@lru_cache(maxsize=2000)
def _array(seal: Seal, sealed: bytes, name: str) -> Ints:
    content = b"".join(_opened(seal, sealed, name))
    begin = NPY_HEADER + int.from_bytes(content[8:NPY_HEADER], "little")
    shape, dtype = _header(content[:begin])
    return np.frombuffer(content, dtype, offset=begin).reshape(shape)


@lru_cache
def _header(npy: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type: numpy reads them by parsing Python, which takes longer than all else of a small array."""
    content = io.BytesIO(npy)
    np.lib.format.read_magic(content)
    shape, _, dtype = np.lib.format.read_array_header_1_0(content)
    return shape, dtype


@contextmanager
def _disk(root: Path | MemoryPath, struck: Kind | None) -> Iterator[None]:
    """A disk on which the next write fails: at once, or after some bytes where there is a real file."""
    if struck is None:
        yield
        return
    if isinstance(root, MemoryPath):
        root.store.fails = OSError(errno.ENOSPC, "No space left on device")
        try:
            yield
        finally:
            root.store.fails = None
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SHORT if struck == "short write" else 0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class _FusedStaging(Staging):
    def __init__(self, root: Path, key: bytes, fuse: Fuse, *, environment: str, fid: str) -> None:
        super().__init__(root, key, environment=environment, fid=fid)
        self._fuse = fuse
        self.state = _FusedPlace(root, self.seal, self.state.scope, fuse)
        self.everything = _FusedPlace(root, self.seal, self.everything.scope, fuse)

    def run(self, key: str) -> Place:
        return _FusedPlace(self._root, self.seal, super().run(key).scope, self._fuse)

    def rejects(self, key: str) -> Place:
        return _FusedPlace(self._root, self.seal, super().rejects(key).scope, self._fuse)


@lru_cache(maxsize=8)
def fused_staging(root: Path, key: bytes, fuse: Fuse, *, environment: str, fid: str) -> Staging:
    return _FusedStaging(root, key, fuse, environment=environment, fid=fid)
