"""Rules of files' bytes: plain or compressed, whole or not at all, within bounds."""

import bz2
import gzip
import lzma
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataplane_common.errors import Transient
from dataplane_tailer.content import Unpacking, open_content, open_or_unpack

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
EACH = pytest.mark.parametrize("suffix", [*PACKERS])
TEXT = b"".join(b"line %d\n" % number for number in range(5_000))


def read(path: Path, spool: Path, **limits: int) -> bytes:
    """The text of a file."""
    descriptor = open_content(str(path), spool, **limits)
    try:
        return os.pread(descriptor, 1 << 30, 0)
    finally:
        os.close(descriptor)


@EACH
def test_compressed_text_is_read_at_any_offset(suffix: str, tmp_path: Path) -> None:
    """Offsets are those of the text; nothing is left in the spool, and no descriptor is."""
    path, spool = tmp_path / f"a.{suffix}", tmp_path / "spool"
    path.write_bytes(PACKERS[suffix](TEXT))
    before = len(os.listdir("/proc/self/fd"))
    descriptor = open_content(str(path), spool)
    assert os.pread(descriptor, 6, 7) == TEXT[7:13]
    os.close(descriptor)
    assert list(spool.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


@EACH
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.binary(max_size=3_000) | st.just(bytes(100_000)), min_size=1, max_size=4))
def test_members_follow_each_other(suffix: str, parts: list[bytes], tmp_path: Path) -> None:
    """Files that were appended to, or written in parallel, consist of several compressed streams."""
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"".join(map(PACKERS[suffix], parts)))
    assert read(path, tmp_path) == b"".join(parts)


@EACH
@pytest.mark.parametrize("rubbish", [bytes(512), b"rubbish", b"\n", b"\x00"])
def test_what_follows_the_last_member_is_passed_over(suffix: str, rubbish: bytes, tmp_path: Path) -> None:
    """Padding of tapes and block devices, or what a crash left: gzip ignores it, too."""
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(PACKERS[suffix](TEXT) + rubbish)
    assert read(path, tmp_path) == TEXT


@EACH
def test_an_incomplete_file_is_none(suffix: str, tmp_path: Path) -> None:
    """However much is missing, in the first member or a later one, nothing is read yet; an empty file is plain."""
    whole = PACKERS[suffix](TEXT)
    path = tmp_path / f"a.{suffix}"
    before = len(os.listdir("/proc/self/fd"))
    for start in (b"", whole):
        for length in (10, 30, len(whole) // 2, len(whole) - 1):
            path.write_bytes(start + whole[:length])
            with pytest.raises(Transient, match="not complete"):
                read(path, tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    path.write_bytes(b"")
    assert read(path, tmp_path) == b""


@EACH
def test_a_damaged_file_is_none(suffix: str, tmp_path: Path) -> None:
    """A flipped bit is found by the checksum, or by what makes no sense; the message says that time mends nothing."""
    whole = bytearray(PACKERS[suffix](os.urandom(20_000)) if suffix != "zst" else _with_checksum(os.urandom(20_000)))
    whole[len(whole) // 2] ^= 0x10
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(whole)
    with pytest.raises(Transient, match="damaged"):
        read(path, tmp_path)


def _with_checksum(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


@EACH
def test_a_bomb_fills_no_disk(suffix: str, tmp_path: Path) -> None:
    """A file that is larger than any log is refused soon after the limit, and its space is given back."""
    path, spool = tmp_path / f"a.{suffix}", tmp_path / "spool"
    path.write_bytes(PACKERS[suffix](bytes(200_000_000)))
    with pytest.raises(Transient, match="more than 1000000 bytes"):
        read(path, spool, max_bytes=1_000_000)
    assert list(spool.iterdir()) == []


@EACH
def test_a_step_is_bounded(suffix: str, tmp_path: Path) -> None:
    """Whoever steps does something else in between: no step brings more than what one slice can grow to."""
    path = tmp_path / f"a.{suffix}"
    text = os.urandom(4_000_000) + bytes(20_000_000)
    path.write_bytes(PACKERS[suffix](text))
    unpacking = open_or_unpack(str(path), tmp_path)
    assert isinstance(unpacking, Unpacking)
    steps, most, before = 0, 0, 0
    while (descriptor := unpacking.step()) is None:
        most, before, steps = max(most, unpacking.written - before), unpacking.written, steps + 1
    assert os.fstat(descriptor).st_size == len(text)
    os.close(descriptor)
    assert steps >= 4
    assert most <= 34 * 1024 * 1024


def test_an_unpacking_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    """A stop in the middle gives disk and descriptors back."""
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(os.urandom(4_000_000)))
    before = len(os.listdir("/proc/self/fd"))
    unpacking = open_or_unpack(str(path), tmp_path / "spool")
    assert isinstance(unpacking, Unpacking)
    assert unpacking.step() is None
    unpacking.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert list((tmp_path / "spool").iterdir()) == []


def test_frames_to_be_skipped_are_skipped(tmp_path: Path) -> None:
    """Parallel zstd writes sizes in front of its frames (RFC 8878, 3.1.2)."""
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"abcd"
    path = tmp_path / "a.zst"
    path.write_bytes(skipped + zstandard.compress(b"one ") + skipped + zstandard.compress(b"two"))
    assert read(path, tmp_path) == b"one two"


def test_a_name_alone_makes_nothing_compressed(tmp_path: Path) -> None:
    """A plain file is read where it lies, whatever it is called; a missing one is an error of the system."""
    path = tmp_path / "a.gz"
    path.write_bytes(b"plain\n")
    descriptor = open_or_unpack(str(path), tmp_path)
    assert isinstance(descriptor, int)
    os.close(descriptor)
    assert read(path, tmp_path) == b"plain\n"
    with pytest.raises(FileNotFoundError):
        open_content(str(tmp_path / "none.gz"), tmp_path)
