"""What reading a state promises: nobody notices it, and what is seen is what is there."""

import os
import sqlite3
import time

import pytest

from dataplane_common.errors import ConfigError, Fatal
from dataplane_tailer import snapshot as snapshots
from dataplane_tailer.sight import Sight, look
from dataplane_tailer.snapshot import find_holder, holder_of, read_snapshot
from dataplane_tailer.state import Boundary, SourceRecord, State
from dataplane_tailer.target import choose

SOURCE = "00000000000000aa"


def _record(path: str = "/var/log/a.log", **changes) -> SourceRecord:
    values = {"source": SOURCE, "path": path, "log_path": path, "dataset": "web", "device": 1, "inode": 2}
    return SourceRecord(**{**values, **changes})


LOCKS = """\
1: POSIX  ADVISORY  WRITE 11 fe:00:77 0 EOF
2: FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF
3: FLOCK  ADVISORY  WRITE 13 00:2a:78 0 EOF
"""


def test_the_holder_is_read_from_the_kernels_list():
    """An flock on the file's device and inode, or on its inode by the pid that was written down; nothing else."""
    device = os.makedev(0xFE, 0)
    assert find_holder(LOCKS, device, 77, None) == 12
    assert find_holder(LOCKS, device, 78, None) is None
    assert find_holder(LOCKS, device, 78, 13) == 13
    assert find_holder("garbage\n\n", device, 77, 12) is None


def test_a_state_is_read_while_it_is_written(tmp_path):
    """Reading needs no lock, sees what is committed in the write-ahead log, and names the holder."""
    state = State(tmp_path)
    state.save([_record(offset=5)])
    state.add_boundary(SOURCE, Boundary(5, 9, 5, 0, ends_line=True))
    seen = read_snapshot(tmp_path)
    assert (seen.holder, seen.records[0].offset, seen.boundaries[SOURCE][0].end) == (os.getpid(), 5, 9)
    state.save([_record(offset=6)])
    assert read_snapshot(tmp_path).records[0].offset == 6
    state.close()
    assert holder_of(tmp_path) is None


def test_what_is_read_was_true_at_one_moment(tmp_path, monkeypatch):
    """What a tailer saves between two reads of one look is not seen in half."""
    state, connect = State(tmp_path), sqlite3.connect
    state.save([_record()])

    class Interrupted(sqlite3.Connection):
        def execute(self, statement: str, *values) -> sqlite3.Cursor:
            if "FROM boundaries" in statement:
                state.save([_record(source="00000000000000bb")])
                state.add_boundary("00000000000000bb", Boundary(0, 5, 0, 1, ends_line=False))
            return super().execute(statement, *values)

    monkeypatch.setattr(sqlite3, "connect", lambda *names, **keys: connect(*names, factory=Interrupted, **keys))
    seen = read_snapshot(tmp_path)
    monkeypatch.undo()
    assert (len(seen.records), seen.boundaries) == (1, {})
    assert len(read_snapshot(tmp_path).boundaries) == 1
    state.close()


def test_a_tailer_that_stops_while_its_state_is_read(tmp_path, monkeypatch):
    """It takes the write-ahead log with it: what was begun with the log is read again without; not for ever."""
    State(tmp_path).close()
    connect, asked = sqlite3.connect, []

    def fail_first(address: str, **keys) -> sqlite3.Connection:
        asked.append(address)
        if len(asked) in failing:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(address, **keys)

    monkeypatch.setattr(sqlite3, "connect", fail_first)
    failing = range(1, 3)
    assert read_snapshot(tmp_path).records == []
    failing = range(1, 1000)
    with pytest.raises(Fatal, match="unable to open"):
        read_snapshot(tmp_path)
    assert len(asked) < 20


def test_reading_a_state_at_rest_leaves_no_trace(tmp_path):
    """Nothing is made in the folder, so a reader that is root cannot lock a tailer that is not out of it."""
    State(tmp_path).close()
    before = sorted(os.listdir(tmp_path))
    assert read_snapshot(tmp_path).records == []
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"no database"])
def test_a_damaged_state_is_one_line(tmp_path, content):
    """What is no state is named, with the folder."""
    (tmp_path / "state.db").write_bytes(content)
    with pytest.raises(Fatal, match=str(tmp_path)):
        read_snapshot(tmp_path)


def test_a_newer_state_is_refused(tmp_path, monkeypatch):
    """A state of a later version is not guessed at."""
    state = State(tmp_path)
    monkeypatch.setattr(snapshots, "VERSION", 0)
    with pytest.raises(Fatal, match="upgrade"):
        read_snapshot(tmp_path)
    state.close()


def test_the_tailer_that_is_meant_is_the_only_one_or_the_only_running_one(tmp_path):
    """Without options a command finds the state itself, and asks if there are several."""
    first, second = tmp_path / "a", tmp_path / "b"
    states = [State(first), State(second)]
    states[0].close()
    assert choose([first]) == first
    assert choose([first, second]) == second
    states[1].close()
    with pytest.raises(ConfigError, match="more than one"):
        choose([first, second])
    with pytest.raises(ConfigError, match="no tailer"):
        choose([])


def test_a_look_at_a_deleted_file_finds_it_in_the_process_that_holds_it(tmp_path):
    """Its size is the real one, not the one that the state remembers."""
    path = tmp_path / "gone.log"
    path.write_text("0123456789")
    record = _record(str(path), device=path.stat().st_dev, inode=path.stat().st_ino, size_seen=3)
    with path.open():
        path.unlink()
        assert look([record], os.getpid())[SOURCE].size == 10
    assert look([record], os.getpid())[SOURCE] == Sight(None, 3)


def test_a_renamed_file_is_seen_under_its_new_name(tmp_path):
    """Size and time of writing are those of the file, wherever in its folder it is now."""
    path = tmp_path / "a.log"
    path.write_text("0123")
    record = _record(str(path), device=path.stat().st_dev, inode=path.stat().st_ino)
    moved = path.rename(tmp_path / "a.log.1")
    sight = look([record], None)[SOURCE]
    assert (sight.path, sight.size) == (str(moved), 4)
    assert abs(sight.written_at - time.time()) < 60
