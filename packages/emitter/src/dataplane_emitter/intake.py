"""The caller's side: what a log call brings becomes one body in the queue.

Flows in: what `record` made of a log call. Flows out: bytes in the queue. Invariant: this runs within the
application's call, so it takes microseconds, waits for nothing and raises nothing; the common case (plain names, plain
values) puts ready-made JSON around the message, everything else takes the careful path.
"""

import sys
from collections.abc import Callable
from threading import current_thread, get_ident, local
from typing import Any, TypeVar

from dataplane_common.lifecycle import pass_on_if_from_signal
from dataplane_emitter import encode, trace
from dataplane_emitter.encode import MAX_INTEGER, MAX_TEXT, MIN_INTEGER
from dataplane_emitter.envelope import Envelope
from dataplane_emitter.origin import Origin, Origins, Part, part
from dataplane_emitter.queue import BoundedQueue, Entry
from dataplane_emitter.redact import is_suspect
from dataplane_emitter.rules import Rules
from dataplane_emitter.shrink import shrink

#: Log calls within log calls, by a `__str__` that logs or by signals that interrupt each other, are welcome up to this
#: depth; beyond it, it is a recursion.
_MAX_DEPTH = 8
#: Field names that were seen to be plain; an application that makes up names for ever starts the memory anew.
_MAX_NAMES = 4_096
_MAX_NAME_CHARACTERS = 256
_SIMPLE = frozenset({bool, type(None), float})
Error = dict[str, str]
_T = TypeVar("_T")


class ThreadState:
    """What a thread keeps: how deep in log calls it is, its `process`, and whether it is the emitter's own."""

    __slots__ = ("depth", "ident", "is_own", "process")

    def __init__(self) -> None:
        self.ident = get_ident()
        self.depth = 0
        self.is_own = False
        self.process: Part | None = None


class _PerThread(local):
    """Finds a thread's state; one look-up per log call, because each costs as much as a lock."""

    def __init__(self) -> None:
        self.state = ThreadState()


