"""The life of the process around the emitters: its forks and its end.

Flows in: forks, exit. Flows out: a fresh start for each emitter in a child, and a last flush at the end. Invariant: the
child never waits for a lock that a thread of its parent held, and the end comes within the emitters' deadlines.
"""

import atexit
import os
import sys
from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet


class Emitting(Protocol):
    """What this module needs to know of an emitter."""

    def start_anew(self) -> None:
        """Forget what belongs to the parent process."""

    def close(self, timeout_s: float | None = None) -> None:
        """Deliver and end within the deadline."""


#: Emitters that somebody still holds, closed ones included: a fork concerns them all.
live: "WeakSet[Emitting]" = WeakSet()
#: Emitters that have to be closed; held here, because an application may keep nothing but a handler, or not even that.
_open: set[Emitting] = set()
OnNew = Callable[[Emitting], None]
_on_new: OnNew | None = None
#: Runs after the finalizers of the application's own pools and queues in a `multiprocessing` child.
_LAST = -100


def register(emitter: Emitting) -> None:
    """Have an emitter looked after from now on."""
    live.add(emitter)
    _open.add(emitter)
    if _on_new is not None:
        _on_new(emitter)


def forget(emitter: Emitting) -> None:
    """Look no more after an emitter that was closed."""
    _open.discard(emitter)


def set_on_new(callback: OnNew | None) -> OnNew | None:
    """Have `callback` called with each new emitter, before its thread starts; return the one before. For tests."""
    global _on_new
    before, _on_new = _on_new, callback
    return before


def close_at_end_of_child() -> None:
    """Have emitters closed at the end of a child of `multiprocessing`, `billiard`, or Celery's pool.

    Such a child runs no `atexit` functions, and Celery's runs no finalizers either: it has a signal.
    """
    signals = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_process_shutdown.connect(_close_all_of_worker)
    for package in ("multiprocessing", "billiard"):
        process, util = sys.modules.get(f"{package}.process"), sys.modules.get(f"{package}.util")
        if process is None or util is None:
            continue
        current = process.current_process()
        if type(current).__name__ != "_MainProcess":
            util.Finalize(None, close_all, exitpriority=_LAST)
        elif getattr(current, "_inheriting", False):  # a child of a fork server that has yet to become one
            util.register_after_fork(util.Finalize, _close_at_end)


def _close_at_end(finalize: Callable[..., object]) -> None:
    """Have emitters closed, now that `multiprocessing` has forgotten what was to be done at the end."""
    finalize(None, close_all, exitpriority=_LAST)


def close_all() -> None:
    """Close every emitter, each within its own deadline."""
    for emitter in list(_open):
        emitter.close()


def _close_all_of_worker(**_: object) -> None:
    """Close every emitter, as a receiver of Celery's signal."""
    close_all()


def _after_fork() -> None:
    for emitter in list(live):
        emitter.start_anew()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close_all)
