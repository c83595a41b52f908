"""Values of an application as JSON, whatever they are.

Pure. Flows in: anything that a program may log. Flows out: bytes of one JSON object. Invariant: nothing here raises; a
value that has no JSON form degrades to a text that says what it was, and its neighbours keep theirs.
"""

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from dataplane_common.lifecycle import pass_on_if_from_signal

#: Elasticsearch's `long` is 64 bits; a larger number would make the whole event a dead letter.
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1
#: Elasticsearch refuses objects nested deeper than 20; the envelope takes some of it.
_MAX_DEPTH = 12
#: Elements of one list or object that are kept: more is data, not a log record.
_MAX_ITEMS = 1_000
#: Characters of one text; the event's own limit cuts further. Keeps one `repr` of a data frame from costing seconds.
MAX_TEXT: Final = 1_000_000
#: Values of one event that are kept: copying them takes about ten milliseconds, and more hardly fit into an event.
_MAX_VALUES = 10_000
#: Characters that are left of a text, and types that have no more, where there is no room for texts any longer.
_SHORT_TEXT = 64
_SHORT = frozenset({bool, float, type(None)})
_TOO_DEEP = "<nested too deeply>"
_TOO_MUCH = "<too much>"
_CYCLE = "<cycle>"
_WRITTEN_OUT = (uuid.UUID, decimal.Decimal, dt.timedelta)
_DATES = (dt.datetime, dt.date, dt.time)
_TYPE_NAME = type.__dict__["__name__"].__get__
_LISTS = (list, tuple, set, frozenset)


def describe(value: Any) -> str:
    """Return `repr(value)`, or what it was and why that failed."""
    try:
        return text(repr(value))
    except Exception as error:  # noqa: BLE001 - the repr is somebody else's code
        pass_on_if_from_signal(error)
        return f"<{kind_of(value)}: its repr raised {kind_of(error)}>"


def kind_of(value: Any) -> str:
    """Return the name of a value's type, as Python itself knows it."""
    return str(_TYPE_NAME(type(value)))


def text(value: str) -> str:
    """Return a text that UTF-8 can carry: lone surrogates are written as escapes, what is endless is cut."""
    value = str.__str__(value)[:MAX_TEXT]  # of a subclass, what it holds
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def message_text(value: Any) -> str:
    """Return any value as an event's message; never raises."""
    try:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, bytes | bytearray):
            return bytes(value[:MAX_TEXT]).decode("utf-8", "backslashreplace")
        return text(str(value))
    except Exception as error:  # noqa: BLE001 - the str is somebody else's code
        pass_on_if_from_signal(error)
        return describe(value)


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON; what has no JSON form becomes a text."""
    try:
        return _encoder.encode(document)
    except Exception as error:  # noqa: BLE001 - any value of an application may be behind this
        pass_on_if_from_signal(error)
        return _encoder.encode(plain(document))


def text_json(value: str) -> bytes:
    """Return a text as JSON."""
    try:
        return _encoder.encode(value)
    except Exception:  # noqa: BLE001 - lone surrogates, or a subclass of `str` with surprises
        return _encoder.encode(message_text(value))


class _Room:
    """What may still be copied of one event's values."""

    __slots__ = ("characters", "values")

    def __init__(self) -> None:
        self.values = _MAX_VALUES
        self.characters = MAX_TEXT


def plain(value: Any, path: tuple[int, ...] = (), room: _Room | None = None) -> Any:
    """Return a copy made of JSON values only: no cycles, no surprises, bounded in depth, width and altogether."""
    try:
        return _plain(value, path, room or _Room())
    except Exception as error:  # noqa: BLE001 - as above
        pass_on_if_from_signal(error)
        return f"<{kind_of(value)}: reading it raised {kind_of(error)}>"


def _plain(value: Any, path: tuple[int, ...], room: _Room) -> Any:
    if isinstance(value, (Mapping, *_LISTS)):
        return _container(value, path, room)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _container({f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}, path, room)
    if room.characters <= 0 and type(value) not in _SHORT and not _is_small(value):
        return text(value[:_SHORT_TEXT]) if type(value) is str else _TOO_MUCH
    found = _scalar(value)
    if type(found) is str:
        room.characters -= len(found)
    return found


def _container(value: Any, path: tuple[int, ...], room: _Room) -> Any:
    if id(value) in path:
        return _CYCLE
    if len(path) >= _MAX_DEPTH:
        return _TOO_DEEP
    if room.values <= 0:
        return _TOO_MUCH
    inside = (*path, id(value))
    if isinstance(value, Mapping):
        return {_name(key): plain(item, inside, room) for key, item in _first(value.items(), room)}
    first = _first(value, room)
    kept = [plain(item, inside, room) for item in first]
    return [*kept, f"<{len(value) - len(first)} more>"] if len(value) > len(first) else kept


def _first(items: Any, room: _Room) -> list[Any]:
    kept = [item for item, _ in zip(items, range(min(_MAX_ITEMS, room.values)), strict=False)]
    room.values -= len(kept)
    return kept


def _name(key: Any) -> str:
    return key if type(key) is str and key.isascii() else message_text(key)


def _scalar(value: Any) -> Any:  # noqa: PLR0911 - a table of types reads best flat
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value) if MIN_INTEGER <= value <= MAX_INTEGER else _digits(value)
    if isinstance(value, float):
        return float(value)  # NaN and the infinities become null, the only form that a number's field accepts
    if isinstance(value, bytes | bytearray | memoryview):
        return message_text(bytes(value[:MAX_TEXT]))
    if isinstance(value, _DATES):
        return value.isoformat()
    return str(value) if isinstance(value, _WRITTEN_OUT) else describe(value)


def _is_small(value: Any) -> bool:
    return type(value) is int and MIN_INTEGER <= value <= MAX_INTEGER


def _digits(value: int) -> str:
    """Decimal where Python writes it (it refuses thousands of digits), else hexadecimal."""
    return describe(value) if value.bit_length() < 10_000 else hex(value)[:MAX_TEXT]  # noqa: PLR2004


_encoder = msgspec.json.Encoder(enc_hook=describe, decimal_format="string")
