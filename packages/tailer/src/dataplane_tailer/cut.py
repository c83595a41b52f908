"""Cuts bytes into lines. Pure.

Flows in: what was read from a file at an offset. Flows out: complete lines, or one piece of a line that is too long.
Invariant: every byte belongs to exactly one line or piece, so offsets are the sums of lengths.
"""

#: A character takes at most this many bytes in UTF-8 (RFC 3629); a cut is moved back by at most one less.
_MAX_UTF8_BYTES = 4
_CONTINUATION = range(0x80, 0xC0)


def cut_lines(data: bytes, limit: int) -> list[bytes]:
    """Return the complete lines at the start of `data`, without their newlines, up to the first one above `limit`.

    A carriage return stays with its line; whoever renders the line drops one in front of the newline.
    """
    end = data.rfind(b"\n")
    if end < 0:
        return []
    lines = data[:end].split(b"\n")
    if max(map(len, lines)) > limit:
        return lines[: next(index for index, line in enumerate(lines) if len(line) > limit)]
    return lines


def cut_piece(data: bytes, limit: int) -> tuple[int, bool]:
    """Return how many bytes the next piece of an over-long line takes, and whether the line ends in it.

    A piece holds at most `limit` bytes and does not cut a UTF-8 character; a line's last piece also consumes its
    newline. (0, False) means that more data is needed.
    """
    newline = data.find(b"\n", 0, limit + 1)
    if newline >= 0:
        return newline + 1, True
    if len(data) <= limit:
        return 0, False
    return _character_boundary(data, limit), False


def _character_boundary(data: bytes, at: int) -> int:
    for back in range(min(_MAX_UTF8_BYTES, at)):
        if data[at - back] not in _CONTINUATION:
            return at - back
    return at


def text_of(line: bytes, *, ended: bool = True) -> tuple[str, bool]:
    r"""Return a line's text and whether it was valid UTF-8; invalid bytes stay visible as `\xff`.

    The carriage return of a CRLF is dropped, but only where the line has `ended`.
    """
    if ended and line.endswith(b"\r"):
        line = line[:-1]
    try:
        return line.decode(), True
    except UnicodeDecodeError:
        return line.decode(errors="backslashreplace"), False
