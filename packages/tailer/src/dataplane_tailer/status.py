"""`status`: how far each file is shipped, and what could be lost. Pure.

Flows in: a snapshot of the state, what the disk shows, trends. Flows out: rows. Invariant: a row never says more than
is known; a time to loss is given only where something can be lost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from dataplane_tailer.config import DeliveryConfig
from dataplane_tailer.discover import Found
from dataplane_tailer.sight import Sight
from dataplane_tailer.snapshot import Snapshot
from dataplane_tailer.state import SourceRecord
from dataplane_tailer.trend import Look, Trend

FileState = Literal[
    "following", "idle", "rotated", "deleted-held", "refused", "finished", "stopped", "truncated", "lost", "new"
]
#: A file that has not grown for so long, with all of it acknowledged, is idle.
_IDLE_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """One source, or one file that has none yet (`source` is empty). Sizes are bytes, times seconds.

    `sequence` counts the events acknowledged; a source that is no file (standard input, the journal) has no offsets.
    """

    file: str
    source: str
    dataset: str
    offset: int
    size: int
    lag_bytes: int
    lag_s: float
    state: FileState
    last_error: str = ""
    time_to_loss_s: float | None = None
    abandoned_bytes: Mapping[str, int] = field(default_factory=dict)
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """All that one look at a tailer brought; `refused` has what it may not read, with the reason."""

    at: float
    snapshot: Snapshot
    sights: Mapping[str, Sight]
    found: Iterable[Found] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def update(trends: dict[str, Trend], view: View) -> None:
    """Take the view's sizes and checkpoints into the trends, and forget what is not there any more."""
    known = {record.source: record for record in view.snapshot.records if record.source in view.sights}
    for source in trends.keys() - known.keys():
        del trends[source]
    for source, record in known.items():
        trends.setdefault(source, Trend()).add(Look(view.at, view.sights[source].size, record.offset))


def rows(view: View, trends: Mapping[str, Trend], delivery: DeliveryConfig) -> list[Row]:
    """Return one row per source, and one per file that an input matches and no source is made of."""
    deadlines = _deadlines(view, trends, delivery)
    known = [_row(record, view, trends, deadlines.get(record.source)) for record in view.snapshot.records]
    known = _without_doubles(known)
    return sorted([*known, *_streams(view), *_unknown(view)], key=lambda row: row.file)


def _without_doubles(known: list[Row]) -> list[Row]:
    """Count no bytes twice: what a truncated file holds now is a new source's, where that is known already."""
    taken_over = {row.file for row in known if row.state not in ("truncated", "finished", "lost")}
    return [
        replace(row, lag_bytes=0, lag_s=0.0) if row.state == "truncated" and row.file in taken_over else row
        for row in known
    ]


def _streams(view: View) -> list[Row]:
    state: FileState = "stopped" if view.snapshot.holder is None else "following"
    return [
        Row(
            *(stream.name, stream.source, stream.dataset, 0, 0, 0, 0.0, state, stream.last_error),
            sequence=stream.sequence,
        )
        for stream in view.snapshot.streams
    ]


def _row(record: SourceRecord, view: View, trends: Mapping[str, Trend], deadline_s: float | None) -> Row:
    sight = view.sights.get(record.source)
    if sight is None:
        return _finished(record)
    state = state_of(record, sight, view)
    lag = sight.size if state == "truncated" else max(0, sight.size - record.offset)
    trend = trends.get(record.source, Trend())
    return Row(
        sight.path or record.path,
        record.source,
        record.dataset,
        record.offset,
        sight.size,
        lag,
        round(trend.lag_s(sight.written_at), 3),
        state,
        _error(record, sight, state, view),
        time_to_loss_s(state, lag, trend.acknowledged_bytes_s, deadline_s),
        record.abandoned_bytes,
        record.sequence,
    )


def _finished(record: SourceRecord) -> Row:
    size = max(record.size_seen, record.offset)
    return Row(
        *(record.path, record.source, record.dataset, record.offset, size, 0, 0.0, "finished"),
        abandoned_bytes=record.abandoned_bytes,
        sequence=record.sequence,
    )


def state_of(record: SourceRecord, sight: Sight, view: View) -> FileState:
    """Say how it is with a source that is not final."""
    holder = view.snapshot.holder
    if sight.path is None:
        return "deleted-held" if sight.is_held else "lost"
    if sight.path in view.refused or not sight.is_readable:
        return "refused"
    if sight.size < record.offset:
        return "truncated"
    if holder is None:
        return "stopped"
    if sight.path != record.log_path:
        return "rotated"
    is_quiet = sight.size == record.offset and view.at - sight.written_at > _IDLE_AFTER_S
    return "idle" if is_quiet else "following"


def _error(record: SourceRecord, sight: Sight, state: FileState, view: View) -> str:
    if state == "refused":
        return view.refused.get(sight.path or "", "may not be read by this user")
    if state == "lost":
        return "no longer there" if record.offset >= sight.size else "gone before it was read to its end"
    return record.last_error


def time_to_loss_s(state: FileState, lag: int, acknowledged_bytes_s: float, deadline_s: float | None) -> float | None:
    """Return in how many seconds unread bytes are lost at these rates, None where none can be."""
    if lag == 0:
        return None
    if state == "lost":
        return 0.0
    if state != "deleted-held" or deadline_s is None:
        return None
    is_in_time = acknowledged_bytes_s > 0 and lag / acknowledged_bytes_s < deadline_s
    return None if is_in_time else round(deadline_s, 1)


def _deadlines(view: View, trends: Mapping[str, Trend], delivery: DeliveryConfig) -> dict[str, float]:
    """Return until when each deleted file can be held: by its age, by the bytes of all of them, by the disk's room."""
    deleted = {
        record.source: record.log_path
        for record in view.snapshot.records
        if (sight := view.sights.get(record.source)) is not None and sight.is_held
    }
    held_bytes = sum(view.sights[source].size for source in deleted)
    growth = _growth(view, trends, set(deleted.values()))
    deadlines: dict[str, float] = {}
    for source in deleted:
        sight = view.sights[source]
        left = [sight.changed_at + delivery.hold_deleted_s - view.at]
        if growth > 0:
            left.append((delivery.hold_deleted_bytes - held_bytes) / growth)
            left += [] if sight.free_bytes is None else [sight.free_bytes / growth]
        deadlines[source] = max(0.0, min(left))
    return deadlines


def _growth(view: View, trends: Mapping[str, Trend], log_paths: set[str]) -> float:
    """Return the bytes a second written under names whose files get deleted: those will have to be held next."""
    return sum(
        trends[record.source].grown_bytes_s
        for record in view.snapshot.records
        if record.log_path in log_paths and record.source in trends
    )


def _unknown(view: View) -> list[Row]:
    known = {(record.device, record.inode) for record in view.snapshot.records}
    return [
        Row(
            *(file.path, "", file.entry.dataset, 0, file.size, file.size, 0.0),
            "refused" if file.path in view.refused else "new",
            view.refused.get(file.path, ""),
        )
        for file in view.found
        if file.key not in known
    ]
