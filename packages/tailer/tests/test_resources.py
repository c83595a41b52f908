"""What the tailer promises about disk, memory, descriptors and the clock: one trouble stays one trouble."""

import errno
import gzip
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dataplane_tailer import known, unpack
from dataplane_tailer.config import DeliveryConfig
from dataplane_tailer.discover import Found
from dataplane_tailer.file import overdue
from dataplane_tailer.identity import FileKey
from dataplane_tailer.state import SourceRecord, State


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_an_error_of_one_file_leaves_the_others_alone(lab, run, monkeypatch):
    """A disk that fails under one file: the others are shipped, it is tried again, and nothing of it is lost."""

    async def work():
        broken = lab.folder / "app.log.broken"
        lab.append("one\n", broken)
        inode, really = broken.stat().st_ino, os.pread

        def pread(descriptor, length, offset):
            if os.fstat(descriptor).st_ino == inode and offset + length > 1024:  # its head can still be read
                raise OSError(errno.EIO, "Input/output error")
            return really(descriptor, length, offset)

        monkeypatch.setattr("dataplane_tailer.read.os.pread", pread)
        monkeypatch.setattr("dataplane_tailer.pipeline._RETRY_READ_S", 0.1)
        lab.append("two\n")
        async with lab.tailer(lab.config(delivery={"rescan_ms": 60_000})) as tailer:
            assert await lab.messages(1) == ["two"]
            await lab.until(lambda: any(file.last_error for file in tailer.tracker.files.values()))
            monkeypatch.setattr("dataplane_tailer.read.os.pread", really)
            assert sorted(await lab.messages(2)) == ["one", "two"]
            await lab.until(lambda: not any(file.last_error for file in tailer.tracker.files.values()))

    run(work())


def test_a_file_that_is_deleted_before_its_turn_is_kept(lab, run):
    """While another one waits for room on its way to the bus, nothing of it is on its way, and yet it has not ended."""

    async def work():
        lab.append("one\n")
        delivery = {"window_frames": 1, "close_rotated_after_ms": 1}
        async with lab.tailer(lab.config(delivery=delivery)) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            file = lab.one(tailer)
            await tailer.publisher._slots.acquire()
            lab.append("hot\n", lab.folder / "app.log.hot")
            await lab.until(lambda: any(other.positions.waiting for other in tailer.tracker.files.values()))
            lab.append("two\n")
            lab.log.unlink()
            await lab.until(lambda: file.gone_at is not None and file.gone_at < time.monotonic() - 0.01)
            tailer.tracker.rescan()
            is_kept = file.key in tailer.tracker.files
            tailer.publisher._slots.release()
            assert is_kept
            assert sorted(await lab.messages(3)) == ["hot", "one", "two"]

    run(work())


def test_the_oldest_deleted_file_is_let_go_first():
    """Of what is held without a name, the policy takes the oldest, and no more than it must."""
    files = [SimpleNamespace(gone_at=at, size_seen=10, is_deleted=lambda: True) for at in (3.0, 1.0, 2.0)]
    assert [file.gone_at for file in overdue(files, DeliveryConfig(hold_deleted_bytes=15), 5.0)] == [1.0, 2.0]
    assert [file.gone_at for file in overdue(files, DeliveryConfig(hold_deleted_s=3), 5.0)] == [1.0]


@pytest.mark.parametrize("is_deaf", [True, False], ids=["polling", "notified"])
def test_a_clock_that_jumps_back(lab, run, monkeypatch, is_deaf):
    """Back to 1970, say. Times of arrival follow the clock, nothing else does: what is written is seen and shipped."""

    async def deaf(_folders, _stop, _linger_ms):
        raise OSError(errno.ENOSPC, "OS file watch limit reached")
        yield

    if is_deaf:
        monkeypatch.setattr("dataplane_tailer.watch.changes", deaf)
    delivery = {"idle_flush_ms": 250, "rescan_ms": 50 if is_deaf else 60_000}
    started_s, really = time.time(), time.time

    async def work():
        lab.append("one\n")
        async with lab.tailer(lab.config(delivery=delivery)) as tailer:
            await lab.messages(1)
            lab.append("unfinished")
            await lab.until(lambda: lab.one(tailer).size_seen == len("one\nunfinished"))
            monkeypatch.setattr(time, "time", lambda: really() - started_s)
            await lab.messages(2)
            lab.append("\ntwo\nrest")
            assert await lab.messages(4) == ["one", "unfinished", "two", "rest"]

    run(work())


def test_while_a_file_is_unpacked_the_others_are_followed(lab, run, monkeypatch):
    """A large compressed file holds nobody up; its own text comes when it is unpacked."""
    go_on, really = threading.Event(), unpack.open_or_unpack

    def slowly(*options):
        assert go_on.wait(60)
        return really(*options)

    monkeypatch.setattr(unpack, "open_or_unpack", slowly)

    async def work():
        (lab.folder / "app.log.1.gz").write_bytes(gzip.compress(b"packed\n"))
        async with lab.tailer():
            lab.append("plain\n")
            assert await lab.messages(1) == ["plain"]
            go_on.set()
            assert sorted(await lab.messages(2)) == ["packed", "plain"]

    try:
        run(work())
    finally:
        go_on.set()


