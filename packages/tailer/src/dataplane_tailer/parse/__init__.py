"""Parsers: pure functions from a line's text to fields, each in a file of its own.

Flows in: one line. Flows out: `Parsed`. Invariant: a line that cannot be parsed keeps its text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Parsed:
    """The fields of a line; `timestamp` is the line's own time (RFC 3339), `problem` why it could not be parsed."""

    fields: Mapping[str, Any]
    timestamp: str | None = None
    problem: str = ""


Parse = Callable[[str], Parsed]


def parser(name: str) -> Parse | None:
    """Return the parser of that name; None for plain lines, which need none."""
    from dataplane_tailer.parse.json_line import parse_json  # noqa: PLC0415 - the parsers import this module

    return {"plain": None, "json": parse_json}[name]
