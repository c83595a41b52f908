"""What renders many lines at once: one byte format takes the arguments of all of them. Pure.

Flows in: lines and their place. Flows out: their events in one piece, as many as lines. Invariant: the events are those
that the lines give one by one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import add

import orjson

#: (lines, offset, first sequence, time of arrival) → the events of each line, joined; count them by their newlines.
Render = Callable[[list[bytes], int, int, str], list[bytes]]


class BulkRenderer(ABC):
    """A renderer of lines that end with one byte each, and of which each gives one event."""

    @abstractmethod
    def bulk(self, lines: list[bytes], offset: int, sequence: int, at: str) -> bytes:
        """Return the events of all lines, joined; the parameters are those of `Render`."""

    def __call__(self, lines: list[bytes], offset: int, sequence: int, at: str) -> list[bytes]:
        """Return the event of each line; see `Render`."""
        return self.bulk(lines, offset, sequence, at).splitlines(keepends=True)


def places(lines: Sequence[bytes], offset: int) -> list[int]:
    """Return where each line begins, and where the last one ends."""
    return [*map(add, accumulate(map(len, lines), initial=offset), range(len(lines) + 1))]


def decimals(numbers: Sequence[int]) -> list[bytes]:
    """Return numbers as decimals, by the fastest printer of integers at hand."""
    return orjson.dumps([*numbers])[1:-1].split(b",") if numbers else []


def filled(form: bytes, columns: Sequence[Sequence[object]]) -> bytes:
    """Return a byte format of many events with its holes filled; each column has one hole of every event."""
    width = len(columns)
    arguments: list[object] = [None] * (width * len(columns[0]))
    for index, column in enumerate(columns):
        arguments[index::width] = column
    return form % tuple(arguments)
