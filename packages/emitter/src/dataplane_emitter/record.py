"""Records of the two logging worlds, stdlib's and structlog's, as ECS documents.

Flows in: a `LogRecord`, or structlog's event dictionary. Flows out: what the intake makes an event of.
Invariant: the record is read, never changed: other handlers and processors get it as it came.
Sources: ECS field sets `log`, `error`, `process`; attributes of `logging.LogRecord`.
"""

import copy
import logging
from collections.abc import Mapping
from typing import Any

from dataplane_common.lifecycle import pass_on_if_from_signal
from dataplane_emitter import moment, trouble
from dataplane_emitter.encode import message_text
from dataplane_emitter.intake import Intake, ThreadState
from dataplane_emitter.origin import Part
from dataplane_emitter.redact import Redactor

#: The attributes that every record has; the others are the caller's.
STANDARD = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"})
_PLAIN_ARGUMENTS = frozenset({str, int, float, bool, type(None)})
_PLAIN_RECORD_SIZE = len(logging.makeLogRecord({}).__dict__)
#: The attribute that a new record gets last; what the caller adds comes behind it.
_LAST = next(reversed(logging.makeLogRecord({}).__dict__))


def accept_record(intake: Intake, state: ThreadState, record: logging.LogRecord) -> None:
    """Take one stdlib record."""
    origin = intake.origins.of_record(record)
    if not origin.passes:
        return
    if isinstance(record.msg, dict) and "event" in record.msg:
        accept_event(intake, state, (None, record.levelname.lower(), {"logger": record.name, **record.msg}, 0))
        return
    suppressed = intake.ask(origin, message_text(record.msg)) if origin.rule.limit is not None else 0
    if suppressed < 0:
        return
    intake.accept(
        origin,
        moment.from_seconds(record.created),
        message_of(record, intake.redactor),
        (state.process if record.thread == state.ident else None) or _process_of(intake, state, record),
        extra_of(record) if len(record.__dict__) > _PLAIN_RECORD_SIZE else {},
        _error_of(record) if record.exc_info or record.exc_text or record.stack_info else None,
        suppressed,
    )


def message_of(record: logging.LogRecord, redactor: Redactor) -> str:
    """Return a record's message; arguments that do not fit its format are shown beside it instead.

    What a mapping among the arguments holds under a secret's name is masked here, where the name is still known.
    """
    arguments: Any = record.args
    if not arguments:
        if type(record.msg) is str:
            return record.msg
    elif not _is_plain(arguments):
        arguments = redactor.arguments(arguments)
        record = copy.copy(record)
        record.args = arguments
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - the arguments' own code, or a format that does not fit
        pass_on_if_from_signal(error)
        parts = arguments if isinstance(arguments, tuple) else (arguments,)
        return " ".join(message_text(part) for part in (record.msg, *parts))


def _is_plain(arguments: Any) -> bool:
    if type(arguments) is not tuple:
        return False
    for argument in arguments:  # noqa: SIM110 - `all` of a generator takes twice as long
        if type(argument) not in _PLAIN_ARGUMENTS:
            return False
    return True


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller added with `extra`."""
    attributes = record.__dict__
    beyond = len(attributes) - _PLAIN_RECORD_SIZE
    added = {}
    for key in reversed(attributes):
        if key == _LAST:
            break
        beyond -= 1
        if key not in STANDARD:
            added[key] = attributes[key]
    if beyond:  # a record of a class of its own, or one that was tampered with
        added = {key: value for key, value in attributes.items() if key not in STANDARD}
    if len(added) == 1 and type(added.get("extra")) is dict:  # loguru's way of handing its own extras on
        return dict(added["extra"])
    return added


def accept_event(intake: Intake, state: ThreadState, given: tuple[Any, str, Any, int]) -> None:
    """Take what a structlog processor is given, and the level number below which it is passed over.

    The event is a dictionary, or the text that a renderer before us has made of it.
    """
    logger, method, event, least = given
    fields = event.copy() if type(event) is dict else _fields_of(event)
    name_given = fields.pop("level") if "level" in fields else method
    name = fields.pop("logger") if "logger" in fields else None
    if name is None and logger is not None:
        name = getattr(logger, "name", None)
    origin = intake.origins.of_event(
        name if name is None or type(name) is str else message_text(name),
        name_given if type(name_given) is str else method,
    )
    if not origin.passes or origin.level.number < least:
        return
    message = fields.pop("event", "")
    if type(message) is not str:
        message = message_text(message)
    suppressed = intake.ask(origin, message) if origin.rule.limit is not None else 0
    if suppressed < 0:
        return
    at = _time_of(fields) if "timestamp" in fields or "@timestamp" in fields else moment.now()
    error = _take_error(fields) if "exc_info" in fields or "exception" in fields else None
    intake.accept(origin, at, message, state.process or intake.process(state), fields, error, suppressed)


def _fields_of(event: Any) -> dict[str, Any]:
    return dict(event) if isinstance(event, Mapping) else {"event": event}


def _time_of(fields: dict[str, Any]) -> str:
    """Return a record's own time, taken off its fields; one that cannot be read stays a field."""
    for name in ("timestamp", "@timestamp"):
        if name in fields and (found := moment.of_record(fields[name])) is not None:
            del fields[name]
            return found
    return moment.now()


def _take_error(fields: dict[str, Any]) -> dict[str, str] | None:
    """Take an exception, or structlog's rendering of one, off the fields and return `error`."""
    error = trouble.from_exc_info(fields.pop("exc_info", None))
    rendered = fields.get("exception")
    if error is None and type(rendered) is str:
        error = trouble.from_text(rendered)
    if error is not None and type(rendered) is str:
        del fields["exception"]
    return error


def _process_of(intake: Intake, state: ThreadState, record: logging.LogRecord) -> Part:
    """Return `process` of the thread that logged a record, which may be another one than hands it on."""
    if record.thread in (None, state.ident):
        return intake.process(state)
    return intake.process_of(record.thread, record.threadName)


def _error_of(record: logging.LogRecord) -> dict[str, str] | None:
    error = trouble.from_exc_info(record.exc_info) if record.exc_info else None
    if error is None and record.exc_text:
        error = trouble.from_text(record.exc_text)
    if error is None and record.stack_info:
        error = {"stack_trace": message_text(record.stack_info)}
    return error
