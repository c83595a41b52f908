"""Names of levels: what `log.level` says, and how much an event is worth when room is short.

Pure. Flows in: a level's name or number. Flows out: a lower-case name and a rank.
Invariant: errors rank above everything that is not one.
"""

from dataclasses import dataclass

DEBUG, INFO, WARNING, ERROR = range(4)
#: How many ranks there are.
RANKS = 4


@dataclass(frozen=True, slots=True)
class Level:
    """A level's name in `log.level`, its rank, and its number in the `logging` module."""

    name: str
    rank: int
    number: int


_KNOWN = {
    "trace": Level("trace", DEBUG, 5),
    "debug": Level("debug", DEBUG, 10),
    "info": Level("info", INFO, 20),
    "notice": Level("notice", INFO, 25),
    "warning": Level("warning", WARNING, 30),
    "error": Level("error", ERROR, 40),
    "critical": Level("critical", ERROR, 50),
    "alert": Level("alert", ERROR, 60),
    "emergency": Level("emergency", ERROR, 70),
}
_ALIASES = {
    "notset": "debug",
    "log": "info",
    "msg": "info",
    "success": "info",
    "warn": "warning",
    "err": "error",
    "exception": "error",
    "failure": "error",
    "fatal": "critical",
    "panic": "critical",
}
_named = {**_KNOWN, **{alias: _KNOWN[name] for alias, name in _ALIASES.items()}}
_named |= {name.upper(): level for name, level in _named.items()}
_numbered = {level.number: level for level in _KNOWN.values() if level.number % 10 == 0 and level.number <= 50}  # noqa: PLR2004
#: Levels that an application invents are remembered up to this many, so that data used as a level costs no memory.
_MAX_REMEMBERED = 1_000
#: Characters of a level's name that are kept.
_MAX_NAME = 64


def from_name(name: str, number: int = 20) -> Level:
    """Return the level of that name; one that nobody knows keeps its name and ranks by `number`."""
    found = _named.get(name)
    if found is None:
        known = name[:_MAX_NAME].strip().lower()
        found = _named.get(known) or Level(known or "info", _rank(number), number)
        if len(_named) < _MAX_REMEMBERED and len(name) <= _MAX_NAME:
            _named[name] = found
    return found


def is_known(name: str) -> bool:
    """Tell whether a configuration may name this level."""
    name = name.strip().lower()
    return name in _KNOWN or name in _ALIASES


def from_record(number: int, name: str) -> Level:
    """Return the level of a `logging.LogRecord`; a number without a name of its own is called by the one below it."""
    found = _numbered.get(number)
    if found is not None and name in _named:
        return found
    if name == f"Level {number}":
        return Level(_below(number), _rank(number), number)
    return from_name(name, number)


def _below(number: int) -> str:
    return next((level.name for level in reversed(_numbered.values()) if level.number <= number), "debug")


def _rank(number: int) -> int:
    return max(DEBUG, min(ERROR, number // 10 - 1))
