"""The stdlib `logging.Handler`.

Flows in: records of any logger. Flows out: events in the queue. Invariant: no lock of its own is held and nothing is
raised, so that a log call in a signal handler, a finaliser or a forked child can never wait here.
"""

import logging
from collections.abc import Callable

from dataplane_common.lifecycle import pass_on_if_from_signal
from dataplane_emitter import remains
from dataplane_emitter.intake import Intake
from dataplane_emitter.record import accept_record


class Handler(logging.Handler):
    """Sends what it handles to the intake of the process that it is in; made by `Emitter.handler`.

    >>> import logging
    >>> from dataplane_emitter.testing import capture_events
    >>> with capture_events() as captured:
    ...     logging.getLogger("shop").addHandler(captured.emitter.handler("warning"))
    ...     logging.getLogger("shop").warning("order %d paid", 4711, extra={"amount": 59.9})
    ...     captured.events[0]["message"], captured.events[0]["amount"]
    ('order 4711 paid', 59.9)
    """

    def __init__(self, intake: Callable[[], Intake], level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._intake = intake

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Make no lock: the queue has its own, which is held for a few instructions."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter and emit; see `logging.Handler.handle`."""
        if not self.filters:
            self._intake().guard(accept_record, record, remains.of_record)
            return True
        try:
            passed = self.filter(record)
        except Exception as error:  # noqa: BLE001 - a filter is the application's own code; its event is worth keeping
            pass_on_if_from_signal(error)
            passed = True
        if passed:
            self.emit(record if passed is True else passed)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record as an event."""
        self._intake().guard(accept_record, record, remains.of_record)
