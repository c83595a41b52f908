"""A look at an emitter from outside: what it accepted, what became of it, and how the bus is.

Flows in: the account. Flows out: one frozen value. Invariant: accepted = acknowledged + in_flight + spooled + dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts of events since this process began (or was forked).

    `in_flight` are those accepted and not settled yet, of which `queued` still wait in the queue and take
    `queued_bytes`; `spooled` are on disk. `series_refused` are look-ups that ended in an overflow series.
    `last_problem` is one line.

    >>> from dataplane_emitter.testing import capture_events
    >>> with capture_events() as captured:
    ...     captured.emitter.processor()(None, "info", {"event": "x"})["event"]
    ...     stats = captured.emitter.stats()
    ...     stats.accepted, stats.acknowledged, stats.in_flight, stats.queued, dict(stats.dropped)
    'x'
    (1, 0, 1, 1, {})
    """

    source: str
    is_connected: bool
    accepted: int
    acknowledged: int
    in_flight: int
    spooled: int
    queued: int
    queued_bytes: int
    dropped: Mapping[str, int]
    last_sequence: int
    series: int
    series_refused: int
    last_problem: str
