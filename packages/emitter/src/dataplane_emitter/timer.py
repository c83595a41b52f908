"""The timer: a histogram of seconds around a block or a function, sync or async.

Flows in: entries and exits. Flows out: observations with the label `had_error`, `"true"` if the block raised.
Invariant: the block's result and its exception pass unchanged; one timer may be used by any number of threads and
tasks at once.
"""

import functools
import inspect
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from dataplane_emitter.metrics import Instrument
from dataplane_emitter.registry import Family, clean
from dataplane_emitter.series import HistogramSeries

_P = ParamSpec("_P")
_R = TypeVar("_R")
#: The label that tells failures from successes.
HAD_ERROR = "had_error"
#: Blocks that are being timed in this thread or task, innermost last: (timer, start).
_running: ContextVar[tuple[tuple[int, float], ...]] = ContextVar("dataplane_emitter_timers", default=())


class Timer(Instrument[HistogramSeries]):
    """Times blocks (`with timer:`, `async with timer:`) and functions (`@timer`), in seconds.

    >>> from dataplane_emitter.testing import capture_events
    >>> with capture_events() as captured:
    ...     with captured.emitter.timer("payment"):
    ...         pass
    ...     @captured.emitter.timer("quote")
    ...     def quote() -> float:
    ...         return 59.9
    ...     quote()
    ...     captured.total("payment", {"had_error": "false"}), captured.total("quote")
    59.9
    (1, 1)
    """

    def __init__(self, family: Family[HistogramSeries], labels: Mapping[str, Any] | None = None) -> None:
        super().__init__(family, labels)
        given = clean(labels) if labels is not None else {}
        self._succeeded = Instrument(family, {**given, HAD_ERROR: "false"})
        self._failed = Instrument(family, {**given, HAD_ERROR: "true"})

    def observe(self, seconds: float, labels: Mapping[str, Any] | None = None, *, had_error: bool = False) -> None:
        """Count a time that was measured elsewhere."""
        (self._failed if had_error else self._succeeded).series(labels).observe(seconds)

    def bind(self, **labels: Any) -> "Timer":
        """Return the same timer with more labels set."""
        return Timer(self._family, {**self._labels, **labels})

    def __enter__(self) -> Self:
        _running.set((*_running.get(), (id(self), time.perf_counter())))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = _running.get()
        for place in range(len(running) - 1, -1, -1):
            if running[place][0] == id(self):
                _running.set((*running[:place], *running[place + 1 :]))
                self.observe(time.perf_counter() - running[place][1], had_error=kind is not None)
                return

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Return the function, timed at each call; of a coroutine function, until its coroutine ends."""
        if inspect.iscoroutinefunction(function):
            return cast("Callable[_P, _R]", self._around_coroutine(function))

        @functools.wraps(function)
        def timed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            started = time.perf_counter()
            failed = True
            try:
                result = function(*args, **kwargs)
                failed = False
            finally:
                self.observe(time.perf_counter() - started, had_error=failed)
            return result

        return timed

    def _around_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            failed = True
            try:
                result = await function(*args, **kwargs)
                failed = False
            finally:
                self.observe(time.perf_counter() - started, had_error=failed)
            return result

        return timed
