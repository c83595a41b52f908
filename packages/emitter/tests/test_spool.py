"""The spool on disk, with real servers, kills, forks and full disks."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.bus import ensure_streams
from dataplane_common.errors import ConfigError
from dataplane_common.frame import Frame, FrameEncoder
from dataplane_common.ledger import SourceAccount
from dataplane_common.local import free_port
from dataplane_emitter import Emitter, configure, segment
from dataplane_emitter.home import Home
from dataplane_emitter.settings import SpoolConfig
from dataplane_emitter.spool import Spool
from dataplane_emitter.spooling import LeftAccount

MakeEmitter = Callable[..., Emitter]
WaitUntil = Callable[..., None]
AWAY = "nats://127.0.0.1:1"


def _frame(number: int, text: bytes = b"x") -> Frame:
    line = b'{"_id":"a-%x","n":"%b"}\n' % (number, text)
    return FrameEncoder().encode("logs.a.b.c", "a" * 16, line, first=number, end=number + 1, count=1)


def _account(**counts: Any) -> SourceAccount:
    return SourceAccount(source="a" * 16, dataset="d", namespace="n", host="h", **counts)


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.segment"))


def _spooled_by_an_ended_process(folder: Path, dataset: str, count: int = 100, **settings: Any) -> str:
    """Log without a bus and end; return the source."""
    emitter = configure(
        service=dataset, namespace="test", servers=AWAY, spool={"dir": folder}, exit_timeout_s=2, **settings
    )
    for number in range(count):
        emitter.processor()(None, "info", {"event": "spooled", "number": number})
    emitter.close()
    stats = emitter.stats()
    assert (stats.spooled, stats.in_flight, stats.dropped) == (count, 0, {})
    return stats.source


@given(st.lists(st.binary(max_size=50), max_size=8), st.data())
def test_a_torn_or_damaged_file_gives_what_is_whole(texts: list[bytes], data: st.DataObject) -> None:
    """Cut anywhere, or with a byte changed, every record that is still whole is read, in order, and no other."""
    frames = [_frame(number, text.hex().encode()) for number, text in enumerate(texts, 1)]
    records = [segment.encode(frame) for frame in frames]
    whole = b"".join(records)
    assert [frame.payload for frame in segment.decode(whole).frames] == [frame.payload for frame in frames]
    assert segment.decode(whole).damaged_bytes == 0
    cut = data.draw(st.integers(0, len(whole)))
    complete = sum(sum(map(len, records[: number + 1])) <= cut for number in range(len(records)))
    torn = segment.decode(whole[:cut])
    assert [frame.first for frame in torn.frames] == [frame.first for frame in frames[:complete]]
    assert torn.damaged_bytes == cut - sum(map(len, records[:complete]))
    if whole:
        place = data.draw(st.integers(0, len(whole) - 1))
        changed = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        hit = next(n for n in range(len(records)) if place < sum(map(len, records[: n + 1])))
        left = [frame.first for number, frame in enumerate(frames) if number != hit]
        assert [frame.first for frame in segment.decode(changed).frames] == left


def test_what_one_process_could_not_deliver_the_next_one_does(
    bus: Any, make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str, tmp_path: Path
) -> None:
    """Spooled at the end, drained at the next start: all events once, in order, marked, with ids and account."""
    source = _spooled_by_an_ended_process(tmp_path, dataset)
    assert _segments(tmp_path)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))
    emitter = make_emitter(bus.url, spool={"dir": tmp_path})
    wait_until(lambda: len(bus.events(dataset)) == 100)
    wait_until(lambda: list(tmp_path.iterdir()) == [])
    events = bus.events(dataset)
    assert [event["number"] for event in events] == list(range(100))
    assert [event["_id"] for event in events] == [f"{source}-{number:x}" for number in range(1, 101)]
    replayed = [headers for subject, headers, _ in bus.messages("LOGS") if f".{dataset}." in subject]
    assert all(headers["Dp-Replay"] == "1" for headers in replayed)
    wait_until(lambda: any(account.source == source for account in bus.accounts(dataset)))
    (told,) = [account for account in bus.accounts(dataset) if account.source == source]
    assert (told.accepted, told.acknowledged, told.spooled, told.final) == (100, 100, 0, True)
    assert emitter.stats().accepted == 0


def test_a_bus_that_comes_back_gets_the_spool_at_once(
    own_bus: Any, make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str, tmp_path: Path
) -> None:
    """While the bus is away events go to the disk; when it is back they are sent without a restart; counts add up."""
    spool = tmp_path / "spool"
    emitter = make_emitter(own_bus.url, spool={"dir": spool}, linger_ms=10)
    log = emitter.processor()
    log(None, "info", {"event": "x", "number": 0})
    assert emitter.flush(10)
    own_bus.server.kill()
    for number in range(1, 1_000):
        log(None, "info", {"event": "x", "number": number})
    wait_until(lambda: emitter.stats().spooled == 999)
    stats = emitter.stats()
    assert (stats.accepted, stats.acknowledged, stats.in_flight) == (1_000, 1, 0)
    assert not emitter.flush(0.1)
    own_bus.server.start()
    assert emitter.flush(30)
    stats = emitter.stats()
    assert (stats.acknowledged, stats.spooled, stats.in_flight, stats.dropped) == (1_000, 0, 0, {})
    by_id = {event["_id"]: event["number"] for event in own_bus.events(dataset)}
    assert sorted(by_id.values()) == list(range(1_000))
    emitter.close(5)
    assert list(spool.iterdir()) == []


_KILLED = """
    import sys, time
    from dataplane_emitter import configure
    emitter = configure(service=sys.argv[1], namespace="test", servers=sys.argv[2], spool={"dir": sys.argv[3]})
    for number in range(5_000):
        emitter.processor()(None, "info", {"event": "x", "number": number})
    while emitter.stats().spooled < 5_000:
        time.sleep(0.01)
    print("spooled", flush=True)
    time.sleep(60)
