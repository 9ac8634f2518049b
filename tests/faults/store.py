"""An object store in memory: what the package needs of an `ObjectStoragePath`, without the disk's time."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class MemoryStore:
    """Objects by key, and which names stand in each folder. `fails` is what the next writes raise."""

    objects: dict[str, bytes] = field(default_factory=dict)
    folders: dict[str, set[str]] = field(default_factory=dict)
    fails: OSError | None = None

    def put(self, key: str, content: bytes) -> None:
        if self.fails:
            raise self.fails
        if key not in self.objects:
            name = key
            while name:
                folder, _, last = name.rpartition("/")
                self.folders.setdefault(folder, set()).add(last)
                name = folder
        self.objects[key] = content

    def holds(self, key: str) -> bool:
        """Whether an object or a folder has this key."""
        return key in self.objects or key in self.folders

    def drop(self, key: str) -> None:
        if key not in self.objects:
            raise FileNotFoundError(key)
        del self.objects[key]
        while key:
            folder, _, last = key.rpartition("/")
            self.folders[folder].discard(last)
            if self.folders[folder]:
                return
            del self.folders[folder]
            key = folder


class MemoryPath:
    """A place in the store."""

    __slots__ = ("key", "store")

    def __init__(self, store: MemoryStore, key: str = "") -> None:
        self.store, self.key = store, key

    def __truediv__(self, name: str) -> "MemoryPath":
        return MemoryPath(self.store, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    def write_bytes(self, content: bytes) -> None:
        self.store.put(self.key, content)

    def read_bytes(self) -> bytes:
        try:
            return self.store.objects[self.key]
        except KeyError:
            raise FileNotFoundError(self.key) from None

    def exists(self) -> bool:
        return self.store.holds(self.key)

    def is_dir(self) -> bool:
        return self.key in self.store.folders

    def is_file(self) -> bool:
        return self.key in self.store.objects

    def unlink(self) -> None:
        self.store.drop(self.key)

    def iterdir(self) -> Iterator["MemoryPath"]:
        return iter([self / name for name in self.store.folders.get(self.key, ())])

    def rglob(self, pattern: str) -> Iterator["MemoryPath"]:
        """Every object below; the one pattern that is asked for is `*`."""
        del pattern
        return iter([MemoryPath(self.store, key) for key in self.store.objects if key.startswith(self.key)])

    def rmdir(self) -> None:
        """A store has no folders to remove."""
