"""Everything at rest is sealed: AES-256-GCM under the institution's staging key, bound to its own name.

A sealed file is `KFR1`, a salt of 32 bytes, then chunks. Each file has a key of its own (HKDF over the
salt); the nonce is the chunk's number with a mark on the last one, so a file cut short, reordered or moved
to another name does not open.
"""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kfr.register.errors import Fatal

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

    def close(self, plain: bytes, name: str) -> bytes:
        """Seal `plain` under the associated name."""
        salt = os.urandom(SALT_BYTES)
        cipher = AESGCM(_derive(self._key, salt, b"kfr seal"))
        starts = range(0, max(len(plain), 1), CHUNK_BYTES)
        chunks = [
            cipher.encrypt(_nonce(i, i == len(starts) - 1), plain[at : at + CHUNK_BYTES], name.encode())
            for i, at in enumerate(starts)
        ]
        return b"".join([MAGIC, salt, *chunks])

    def open(self, sealed: bytes, name: str) -> bytes:
        """Open what `close` made for the same name; StateDamaged otherwise."""
        head = len(MAGIC) + SALT_BYTES
        if sealed[: len(MAGIC)] != MAGIC or len(sealed) < head + TAG_BYTES:
            raise StateDamaged(f"{name}: not a file that this package sealed, or cut short.")
        cipher = AESGCM(_derive(self._key, sealed[len(MAGIC) : head], b"kfr seal"))
        starts = range(head, len(sealed), CHUNK_BYTES + TAG_BYTES)
        try:
            chunks = [
                cipher.decrypt(
                    _nonce(i, i == len(starts) - 1), sealed[at : at + CHUNK_BYTES + TAG_BYTES], name.encode()
                )
                for i, at in enumerate(starts)
            ]
        except InvalidTag:
            raise StateDamaged(
                f"{name}: does not open. Either `staging_key` of the connection is not the key that it was "
                "written with, or the file was changed, cut short or moved. Restore the key or the file."
            ) from None
        return b"".join(chunks)

    def fingerprint(self, *parts: bytes) -> str:
        """HMAC-SHA256 as hex. A plain hash of few identifiers could be guessed; this needs the key."""
        code = hmac.new(self._fingerprint_key, digestmod=hashlib.sha256)
        for part in parts:
            code.update(len(part).to_bytes(8, "big"))
            code.update(part)
        return code.hexdigest()


def _derive(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=purpose).derive(key)


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")
