"""Where a load keeps its sealed files: a folder for each run, and the state that must not be lost.

    <root>/<environment>/<fid>/runs/<run>/…     extracts, batch files: removed when the load is confirmed
    <root>/<environment>/<fid>/rejects/<run>/…  refused rows, for the data steward
    <root>/<environment>/<fid>/state/…          mirror, sends, removals, deliveries, lease

A local file is written to a temporary name, mode 0600, flushed to disk and renamed, so that a crash leaves
the old file or the new one. An object store takes one PUT, which does the same.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from kfr.load.sealing import Buffer, Seal
from kfr.register.errors import Fatal, Retriable
from kfr.relationships.packing import Ints


class StateMissing(Fatal):
    """A file that the load stands on is not there. Never read as "empty": that would remove or re-send."""


class StagingFull(Retriable):
    """The staging place takes no more bytes. Nothing was half written."""


class Place:
    """A folder of sealed files. Names are relative, with `/`; contents are bytes, JSON or int64 arrays."""

    def __init__(self, root: Path, seal: Seal, scope: str) -> None:
        self._folder = root / scope  # an ObjectStoragePath serves as well
        self._seal = seal
        self.scope = scope

    def __repr__(self) -> str:
        return f"Place({self.scope})"

    def write(self, name: str, plain: Buffer | Sequence[Buffer]) -> None:
        """Write a file, given whole or in parts."""
        path = self._folder / name
        parts = [plain] if isinstance(plain, Buffer) else plain
        chunks = self._seal.close_in_chunks(parts, f"{self.scope}/{name}")
        try:
            if isinstance(path, Path):
                _replace(path, chunks)
            else:
                path.write_bytes(b"".join(chunks))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                size = sum(memoryview(part).nbytes for part in parts)
                raise StagingFull(
                    f"No space left for {self.scope}/{name} ({size:,} bytes). "
                    "Free space in the staging place (Variable kfr_staging) and clear this task."
                ) from None
            raise

    def create_json(self, name: str, value: Any) -> bool:
        """Write a file that must not be there yet; False, and nothing written, if it is.

        Of two processes one succeeds. On an object store both may, if they ask within the same moment.
        """
        path = self._folder / name
        if not isinstance(path, Path):
            if absent := not path.exists():
                self.write_json(name, value)
            return absent
        own = f"{name}.{uuid4().hex}.tmp"
        sealed = self._seal.close(_as_json(value), f"{self.scope}/{name}")
        _replace(self._folder / own, [sealed])
        try:
            path.hardlink_to(self._folder / own)
        except FileExistsError:
            return False
        finally:
            self.delete(own)
        return True

    def read(self, name: str) -> bytes:
        return b"".join(self._chunks(name))

    def _chunks(self, name: str) -> Iterator[bytes]:
        try:
            path = self._folder / name
            with path.open("rb") if isinstance(path, Path) else io.BytesIO(path.read_bytes()) as sealed:
                yield from self._seal.open_in_chunks(sealed, f"{self.scope}/{name}")
        except FileNotFoundError:
            raise StateMissing(
                f"{self.scope}/{name} is missing from the staging place (Variable kfr_staging). "
                "If it was moved, put it back; if it belonged to a run that is over, trigger a new run."
            ) from None

    def read_sealed(self, name: str) -> bytes:
        """The bytes as they lie there."""
        sealed: bytes = (self._folder / name).read_bytes()
        return sealed

    def exists(self, name: str) -> bool:
        return (self._folder / name).exists()

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._folder / name).unlink()

    def names(self, folder: str) -> list[str]:
        """The names of the files in a sub-folder, sorted; none if it does not exist."""
        place = self._folder / folder
        if not place.exists():
            return []
        return sorted(f"{folder}/{p.name}" for p in place.iterdir() if not p.name.endswith(".tmp"))

    def leftovers(self) -> list[str]:
        """What writers that were killed left half written, here or below; an object store has none."""
        if not isinstance(self._folder, Path):
            return []
        return sorted(str(path.relative_to(self._folder)) for path in self._folder.rglob(".*.tmp"))

    def files(self, folder: str = "") -> list[str]:
        """The names of all files in a sub-folder and below it, sorted."""
        place = self._folder / folder if folder else self._folder
        if not place.exists():
            return []
        found = []
        for path in place.iterdir():
            name = f"{folder}/{path.name}" if folder else path.name
            found += self.files(name) if path.is_dir() else [name] if not name.endswith(".tmp") else []
        return sorted(found)

    def remove(self, name: str) -> int:
        """Delete a file, or a sub-folder with all that is in it; return how many files there were."""
        path = self._folder / name
        if path.is_dir():
            return _remove_tree(path)
        self.delete(name)
        return 1

    def remove_all(self) -> int:
        """Delete every file of this place; return how many there were."""
        return _remove_tree(self._folder)

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, _as_json(value))

    def read_json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def write_array(self, name: str, array: Ints) -> None:
        values = np.ascontiguousarray(array, np.int64)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(values))
        self.write(name, [header.getvalue(), values.data])

    def read_array(self, name: str) -> Ints:
        chunks = self._chunks(name)
        first = io.BytesIO(next(chunks))
        np.lib.format.read_magic(first)
        shape, _, dtype = np.lib.format.read_array_header_1_0(first)
        array = np.empty(shape, dtype)
        content, filled = array.reshape(-1).view(np.uint8).data, 0
        for chunk in chain([first.read()], chunks):
            content[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        return array


class Staging:
    """The places of one institution in one environment."""

    def __init__(self, root: Path, staging_key: bytes, *, environment: str, fid: str) -> None:
        self._root = root
        self.seal = Seal(staging_key)
        self._base = f"{environment}/{fid}"
        self.everything = Place(root, self.seal, self._base)
        self.state = Place(root, self.seal, f"{self._base}/state")

    def run(self, key: str) -> Place:
        return Place(self._root, self.seal, f"{self._base}/runs/{key}")

    def rejects(self, key: str) -> Place:
        return Place(self._root, self.seal, f"{self._base}/rejects/{key}")

    def fingerprint(self, *parts: Buffer) -> str:
        return self.seal.fingerprint(*parts)


def _as_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


@lru_cache
def run_key(dag_id: str, run_id: str) -> str:
    """A folder name for a run: a run id holds `:` and `+`, and two must never meet in one folder."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", f"{dag_id}-{run_id}")[:80].strip("-")
    return f"{plain}-{hashlib.sha256(f'{dag_id}/{run_id}'.encode()).hexdigest()[:12]}"


def _replace(path: Path, content: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with _directory(path.parent) as folder:
        os.fsync(folder)  # the rename itself must outlive a power cut


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_tree(folder: Path) -> int:
    if not folder.exists():
        return 0
    count = 0
    for path in list(folder.iterdir()):
        if path.is_dir():
            count += _remove_tree(path)
        else:
            path.unlink()
            count += 1
    with contextlib.suppress(OSError, NotImplementedError):
        folder.rmdir()  # an object store has no folders to remove
    return count