"""


def test_sigkill_loses_nothing_that_was_spooled(
    bus: Any, make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str, tmp_path: Path
) -> None:
    """A process killed while the bus is away leaves its spool; a torn write at its end costs nothing before it."""
    program = tmp_path / "killed.py"
    program.write_text("\n".join(line[4:] for line in _KILLED.splitlines()))
    spool = tmp_path / "spool"
    process = subprocess.Popen(
        [sys.executable, str(program), dataset, AWAY, str(spool)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"spooled\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    with _segments(spool)[-1].open("ab") as file:
        file.write(segment.encode(_frame(1))[:-3])
    emitter = make_emitter(bus.url, spool={"dir": spool})
    wait_until(lambda: list(spool.iterdir()) == [], 20)
    events = bus.events(dataset)
    assert sorted(event["number"] for event in events) == list(range(5_000))
    assert len({event["_id"] for event in events}) == 5_000
    assert "bytes of the spool were not written whole" in emitter.stats().last_problem
    assert not any(account.final for account in bus.accounts(dataset))


def test_a_drain_that_is_cut_off_goes_on_and_doubles_no_id(
    make_bus: Callable[..., Any], make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str, tmp_path: Path
) -> None:
    """A server killed in the middle of a drain: afterwards every event is there, and repeats have the same content."""
    spool = tmp_path / "spool"
    source = _spooled_by_an_ended_process(spool, dataset, count=20_000, compression="none")
    port = free_port().number
    bus = make_bus(port=port)
    bus.run(ensure_streams)
    emitter = make_emitter(bus.url, spool={"dir": spool}, window=1)
    wait_until(lambda: bus.messages("LOGS"), 20)
    bus.server.kill()
    bus.server.start()
    wait_until(lambda: list(spool.iterdir()) == [], 40)
    contents: dict[str, dict[str, Any]] = {}
    for event in bus.events(dataset):
        assert contents.setdefault(event["_id"], event) == event
    assert len(contents) == 20_000
    told = [account for account in bus.accounts(dataset) if account.source == source]
    assert (told[-1].acknowledged, told[-1].spooled, told[-1].dropped) == (20_000, 0, {})
    assert emitter.stats().acknowledged == 0


def test_a_full_spool_keeps_what_it_has(make_emitter: MakeEmitter, wait_until: WaitUntil, tmp_path: Path) -> None:
    """The spool never passes its bound; what does not fit waits in the queue, whose own policy counts its drops."""
    emitter = make_emitter(
        AWAY, spool={"dir": tmp_path, "max_bytes": 1024 * 1024}, compression="none", queue={"max_events": 2_000}
    )
    for number in range(20_000):
        emitter.processor()(None, "info", {"event": "x" * 200, "number": number})
        if number % 1_000 == 0:
            time.sleep(0.05)
    wait_until(lambda: "is full" in emitter.stats().last_problem)
    wait_until(lambda: emitter.stats().queued == 2_000 or emitter.stats().in_flight >= 2_000)
    stats = emitter.stats()
    assert sum(path.stat().st_size for path in _segments(tmp_path)) <= 1024 * 1024
    assert stats.spooled > 0
    assert stats.accepted == 20_000 == stats.spooled + stats.in_flight + stats.dropped["queue_full"]


def test_a_disk_that_refuses_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails in the middle, as on a full disk, is undone: the next one follows the last whole record."""
    said: list[str] = []
    spool = Spool(SpoolConfig(dir=tmp_path), "a" * 16, said.append)
    assert spool.store([_frame(1)], _account(spooled=1))
    write = os.write

    def fill_up(descriptor: int, data: Any) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".segment"):
            if len(data) < 20:
                raise OSError(28, "No space left on device")
            return write(descriptor, bytes(data)[:-10])
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill_up)
        assert not spool.store([_frame(2)], _account(spooled=2))
    assert not spool.is_open
    assert said == [f"the spool {tmp_path} cannot be written: No space left on device; events wait in memory"]
    monkeypatch.setattr(Spool, "is_open", True)
    assert spool.store([_frame(3)], _account(spooled=2))
    (path,) = _segments(tmp_path)
    contents = segment.decode(path.read_bytes())
    assert ([frame.first for frame in contents.frames], contents.damaged_bytes) == ([1, 3], 0)


