"""What a parser gives back, and what every parser is: one signature.

Flows in: one line's text and the time of its arrival. Flows out: `Parsed`. Invariant: `fields` always has a
`message`, and a line that cannot be parsed keeps its whole text there.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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


class Columns(NamedTuple):
    """What the short way finds in the usual ones among lines, each column with a value for each of them.

    `chosen` has for each line something that is true if it is a usual one. `whens` are timestamps, empty where a line
    has no time of its own; `fields` is a byte format of the members at the top of the event, and `columns` what its
    holes take; `logs` and `events` are more members of `log` and of `event`, each with a comma behind it.
    """

    chosen: Sequence[object]
    whens: Sequence[bytes]
    fields: bytes
    columns: Sequence[Sequence[bytes]]
    logs: Sequence[bytes] | None = None
    events: Sequence[bytes] | None = None


#: (lines as they are in the file) → what the parser would give of the usual ones; None if there are none. The others
#: have to be parsed.
Quick = Callable[[list[bytes]], Columns | None]


def as_message(line: str, _at: str) -> Parsed:
    """Parse nothing: the line is the message."""
    return Parsed({"message": line}, is_vetted=True)


def unparsed(line: str, problem: str) -> Parsed:
    """Return what becomes of a line that is not what its input says: the line itself, and why."""
    return Parsed({"message": line}, problem=problem, is_vetted=True)
