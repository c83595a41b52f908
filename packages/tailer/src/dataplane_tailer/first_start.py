"""`start_at = "end"`: what was there before an input was first looked at is passed over, once.

Flows in: an input, an open file. Flows out: where to begin. Invariant: an input that was looked at is never again taken
for a new one, so that no file is passed over after a restart.
"""

import os
import time
from collections.abc import Iterable

from dataplane_common.event import timestamp
from dataplane_tailer.config import InputConfig
from dataplane_tailer.encoding import find_last_newline
from dataplane_tailer.state import State

#: The last line of a file is looked for in so many bytes.
_WINDOW_BYTES = 64 * 1024


def is_first_start(state: State, entry: InputConfig) -> bool:
    """Tell whether an input has never been looked at with this state."""
    return state.get(_key(entry)) is None


def remember_start(state: State, inputs: Iterable[InputConfig]) -> None:
    """Write down that all inputs have been looked at."""
    for entry in inputs:
        if is_first_start(state, entry):
            state.put(_key(entry), timestamp(time.time()))


def last_line_start(descriptor: int, newline: bytes) -> int:
    """Return the place behind the last newline, so that reading from the end begins with a whole line."""
    size = os.fstat(descriptor).st_size
    size -= size % len(newline)
    start = max(0, size - _WINDOW_BYTES)
    at = find_last_newline(os.pread(descriptor, size - start, start), newline)
    return size if at < 0 else start + at + len(newline)


def _key(entry: InputConfig) -> str:
    return f"input {entry.dataset} {' '.join(entry.paths)}"
