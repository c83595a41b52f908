"""The caller's side: a document and a record's fields become one body in the queue.

Flows in: what `record` made of a log call. Flows out: bytes in the queue. Invariant: this runs within the
application's call, so it takes microseconds, waits for nothing and raises nothing; the common case (plain names, plain
values) is one dictionary and one encoding, everything else takes the careful path.
"""

import sys
from collections.abc import Callable
from threading import current_thread, get_ident, local
from typing import Any

from dataplane_emitter import encode, trace
from dataplane_emitter.encode import MAX_INTEGER, MIN_INTEGER
from dataplane_emitter.envelope import Envelope, RoutePair
from dataplane_emitter.level import Level
from dataplane_emitter.limit import Limit
from dataplane_emitter.queue import BoundedQueue
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


class ThreadState:
    """What a thread keeps: how deep in log calls it is, its `process.thread`, and whether it is the emitter's own."""

    __slots__ = ("depth", "is_own", "process")

    def __init__(self) -> None:
        self.depth = 0
        self.is_own = False
        self.process: dict[str, Any] | None = None


class _PerThread(local):
    """Finds a thread's state; one look-up per log call, because each costs as much as a lock."""

    def __init__(self) -> None:
        self.state = ThreadState()


class Intake:
    """Accepts documents from any thread but the emitter's own, whose log records never come back here."""

    def __init__(self, envelope: Envelope, rules: Rules, queue: BoundedQueue, max_event_bytes: int, pid: int) -> None:
        self.rules = rules
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

    def disown_thread(self) -> None:
        """Accept nothing from the calling thread any more."""
        self._threads.state.is_own = True

    def guard(self, accept: Callable[..., None], *arguments: Any) -> None:
        """Call `accept`, so that nothing it does can hurt the application: no exception, no endless recursion."""
        state = self._threads.state
        if state.depth >= _MAX_DEPTH:
            self._queue.refuse("recursion")
            return
        if state.is_own:
            return
        state.depth += 1
        try:
            accept(self, state, *arguments)
        except Exception:  # noqa: BLE001 - an application is never hurt
            self._queue.refuse("internal_error")
        finally:
            state.depth -= 1

    def process(self, state: ThreadState) -> dict[str, Any]:
        """Return `process.*` of the calling thread; shared, so not to be changed."""
        known = state.process
        if known is None:
            known = state.process = self.process_of(get_ident(), current_thread().name)
        return known

    def process_of(self, thread_id: int | None, thread_name: str | None) -> dict[str, Any]:
        """Return `process.*` of another thread."""
        return {"pid": self._pid, "thread": {"id": thread_id, "name": encode.message_text(thread_name)}}

    def ask(self, limit: Limit, logger: str | None, found: Level, message: str) -> int:
        """Return -1 for an event that its logger's limit holds back, else how many were since the last one."""
        verdict = limit.admit(logger or "", found, message)
        if isinstance(verdict, str):
            self._queue.refuse(verdict)
            return -1
        return verdict

    def accept(
        self, rank: int, routes: RoutePair, document: dict[str, Any], fields: dict[str, Any], suppressed: int = 0
    ) -> None:
        """Encode a document with a record's fields and queue it. Both belong to the intake from now on.

        `suppressed` is how many events like it were held back before it.
        """
        if self._dynamic:
            self._add_dynamic(fields)
        if "opentelemetry.trace" in sys.modules and (span := trace.current()) is not None:
            document["trace"], document["span"] = {"id": span[0]}, {"id": span[1]}
        if self._direct and self._is_simple(fields):
            route = routes.suspect if self._looks_for_secrets and _has_suspects(document, fields) else routes.direct
            document.update(fields)
            document["event"] = route.event
        else:
            route = routes.merged
            document = self._envelope.merge(encode.plain(fields), document, route)
        if suppressed:
            document["event"] = {**document["event"], "suppressed": suppressed}
        body = encode.encode(document)
        if len(body) > self._max_event_bytes:
            body = shrink(self.redactor.body(body) if route.is_suspect else body, self._max_event_bytes)
        self._queue.put(rank, route, body)

    def _is_simple(self, fields: dict[str, Any]) -> bool:
        """Tell whether every name is known to be plain and every value has a JSON form."""
        names = self._names
        for name, value in fields.items():
            kind = type(value)
            if kind is not str and kind not in _SIMPLE and (kind is not int or not MIN_INTEGER <= value <= MAX_INTEGER):
                return False
            if name not in names and not self._learn(name):
                return False
        return True

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
                    fields[name] = f"<{type(error).__name__} while this field was asked for>"


def _has_suspects(document: dict[str, Any], fields: dict[str, Any]) -> bool:
    """Tell whether a text may hold a secret; the trace of an exception always may."""
    for value in fields.values():  # a loop, because `any` of a generator takes twice as long
        if type(value) is str and is_suspect(value):
            return True
    return "error" in document or is_suspect(document["message"])
