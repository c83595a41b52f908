"""What a look at the disk promises: a file is taken for a source's only if it is that, and nothing is guessed."""

import gzip
import os

import pytest

from dataplane_tailer.sight import Sight, look
from dataplane_tailer.state import SourceRecord

SOURCE = "00000000000000aa"


@pytest.fixture
def log(tmp_path):
    """A log of ten bytes."""
    path = tmp_path / "a.log"
    path.write_text("0123456789")
    return path


def record_of(path, **changes) -> SourceRecord:
    """The source of a file as it is now."""
    seen = path.stat()
    values = {"source": SOURCE, "path": str(path), "log_path": str(path), "dataset": "web"}
    return SourceRecord(**{**values, "device": seen.st_dev, "inode": seen.st_ino, **changes})


def see(record: SourceRecord, holder: int | None = None) -> Sight:
    """What is seen of one source."""
    return look([record], holder)[record.source]


def test_another_file_under_the_name_is_not_the_sources(log):
    """What took its place is another generation: of the source's own file nothing is left but what is remembered."""
    record = record_of(log, size_seen=7)
    with log.open():
        log.unlink()
        log.write_text("another")
    assert see(record) == Sight(None, 7)


def test_the_size_of_a_compressed_file_is_that_of_its_text(log):
    """Offsets are those of the text, so it cannot be the size on disk that is compared with them."""
    packed = log.with_name("a.log.gz")
    packed.write_bytes(gzip.compress(log.read_bytes()))
    sight = see(record_of(packed, size_seen=10))
    assert (sight.path, sight.size) == (str(packed), 10)


def test_what_another_users_tailer_holds_may_be_there(log):
    """Where its descriptors may not be seen, nothing is called lost."""
    record = record_of(log, size_seen=3)
    log.unlink()
    assert see(record, holder=2**30) == Sight(None, 3, is_held=True)


def test_a_source_that_is_final_is_not_looked_for(log):
    """Nothing of it is waited for."""
    assert look([record_of(log, is_final=True)], None) == {}


def test_a_file_that_is_held_says_how_much_room_its_disk_has(log):
    """Its names changed when it was deleted, not when it was written; both times and the room are told."""
    record = record_of(log)
    with log.open():
        os.utime(log, (1, 1))
        log.unlink()
        sight = see(record, os.getpid())
    assert (sight.is_held, sight.path, sight.written_at) == (True, None, 1)
    assert sight.changed_at > 1_000_000_000
    assert sight.free_bytes is not None


def test_a_file_that_may_not_be_read_says_so(log, monkeypatch):
    """The row is then `refused`; root is held to an answer for this."""
    assert see(record_of(log)).is_readable
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (str(log), os.R_OK))
    assert not see(record_of(log)).is_readable
