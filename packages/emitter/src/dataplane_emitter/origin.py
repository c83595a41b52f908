"""What all events of one place in the program have in common, made once.

Flows in: names of loggers and levels, of files and functions. Flows out: origins: where such events go, whether they
pass, and their `log` object with its JSON ready made. Invariant: an origin depends on nothing but what it is found by,
and a bounded number is remembered.
Source: ECS field set `log`.
"""

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from dataplane_emitter import encode, level
from dataplane_emitter.level import Level
from dataplane_emitter.redact import Redactor
from dataplane_emitter.rules import Rule, Rules

#: Origins that are remembered; an application that makes up names for ever starts the memory anew.
_MAX_REMEMBERED = 4_096
#: Origins whose names are endless are not remembered.
_MAX_BYTES = 1_024


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A member of many events: the object, which nobody may change, and the JSON of name and object."""

    value: dict[str, Any]
    json: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Level and logger of events, the rule for them, and their `log`."""

    level: Level
    logger: str | None
    rule: Rule
    log: Part
    passes: bool


def part(name: str, value: dict[str, Any]) -> Part:
    """Return an object as a part of events."""
    return Part(value, b"%b:%b" % (b"," + encode.text_json(name), encode.encode(value)))


class Origins:
    """Finds the origin of a record or event."""

    def __init__(self, rules: Rules, redactor: Redactor) -> None:
        self._rules = rules
        self._redactor = redactor
        self._known: dict[Hashable, Origin] = {}

    def of_record(self, record: logging.LogRecord) -> Origin:
        """Return the origin of a stdlib record; each call in the source is one."""
        has = record.__dict__  # each attribute would be looked for in the class first
        key = (has["name"], has["levelno"], has["levelname"], has["filename"], has["lineno"], has["funcName"])
        try:
            return self._known[key]
        except KeyError:
            return self._remember(key, self._from_record, record)
        except TypeError:  # somebody has put what cannot be hashed into the record
            return self._from_record(record)

    def of_event(self, logger: str | None, level_name: str) -> Origin:
        """Return the origin of a structlog event: its logger and level."""
        key = (logger, level_name)
        found = self._known.get(key)
        return found if found is not None else self._remember(key, self._from_names, logger, level_name)

    def _remember(self, key: Hashable, make: Callable[..., Origin], *arguments: Any) -> Origin:
        made = make(*arguments)
        if len(made.log.json) <= _MAX_BYTES:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known = {}
            self._known[key] = made
        return made

    def _from_record(self, record: logging.LogRecord) -> Origin:
        place = {"file": {"name": record.filename, "line": record.lineno}, "function": record.funcName}
        name = record.name if type(record.name) is str else encode.message_text(record.name)
        found = level.from_record(record.levelno, record.levelname)
        return self._make(found, name, {"level": found.name, "origin": place})

    def _from_names(self, logger: str | None, level_name: str) -> Origin:
        found = level.from_name(level_name)
        return self._make(found, logger, {"level": found.name})

    def _make(self, found: Level, logger: str | None, log: dict[str, Any]) -> Origin:
        rule = self._rules.of(logger)
        if logger is not None:
            log["logger"] = self._redactor.value("", logger)
        return Origin(found, logger, rule, part("log", log), found.number >= rule.least)
