"""The short way of JSON lines: what a program's records look like is learnt, and then only checked while decoding.

Flows in: a line as it is in the file. Flows out: bytes of JSON, or None for the long way. Invariant: what it gives is
what `json_parser` gives; a record with a name or a kind of value that is not known yet goes the long way.
"""

import re
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from dataplane_tailer.parse import times
from dataplane_tailer.parse.names import are_plain, have_plain_names
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Quick, Row
from dataplane_tailer.parse.record import LEVELS, OBJECTS, TIMES
from dataplane_tailer.parse.time_field import zone_of

#: Names in one layout: it is searched from the front for each member that does not come in its usual order.
_NAMES_KEPT = 64
#: How often a file's layout is made anew: records without any order to them are not worth it.
_LAYOUTS_KEPT = 64
#: Distinct seconds that are remembered per file before they are forgotten.
_SECONDS_KEPT = 4096
#: Distinct levels that are remembered per file.
_LEVELS_KEPT = 256
_SCALAR = str | int | float | bool | UnsetType | None
_TEXT = str | UnsetType
#: What the name of a struct's member cannot have.
_UNFIT = re.compile(r'[\x00-\x1f"\\]')
_encode = msgspec.json.Encoder().encode


class _Layout:
    """What the records of one file look like: their members as fields of a struct, each of which may be missing.

    The fields `time`, `level`, `message` and `msg` are those of these meanings, whatever their members are called.
    """

    def __init__(self, taken: frozenset[str]) -> None:
        self._taken = taken
        self._known: dict[str, Any] = {"message": _TEXT}
        self._made = 0
        self.make()

    def make(self) -> None:
        """Make a decoder for what is known now."""
        self._made += 1
        # Other names that mean time or level count where the first is missing: that is left to the long way.
        times_known = [name for name in TIMES if name in self._known]
        levels_known = [name for name in LEVELS if name in self._known]
        self.needs_time, self.needs_level = len(times_known) > 1, len(levels_known) > 1
        meanings = {"message": "message", "msg": "msg"}
        meanings |= dict.fromkeys(times_known[:1], "time") | dict.fromkeys(levels_known[:1], "level")
        names = {name: meanings.get(name, f"member_{number}") for number, name in enumerate(self._known)}
        unused = dict.fromkeys({"time", "level", "msg"} - {*names.values()}, UNSET)
        self.deep = tuple(names[name] for name, kind in self._known.items() if kind not in (_SCALAR, _TEXT))
        kind = msgspec.defstruct(
            "Record",
            [(names[name], kind, UNSET) for name, kind in self._known.items()],
            rename={field: name for name, field in names.items()},
            namespace=unused,
            forbid_unknown_fields=True,
            gc=False,
        )
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode

    def learn(self, line: bytes) -> bool:
        """Take in what a record looks like; return whether the layout has changed, so that it now may fit."""
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if record.__class__ is not dict or self._made >= _LAYOUTS_KEPT:
            return False
        if not are_plain(record) or not self._taken.isdisjoint(record) or _UNFIT.search("".join(record)):
            return False
        known = self._known | {name: self._kind(name, value) for name, value in record.items()}
        if known == self._known or len(known) > _NAMES_KEPT:
            return False
        self._known = known
        self.make()
        return True

    def _kind(self, name: str, value: Any) -> Any:
        if name in ("message", "msg", *TIMES, *LEVELS):
            return _TEXT
        if name in OBJECTS:
            return dict[str, Any] | UnsetType
        is_scalar = value.__class__ is not dict and value.__class__ is not list
        return _SCALAR if is_scalar and self._known.get(name, _SCALAR) == _SCALAR else Any


def quick_json(config: ParserConfig, taken: frozenset[str]) -> Quick | None:  # noqa: C901 - see within
    """Return the short way for records whose names are plain and free; `taken` are the names that are not."""
    if config.rename or config.time_field:
        return None
    layout = _Layout(taken - {"@timestamp"})  # which becomes the event's own, or the line goes the long way
    zone, levels = zone_of(config.time_zone), dict[str, bytes]()
    seconds: set[str] = set()
    encode = _encode

    def quick(line: bytes) -> Row | None:  # noqa: C901, PLR0911 - flat, for calls cost time here
        try:
            record = layout.decode(line)
        except msgspec.DecodeError:
            return quick(line) if layout.learn(line) else None
        except (UnicodeDecodeError, RecursionError):
            return None
        if layout.deep and not _are_plain_inside(record, layout.deep):
            return None
        when = log = b""
        if (text := record.time) is not UNSET:
            when = text.encode()
            if text[:20] in seconds and when[20:26].isdigit() and when[26:] == b"Z":
                pass
            elif not (when := _when(text, zone, seconds)):
                return None
            record.time = UNSET
        elif layout.needs_time:
            return None
        if (text := record.level) is not UNSET:
            log = levels.get(text) or _learn_level(levels, text)
            record.level = UNSET
        elif layout.needs_level:
            return None
        if record.message is UNSET:
            if record.msg is UNSET:
                return None
            record.message, record.msg = record.msg, UNSET
        return when, log, b"", encode(record)[1:-1]

    return quick


def _are_plain_inside(record: Any, deep: tuple[str, ...]) -> bool:
    for name in deep:
        value = getattr(record, name)
        if value.__class__ is dict:
            if not are_plain(value) or not have_plain_names(value):
                return False
        elif value.__class__ is list and not have_plain_names({"": value}):
            return False
    return True


def _when(text: str, zone: tzinfo, seconds: set[str]) -> bytes:
    """Return a time as the bytes of a timestamp, and remember its second if it was in that form already."""
    when = times.iso(text, zone)
    if when == text:
        if len(seconds) >= _SECONDS_KEPT:
            seconds.clear()
        seconds.add(text[:20])
    return when.encode() if when else b""


def _learn_level(levels: dict[str, bytes], text: str) -> bytes:
    encoded = b'"level":%b,' % _encode(text)
    if len(levels) < _LEVELS_KEPT:
        levels[text] = encoded
    return encoded
