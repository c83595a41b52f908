"""The spool on disk, with real servers, kills, forks and full disks."""

import re
import shutil
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

from dataplane_common.bus import ensure_streams
from dataplane_common.frame import Frame, FrameEncoder
from dataplane_common.local import free_port
from dataplane_emitter import Emitter, configure, segment
from dataplane_emitter.testing import faulty_bus

MakeEmitter = Callable[..., Emitter]
WaitUntil = Callable[..., None]
AWAY = "nats://127.0.0.1:1"


def _frame(number: int, text: bytes = b"x") -> Frame:
    line = b'{"_id":"a-%x","n":"%b"}\n' % (number, text)
    return FrameEncoder().encode("logs.a.b.c", "a" * 16, line, first=number, end=number + 1, count=1)


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
    wait_until(lambda: not emitter.pipeline.spool.is_open, 20)
    wait_until(lambda: emitter.stats().queued == 2_000 or emitter.stats().in_flight >= 2_000)
    stats = emitter.stats()
    assert sum(path.stat().st_size for path in _segments(tmp_path)) <= 1024 * 1024
    assert stats.spooled > 0
    assert stats.accepted == 20_000 == stats.spooled + stats.in_flight + stats.dropped["queue_full"]


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
    make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str, tmp_path: Path
) -> None:
    """Processes that find the same leftovers share them out by their locks: nothing is sent twice."""
    for _ in range(4):
        _spooled_by_an_ended_process(tmp_path, dataset, count=50)
    with faulty_bus() as bus:  # it drops no repeats, as a server would
        threads = [
            threading.Thread(target=make_emitter, args=(bus.url,), kwargs={"spool": {"dir": tmp_path}}) for _ in "ab"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: list(tmp_path.iterdir()) == [])
        counts = [re.search(rb"Dp-Count: (\d+)", message.headers) for message in bus.messages]
    assert sum(int(count[1]) for count in counts if count) == 200


def test_many_segments_are_sent_in_their_order(
    bus: Any, make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What filled several files is sent as it was logged, oldest file first."""
    monkeypatch.setattr("dataplane_emitter.spool._SEGMENT_BYTES", 4_000)
    emitter = make_emitter(AWAY, spool={"dir": tmp_path}, compression="none")
    for number in range(120):
        emitter.processor()(None, "info", {"event": "x", "number": number})
        if number % 10 == 9:
            wait_until(lambda number=number: emitter.stats().spooled == number + 1)
    emitter.close(2)
    assert len(_segments(tmp_path)) > 9
    make_emitter(bus.url, spool={"dir": tmp_path})
    wait_until(lambda: list(tmp_path.iterdir()) == [])
    assert [event["number"] for event in bus.events(dataset)] == list(range(120))


def test_secrets_are_masked_on_disk_too(dataset: str, tmp_path: Path) -> None:
    """What is spooled has been redacted before."""
    emitter = configure(service=dataset, servers=AWAY, spool={"dir": tmp_path}, compression="none", exit_timeout_s=1)
    emitter.processor()(None, "info", {"event": "password=hunter2", "token": "hunter2"})
    emitter.close()
    data = b"".join(path.read_bytes() for path in _segments(tmp_path))
    assert b"password=***" in data
    assert b"hunter2" not in data


def test_a_spool_that_vanishes_is_counted_and_made_again(
    make_emitter: MakeEmitter, wait_until: WaitUntil, tmp_path: Path
) -> None:
    """Somebody empties the folder: what was in it is dropped as `spool_damaged`, and later events are stored again."""
    with faulty_bus() as bus:
        bus.go_away()
        emitter = make_emitter(bus.url, spool={"dir": tmp_path / "spool"})
        for _ in range(100):
            emitter.processor()(None, "info", {"event": "gone"})
        wait_until(lambda: emitter.stats().spooled == 100)
        shutil.rmtree(tmp_path / "spool")
        bus.recover()
        wait_until(lambda: emitter.stats().dropped == {"spool_damaged": 100}, 15)
        assert emitter.flush(10)
        bus.go_away()
        emitter.processor()(None, "info", {"event": "stored"})
        wait_until(lambda: emitter.stats().spooled == 1, 20)
        bus.recover()
        wait_until(lambda: emitter.stats().acknowledged == 1, 15)
        assert emitter.stats().in_flight == 0
