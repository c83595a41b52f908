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
_MAX_TEXT = 1_000_000
_TOO_DEEP = "<nested too deeply>"
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
    value = str.__str__(value)[:_MAX_TEXT]  # of a subclass, what it holds
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
            return bytes(value[:_MAX_TEXT]).decode("utf-8", "backslashreplace")
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


def plain(value: Any, path: tuple[int, ...] = ()) -> Any:
    """Return a copy made of JSON values only: no cycles, no surprises, bounded in depth and width."""
    try:
        return _plain(value, path)
    except Exception as error:  # noqa: BLE001 - as above
        pass_on_if_from_signal(error)
        return f"<{kind_of(value)}: reading it raised {kind_of(error)}>"


def _plain(value: Any, path: tuple[int, ...]) -> Any:
    if isinstance(value, (Mapping, *_LISTS)):
        return _container(value, path)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _container({f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}, path)
    return _scalar(value)


def _container(value: Any, path: tuple[int, ...]) -> Any:
    if id(value) in path:
        return _CYCLE
    if len(path) >= _MAX_DEPTH:
        return _TOO_DEEP
    inside = (*path, id(value))
    if isinstance(value, Mapping):
        return {_name(key): plain(item, inside) for key, item in _first(value.items())}
    kept = [plain(item, inside) for item in _first(value)]
    return [*kept, f"<{len(value) - _MAX_ITEMS} more>"] if len(value) > _MAX_ITEMS else kept


def _first(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(_MAX_ITEMS), strict=False)]


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
        return message_text(bytes(value[:_MAX_TEXT]))
    if isinstance(value, _DATES):
        return value.isoformat()
    return str(value) if isinstance(value, _WRITTEN_OUT) else describe(value)


def _digits(value: int) -> str:
    """Decimal where Python writes it (it refuses thousands of digits), else hexadecimal."""
    return describe(value) if value.bit_length() < 10_000 else hex(value)[:_MAX_TEXT]  # noqa: PLR2004


_encoder = msgspec.json.Encoder(enc_hook=describe, decimal_format="string")
