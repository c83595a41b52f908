"""The structlog processor.

Flows in: an event dictionary. Flows out: an event in the queue, and the dictionary unchanged for the next processor.
Invariant: nothing is raised but, in a `final` processor, structlog's own `DropEvent`; structlog is imported only then.
"""

from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

from dataplane_emitter import level as levels
from dataplane_emitter import remains
from dataplane_emitter.intake import Intake
from dataplane_emitter.record import accept_event

_EventT = TypeVar("_EventT", bound=MutableMapping[str, Any])


class Processor:
    """Sends what passes through to the intake of the process that it is in; made by `Emitter.processor`.

    >>> from dataplane_emitter.testing import capture_events
    >>> with capture_events() as captured:
    ...     processor = captured.emitter.processor(level="info")
    ...     processor(None, "info", {"event": "order paid", "order": 4711})
    ...     captured.events[0]["log"]["level"], captured.events[0]["order"]
    {'event': 'order paid', 'order': 4711}
    ('info', 4711)
    """

    def __init__(self, intake: Callable[[], Intake], *, level: str = "", final: bool = False) -> None:
        self._intake = intake
        self._least = levels.from_name(level).number if level else 0
        self._end: type[BaseException] | None = _drop_event() if final else None

    def __call__(self, logger: Any, method: str, event: _EventT) -> _EventT:
        """Queue the event and return it unchanged, or end the chain if this is the final processor."""
        given: tuple[Any, Any, Any, int] = (logger, method, event, self._least)
        self._intake().guard(accept_event, given, remains.of_event)
        if self._end is not None:
            raise self._end
        return event


def _drop_event() -> type[BaseException]:
    from structlog import DropEvent  # noqa: PLC0415 - only those who use structlog have it

    return DropEvent
