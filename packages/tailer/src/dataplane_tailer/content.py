"""The bytes of a file, whether they lie there plain or compressed.

Flows in: a path. Flows out: a descriptor that can be read at any offset. Invariant: a compressed file is unpacked as a
whole or not at all, into a file that vanishes with its descriptor, within bounds of size and disk; offsets are those of
the unpacked text. What comes behind the last whole member is passed over, as gzip does it.
"""

import bz2
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import zstandard

from dataplane_common.errors import Transient
from dataplane_tailer.identity import HEAD_BYTES, FileKey, key_of

#: What one decompression takes in: it grows to 32 MiB at the worst (zstd: 128 KiB for each four bytes).
_SLICE_BYTES = 1024
#: What one step writes, and how many slices it takes at the most: some milliseconds.
_STEP_BYTES = 1024 * 1024
_STEP_SLICES = 512
#: No log is larger when it is unpacked; what is, was made to fill a disk.
MAX_UNPACKED_BYTES = 16 * 1024**3
#: What stays free on the disk of the spool, where the state lives, too; on a small disk a tenth of it.
_KEPT_FREE_BYTES = 1024**3
_KEPT_FREE_PART = 10
_LONGEST_MAGIC = 6
_SUFFIXES = (".gz", ".zst", ".bz2", ".xz")
_DAMAGED = (EOFError, zlib.error, zstandard.ZstdError, lzma.LZMAError, ValueError, OSError)


class _Member(Protocol):
    """One of the compressed streams that a file consists of."""

    @property
    def eof(self) -> bool:
        """Whether its end was reached."""

    @property
    def unused_data(self) -> bytes:
        """What came behind its end."""

    def decompress(self, data: bytes, /) -> bytes:
        """Return what the next bytes hold."""


_Begin = Callable[[], _Member]
_MEMBERS: list[tuple[bytes, _Begin]] = [
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),  # with a gzip header (RFC 1952)
    (b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor().decompressobj()),
    *((bytes([0x50 + n]) + b"\x2a\x4d\x18", lambda: zstandard.ZstdDecompressor().decompressobj()) for n in range(16)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
]


def is_compressed(path: str) -> bool:
    """Tell by its name whether a file may hold compressed text; its first bytes have the last word."""
    return path.endswith(_SUFFIXES)


def open_content(path: str, spool: Path, key: FileKey | None = None, *, max_bytes: int = MAX_UNPACKED_BYTES) -> int:
    """Return a descriptor of the file's text; a compressed one is unpacked into `spool`, however long that takes.

    Raises:
        OSError: it cannot be opened.
        Transient: as `open_or_unpack` and `Unpacking.step`.
    """
    opened = open_or_unpack(path, spool, key, max_bytes=max_bytes)
    if isinstance(opened, int):
        return opened
    while (descriptor := opened.step()) is None:
        pass
    return descriptor


def open_or_unpack(
    path: str, spool: Path, key: FileKey | None = None, *, max_bytes: int = MAX_UNPACKED_BYTES
) -> "int | Unpacking":
    """Return a descriptor of a plain file, or what unpacks a compressed one in steps.

    Raises:
        OSError: it cannot be opened.
        Transient: it is not the file with this key any more.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe may have taken its place
    if key is not None and key_of(os.fstat(descriptor)) != key:
        os.close(descriptor)
        raise Transient(f"{path}: replaced while it was looked at; it is looked for again")
    if not is_compressed(path) or _member_of(os.pread(descriptor, _LONGEST_MAGIC, 0)) is None:
        return descriptor
    try:
        spool.mkdir(parents=True, exist_ok=True)
        plain = tempfile.TemporaryFile(dir=spool, buffering=0)  # noqa: SIM115 - open until the last step
    except OSError:
        os.close(descriptor)
        raise
    return Unpacking(path, os.fdopen(descriptor, "rb"), plain, max_bytes)


def packed_head(path: str) -> bytes:
    """Return the first bytes of a compressed file's text, as many as a file's head has; empty if there are none yet.

    Raises:
        OSError: it cannot be opened.
    """
    text = b""
    with open(path, "rb") as packed:  # noqa: PTH123 - strings stay strings on this path
        data = packed.read(_SLICE_BYTES)
        begin = _member_of(data)
        member = begin() if begin else None
        while member and data and not member.eof and len(text) < HEAD_BYTES:
            try:
                text += member.decompress(data)
            except _DAMAGED:
                break
            data = packed.read(_SLICE_BYTES)
    return text[:HEAD_BYTES]


def _member_of(start: bytes) -> _Begin | None:
    return next((begin for magic, begin in _MEMBERS if start.startswith(magic)), None)


@dataclass(slots=True, eq=False)
class Unpacking:
    """A compressed file on its way to a plain one. It belongs to one caller at a time, in any thread."""

    path: str
    packed: IO[bytes]
    plain: IO[bytes]
    max_bytes: int
    written: int = 0
    _rest: bytes = b""
    _member: _Member | None = field(default=None)

    def step(self) -> int | None:
        """Unpack about a MiB more; return the descriptor of the whole text when nothing is left, None before.

        After an error or the end nothing may be called but `close`, which then is not needed.

        Raises:
            Transient: it is not complete yet, damaged, too large, or the disk has no room for it.
        """
        try:
            is_whole = self._unpack(self.written + _STEP_BYTES)
            self._check_room()
        except BaseException:
            self.close()
            raise
        if not is_whole:
            return None
        descriptor = os.dup(self.plain.fileno())
        self.close()
        return descriptor

    def close(self) -> None:
        """Give up: what was unpacked is gone."""
        self.packed.close()
        self.plain.close()

    def _unpack(self, goal: int) -> bool:
        """Unpack up to about `goal` bytes in all; return whether that is the whole file."""
        for _ in range(_STEP_SLICES):
            if self.written >= goal:
                return False
            data = self._rest or self.packed.read(_SLICE_BYTES)
            self._rest = b""
            if self._member is None and not (data := self._begin_member(data)):
                return True
            if not data:
                raise Transient(f"{self.path}: not complete: it ends within its compressed text")
            self._decompress(data)
        return False

    def _begin_member(self, data: bytes) -> bytes:
        """Begin the next member, if there is one; return what it begins with. Padding and rubbish end the file."""
        if len(data) < _LONGEST_MAGIC:
            data += self.packed.read(_SLICE_BYTES)
        begin = _member_of(data)
        if begin is None:
            return b""
        self._member = begin()
        return data

    def _decompress(self, data: bytes) -> None:
        assert self._member is not None  # noqa: S101 - begun above
        try:
            text = self._member.decompress(data)
        except _DAMAGED as error:
            raise Transient(f"{self.path}: damaged after {self.written} bytes of text: {error}") from error
        self.plain.write(text)
        self.written += len(text)
        if self._member.eof:
            self._rest, self._member = self._member.unused_data, None

    def _check_room(self) -> None:
        if self.written > self.max_bytes:
            raise Transient(
                f"{self.path}: not read: unpacked it has more than {self.max_bytes} bytes; "
                "if it is a log, unpack it by hand beside the others"
            )
        disk = os.statvfs(self.plain.fileno())
        kept = min(_KEPT_FREE_BYTES, disk.f_blocks * disk.f_frsize // _KEPT_FREE_PART)
        if (free := disk.f_bavail * disk.f_frsize) < kept:
            raise Transient(
                f"{self.path}: not unpacked now: the disk of the state has {free} bytes left, {kept} are kept"
            )
