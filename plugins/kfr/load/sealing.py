"""Everything at rest is sealed: AES-256-GCM under the institution's staging key, bound to its own name.

A sealed file is `KFR1`, a salt of 32 bytes, then chunks. Each file has a key of its own (HKDF over the
salt); the nonce is the chunk's number with a mark on the last one, so a file cut short, reordered or moved
to another name does not open.
"""

import hashlib
import hmac
import io
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kfr.register.errors import Fatal

Buffer = bytes | bytearray | memoryview

MAGIC = b"KFR1"
SALT_BYTES = 32
CHUNK_BYTES = 1 << 20
TAG_BYTES = 16


class StateDamaged(Fatal):
    """A sealed file does not open: another key, another name, or bytes that changed."""


class Seal:
    """Seal, open and fingerprint under keys derived from `staging_key` (32 bytes)."""

    def __init__(self, staging_key: bytes) -> None:
        self._key = staging_key
        self._fingerprint_key = _derive(staging_key, b"", b"kfr fingerprint")

    def close(self, plain: Buffer, name: str) -> bytes:
        """Seal `plain` under the associated name."""
        return b"".join(self.close_in_chunks([plain], name))

    def close_in_chunks(self, parts: Sequence[Buffer], name: str) -> Iterator[bytes]:
        """Seal the parts, one after another, as one file; a chunk at a time, so that nothing is held twice."""
        salt = os.urandom(SALT_BYTES)
        cipher = AESGCM(_derive(self._key, salt, b"kfr seal"))
        yield MAGIC + salt
        chunks = _chunks([memoryview(part).cast("B") for part in parts if memoryview(part).nbytes])
        number, chunk = 0, next(chunks, b"")
        while True:
            following = next(chunks, None)
            yield cipher.encrypt(_nonce(number, following is None), chunk, name.encode())
            if following is None:
                return
            number, chunk = number + 1, following

    def open(self, sealed: bytes, name: str) -> bytes:
        """Open what `close` made for the same name; StateDamaged otherwise."""
        return b"".join(self.open_in_chunks(io.BytesIO(sealed), name))

    def open_in_chunks(self, sealed: BinaryIO, name: str) -> Iterator[bytes]:
        """Open a sealed file a chunk at a time. Only when the last one has come is it known to be whole."""
        head = sealed.read(len(MAGIC) + SALT_BYTES)
        chunk = sealed.read(CHUNK_BYTES + TAG_BYTES)
        if head[: len(MAGIC)] != MAGIC or len(chunk) < TAG_BYTES:
            raise StateDamaged(f"{name}: not a file that this package sealed, or cut short.")
        cipher = AESGCM(_derive(self._key, head[len(MAGIC) :], b"kfr seal"))
        number = 0
        while chunk:
            following = sealed.read(CHUNK_BYTES + TAG_BYTES)
            try:
                plain = cipher.decrypt(_nonce(number, not following), chunk, name.encode())
            except InvalidTag:
                raise StateDamaged(
                    f"{name}: does not open. Either `staging_key` of the connection is not the key that it was "
                    "written with, or the file was changed, cut short or moved. Restore the key or the file."
                ) from None
            yield plain
            number, chunk = number + 1, following

    def fingerprint(self, *parts: Buffer) -> str:
        """HMAC-SHA256 as hex. A plain hash of few identifiers could be guessed; this needs the key."""
        code = hmac.new(self._fingerprint_key, digestmod=hashlib.sha256)
        for part in parts:
            code.update(memoryview(part).nbytes.to_bytes(8, "big"))
            code.update(part)
        return code.hexdigest()


def _chunks(parts: Sequence[memoryview]) -> Iterator[Buffer]:
    """Pieces of CHUNK_BYTES of the parts as one, the last one shorter; only what crosses a border is copied."""
    begun = bytearray()
    for part in parts:
        at = 0
        if begun:
            at = CHUNK_BYTES - len(begun)
            begun += part[:at]
            if len(begun) < CHUNK_BYTES:
                continue
            yield begun
            begun = bytearray()
        whole = at + max(len(part) - at, 0) // CHUNK_BYTES * CHUNK_BYTES
        for start in range(at, whole, CHUNK_BYTES):
            yield part[start : start + CHUNK_BYTES]
        begun += part[whole:]
    if begun:
        yield begun


def _derive(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=purpose).derive(key)


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")