def test_a_really_full_disk_hurts_nobody(make_emitter: MakeEmitter, wait_until: WaitUntil, tmp_path: Path) -> None:
    """On a file system of 1 MB, calls go on, the account adds up, and the problem is told."""
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    try:
        emitter = make_emitter(AWAY, spool={"dir": mount}, compression="none", queue={"max_events": 10_000})
        for number in range(10_000):
            emitter.processor()(None, "info", {"event": "x" * 200, "number": number})
        wait_until(lambda: "No space left" in emitter.stats().last_problem)
        stats = emitter.stats()
        assert stats.accepted == stats.spooled + stats.in_flight
        emitter.close(1)
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_no_two_processes_share_a_folder(tmp_path: Path) -> None:
    """A folder that somebody works in cannot be entered; one whose process has gone can; each is its own after fork."""
    first = Spool(SpoolConfig(dir=tmp_path), "a" * 16, print)
    second = Spool(SpoolConfig(dir=tmp_path), "b" * 16, print)
    assert first.store([_frame(1)], _account(spooled=1))
    assert list(second.left()) == []
    pid = os.fork()
    if pid == 0:
        first.let_go()
        os._exit(0 if Home.enter(tmp_path / ("a" * 16)) is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(second.left()) == []
    first.close()
    (home,) = second.left()
    assert [path.name for path in home.segments()] == ["00000001.segment"]
    assert list(Spool(SpoolConfig(dir=tmp_path), "c" * 16, print).left()) == []
    home.leave()


_FORKS = """
    import os, sys, time
    from dataplane_emitter import configure
    emitter = configure(service=sys.argv[1], namespace="test", servers=sys.argv[2], spool={"dir": sys.argv[3]})
    def log(who):
        for number in range(100):
            emitter.processor()(None, "info", {"event": who, "number": number})
        while emitter.stats().spooled < 100:
            time.sleep(0.01)
    log("parent")
    children = []
    for child in range(3):
        pid = os.fork()
        if pid == 0:
            log(f"child {child}")
            emitter.close(1)
            os._exit(0)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
"""


def test_forked_children_have_folders_of_their_own(
    bus: Any, run_program: Callable[..., Any], make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Parent and children spool side by side; one later process drains all of it, once."""
    spool = tmp_path / "spool"
    run_program(_FORKS, dataset, AWAY, str(spool))
    assert len(list(spool.iterdir())) == 4
    make_emitter(bus.url, spool={"dir": spool})
    wait_until(lambda: list(spool.iterdir()) == [])
    told = Counter((event["message"], event["number"]) for event in bus.events(dataset))
    assert len(told) == 400
    assert set(told.values()) == {1}


def test_two_starts_at_once_drain_once(
    bus: Any, make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str, tmp_path: Path
) -> None:
    """Processes that find the same leftovers share them out by their locks: nothing is sent twice."""
    for _ in range(4):
        _spooled_by_an_ended_process(tmp_path, dataset, count=50)
    threads = [
        threading.Thread(target=make_emitter, args=(bus.url,), kwargs={"spool": {"dir": tmp_path}}) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: list(tmp_path.iterdir()) == [])
    assert len(bus.events(dataset)) == 200


def test_secrets_are_masked_on_disk_too(dataset: str, tmp_path: Path) -> None:
    """What is spooled has been redacted before."""
    emitter = configure(service=dataset, servers=AWAY, spool={"dir": tmp_path}, compression="none", exit_timeout_s=1)
    emitter.processor()(None, "info", {"event": "password=hunter2", "token": "hunter2"})
    emitter.close()
    data = b"".join(path.read_bytes() for path in _segments(tmp_path))
    assert b"password=***" in data
    assert b"hunter2" not in data


def test_what_is_missing_or_too_much_is_in_the_account() -> None:
    """Events that a crash took from the spool are dropped as `spool_damaged`; ones sent before count once."""
    damaged = LeftAccount(_account(accepted=10, acknowledged=2, spooled=8), found=5).figures()
    assert (damaged.spooled, damaged.dropped) == (5, {"spool_damaged": 3})
    again = LeftAccount(_account(accepted=10, acknowledged=6, spooled=4), found=6).figures()
    assert (again.spooled, again.acknowledged, again.dropped) == (6, 4, {})
    for account in (damaged, again):
        assert account.accepted == account.acknowledged + account.spooled + sum(account.dropped.values())


def test_a_spool_that_cannot_work_is_refused(tmp_path: Path) -> None:
    """No folder, too small a bound, or a delivery that nobody confirms: one line at the start."""
    (tmp_path / "file").write_text("")
    for settings, words in (
        ({"spool": {"dir": tmp_path / "file"}}, "spool.dir: cannot write to"),
        ({"spool": {"dir": tmp_path, "max_bytes": 10}}, "spool.max_bytes: 10 is too small"),
        ({"spool": {"dir": tmp_path}, "delivery": "core"}, 'spool.dir: with delivery "core"'),
    ):
        with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
            configure(service="x", **settings)
