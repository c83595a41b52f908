"""A managed process: started, remembered, signalled as a group, never confused with another one."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dataplane_common.errors import Fatal
from dataplane_common.local import Launch, ManagedProcess, process_table, record
from dataplane_common.local.process import plain_environment

Started = Callable[[str], ManagedProcess]

SLEEP = "import time; print('up'); time.sleep(60)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)"
WITH_CHILD = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid); time.sleep(60)"
LEAVES_CHILD = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"


def wait_until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Fail unless the condition becomes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def said(process: ManagedProcess) -> str:
    """Return what the program has printed, once it has."""
    wait_until(lambda: process.output.read_text().endswith("\n"))
    return process.output.read_text().strip()


def test_a_process_is_found_again_by_another_object(started: Started, tmp_path: Path) -> None:
    """Name and folder are all that a later command needs to find, and to stop, a process."""
    first = started(SLEEP)
    second = ManagedProcess(first.name, tmp_path)
    assert second.pid == first.pid
    assert second.stop(timeout_s=10)
    assert not first.is_running
    assert not first.stop(timeout_s=10)


def test_a_child_gets_its_own_session_and_no_terminal(started: Started) -> None:
    """A terminal's Ctrl-C, or its end, does not reach the process; reading its input ends at once."""
    process = started("import os, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()))")
    assert said(process) == "True ''"


def test_stop_reaches_the_children(started: Started) -> None:
    """A signal goes to the whole group: no child lives on."""
    process = started(WITH_CHILD)
    child = int(said(process))
    process.stop(timeout_s=10)
    assert process_table.find(child) is None


def test_stop_finds_children_whose_parent_is_gone(started: Started) -> None:
    """A launcher that was killed leaves its server behind: it is stopped all the same."""
    process = started(LEAVES_CHILD)
    child = int(said(process))
    wait_until(lambda: not process.is_running)
    assert process_table.find(child) is not None
    assert process.stop(timeout_s=10)
    assert process_table.find(child) is None


def test_stop_kills_what_does_not_listen(started: Started) -> None:
    """SIGTERM asks, and after the deadline SIGKILL does not ask."""
    process = started(DEAF)
    said(process)
    assert process.stop(timeout_s=0.2)
    assert not process.is_running


def test_a_paused_process_can_be_stopped(started: Started) -> None:
    """A frozen process hears of SIGTERM, because it is resumed for it; no deadline has to pass."""
    process = started(SLEEP)
    said(process)
    process.pause()
    wait_until(lambda: _state(process.pid or 0) == "T")
    begun = time.monotonic()
    process.stop(timeout_s=30)
    assert time.monotonic() - begun < 15


def test_pause_and_resume(started: Started) -> None:
    """A paused process does nothing, a resumed one goes on."""
    process = started(SLEEP)
    said(process)
    process.pause()
    wait_until(lambda: _state(process.pid or 0) == "T")
    assert process.is_running
    process.resume()
    wait_until(lambda: _state(process.pid or 0) != "T")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_zombie_counts_as_stopped(tmp_path: Path) -> None:
    """Where nobody reaps a dead process, `kill(pid, 0)` still succeeds; it is stopped nevertheless."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    entry = process_table.find(child.pid)
    assert entry is not None
    _remember(tmp_path, child.pid, entry.start)
    assert ManagedProcess("ours", tmp_path).is_running
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.close()
    wait_until(lambda: _state(child.pid) == "Z")
    os.kill(child.pid, 0)
    assert not ManagedProcess("ours", tmp_path).is_running
    child.wait()


def test_a_number_that_was_given_away_is_not_ours(started: Started, tmp_path: Path) -> None:
    """The kernel uses numbers again: another start time means another process, which is neither ours nor signalled."""
    other = started(SLEEP)
    said(other)
    _remember(tmp_path, other.pid or 0, "another boot/1")
    process = ManagedProcess("ours", tmp_path)
    assert not process.is_running
    assert not process.stop(timeout_s=1)
    process.kill()
    assert other.is_running


def test_an_early_end_shows_the_last_lines(started: Started) -> None:
    """Who waits for a process that has died reads its last words, and where the others are."""
    process = started("print('one'); raise SystemExit('port 4222 is taken')")
    with pytest.raises(Fatal, match=r"(?s)ended while it started.*\.out.*port 4222 is taken"):
        process.wait_for(lambda: False, timeout_s=30)


def test_waiting_has_a_deadline(started: Started) -> None:
    """A process that never gets ready is an error after the deadline, not a hang."""
    process = started(SLEEP)
    with pytest.raises(Fatal, match=r"not ready within 0\.1 s"):
        process.wait_for(lambda: False, timeout_s=0.1)


def test_a_missing_command_is_one_line(tmp_path: Path) -> None:
    """A command that cannot be executed is named, without a traceback."""
    with pytest.raises(Fatal, match=r"absent cannot be started: .*No such file"):
        ManagedProcess("absent", tmp_path).start(Launch(arguments=["/no/such/command"]))


def test_the_previous_output_is_kept(started: Started, tmp_path: Path) -> None:
    """A restart begins a new output file, so that its last lines are of this start; the one before is beside it."""
    process = started("print('first')")
    said(process)
    wait_until(lambda: not process.is_running)
    process.start(Launch(arguments=[sys.executable, "-c", "print('second')"]))
    wait_until(lambda: process.output.read_text() == "second\n")
    assert (tmp_path / f"{process.name}.out.1").read_text() == "first\n"


def test_settings_do_not_reach_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has its configuration file: what the user's environment says of other servers is kept from it."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", "nats://elsewhere:4222")
    environment = plain_environment(MORE="1")
    assert environment["PATH"]
    assert environment["MORE"] == "1"
    assert not [name for name in environment if name.startswith("DATAPLANE_")]


def test_a_torn_record_is_none(tmp_path: Path) -> None:
    """A record that was half written by another program means that nothing is known, not a crash."""
    (tmp_path / "ours.process.json").write_text('{"pid": 1')
    assert not ManagedProcess("ours", tmp_path).is_running


def test_a_record_is_replaced_whole(tmp_path: Path) -> None:
    """A record is read as it was written, and no draft stays behind."""
    known = record.ProcessRecord(pid=1, start="b/2", command=["x"], ports={"client": 3})
    record.save(tmp_path / "a.process.json", known)
    assert record.load(tmp_path / "a.process.json") == known
    assert [file.name for file in tmp_path.iterdir()] == ["a.process.json"]


def _remember(folder: Path, pid: int, start: str) -> None:
    known = record.ProcessRecord(pid=pid, start=start, command=["?"])
    (folder / "ours.process.json").write_bytes(msgspec.json.encode(known))


def _state(pid: int) -> str:
    return process_table.parse_stat(Path(f"/proc/{pid}/stat").read_text()).state
