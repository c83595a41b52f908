"""Lines of what is no file, as they come: in batches. Pure.

Flows in: chunks of bytes, at any cuts. Flows out: batches of lines, one that is too long in pieces. Invariant: every
byte is in exactly one line or piece, newlines aside.
"""

from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple, Protocol

from dataplane_tailer.cut import cut_lines, cut_piece


class Batch(NamedTuple):
    """Lines that arrived together, and the cursor behind the last of them (empty where there is none).

    A line whose index is in `going_on` is a piece: the next one belongs to the same line.
    """

    lines: list[bytes]
    cursor: str = ""
    going_on: frozenset[int] = frozenset()


class Reader(Protocol):
    """Where lines come from."""

    @property
    def name(self) -> str:
        """What the account calls this source."""

    @property
    def is_repeatable(self) -> bool:
        """Whether the same lines come again behind the same cursor."""

    def batches(self, cursor: str) -> AsyncIterator[Batch]:
        """Yield what comes behind a cursor; ends where the source ends.

        Raises:
            Transient: whatever gives the lines has ended; they can be asked for again behind the last cursor.
        """


async def batches_of(chunks: AsyncIterator[bytes], limit: int, *, ended: bool = True) -> AsyncIterator[Batch]:
    """Yield the lines of what comes in chunks; one above `limit` bytes in pieces.

    The last one needs no newline if it has `ended` with the source; else it is left out, as it comes again.
    """
    rest = b""
    async for data in chunks:
        rest += data
        lines = cut_lines(rest, limit)
        rest = rest[sum(map(len, lines)) + len(lines) :]
        going_on: set[int] = set()
        while (piece := cut_piece(rest, limit))[0]:
            length, ends = piece
            if not ends:
                going_on.add(len(lines))
            lines.append(rest[:length].removesuffix(b"\n") if ends else rest[:length])
            rest = rest[length:]
        if lines:
            yield Batch(lines, going_on=frozenset(going_on))
    if rest and ended:
        yield Batch([rest])


def pieces_of(line: bytes, limit: int) -> Iterator[bytes]:
    """Yield a line in pieces of at most `limit` bytes that cut no character."""
    while len(line) > limit:
        length, _ = cut_piece(line, limit)
        yield line[:length]
        line = line[length:]
    yield line
