"""A crash at any instruction that touches the world: the worker dies there, and does nothing afterwards."""

from pathlib import Path
from typing import Protocol

import httpx

from kfr.load.staging import Place, Staging


class Crash(BaseException):
    """The worker is dead. Not an Exception: nothing in the package may catch it."""


class Fuse:
    """Blows at the nth touch of the world from now on, and stays blown until it is replaced."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._blown = False
        self.touches = 0

    def set(self, touches: int) -> None:
        self._left = touches

    def replace(self) -> None:
        """A new worker starts."""
        self._blown = False

    def touch(self) -> None:
        if self._blown:
            raise Crash
        self.touches += 1
        if self._left is None:
            return
        self._left -= 1
        if self._left <= 0:
            self._left, self._blown = None, True
            raise Crash


class HasFuse(Protocol):
    """Whoever's fuse is in force now: it is replaced when its owner gets a new one."""

    fuse: Fuse


class FusedTransport(httpx.BaseTransport):
    """Crashes before a request leaves, or when its answer has come."""

    def __init__(self, inner: httpx.BaseTransport, owner: HasFuse) -> None:
        self._inner, self._owner = inner, owner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._owner.fuse.touch()
        response = self._inner.handle_request(request)
        self._owner.fuse.touch()
        return response


class _FusedPlace(Place):
    def __init__(self, root: Path, seal, scope: str, fuse: Fuse) -> None:
        super().__init__(root, seal, scope)
        self._fuse = fuse

    def write(self, name: str, plain: bytes) -> None:
        self._fuse.touch()
        super().write(name, plain)
        self._fuse.touch()

    def delete(self, name: str) -> None:
        self._fuse.touch()
        super().delete(name)
        self._fuse.touch()

    def remove(self, name: str) -> int:
        self._fuse.touch()
        return super().remove(name)


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


def fused_staging(root: Path, key: bytes, fuse: Fuse, *, environment: str, fid: str) -> Staging:
    return _FusedStaging(root, key, fuse, environment=environment, fid=fid)
