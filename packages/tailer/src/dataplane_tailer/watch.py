"""Hears of changes: inotify through watchfiles, with regular rescans beneath it.

Flows in: the folders of the inputs. Flows out: changed paths. Invariant: nothing depends on a notification arriving: a
rescan finds the same change a few seconds later, so a full queue or a lacking inotify costs time, never lines.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from watchfiles import Change, awatch

#: Changes that come within this time of each other are told together; the watch wakes up as often, also for nothing.
_STEPS_MS = range(10, 51)
_DEBOUNCE_MS = 50


@dataclass(frozen=True, slots=True)
class Changed:
    """Paths of files that were written to, and paths that came or went."""

    modified: set[str]
    listed: set[str]


async def changes(folders: dict[str, bool], stop: asyncio.Event, linger_ms: int) -> AsyncIterator[Changed]:
    """Yield what changed in these folders (the value says: and below) until `stop` is set, soon beside a linger.

    Raises:
        OSError: the system gives no watches (limit reached, file system without inotify), or told of a name that is
            not UTF-8.
    """
    deep = any(folders.values())
    try:
        async for batch in awatch(
            *folders,
            recursive=deep,
            debounce=_DEBOUNCE_MS,
            step=max(_STEPS_MS[0], min(_STEPS_MS[-1], linger_ms // 2)),
            stop_event=stop,
            watch_filter=None,
            ignore_permission_denied=True,
        ):
            yield Changed(
                modified={path for change, path in batch if change is Change.modified},
                listed={path for change, path in batch if change is not Change.modified},
            )
    except ExceptionGroup as group:
        ours, others = group.split(RuntimeError)  # watchfiles: "Unable to decode path"
        if ours is None or others is not None:
            raise
        raise OSError(str(ours.exceptions[0])) from group
