"""Records of the two logging worlds, stdlib's and structlog's, as ECS documents.

Flows in: a `LogRecord`, or structlog's event dictionary. Flows out: (rank, routes, document, fields) for the intake.
Invariant: the record is read, never changed: other handlers and processors get it as it came.
Sources: ECS field sets `log`, `error`, `process`; attributes of `logging.LogRecord`.
"""

import copy
import logging
from collections.abc import Mapping
from threading import get_ident
from typing import Any

from dataplane_emitter import level, moment, trouble
from dataplane_emitter.encode import message_text
from dataplane_emitter.intake import Intake, ThreadState
from dataplane_emitter.redact import Redactor

_STANDARD = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"})
_PLAIN_ARGUMENTS = frozenset({str, int, float, bool, type(None)})
_PLAIN_RECORD_SIZE = len(logging.makeLogRecord({}).__dict__)


def accept_record(intake: Intake, state: ThreadState, record: logging.LogRecord) -> None:
    """Take one stdlib record."""
    rule = intake.rules.of(record.name)
    if record.levelno < rule.least:
        return
    if isinstance(record.msg, dict) and "event" in record.msg:
        accept_event(intake, state, None, record.levelname.lower(), {"logger": record.name, **record.msg}, 0)
        return
    found = level.from_record(record.levelno, record.levelname)
    suppressed = 0
    if rule.limit is not None:
        suppressed = intake.ask(rule.limit, record.name, found, message_text(record.msg))
        if suppressed < 0:
            return
    document: dict[str, Any] = {
        "@timestamp": moment.from_seconds(record.created),
        "message": message_of(record, intake.redactor),
        "log": {
            "level": found.name,
            "logger": record.name,
            "origin": {"file": {"name": record.filename, "line": record.lineno}, "function": record.funcName},
        },
        "process": intake.process(state)
        if record.thread in (None, get_ident())
        else intake.process_of(record.thread, record.threadName),
    }
    if record.exc_info or record.exc_text or record.stack_info:
        error = _error_of(record)
        if error:
            document["error"] = error
    intake.accept(found.rank, rule.routes, document, extra_of(record), suppressed)


def message_of(record: logging.LogRecord, redactor: Redactor) -> str:
    """Return a record's message; arguments that do not fit its format are shown beside it instead.

    What a mapping among the arguments holds under a secret's name is masked here, where the name is still known.
    """
    if type(record.msg) is str and not record.args:
        return record.msg
    arguments: Any = record.args
    if arguments and (type(arguments) is not tuple or not _PLAIN_ARGUMENTS.issuperset(map(type, arguments))):
        arguments = redactor.arguments(arguments)
        record = copy.copy(record)
        record.args = arguments
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - the arguments' own code, or a format that does not fit
        parts = arguments if isinstance(arguments, tuple) else (arguments,)
        return " ".join(message_text(part) for part in (record.msg, *parts))


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller added with `extra`."""
    attributes = record.__dict__
    if len(attributes) <= _PLAIN_RECORD_SIZE:
        return {}
    added = {key: value for key, value in attributes.items() if key not in _STANDARD}
    if len(added) == 1 and type(added.get("extra")) is dict:  # loguru's way of handing its own extras on
        return dict(added["extra"])
    return added


def accept_event(intake: Intake, state: ThreadState, logger: Any, method: str, event: Any, least: int) -> None:
    """Take one structlog event dictionary, or the text that a renderer before us has made of it.

    `least` is the level number below which it is passed over.
    """
    fields = event.copy() if type(event) is dict else _fields_of(event)
    given = fields.pop("level", method)
    found = level.from_name(given if type(given) is str else method)
    name = fields.pop("logger", None) or getattr(logger, "name", None)
    name = name if name is None or type(name) is str else message_text(name)
    rule = intake.rules.of(name)
    if found.number < rule.least or found.number < least:
        return
    message = fields.pop("event", "")
    suppressed = 0
    if rule.limit is not None:
        suppressed = intake.ask(rule.limit, name, found, message_text(message))
        if suppressed < 0:
            return
    document: dict[str, Any] = {
        "@timestamp": _time_of(fields),
        "message": message if type(message) is str else message_text(message),
        "log": {"level": found.name} if name is None else {"level": found.name, "logger": name},
        "process": intake.process(state),
    }
    if "exc_info" in fields or "exception" in fields:
        _take_error(fields, document)
    intake.accept(found.rank, rule.routes, document, fields, suppressed)


def _fields_of(event: Any) -> dict[str, Any]:
    return dict(event) if isinstance(event, Mapping) else {"event": event}


def _time_of(fields: dict[str, Any]) -> str:
    """Return a record's own time, taken off its fields; one that cannot be read stays a field."""
    for name in ("timestamp", "@timestamp"):
        if name in fields and (found := moment.of_record(fields[name])) is not None:
            del fields[name]
            return found
    return moment.now()


def _take_error(fields: dict[str, Any], document: dict[str, Any]) -> None:
    """Move an exception, or structlog's rendering of one, from the fields to `error`."""
    error = trouble.from_exc_info(fields.pop("exc_info", None))
    rendered = fields.get("exception")
    if error is None and type(rendered) is str:
        error = trouble.from_text(rendered)
    if error is not None:
        if type(rendered) is str:
            del fields["exception"]
        document["error"] = error


def _error_of(record: logging.LogRecord) -> dict[str, str] | None:
    error = trouble.from_exc_info(record.exc_info) if record.exc_info else None
    if error is None and record.exc_text:
        error = trouble.from_text(record.exc_text)
    if error is None and record.stack_info:
        error = {"stack_trace": message_text(record.stack_info)}
    return error
