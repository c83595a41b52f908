"""Format strings of Traffic Server's `logging.yaml`, read. Pure.

Flows in: `%<cqtq> %<ttms> … "%<{User-Agent}cqh>"`. Flows out: literals and fields in turn. Invariant: a field that
Traffic Server does not have, or a format that cannot be told apart again, is refused with the place that is wrong.
"""

import difflib
import re
from dataclasses import dataclass

from dataplane_common.errors import ConfigError
from dataplane_tailer.parse.ats_fields import AGGREGATES, HEADERS, MILESTONES, OTHERS

_FIELD = re.compile(r"%<([^<>]*(?:<[^<>]*>)?[^<>]*)>")
#: A field, of which a part may be cut out; newer versions take another one, or a text, where a header is missing.
_INNER = re.compile(r"(?:\{([^{}]+)\})?([A-Za-z]+)(?:\[-?\d*:-?\d*\])?(\s*\?\?.+)?")
_AGGREGATE = re.compile(r"([A-Z]+)\((\*|[a-z]+)\)")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a format: its symbol, the header or milestone in front, what is computed of it."""

    symbol: str
    of: str = ""
    aggregate: str = ""

    @property
    def ats_name(self) -> str:
        """The name of the field where ECS has none, below `ats`: `crc`, `cqh.accept_language`, `psql_sum`."""
        if self.aggregate:
            return self.aggregate.lower() if self.symbol == "*" else f"{self.symbol}_{self.aggregate.lower()}"
        return (
            f"{self.symbol}.{re.sub(r'[^a-z0-9]+', '_', self.of.lower()).strip('_') or '_'}" if self.of else self.symbol
        )


def read_format(text: str) -> list[str | Field]:
    """Return literals and fields in turn, beginning and ending with a literal, which may be empty there only.

    Raises:
        ConfigError: there is no field, one is unknown, or two have nothing between them.
    """
    parts: list[str | Field] = []
    end = 0
    for found in _FIELD.finditer(text):
        literal = text[end : found.start()]
        if parts and not literal:
            raise ConfigError(f"format: nothing stands in front of {found[0]}, so nobody can tell where it begins")
        parts += [literal, _field(found[1])]
        end = found.end()
    if not parts:
        raise ConfigError(f"format: \"{text}\" has no field; copy it from logging.yaml: '%<cqtq> %<ttms> …'")
    return [*parts, text[end:]]


def _field(text: str) -> Field:
    if (found := _AGGREGATE.fullmatch(text)) and found[1] in AGGREGATES and (found[2] == "*" or found[2] in OTHERS):
        return Field(found[2], aggregate=found[1])
    found = _INNER.fullmatch(text)
    if found is None:
        raise ConfigError(f"format: %<{text}> is no field; write %<name> or %<{{Header}}name>")
    of, symbol = found[1] or "", found[2]
    if found[3] and symbol not in HEADERS:
        raise ConfigError(f"format: %<{text}>: ?? is read behind headers only")
    if symbol in HEADERS or symbol in MILESTONES:
        if not of:
            raise ConfigError(f"format: %<{text}> needs a name in front: %<{{…}}{symbol}>")
    elif symbol not in OTHERS:
        close = difflib.get_close_matches(symbol, OTHERS, n=1)
        advice = f"did you mean {close[0]}?" if close else "see the log fields of Traffic Server"
        raise ConfigError(f"format: %<{text}>: Traffic Server has no field {symbol}; {advice}")
    return Field(symbol, of)
