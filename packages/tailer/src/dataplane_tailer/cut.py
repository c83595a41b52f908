"""Cuts bytes into lines. Pure.

Flows in: what was read from a file at an offset. Flows out: complete lines, or one piece of a line that is too long.
Invariant: every byte belongs to exactly one line or piece, so offsets are the sums of lengths.
"""

from dataplane_tailer.encoding import find_newline, split_lines

#: A character takes at most this many bytes in UTF-8 (RFC 3629); a cut is moved back by at most one less.
_MAX_UTF8_BYTES = 4
_CONTINUATION = range(0x80, 0xC0)
#: The first half of a pair in UTF-16, by its high byte (RFC 2781).
_HIGH_SURROGATES = range(0xD8, 0xDC)
_UTF16_UNIT = 2


def cut_lines(data: bytes, limit: int, newline: bytes = b"\n") -> list[bytes]:
    """Return the complete lines at the start of `data`, without their newlines, up to the first one above `limit`.

    A carriage return stays with its line; whoever renders the line drops one in front of the newline.
    """
    lines = split_lines(data, newline)
    if len(data) > limit and lines and max(map(len, lines)) > limit:
        return lines[: next(index for index, line in enumerate(lines) if len(line) > limit)]
    return lines


def cut_piece(data: bytes, limit: int, newline: bytes = b"\n") -> tuple[int, bool]:
    """Return how many bytes the next piece of an over-long line takes, and whether the line ends in it.

    A piece holds at most `limit` bytes and does not cut a character of UTF-8 or UTF-16; a line's last piece also
    consumes its newline. (0, False) means that more data is needed.
    """
    limit -= limit % len(newline)
    end = find_newline(data[: limit + len(newline)], newline)
    if end >= 0:
        return end + len(newline), True
    if len(data) <= limit:
        return 0, False
    return _character_boundary(data, limit, len(newline)), False


def cut_evenly(data: bytes, limit: int, unit: int = 1) -> list[int]:
    """Return the lengths of pieces of at most `limit` bytes that cut no character; newlines are as good as any."""
    limit -= limit % unit
    lengths: list[int] = []
    while len(data) > limit:
        lengths.append(_character_boundary(data, limit, unit))
        data = data[lengths[-1] :]
    return [*lengths, len(data)]


def _character_boundary(data: bytes, at: int, unit: int) -> int:
    if unit > 1:
        is_cut = at > unit and any(byte in _HIGH_SURROGATES for byte in data[at - 2 : at]) and unit == _UTF16_UNIT
        return at - unit if is_cut else at
    for back in range(min(_MAX_UTF8_BYTES, at)):
        if data[at - back] not in _CONTINUATION:
            return at - back
    return at