def test_old_files_are_left_alone(lab, run):
    """With `ignore_older_s` a file that nobody has written to for longer is not begun, until somebody writes to it."""

    async def work():
        old = lab.folder / "app.log.old"
        lab.append("old\n", old)
        os.utime(old, (time.time() - 7200,) * 2)
        async with lab.tailer(lab.config(ignore_older_s=3600)):
            lab.append("new\n")
            assert await lab.messages(1) == ["new"]
            lab.append("again\n", old)
            assert sorted(await lab.messages(3)) == ["again", "new", "old"]

    run(work())


def test_rotations_leave_nothing_behind(lab, run, monkeypatch):
    """Many rotations: descriptors, open files and the state stay as small as they were, and each line comes once."""
    monkeypatch.setattr(known, "_KEEP_GONE", 5)
    rounds = 60

    async def work():
        config = lab.config(paths=[str(lab.log)], delivery={"close_rotated_after_ms": 1, "rescan_ms": 20})
        async with lab.tailer(config) as tailer:
            lab.append("line 0\n")
            await lab.messages(1)
            before = _descriptors()
            for number in range(1, rounds):
                lab.log.rename(lab.folder / "app.log.1")
                lab.append(f"line {number}\n")
                inode = lab.log.stat().st_ino
                await lab.until(lambda inode=inode: inode in {file.key.inode for file in tailer.tracker.files.values()})
            await lab.until(lambda: len(tailer.tracker.files) == 1 and not tailer.tracker.retired)
            assert await lab.messages(rounds) == [f"line {number}" for number in range(rounds)]
            await lab.until(lambda: len(tailer.state.sources()) <= 7)
            assert _descriptors() <= before + 2
            assert len(tailer.tracker.opener.known.by_key()) <= 6

    run(work())


def test_what_is_forgotten_leaves_nothing_behind(lab, monkeypatch):
    """Of a finished source whose file is gone neither state nor memory keep anything in the end."""
    monkeypatch.setattr(known, "_KEEP_GONE", 0)
    path, key = "/var/log/a.gz", FileKey(1, 2)
    record = SourceRecord("0" * 16, path, path, "d", *key, head=b"x", is_final=True, packed_size=9, packed_at=1.0)
    state = State(lab.state_dir)
    state.save([record])
    memory = known.Known(state)
    memory.remember(record)
    found = Found(path, key, 9, lab.config().inputs[0], 1.0)
    assert memory.is_read(found)
    memory.forget_gone({key})
    assert memory.is_read(found)
    memory.forget_gone(())
    assert (state.sources(), memory.by_key(), memory.lineage.candidates(b"x")) == ([], {}, [])
    assert not memory.is_read(found)
    state.close()


def test_a_thousand_quiet_files_are_written_down_at_once(lab, run, monkeypatch):
    """Opening many files costs the state a few writes, not one each; so does a reload, which goes on at once."""
    writes: list[int] = []
    really = State._save

    def counted(self, records):
        records = list(records)
        writes.append(len(records))
        really(self, records)

    monkeypatch.setattr(State, "_save", counted)

    async def work():
        for number in range(1000):
            lab.append(f"quiet {number}\n", lab.folder / f"app.log.{number}")
        async with lab.tailer() as tailer:
            assert len(writes) < 5
            await lab.messages(1000)
            await lab.until(lambda: all(f.positions.waiting == 0 for f in tailer.tracker.files.values()))
            assert len(writes) < 100
            lab.append("news\n", lab.folder / "app.log.500")
            await lab.messages(1001)
            for dataset in (lab.dataset, f"{lab.dataset}_b"):
                before, held = len(writes), _descriptors()
                tailer.reload(lab.config(dataset=dataset))
                await lab.until(lambda: tailer.next_config is None)
                assert len(writes) < before + 10
                assert len(tailer.tracker.files) == 1000
                assert _descriptors() < held + 10

    run(work())


def test_ten_thousand_quiet_files_and_one_that_is_written_to(lab, run):
    """As many files as a large host has: all are shipped, a line in a quiet one comes, and memory stays small."""

    async def work():
        for number in range(10_000):
            lab.append(f"quiet {number}\n", lab.folder / f"app.log.{number}")
        command = [Path(sys.executable).parent / "dataplane-tailer", "run", lab.folder / "app.log*", "--dataset",
                   lab.dataset, "--namespace", "test", "--nats", lab.url, "--state-dir", lab.state_dir]  # fmt: skip
        process = subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL)
        try:
            await lab.events(10_000)
            lab.append("news\n", lab.folder / "app.log.5000")
            assert (await lab.messages(10_001))[-1] == "news"
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        assert int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) < 150 * 1024

    run(work())


@pytest.mark.parametrize("is_refused", [False, True], ids=["the queue overflows", "no watches are left"])
def test_changes_that_nobody_tells_of(lab, run, monkeypatch, is_refused):
    """Where notifications are lost, or the kernel gives no watches, the next look at everything sees all."""

    async def nothing(_folders, stop, _linger_ms):
        if is_refused:
            raise OSError(errno.ENOSPC, "OS file watch limit reached")
        await stop.wait()
        yield

    monkeypatch.setattr("dataplane_tailer.watch.changes", nothing)

    async def work():
        lab.append("one\n")
        async with lab.tailer(lab.config(delivery={"rescan_ms": 50})):
            await lab.messages(1)
            lab.append("two\n")
            lab.append("three\n", lab.folder / "app.log.1")
            assert sorted(await lab.messages(3)) == ["one", "three", "two"]

    run(work())
