"""What an operator reads in the rows of `status`: figures that add up, and a reason beside what is wrong."""

from pathlib import Path

import pytest

from dataplane_tailer.config import DeliveryConfig, InputConfig
from dataplane_tailer.discover import Found
from dataplane_tailer.identity import FileKey
from dataplane_tailer.sight import Sight
from dataplane_tailer.snapshot import Snapshot
from dataplane_tailer.state import STREAM, SourceRecord
from dataplane_tailer.status import Row, View, rows, time_to_loss_s
from dataplane_tailer.trend import Look, Trend

NOW = 1_000_000.0
LOG = "/var/log/a.log"


def record_of(number: int, path: str = LOG, **changes) -> SourceRecord:
    """A source with a number."""
    return SourceRecord(f"{number:016x}", path, path, "web", 1, number, **changes)


def rows_of(*seen: tuple[SourceRecord, Sight | None], holder: int | None = 7, trends=None, delivery=None, **view):
    """The rows of these sources, by their ids."""
    sights = {record.source: sight for record, sight in seen if sight is not None}
    snapshot = Snapshot(Path("/state"), [record for record, _ in seen], texts=view.pop("texts", {}), holder=holder)
    return rows(View(NOW, snapshot, sights, **view), trends or {}, delivery or DeliveryConfig())


def growing(bytes_s: int, size: int) -> Trend:
    """A file that grows, of which nothing is acknowledged."""
    trend = Trend()
    for at in (0, 10):
        trend.add(Look(NOW - 10 + at, size - bytes_s * (10 - at), 0))
    return trend


@pytest.mark.parametrize(
    ("record", "sight"),
    [(record_of(2, offset=1), Sight(None, 9)), (record_of(2, offset=9, is_final=True), None)],
    ids=["lost", "finished"],
)
def test_what_is_over_takes_no_bytes_over(record, sight):
    """Only a source that reads what a truncated file holds now takes its lag from it."""
    truncated = (record_of(1, offset=100), Sight(LOG, 10, written_at=NOW))
    [lag] = [row.lag_bytes for row in rows_of(truncated, (record, sight)) if row.state == "truncated"]
    assert lag == 10


def test_only_what_is_held_without_a_name_has_a_time_to_loss():
    """What has a name, under whatever state, can still be opened; a limit that has passed is no negative time."""
    assert time_to_loss_s("rotated", 5, 0.0, 10.0) is None
    [row] = rows_of((record_of(1), Sight(None, 50, changed_at=NOW - 1e6, is_held=True)))
    assert row.time_to_loss_s == 0.0


def test_the_room_that_is_left_is_shared_by_all_that_is_held():
    """Their bytes add up; what grows under other names will not have to be held, and costs none of it."""
    held = [
        (record_of(1), Sight(None, 40, changed_at=NOW, is_held=True)),
        (record_of(2), Sight(None, 40, changed_at=NOW, is_held=True)),
    ]
    others = [
        (record_of(3), Sight(LOG, 100, written_at=NOW)),
        (record_of(4, "/var/log/b.log"), Sight("/var/log/b.log", 100, written_at=NOW)),
    ]
    trends = {record.source: growing(1, sight.size) for record, sight in others}
    delivery = DeliveryConfig(hold_deleted_bytes=100, hold_deleted_s=3600)
    found = rows_of(*held, *others, trends=trends, delivery=delivery)
    assert [row.time_to_loss_s for row in found if row.state == "deleted-held"] == [20.0, 20.0]


def test_each_row_has_its_reason():
    """What went away unread, what the tailer says of a file, and what it says of one that has no source yet."""
    gone = (record_of(1, "/1", offset=3), Sight(None, 9))
    failing = (record_of(2, "/2", offset=9, last_error="Input/output error"), Sight("/2", 9, written_at=NOW))
    new = Found("/3", FileKey(1, 3), 5, InputConfig(paths=("/3",), dataset="web"))
    found = rows_of(gone, failing, found=[new], refused={"/3": "Permission denied"})
    assert [(row.file, row.state, row.last_error) for row in found] == [
        ("/1", "lost", "gone before it was read to its end"),
        ("/2", "following", "Input/output error"),
        ("/3", "refused", "Permission denied"),
    ]


def test_a_file_that_is_known_is_no_new_one():
    """Each file has one row, and rows are in the order of their files."""
    entry = InputConfig(paths=("/*",), dataset="web")
    found = [Found("/2", FileKey(1, 2), 5, entry), Found("/1", FileKey(1, 1), 5, entry)]
    seen = rows_of((record_of(2, "/2", offset=5), Sight("/2", 5, written_at=NOW)), found=found)
    assert [(row.file, row.state) for row in seen] == [("/1", "new"), ("/2", "following")]


def test_what_is_finished_and_what_has_no_tailer():
    """A finished source has the size that it was read to; standard input, like a file, stops with its tailer."""
    texts = {f"{STREAM}- web": '{"source":"00000000000000ff"}'}
    stream, finished = rows_of((record_of(1, offset=9, is_final=True), None), texts=texts, holder=None)
    assert (finished.size, finished.lag_bytes, finished.state) == (9, 0, "finished")
    assert isinstance(stream, Row)
    assert stream.state == "stopped"
