r"""logfmt: `key=value key="quoted value" flag`, common names moved to ECS.

Flows in: a line. Flows out: its pairs, values as texts, flags as true. Invariant: a key that comes twice has both
values, in a list; a line that is not all pairs becomes the message.
"""

import re
from typing import Any

from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Parse, Parsed, unparsed
from dataplane_tailer.parse.record import lifter

_PAIR = re.compile(r'\s*+([^\s="]++)(?:=(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|([^\s"]*+)))?(?=\s|$)', re.DOTALL)
#: What Go's `strconv.Quote` and JSON write; a pair of surrogates is one character, a byte above 0x7f none.
_ESCAPE = re.compile(
    r"\\(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-7][0-9a-fA-F]|.)",
    re.DOTALL,
)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}


def logfmt_parser(config: ParserConfig) -> Parse:
    """Return the parser of logfmt lines, as Go's and Heroku's loggers write them.

    Raises:
        ConfigError: a key about times or names cannot be used.
    """
    lift = lifter(config)

    def parse(line: str, at: str) -> Parsed:
        record = _pairs(line)
        if record is None:
            return unparsed(line, 'not logfmt: expected key=value or key="quoted value", and nothing else')
        return lift(record, line, at)

    return parse


def _pairs(line: str) -> dict[str, Any] | None:
    """Return the pairs of a line, or None if something in it is none, or no pair has a value."""
    record: dict[str, Any] = {}
    at, has_value = 0, False
    for found in _PAIR.finditer(line):
        if found.start() != at:
            return None
        at = found.end()
        key, quoted, bare = found.groups()
        value = _unquoted(quoted) if quoted is not None else True if bare is None else bare
        has_value |= value is not True
        record[key] = value if key not in record else _both(record[key], value)
    return record if has_value and not line[at:].strip() else None


def _both(before: Any, value: Any) -> list[Any]:
    return [*before, value] if isinstance(before, list) else [before, value]


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(_unescape, text) if "\\" in text else text


def _unescape(found: re.Match[str]) -> str:
    what = found[1]
    if len(what) == 1:
        return found[0] if what in "uUx" else _ESCAPED.get(what, what)
    code = int(what[1:5], 16) if "\\" in what else int(what[1:], 16)
    if "\\" in what:
        return chr(0x10000 + ((code - 0xD800) << 10) + int(what[7:], 16) - 0xDC00)  # RFC 2781, 2.2
    if 0xD800 <= code < 0xE000 or code > 0x10FFFF:  # noqa: PLR2004 - no character (RFC 3629) stays as it is written
        return found[0]
    return chr(code)
