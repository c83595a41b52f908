"""The bytes of a file, whether they lie there plain or compressed.

Flows in: a path. Flows out: a descriptor that can be read at any offset. Invariant: a compressed file is unpacked as a
whole or not at all, into a file that vanishes with its descriptor; offsets are those of the unpacked text.
"""

import bz2
import gzip
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from dataplane_common.errors import Transient
from dataplane_tailer.identity import HEAD_BYTES

_CHUNK_BYTES = 1024 * 1024
_READERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\x28\xb5\x2f\xfd": lambda file: zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_SUFFIXES = (".gz", ".zst", ".bz2", ".xz")
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError, lzma.LZMAError, ValueError)


def is_compressed(path: str) -> bool:
    """Tell by its name whether a file may hold compressed text; its first bytes have the last word."""
    return path.endswith(_SUFFIXES)


def open_content(path: str, spool: Path) -> int:
    """Return a descriptor of the file's text; a compressed one is unpacked into `spool`.

    Raises:
        OSError: it cannot be opened.
        Transient: its compressed form is not complete (yet).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    reader = _reader_of(descriptor) if is_compressed(path) else None
    if reader is None:
        return descriptor
    with os.fdopen(descriptor, "rb") as packed:
        return _unpack(path, reader(packed), spool)


def packed_head(path: str) -> bytes:
    """Return the first bytes of a compressed file's text, as many as a file's head has; empty if there are none yet.

    Raises:
        OSError: it cannot be opened.
    """
    with open(path, "rb") as packed:  # noqa: PTH123 - strings stay strings on this path
        reader = _reader_of(packed.fileno())
        try:
            return b"" if reader is None else bytes(reader(packed).read(HEAD_BYTES))
        except _BROKEN:
            return b""


def _reader_of(descriptor: int) -> Callable[[IO[bytes]], Any] | None:
    magic = os.pread(descriptor, 6, 0)
    return next((reader for start, reader in _READERS.items() if magic.startswith(start)), None)


def _unpack(path: str, packed: Any, spool: Path) -> int:
    spool.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=spool) as plain:
        try:
            shutil.copyfileobj(cast("IO[bytes]", packed), plain, _CHUNK_BYTES)
        except _BROKEN as error:
            raise Transient(f"{path}: not complete, or damaged: {error}") from error
        plain.flush()
        return os.dup(plain.fileno())
