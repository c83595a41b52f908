"""What the emitter says about itself: at most one line a minute on stderr, never through a logger.

Flows in: problems, and the account. Flows out: lines. Invariant: no payload and no credential is in a line, and nothing
is raised whatever stderr is.
"""

import sys
import time
from collections.abc import Callable, Mapping

from dataplane_common.config import mask_url

#: A trouble that goes on is repeated this often.
_REPEAT_AFTER_S = 60.0


def write_line(text: str) -> None:
    """Write one line to stderr, if there is one."""
    try:
        sys.stderr.write(f"dataplane_emitter: {text}\n")
        sys.stderr.flush()
    except Exception:  # noqa: BLE001, S110 - a closed or broken stderr must not stop anything
        pass


def say_nothing(_text: str) -> None:
    """Stand in for `write_line` where stderr is not ours."""


class Notices:
    """Collects problems and drops, and says them together when a line is due."""

    def __init__(
        self,
        service: str,
        write: Callable[[str], None] = write_line,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._write = write
        self._clock = clock
        self._problem = ""
        self._due = 0.0
        self._told_dropped = 0
        self._told_acknowledged = 0
        self._seen_dropped = 0
        self._in_trouble = False
        self.last_problem = ""

    def report(self, problem: str) -> None:
        """Remember a problem; the last one is said when a line is due."""
        self._problem = self.last_problem = mask_url(problem)

    def say(self, text: str) -> None:
        """Write a line now."""
        self._write(f"{self._service}: {text}")

    def tick(self, waiting: int, acknowledged: int, dropped: Mapping[str, int]) -> None:
        """Write a line if there is news and the last line is a minute old, and one when the trouble is over."""
        total = sum(dropped.values())
        is_quiet = total == self._seen_dropped
        self._seen_dropped = total
        if self._in_trouble and is_quiet and acknowledged > self._told_acknowledged:
            self._in_trouble = False
            self._problem = ""
            self._told_dropped = total
            self._write(f"{self._service}: events arrive again; {describe_drops(dropped)}")
        elif (self._problem or total > self._told_dropped) and self._clock() >= self._due:
            why = self._problem or "events are dropped"
            self._write(f"{self._service}: {why}; {waiting} events wait, {describe_drops(dropped)}")
            self._in_trouble = True
            self._due = self._clock() + _REPEAT_AFTER_S
            self._told_dropped = total
            self._told_acknowledged = acknowledged
            self._problem = ""


def describe_drops(dropped: Mapping[str, int]) -> str:
    """Return `none dropped`, or the total and its reasons."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(dropped.items()) if count)
    return f"{sum(dropped.values())} dropped so far ({reasons})" if reasons else "none dropped"
