"""Reads the next bytes of a file and decides where events end in them.

Flows in: a file at its offset. Flows out: whole lines, or one piece whose boundary must be stored first. Invariant:
what lies just before the offset is read again and must be what was read there last, or the file is another one.
"""

import os
from dataclasses import dataclass

from dataplane_common.errors import Permanent
from dataplane_tailer.cut import cut_lines, cut_piece
from dataplane_tailer.file import TailedFile
from dataplane_tailer.state import Boundary

#: Room behind the limit of a line, so that the newline of a longest line is in the same read.
_SLACK_BYTES = 4096


class Rewritten(Permanent):
    """The file was truncated or written anew: what follows is another generation."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Complete lines without their newlines, from `start` to `end`."""

    lines: list[bytes]
    start: int
    end: int
    tail: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """One event whose end is a boundary; `is_stored` if the state has it already."""

    data: bytes
    boundary: Boundary
    is_stored: bool
    tail: bytes


def read_next(file: TailedFile, limit: int, *, flush: bool) -> Lines | Piece | None:
    """Return what comes next, or None if there is nothing complete yet.

    `limit` is the longest line in bytes; with `flush` an unterminated rest counts as complete.

    Raises:
        Rewritten: the bytes before the offset are not what they were, or the file is shorter than the offset.
        OSError: the file cannot be read.
    """
    data = _read_guarded(file, limit + _SLACK_BYTES)
    skipped = _newline_of_flushed(data) if file.was_flushed else 0
    if skipped:
        file.advance(file.offset + skipped, 0, data[:skipped])
        data = data[skipped:]
    if data:
        file.was_flushed = False
    if (stored := file.boundaries.get(file.offset)) is not None:
        return _stored_piece(file, stored)
    if file.boundaries:
        data = data[: _room_before_next_boundary(file)]
    return _cut(file, data, limit, flush=flush)


def _read_guarded(file: TailedFile, length: int) -> bytes:
    kept = len(file.guard)
    read = os.pread(file.descriptor, kept + length, file.offset - kept)
    if not read.startswith(file.guard):
        raise Rewritten(f"{file.path}: shorter than {file.offset} bytes, or written anew")
    return read[kept:]


def _newline_of_flushed(data: bytes) -> int:
    """Return the length of a newline that only ends what an idle flush has sent already."""
    if data.startswith(b"\n"):
        return 1
    return 2 if data.startswith(b"\r\n") else 0


def _stored_piece(file: TailedFile, stored: Boundary) -> Piece | None:
    data = os.pread(file.descriptor, stored.end - stored.start, stored.start)
    if len(data) < stored.end - stored.start:
        raise Rewritten(f"{file.path}: shorter than what was sent of it")
    return Piece(_without_newline(data, ends=stored.ends_line), stored, is_stored=True, tail=data[-64:])


def _room_before_next_boundary(file: TailedFile) -> int | None:
    ahead = [start - file.offset for start in file.boundaries if start > file.offset]
    return min(ahead) if ahead else None


def _cut(file: TailedFile, data: bytes, limit: int, *, flush: bool) -> Lines | Piece | None:
    if file.piece == 0 and (lines := cut_lines(data, limit)):
        length = sum(map(len, lines)) + len(lines)
        return Lines(lines, file.offset, file.offset + length, data[max(0, length - 64) : length])
    length, ends = cut_piece(data, limit)
    piece = file.piece + 1
    if length == 0 and flush and data:
        length, piece = len(data), piece if file.piece else 0
    if length == 0:
        return None
    start = file.line_start if file.piece else file.offset
    boundary = Boundary(file.offset, file.offset + length, start, piece, ends)
    taken = data[:length]
    return Piece(_without_newline(taken, ends=ends), boundary, is_stored=False, tail=taken[-64:])


def _without_newline(data: bytes, *, ends: bool) -> bytes:
    if not ends:
        return data
    return data[:-2] if data.endswith(b"\r\n") else data[:-1]
