"""Signals, and how a process of the data plane ends: the only module that imports `signal`.

Flows in: SIGTERM, SIGINT, SIGHUP. Flows out: a `stop` event, a `reload` callback, an exit code; the end of a call that
takes too much CPU time.
Invariant: the first stop signal asks, the second one kills; nothing waits without a deadline.
"""

import asyncio
import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import CodeType
from typing import Any

from dataplane_common.errors import DataPlaneError, ExitCode, Overrun

#: What a shell reports for a process that a second stop signal ended.
_KILLED_BY_SECOND_SIGNAL = 128 + signal.SIGTERM
#: A task that has not ended by then has swallowed its cancellation.
_CANCEL_AGAIN_S = 0.1
#: CPU time between two looks at a call that may not take long; an idle process is not woken.
_CPU_TICK_S = 0.05


def run_service(
    service: Callable[[asyncio.Event], Coroutine[None, None, int]],
    *,
    on_reload: Callable[[], None] | None = None,
) -> int:
    """Run `service(stop)` until it returns and give back its exit code.

    The first SIGTERM or SIGINT sets `stop`: the service ends its source and drains up to its own deadline.
    The second one ends the process at once. SIGHUP calls `on_reload` in the event loop. A `DataPlaneError` that
    escapes becomes one line on stderr and its exit code.
    """
    try:
        return asyncio.run(_supervise(service, on_reload))
    except DataPlaneError as error:
        sys.stderr.write(f"error: {error}\n")
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.FATAL)


async def _supervise(
    service: Callable[[asyncio.Event], Coroutine[None, None, int]], on_reload: Callable[[], None] | None
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask_then_kill() -> None:
        if stop.is_set():
            os._exit(_KILLED_BY_SECOND_SIGNAL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_then_kill)
    loop.add_signal_handler(signal.SIGHUP, on_reload or (lambda: None))
    return await service(stop)


async def wait_first(*events: asyncio.Event, timeout_s: float | None = None) -> bool:
    """Wait until one of the events is set; return False if `timeout_s` passed first."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        await cancel(*tasks)


async def cancel(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks and wait until they have ended; what they raise while ending is dropped.

    A task is cancelled again and again until it has ended: a library in between may swallow the first request, as
    the NATS client does while it flushes.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


class CpuWatch:
    """Ends a call of the main thread that takes too much of its CPU time, by raising `Overrun` in it.

    Set `ticks_left` before the call, and to 0 behind it, whatever happens: that is all that an ordinary call costs. It
    works in C as well where that looks for signals, as the search of `re` does.
    Source: setitimer(2), ITIMER_VIRTUAL; CPython, Modules/_sre/sre_lib.h, MAYBE_CHECK_SIGNALS.
    """

    def __init__(self) -> None:
        self.ticks_left = 0
        self._is_started = False

    def ticks(self, limit_s: float) -> int:
        """Return a limit in ticks, at most one tick too many; off the main thread 0, that is, no limit."""
        if threading.current_thread() is not threading.main_thread():
            return 0
        if not self._is_started:
            self._is_started = True
            atexit.register(signal.setitimer, signal.ITIMER_VIRTUAL, 0.0)  # the handler goes before the process does
            signal.signal(signal.SIGVTALRM, lambda _number, _frame: self._tick())
            signal.setitimer(signal.ITIMER_VIRTUAL, _CPU_TICK_S, _CPU_TICK_S)
        return round(limit_s / _CPU_TICK_S) + 1

    def _tick(self) -> None:
        if self.ticks_left:
            self.ticks_left -= 1
            if not self.ticks_left:
                raise Overrun("it takes too much CPU time")


CPU_WATCH = CpuWatch()


def pass_on_if_from_signal(error: BaseException) -> None:
    """Raise an exception again if a signal's handler has raised it: a time limit, say, that interrupted what we do.

    It is meant for the program, not for the code that it happened to meet. For code that else keeps every exception.
    """
    trace = error.__traceback__.tb_next if error.__traceback__ is not None else None
    if trace is None:
        return  # raised where it was caught
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            raise error
        trace = trace.tb_next


def _code_of(handler: Any) -> CodeType | None:
    """Return the code of a function, a method, a partial, or an object that can be called; None if it is no Python."""
    handler = getattr(handler, "func", handler)
    function = getattr(handler, "__func__", handler)
    found = getattr(function, "__code__", None) or getattr(vars(type(handler)).get("__call__"), "__code__", None)
    return found if isinstance(found, CodeType) else None


def signal_group(process_group: int, *, force: bool = False) -> None:
    """Ask a process group to end (SIGTERM), or kill it (`force`: SIGKILL); one already gone is no error."""
    with suppress(ProcessLookupError):
        os.killpg(process_group, signal.SIGKILL if force else signal.SIGTERM)


def pause_group(process_group: int) -> None:
    """Freeze a process group (SIGSTOP): its connections stay open and nothing answers on them."""
    with suppress(ProcessLookupError):
        os.killpg(process_group, signal.SIGSTOP)


def resume_group(process_group: int) -> None:
    """Let a frozen process group go on (SIGCONT); one that runs already does not notice."""
    with suppress(ProcessLookupError):
        os.killpg(process_group, signal.SIGCONT)
