"""Who a file is: device and inode, its first bytes, the bytes before a position.

Flows in: an open file. Flows out: keys and evidence. Invariant: two generations of a path look the same only
if they are byte for byte the same there.
"""

import hashlib
import os
from typing import NamedTuple

#: Enough of a file's head to tell two logs apart; banners are shorter.
HEAD_BYTES = 1024
#: Bytes before a position that must still be there when the file is read again.
GUARD_BYTES = 64


class FileKey(NamedTuple):
    """What the file system calls a file."""

    device: int
    inode: int


def key_of(stat: os.stat_result) -> FileKey:
    """Return the key of a file that was looked at."""
    return FileKey(stat.st_dev, stat.st_ino)


def head_of(descriptor: int) -> bytes:
    """Return the first bytes of an open file, `HEAD_BYTES` at the most."""
    return os.pread(descriptor, HEAD_BYTES, 0)


def has_head(descriptor: int, head: bytes) -> bool:
    """Tell whether an open file begins with these bytes."""
    return not head or os.pread(descriptor, len(head), 0) == head


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
