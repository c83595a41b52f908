"""What is left of a log call that cannot be read as it is.

Flows in: what `record` failed at: records that were tampered with, events whose own code raises. Flows out: the same in
plain values. Invariant: nothing here raises, and message and level stay as far as they can be read.
"""

import logging
from math import isfinite
from typing import Any

from dataplane_emitter import encode
from dataplane_emitter.record import STANDARD

_INFO = "info"


def of_record(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record like this one, made of plain values."""
    given: dict[str, Any] = encode.plain(dict(record.__dict__))
    arguments = record.args if type(record.args) is tuple else (record.args,) if record.args is not None else ()
    message = " ".join(encode.message_text(part) for part in (record.msg, *arguments))
    made = logging.LogRecord(
        encode.message_text(given.get("name")),
        _number(given.get("levelno"), logging.INFO),
        encode.message_text(given.get("filename")),
        _number(given.get("lineno"), 0),
        message,
        None,
        record.exc_info if type(record.exc_info) is tuple else None,
        encode.message_text(given.get("funcName")),
    )
    created = given.get("created")
    if isinstance(created, int | float) and isfinite(created):
        made.created = created
    if type(record.levelname) is str:
        made.levelname = record.levelname
    made.__dict__.update({name: value for name, value in given.items() if name not in STANDARD})
    return made


def of_event(given: tuple[Any, Any, Any, int]) -> tuple[Any, Any, Any, int]:
    """Return what a structlog processor was given, in plain values and without its logger."""
    _, method, event, least = given
    fields = encode.plain(event)
    return None, method if type(method) is str else _INFO, fields if type(fields) is dict else {"event": fields}, least


def _number(value: Any, default: int) -> int:
    return value if type(value) is int else default
