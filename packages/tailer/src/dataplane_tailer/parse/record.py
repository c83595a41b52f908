"""Records whose names are the writer's own (JSON, logfmt, regular expressions) as ECS fields. Pure.

Flows in: a record's members. Flows out: `Parsed`. Invariant: no member is lost; what moves, moves to a name that is
free, and the record's time leaves only where it became the event's.
"""

from collections.abc import Callable
from datetime import tzinfo
from typing import Any

import msgspec

from dataplane_common.errors import ConfigError
from dataplane_common.event import METADATA_NAMES
from dataplane_tailer.parse import times
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Parse, Parsed
from dataplane_tailer.parse.time_field import time_reader, zone_of

#: (members, the line's text, time of arrival) → parsed.
Lift = Callable[[dict[str, Any], str, str], Parsed]

#: Where other loggers keep what ECS calls `@timestamp` and `log.level`, most telling first.
TIMES = ("@timestamp", "timestamp", "time", "ts")
LEVELS = ("level", "severity")
#: What pino and bunyan write instead of words.
_LEVEL_NUMBERS = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}
#: Names that ECS has as objects but loggers use for one value: where that value belongs. Elasticsearch refuses a whole
#: document that has a value where the mapping has an object.
_VALUES_OF_OBJECTS = {
    "agent": "name", "client": "address", "container": "name", "destination": "address", "error": "message",
    "file": "path", "process": "name", "server": "address", "source": "address", "span": "id", "trace": "id",
    "transaction": "id", "url": "original", "user": "name", "user_agent": "original",
}  # fmt: skip
OBJECTS = frozenset(_VALUES_OF_OBJECTS)
#: What a rename may not write: the envelope's and Elasticsearch's own.
_NOT_TARGETS = METADATA_NAMES | {"@timestamp", "dp", "event.dataset", "event.sequence", "event.ingested"}


def lifter(config: ParserConfig) -> Lift:
    """Return what turns records of an input into parsed lines.

    A record's time, level and message become `@timestamp`, `log.level` and `message`; a record without a message of
    its own has its whole line as `message`.

    Raises:
        ConfigError: a key about times or names cannot be used.
    """
    renames, zone = check_renames(config), zone_of(config.time_zone)
    read = time_reader(config) if config.time_field else None
    field = config.time_field

    def lift(record: dict[str, Any], line: str, at: str) -> Parsed:
        problem = ""
        if read is None:
            timestamp = _take_time(record, zone)
        elif (timestamp := read(record.get(field), at)) is not None:
            del record[field]
        else:
            problem = f"time_field: {field} is no such time: {record.get(field)!r}"[:200]
        if renames:
            rename_fields(record, renames)
        _name_level(record)
        if not isinstance(record.get("message"), str):
            _name_message(record, line)
        if not OBJECTS.isdisjoint(record):
            _make_objects(record)
        return Parsed(record, timestamp, problem)

    return lift


def _take_time(record: dict[str, Any], zone: tzinfo) -> str | None:
    for name in TIMES:
        value = record.get(name)
        if value is None:
            continue
        if value.__class__ is str:
            found = times.iso(value, zone) or times.epoch_text(value)
        else:
            found = times.epoch(value) if value.__class__ in (int, float) else None
        if found is not None:
            del record[name]
            break
    else:
        found = None
    if "@timestamp" in record:  # unusable as a time, and no other field may have the name
        record["labels.timestamp"] = as_text(record.pop("@timestamp"))
    return found


def _name_level(record: dict[str, Any]) -> None:
    """Move the first level that is a text, or one of the usual numbers, to `log.level`, unless that is there."""
    if "log.level" in record:
        return
    for name in LEVELS:
        value = record.get(name)
        if value is None:
            continue
        level = value if value.__class__ is str else _LEVEL_NUMBERS.get(value) if value.__class__ is int else None
        if level is not None:
            _put_level(record, name, level)
            return


def _put_level(record: dict[str, Any], name: str, level: str) -> None:
    log = record.get("log")
    if log is None:
        del record[name]
        record["log"] = {"level": level}
    elif not isinstance(log, dict):
        del record[name]
        record["log.level"] = level
    elif "level" not in log:
        del record[name]
        log["level"] = level


def _name_message(record: dict[str, Any], line: str) -> None:
    """Find a message; one that is no text is a value of another kind, which no index takes as a message."""
    if (other := record.pop("message", None)) is not None:
        record["labels.message"] = as_text(other)
    record["message"] = record.pop("msg") if isinstance(record.get("msg"), str) else line


def _make_objects(record: dict[str, Any]) -> None:
    for name in OBJECTS.intersection(record):
        value = record[name]
        if value is not None and not isinstance(value, dict) and f"{name}.{_VALUES_OF_OBJECTS[name]}" not in record:
            record[name] = {_VALUES_OF_OBJECTS[name]: value}


def as_text(value: Any) -> str:
    """Return a value as a label takes it: a text stays, everything else is its JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def check_renames(config: ParserConfig) -> tuple[tuple[str, str], ...]:
    """Return the renames of an input as pairs.

    Raises:
        ConfigError: a name is empty, or a target belongs to the envelope.
    """
    for old, new in config.rename.items():
        if not old or not new or ".." in f".{new}.":
            raise ConfigError(f'rename: "{old}" = "{new}": a name is empty; write "old" = "new.name"')
        if new in _NOT_TARGETS or new.startswith("dp."):
            advice = "use time_field for times" if new == "@timestamp" else "choose another name, such as labels.…"
            raise ConfigError(f'rename: "{old}" = "{new}": {new} belongs to the event itself; {advice}')
    return tuple(config.rename.items())


def rename_fields(fields: dict[str, Any], renames: tuple[tuple[str, str], ...]) -> None:
    """Give fields their new names, in order; a field stays where it is if the new name is taken.

    A dotted name finds a member of that very name, or the member of an object.
    """
    for old, new in renames:
        holder, name = (fields, old) if old in fields else _holder(fields, old)
        if name in holder and new not in fields and new.rpartition(".")[2] not in _holder(fields, new)[0]:
            fields[new] = holder.pop(name)


def _holder(fields: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """Return the object that a dotted path leads into and the last name; an empty one if there is none."""
    *steps, name = path.split(".")
    for step in steps:
        inner = fields.get(step)
        if not isinstance(inner, dict):
            return {}, name
        fields = inner
    return fields, name


def renamed(parse: Parse, renames: tuple[tuple[str, str], ...]) -> Parse:
    """Return a parser with its fields renamed, for those whose fields have ECS names already."""

    def parse_and_rename(line: str, at: str) -> Parsed:
        parsed = parse(line, at)
        if parsed.problem:
            return parsed
        rename_fields(parsed.fields, renames)
        return Parsed(parsed.fields, parsed.timestamp)

    return parse_and_rename if renames else parse
