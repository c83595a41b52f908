"""A file of the spool: frames one behind the other, each with its length and checksum.

Flows in: frames. Flows out: bytes to append, and frames out of a file. Invariant: a record that was not written whole,
or was damaged since, is passed over and its bytes counted; the records before and behind it are read.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from dataplane_common.frame import ENCODING, Frame

_MAGIC = b"\nDPS1"
#: Magic, lengths of head and payload, CRC-32 of both.
_PREFIX = struct.Struct(">5sIII")


class _Head(msgspec.Struct, array_like=True):
    subject: str
    source: str
    first: int
    end: int
    count: int
    raw_bytes: int
    encoding: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds; `damaged_bytes` belong to no record that can be read."""

    frames: list[Frame]
    damaged_bytes: int

    @property
    def count(self) -> int:
        """How many events there are."""
        return sum(frame.count for frame in self.frames)


def encode(frame: Frame) -> bytes:
    """Return a frame's record. Its headers are not kept: they are made anew when it is sent."""
    head = msgspec.msgpack.encode(
        _Head(
            frame.subject,
            frame.source,
            frame.first,
            frame.end,
            frame.count,
            frame.raw_bytes,
            frame.headers.get(ENCODING, ""),
        )
    )
    checksum = zlib.crc32(frame.payload, zlib.crc32(head))
    return b"".join((_PREFIX.pack(_MAGIC, len(head), len(frame.payload), checksum), head, frame.payload))


def decode(data: bytes) -> Contents:
    """Return what can be read of a file."""
    frames = []
    whole = 0
    for frame, size in _records(data):
        frames.append(frame)
        whole += size
    return Contents(frames, len(data) - whole)


def _records(data: bytes) -> Iterator[tuple[Frame, int]]:
    begin = 0
    while (begin := data.find(_MAGIC, begin)) >= 0:
        found = _record(data, begin)
        if found is None:
            begin += 1
        else:
            yield found
            begin += found[1]


def _record(data: bytes, begin: int) -> tuple[Frame, int] | None:
    """Return the record that begins there and its size, or None if there is no whole one."""
    if begin + _PREFIX.size > len(data):
        return None
    _, head_bytes, payload_bytes, checksum = _PREFIX.unpack_from(data, begin)
    middle = begin + _PREFIX.size + head_bytes
    end = middle + payload_bytes
    if end > len(data) or zlib.crc32(data[begin + _PREFIX.size : end]) != checksum:
        return None
    head = msgspec.msgpack.decode(data[begin + _PREFIX.size : middle], type=_Head)
    headers = {ENCODING: head.encoding} if head.encoding else {}
    payload = data[middle:end]
    frame = Frame(head.subject, payload, headers, head.source, head.first, head.end, head.count, head.raw_bytes)
    return frame, end - begin
