"""An exception as ECS `error.*`: type, message and the whole trace with causes, groups and notes.

Flows in: what `sys.exc_info()` and its relatives give. Flows out: a small dictionary.
Invariant: an exception whose own `str` raises is described all the same. Source: ECS field set `error`.
"""

import sys
import traceback
from typing import Any

from dataplane_common.lifecycle import pass_on_if_from_signal
from dataplane_emitter.abridge import abridged, is_long, name_of
from dataplane_emitter.encode import message_text, text

#: Characters of a trace that are kept: the beginning (the cause) and the end (where it was caught).
_HEAD = 8_000
_TAIL = 24_000


def from_exc_info(exc_info: Any) -> dict[str, str] | None:
    """Return `error.*` for True (the exception being handled), an exception, or an `exc_info` triple; else None."""
    if exc_info is True:
        return from_exception(sys.exc_info()[1])
    if type(exc_info) is tuple and len(exc_info) > 1:
        exc_info = exc_info[1]
    return from_exception(exc_info) if issubclass(type(exc_info), BaseException) else None


def from_exception(error: BaseException | None) -> dict[str, str] | None:
    """Return `error.*` for an exception, its chained causes and the members of a group included."""
    if error is None:
        return None
    return {"type": name_of(type(error)), "message": message_text(error), "stack_trace": _trace(error)}


def from_text(trace: str) -> dict[str, str]:
    """Return `error.*` for a trace that somebody else has formatted: its last line names type and message."""
    last = trace.rstrip().rpartition("\n")[2]
    name, _, message = last.partition(": ")
    found = {"stack_trace": _bounded(text(trace))}
    if name and " " not in name:
        found = {"type": text(name), "message": text(message), **found}
    return found


def _trace(error: BaseException) -> str:
    try:
        whole = abridged(error) if is_long(error) else "".join(traceback.format_exception(error))
        return _bounded(text(whole))
    except Exception as failure:  # noqa: BLE001 - formatting runs the exception's own code
        pass_on_if_from_signal(failure)
        return f"<the trace of {type(error).__name__} could not be formatted: {type(failure).__name__}>"


def _bounded(trace: str) -> str:
    if len(trace) <= _HEAD + _TAIL:
        return trace
    return f"{trace[:_HEAD]}\n… {len(trace) - _HEAD - _TAIL} characters left out …\n{trace[-_TAIL:]}"
