"""Reads the next bytes of a file and decides where events end in them.

Flows in: a file at its offset. Flows out: whole lines, or one piece whose boundary must be stored first. Invariant:
what lies just before the offset is read again and must be what was read there last, or the file is another one.
"""

import os
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate

import msgspec

from dataplane_common.errors import Permanent
from dataplane_tailer.cut import cut_lines, cut_piece
from dataplane_tailer.file import TailedFile
from dataplane_tailer.identity import GUARD_BYTES
from dataplane_tailer.multiline import Cut
from dataplane_tailer.state import Boundary

#: Room behind the limit of a line, so that the newline of a longest line is in the same read.
_SLACK_BYTES = 4096


class Rewritten(Permanent):
    """The file was truncated or written anew: what follows is another generation."""


class Flush(IntEnum):
    """What may be sent although more of it may come: nothing, open multi-line events, also an unterminated line."""

    NOTHING = 0
    LINES = 1
    ALL = 2


class Lines(msgspec.Struct, frozen=True, gc=False):
    """Complete lines without their newlines, from `start` on; of a multi-line event its lines joined by newlines.

    `data` begins with the bytes that they were cut from.
    """

    lines: list[bytes]
    start: int
    data: bytes

    def guard_at(self, end: int, before: bytes) -> bytes:
        """Return what lies just before `end`, given what lies just before `start`."""
        length = end - self.start
        return (before + self.data[max(0, length - GUARD_BYTES) : length])[-GUARD_BYTES:]


@dataclass(frozen=True, slots=True)
class Piece:
    """One event whose end is a boundary; `is_stored` if the state has it already."""

    data: bytes
    boundary: Boundary
    is_stored: bool
    tail: bytes


def read_next(file: TailedFile, limit: int, flush: Flush = Flush.NOTHING) -> Lines | Piece | None:
    """Return what comes next, or None if there is nothing complete yet; `limit` is the longest line in bytes.

    Raises:
        Rewritten: the bytes before the offset are not what they were, or the file is shorter than the offset.
        OSError: the file cannot be read.
    """
    if (lines := _usual_lines(file, limit)) is not None:
        return lines
    data = _read_guarded(file, _chunk_bytes(file, limit))
    if file.was_flushed and file.offset not in file.boundaries:
        data = _behind_flushed(file, data, flush)
    if (stored := file.boundaries.get(file.offset)) is not None:
        return _stored_piece(file, stored)
    room = _room_before_next_boundary(file)
    if room is not None and len(data) >= room:  # what lies before it was complete when it was sent
        data, flush = data[:room], max(flush, Flush.LINES)
    return _cut(file, data, limit, flush)


def _usual_lines(file: TailedFile, limit: int) -> Lines | None:
    """Read what fills one frame, where lines are just lines; None where anything is special or nothing complete."""
    if file.cut is not None or file.piece or file.was_flushed or file.boundaries or file.record.resumes:
        return None
    data = _read_guarded(file, min(file.read_bytes, _chunk_bytes(file, limit)))
    lines = cut_lines(data, limit, file.newline)
    return Lines(lines, file.offset, data) if lines else None


def _chunk_bytes(file: TailedFile, limit: int) -> int:
    """Room for a longest line with its newline, and behind a longest multi-line event for one line more."""
    return limit * (1 if file.cut is None else 2) + _SLACK_BYTES


def _read_guarded(file: TailedFile, length: int) -> bytes:
    kept = len(file.guard)
    read = os.pread(file.descriptor, kept + length, file.offset - kept)
    data = read[kept:]
    if not read.startswith(file.guard) or not file.learn_head(data):
        raise Rewritten(f"{file.path}: shorter than {file.offset} bytes, or written anew")
    return data


def _behind_flushed(file: TailedFile, data: bytes, flush: Flush) -> bytes:
    """Pass over a newline that only ends what an idle flush has sent already, and return what follows.

    What may be the first part of one waits for the rest; a carriage return that stays alone is passed over in the end.
    """
    carriage_return = file.newline.replace(b"\n", b"\r")
    crlf = carriage_return + file.newline
    is_part = any(len(data) < len(end) and end.startswith(data) for end in (file.newline, crlf))
    if is_part and flush is not Flush.ALL:
        return b""
    ends = (file.newline, crlf, carriage_return) if is_part else (file.newline, crlf)
    skipped = next((len(end) for end in ends if data.startswith(end)), 0)
    if skipped:
        file.advance(file.position._replace(offset=file.offset + skipped), data[:skipped])
    file.was_flushed = is_part
    return data[skipped:]


def _stored_piece(file: TailedFile, stored: Boundary) -> Piece | None:
    data = os.pread(file.descriptor, stored.end - stored.start, stored.start)
    if len(data) < stored.end - stored.start:
        raise Rewritten(f"{file.path}: shorter than what was sent of it")
    return Piece(_without_newline(data, stored, file.newline), stored, is_stored=True, tail=data[-GUARD_BYTES:])


def _room_before_next_boundary(file: TailedFile) -> int | None:
    """Return how far it is to the next place that must be the end of an event."""
    ahead = [at - file.offset for at in (*file.boundaries, *file.record.resumes) if at > file.offset]
    return min(ahead) if ahead else None


def _cut(file: TailedFile, data: bytes, limit: int, flush: Flush) -> Lines | Piece | None:
    if file.piece == 0 and (lines := cut_lines(data, limit, file.newline)):
        return Lines(lines, file.offset, data) if file.cut is None else _events(file, data, lines, file.cut, flush)
    length, ends = cut_piece(data, limit, file.newline)
    number = file.piece + 1
    if length == 0 and flush is Flush.ALL:
        half = len(data) % len(file.newline) if file.gone_at is None else 0  # of a rotated file nothing is left over
        length, number = len(data) - half, number if file.piece else 0
    if length == 0:
        return None
    start = file.line_start if file.piece else file.offset
    return _new_piece(data, Boundary(file.offset, file.offset + length, start, number, ends), file.newline)


def _events(file: TailedFile, data: bytes, lines: list[bytes], cut: Cut, flush: Flush) -> Lines | Piece | None:
    """Join the lines of each complete event; what time alone completes is a piece of its own."""
    if counts := cut(lines, False):  # noqa: FBT003 - the switch of `Cut`
        ends = list(accumulate(counts))
        joined = [file.newline.join(lines[end - count : end]) for count, end in zip(counts, ends, strict=True)]
        return Lines(joined, file.offset, data)
    if flush is Flush.NOTHING:
        return None
    length = sum(map(len, lines)) + len(lines) * len(file.newline)
    boundary = Boundary(file.offset, file.offset + length, file.offset, 0, ends_line=True)
    return _new_piece(data, boundary, file.newline)


def _new_piece(data: bytes, boundary: Boundary, newline: bytes) -> Piece:
    taken = data[: boundary.end - boundary.start]
    return Piece(_without_newline(taken, boundary, newline), boundary, is_stored=False, tail=taken[-GUARD_BYTES:])


def _without_newline(data: bytes, boundary: Boundary, newline: bytes) -> bytes:
    """Return the text of a piece; what ends a line ends with its newline, of a split line also with its CR."""
    if not boundary.ends_line:
        return data
    data = data.removesuffix(newline)
    return data.removesuffix(newline.replace(b"\n", b"\r")) if boundary.piece else data