class Intake:
    """Accepts documents from any thread but the emitter's own, whose log records never come back here."""

    def __init__(self, envelope: Envelope, rules: Rules, queue: BoundedQueue, max_event_bytes: int, pid: int) -> None:
        self.origins = Origins(rules, envelope.redactor)
        self._envelope = envelope
        self._queue = queue
        self._max_event_bytes = max_event_bytes
        self._pid = pid
        self._names: set[str] = set()
        self._threads = _PerThread()
        self._direct = not envelope.needs_merge
        self._dynamic = envelope.dynamic
        self.redactor = envelope.redactor
        self._looks_for_secrets = envelope.redactor.is_active and not envelope.redactor.examines_all

    def follow(self, queue: BoundedQueue, pid: int) -> None:
        """In a forked child, put what a call is in the middle of into the child's own queue."""
        self._queue, self._pid = queue, pid
        self._threads.state.process = None

    def disown_thread(self) -> None:
        """Accept nothing from the calling thread any more."""
        self._threads.state.is_own = True

    def guard(
        self, accept: "Callable[[Intake, ThreadState, _T], None]", given: _T, remains: Callable[[_T], _T]
    ) -> None:
        """Have `accept` take what a log call gave, so that nothing it does can hurt the application.

        That is: no exception but what a signal's handler raises in its midst, no endless recursion. What cannot be
        read as it is is read as what `remains` of it.
        """
        state = self._threads.state
        if state.depth >= _MAX_DEPTH:
            self._queue.refuse("recursion")
            return
        if state.is_own:
            return
        state.depth += 1
        try:
            accept(self, state, given)
        except Exception as error:  # noqa: BLE001 - an application is never hurt
            pass_on_if_from_signal(error)
            try:
                accept(self, state, remains(given))
            except Exception as second:  # noqa: BLE001 - as above
                pass_on_if_from_signal(second)
                self._queue.refuse("internal_error")
        finally:
            state.depth -= 1

    def process(self, state: ThreadState) -> Part:
        """Return `process` of the calling thread."""
        if state.process is None:
            state.process = self.process_of(state.ident, current_thread().name)
        return state.process

    def process_of(self, thread_id: int | None, thread_name: str | None) -> Part:
        """Return `process` of another thread."""
        name = self.redactor.value("", encode.message_text(thread_name))
        return part("process", {"pid": self._pid, "thread": {"id": thread_id, "name": name}})

    def ask(self, origin: Origin, message: str) -> int:
        """Return -1 for an event that its logger's limit holds back, else how many were since the last one."""
        limit = origin.rule.limit
        verdict = limit.admit(origin.logger or "", origin.level, message) if limit is not None else 0
        if isinstance(verdict, str):
            self._queue.refuse(verdict)
            return -1
        return verdict

    def accept(
        self,
        origin: Origin,
        at: str,
        message: str,
        process: Part,
        fields: dict[str, Any],
        error: Error | None = None,
        suppressed: int = 0,
    ) -> None:
        """Encode an event and queue it. `fields` are the record's own and belong to the intake from now on.

        `suppressed` is how many events like it were held back before it.
        """
        if self._dynamic:
            self._add_dynamic(fields)
        special = _special(error) if error or "opentelemetry.trace" in sys.modules else {}
        texts = self._texts(message, fields) if fields else message
        if texts is not None and self._direct and not suppressed:
            body = encode.encode({"@timestamp": at, "message": message, **fields, **special})
            log, shared = origin.log.json, process.json
            size = len(body) + len(log) + len(shared)
            if size <= self._max_event_bytes:
                is_clean = not self._looks_for_secrets or not (error or is_suspect(texts))
                route = origin.rule.routes.direct if is_clean else origin.rule.routes.suspect
                self._queue.put(Entry(origin.level.rank, route, body, size + route.cost_bytes, log, shared))
                return
        message = message[:MAX_TEXT]
        envelope = {"@timestamp": at, "message": message, "log": origin.log.value, "process": process.value}
        self._accept_merged(origin, {**envelope, **special}, fields, suppressed)

    def _accept_merged(self, origin: Origin, envelope: dict[str, Any], fields: dict[str, Any], suppressed: int) -> None:
        """Encode and queue an event whose fields have to be looked at one by one, or that is too long."""
        route = origin.rule.routes.merged
        merged = self._envelope.merge(encode.plain(fields), envelope, route)
        if suppressed:
            merged["event"]["suppressed"] = suppressed
        body = encode.encode(merged)
        if len(body) > self._max_event_bytes:
            body = shrink(self.redactor.body(body) if route.is_suspect else body, self._max_event_bytes)
        self._queue.put(Entry.of(origin.level.rank, route, body))

    def _texts(self, message: str, fields: dict[str, Any]) -> str | None:
        """Return all texts in one, or None unless every name is plain and every value has a JSON form."""
        names = self._names
        for name, value in fields.items():
            kind = type(value)
            if kind is str:
                message += value
            elif kind is int:
                if not MIN_INTEGER <= value <= MAX_INTEGER:
                    return None
            elif kind not in _SIMPLE:
                return None
            if name not in names and not self._learn(name):
                return None
        return message

    def _learn(self, name: Any) -> bool:
        """Remember a name if it is plain: nobody else's, no dots, not blank, no secret's."""
        if type(name) is not str or "." in name or name in self._envelope.reserved or not name.strip():
            return False
        if len(name) > _MAX_NAME_CHARACTERS or self.redactor.is_secret_name(name):
            return False
        if len(self._names) >= _MAX_NAMES:
            self._names = set()
        self._names.add(name)
        return True

    def _add_dynamic(self, fields: dict[str, Any]) -> None:
        for name, call in self._dynamic.items():
            if name not in fields:
                try:
                    fields[name] = call()
                except Exception as error:  # noqa: BLE001 - the application's own code
                    pass_on_if_from_signal(error)
                    fields[name] = f"<{type(error).__name__} while this field was asked for>"


def _special(error: Error | None) -> dict[str, Any]:
    """Return what few events have: an exception, a span."""
    special: dict[str, Any] = {"error": error} if error else {}
    span = trace.current()
    if span is not None:
        special["trace"], special["span"] = {"id": span[0]}, {"id": span[1]}
    return special
