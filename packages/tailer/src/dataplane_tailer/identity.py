"""Who a file is: device and inode, a hash of its head, a hash of the bytes before a position.

Flows in: an open file. Flows out: keys and fingerprints. Invariant: two generations of a path look the same only
if they are byte for byte the same there.
"""

import hashlib
import os
from typing import NamedTuple

#: Enough of a file's head to tell two logs apart; banners are shorter.
HEAD_BYTES = 1024
#: Bytes before a position that must still be there when the file is read again.
GUARD_BYTES = 64
#: So many line ends of a file's head are remembered.
_PREFIXES = 16


class FileKey(NamedTuple):
    """What the file system calls a file."""

    device: int
    inode: int


class Head(NamedTuple):
    """The hash of a file's first `length` bytes; grows with the file up to `HEAD_BYTES`."""

    length: int
    digest: str


def key_of(stat: os.stat_result) -> FileKey:
    """Return the key of a file that was looked at."""
    return FileKey(stat.st_dev, stat.st_ino)


def head_of(descriptor: int, length: int = HEAD_BYTES) -> Head:
    """Hash the first bytes of an open file, as many of `length` as there are."""
    data = os.pread(descriptor, length, 0)
    return Head(len(data), digest(data))


def prefixes_of(descriptor: int) -> list[tuple[int, str]]:
    """Hash the head of an open file up to each of its first line ends: a copy made earlier ends at one of them."""
    data = os.pread(descriptor, HEAD_BYTES, 0)
    ends: list[tuple[int, str]] = []
    at = data.find(b"\n")
    while at >= 0 and len(ends) < _PREFIXES:
        ends.append((at + 1, digest(data[: at + 1])))
        at = data.find(b"\n", at + 1)
    return ends


def has_head(descriptor: int, head: Head) -> bool:
    """Tell whether an open file begins with the bytes that `head` was made of."""
    return head_of(descriptor, head.length) == head if head.length else True


def guard_of(descriptor: int, offset: int) -> bytes:
    """Return the bytes just before `offset`, which tell whether it still is the same place."""
    length = min(GUARD_BYTES, offset)
    return os.pread(descriptor, length, offset - length)


def mark_of(offset: int, guard: bytes) -> tuple[int, str]:
    """Return a place and the hash of what lies just before it."""
    return offset, digest(guard)


def digest(data: bytes) -> str:
    """Return a short hash: 16 hexadecimal digits of BLAKE2b (RFC 7693)."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()
