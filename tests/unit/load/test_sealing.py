import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.load.sealing import CHUNK_BYTES, MAGIC, SALT_BYTES, TAG_BYTES, Seal, StateDamaged

HEAD = len(MAGIC) + SALT_BYTES
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES
NAME = "test/312345676/state/mirror"
SEAL = Seal(bytes(range(32)))
THREE_CHUNKS = b"a" * CHUNK_BYTES + b"b" * CHUNK_BYTES + b"the end"


def assert_damaged(sealed: bytes, name: str = NAME, seal: Seal = SEAL) -> None:
    with pytest.raises(StateDamaged, match=name):
        seal.open(sealed, name)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
def test_what_was_sealed_opens_whatever_its_size(size: int):
    plain = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
    assert SEAL.open(SEAL.close(plain[:size], NAME), NAME) == plain[:size]


def test_a_sealed_file_opens_only_under_its_own_name():
    assert_damaged(SEAL.close(b"one mirror", NAME), "test/312345676/mirror/another")


def test_another_key_opens_nothing_and_the_error_says_what_to_restore():
    with pytest.raises(StateDamaged, match=r"staging_key.*Restore the key or the file"):
        Seal(bytes(32)).open(SEAL.close(b"plain", NAME), NAME)


@pytest.mark.parametrize("left", [0, 3, HEAD, HEAD + TAG_BYTES - 1, HEAD + TAG_BYTES + 3])
def test_a_file_that_was_cut_short_does_not_open(left: int):
    assert_damaged(SEAL.close(b"0123456789", NAME)[:left])


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_file_that_lacks_whole_chunks_at_its_end_does_not_open(chunks: int):
    """Each chunk left is right by itself: only the mark on the last one tells."""
    assert_damaged(SEAL.close(THREE_CHUNKS, NAME)[: HEAD + chunks * SEALED_CHUNK])


def test_a_file_whose_chunks_changed_places_does_not_open():
    sealed = SEAL.close(THREE_CHUNKS, NAME)
    first, second = sealed[HEAD : HEAD + SEALED_CHUNK], sealed[HEAD + SEALED_CHUNK : HEAD + 2 * SEALED_CHUNK]
    assert_damaged(sealed[:HEAD] + second + first + sealed[HEAD + 2 * SEALED_CHUNK :])


def test_a_chunk_of_another_file_does_not_fit():
    one, other = SEAL.close(THREE_CHUNKS, NAME), SEAL.close(THREE_CHUNKS, NAME)
    assert_damaged(one[: HEAD + SEALED_CHUNK] + other[HEAD + SEALED_CHUNK :])


def test_bytes_behind_the_end_are_noticed():
    assert_damaged(SEAL.close(b"plain", NAME) + bytes(TAG_BYTES))


@given(st.data())
def test_one_changed_bit_anywhere_is_noticed(data: st.DataObject):
    sealed = bytearray(SEAL.close(b"some state", NAME))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert_damaged(bytes(sealed))


def test_nothing_of_the_plain_text_can_be_seen_and_the_same_text_never_looks_the_same():
    plain = b"the same customers" * 10
    one, other = SEAL.close(plain, NAME), SEAL.close(plain, NAME)
    assert plain[:18] not in one
    assert one[len(MAGIC) : HEAD] != other[len(MAGIC) : HEAD]
    assert one[HEAD:] != other[HEAD:]


def test_a_file_of_somebody_else_is_called_that():
    with pytest.raises(StateDamaged, match="not a file that this package sealed"):
        SEAL.open(b"PAR1" + bytes(200), NAME)


def test_a_fingerprint_is_the_same_for_everyone_with_the_key_and_for_nobody_else():
    same, other = Seal(bytes(range(32))), Seal(bytes(32))
    assert SEAL.fingerprint(b"customers") == same.fingerprint(b"customers")
    assert SEAL.fingerprint(b"customers") != other.fingerprint(b"customers")
    assert SEAL.fingerprint(b"customers") != SEAL.fingerprint(b"customer")
    assert len(bytes.fromhex(SEAL.fingerprint(b"customers"))) == 32


def test_a_fingerprint_knows_where_one_part_ends():
    assert SEAL.fingerprint(b"ab", b"c") != SEAL.fingerprint(b"a", b"bc")
    assert SEAL.fingerprint(b"ab") != SEAL.fingerprint(b"ab", b"")
