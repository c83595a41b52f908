"""What a parser gives back, and what every parser is: one signature.

Flows in: one line's text and the time of its arrival. Flows out: `Parsed`. Invariant: `fields` always has a
`message`, and a line that cannot be parsed keeps its whole text there.
"""

from collections.abc import Callable
from typing import Any

import msgspec


class Parsed(msgspec.Struct, frozen=True, gc=False):
    """The fields of a line, which now belong to the caller.

    `timestamp` is the line's own time (RFC 3339, UTC, microseconds), `problem` why it could not be parsed.
    `is_vetted` promises that all names are the parser's own: nested, none with a dot, none that may be refused.
    """

    fields: dict[str, Any]
    timestamp: str | None = None
    problem: str = ""
    is_vetted: bool = False


#: (text of the line, time of arrival as RFC 3339) → its fields. The arrival only dates what names no year.
Parse = Callable[[str, str], Parsed]


#: What the short way finds in a line, as bytes of JSON: timestamp or nothing, more members of `log`, of `event`, all
#: others.
Row = tuple[bytes, bytes, bytes, bytes]
#: (line as it is in the file) → what the parser would give, None if the line is unusual and has to be parsed.
Quick = Callable[[bytes], Row | None]


def as_message(line: str, _at: str) -> Parsed:
    """Parse nothing: the line is the message."""
    return Parsed({"message": line}, is_vetted=True)


def unparsed(line: str, problem: str) -> Parsed:
    """Return what becomes of a line that is not what its input says: the line itself, and why."""
    return Parsed({"message": line}, problem=problem, is_vetted=True)
