"""What the tailer promises about compressed files: their text is shipped once, whatever was known of it as plain."""

import asyncio
import gzip
import os
import shutil
import time

import pytest
import zstandard

from dataplane_common.errors import Transient
from dataplane_tailer import opening, unpack
from dataplane_tailer.file import overdue


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_rotated_and_compressed_while_stopped(lab, run, suffix):
    """What was compressed meanwhile is found by its content, and the rest of it is shipped under the old source."""

    async def work():
        config = lab.config(paths=[str(lab.log)])
        lab.append("one\n" + "x" * 2000 + "\n")
        async with lab.tailer(config):
            first = await lab.events(2)
        lab.append("three\n")
        packed = gzip.compress if suffix == "gz" else zstandard.compress
        (lab.folder / f"app.log.1.{suffix}").write_bytes(packed(lab.log.read_bytes()))
        lab.log.unlink()
        lab.append("four\n")
        async with lab.tailer(config):
            events = await lab.events(4)
            await lab.until(lambda: True)
        third = next(event for event in events if event["message"] == "three")
        assert (third["dp"], third["event"]["sequence"]) == (first[0]["dp"], 3)
        assert await lab.count() == 4

    run(work())


def test_compressed_into_another_folder_while_stopped(lab, run, monkeypatch):
    """What the pattern finds elsewhere is unpacked before its source is called lost, not when a thread comes to it."""

    def later(path, *_options):
        raise Transient(f"{path}: not yet")

    monkeypatch.setattr(unpack, "open_or_unpack", later)

    async def work():
        config = lab.config(paths=[f"{lab.folder}/**/app.log*"])
        lab.append("one\n" + "x" * 2000 + "\n")
        async with lab.tailer(config):
            (first, *_) = await lab.events(2)
        lab.append("three\n")
        (lab.folder / "old").mkdir()
        (lab.folder / "old" / "app.log.1.gz").write_bytes(gzip.compress(lab.log.read_bytes()))
        lab.log.unlink()
        async with lab.tailer(config) as tailer:
            events = await lab.events(3)
            assert list(tailer.account.lost_bytes) == []
        assert (events[2]["message"], events[2]["dp"]) == ("three", first["dp"])

    run(work())


def test_renamed_and_compressed_inside_the_pattern(lab, run):
    """Rotation that compresses at once: the open file is read to its end, the compressed form repeats nothing."""

    async def work():
        lab.append("one\n" + "x" * 2000 + "\n")
        async with lab.tailer() as tailer:
            await lab.messages(2)
            await lab.settled(tailer)
            lab.append("three\n")
            rotated = lab.log.rename(lab.folder / "app.log.1")
            (lab.folder / "app.log.1.gz").write_bytes(gzip.compress(rotated.read_bytes()))
            rotated.unlink()
            lab.append("four\n")
            await lab.messages(4)
            await lab.until(lambda: len(tailer.tracker.files) == 1)
            await asyncio.sleep(0.3)
        assert await lab.count() == 4
        async with lab.tailer():
            await asyncio.sleep(0.3)
        assert await lab.count() == 4

    run(work())


def test_compressed_files_are_read_once(lab, run, monkeypatch):
    """A pattern may name compressed files: their text is shipped once, and after a restart not even unpacked again."""

    async def work():
        (lab.folder / "app.log.1.gz").write_bytes(gzip.compress(b"a\nb\n"))
        (lab.folder / "app.log.2.zst").write_bytes(zstandard.compress(b"c\nd"))
        config = lab.config(delivery={"idle_flush_ms": 50})
        async with lab.tailer(config) as tailer:
            assert sorted(await lab.messages(4)) == ["a", "b", "c", "d"]
            await lab.until(lambda: not tailer.tracker.files)
        unpacked: list[str] = []
        monkeypatch.setattr("dataplane_tailer.unpack.open_or_unpack", lambda path, _: unpacked.append(path))
        async with lab.tailer(config):
            await asyncio.sleep(0.3)
        assert unpacked == []
        assert await lab.count() == 4

    run(work())


def test_a_compressed_file_that_is_still_being_written_waits(lab, run):
    """Half a compressed file is not read; it is when it is complete."""

    async def work():
        whole = gzip.compress(os.urandom(5000).hex().encode() + b"\n")
        (lab.folder / "app.log.1.gz").write_bytes(whole[:3000])
        async with lab.tailer():
            await asyncio.sleep(0.3)
            assert await lab.count() == 0
            (lab.folder / "app.log.1.gz").write_bytes(whole)
            await lab.messages(1)

    run(work())


def test_a_compressed_file_that_is_written_anew_at_the_same_size(lab, run):
    """That its inode and size are known says nothing about what is in it now."""

    async def work():
        packed = lab.folder / "app.log.1.gz"
        packed.write_bytes(gzip.compress(b"aaaa\n", mtime=0))
        async with lab.tailer() as tailer:
            await lab.messages(1)
            await lab.until(lambda: not tailer.tracker.files)
        size = packed.stat().st_size
        packed.write_bytes(gzip.compress(b"bbbb\n", mtime=0))
        assert packed.stat().st_size == size
        async with lab.tailer():
            assert await lab.messages(2) == ["aaaa", "bbbb"]

    run(work())


def test_old_compressed_logs_are_not_unpacked_to_find_a_copy(lab, run, monkeypatch):
    """Their first bytes say that they are others: a truncation costs what it costs, not a folder of archives."""
    opened, really = [], opening.open_content
    monkeypatch.setattr(opening, "open_content", lambda path, *more: opened.append(path) or really(path, *more))

    async def work():
        for number in range(2, 5):
            (lab.folder / f"app.log.{number}.gz").write_bytes(gzip.compress(f"old {number}\n".encode()))
        lab.append("one\n")
        async with lab.tailer(lab.config(paths=[str(lab.log)])) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            shutil.copy(lab.log, lab.folder / "app.log.9")
            os.truncate(lab.log, 0)
            lab.append("two\n")
            await lab.messages(2)
        assert [path for path in opened if path.endswith(".gz")] == []

    run(work())


def test_a_small_copy_that_is_compressed_later(lab, run):
    """A copy of what was truncated while nobody looked is known in every form, also when its original is gone."""

    async def work():
        copy = lab.folder / "app.log.1"
        async with lab.tailer() as tailer:
            await lab.grow_beyond_copy(tailer, lab.folder / "away")
        (lab.folder / "away").rename(copy)
        os.truncate(lab.log, 0)
        lab.append("after\n")
        async with lab.tailer():
            await lab.messages(4)
        copy.with_name("app.log.1.gz").write_bytes(gzip.compress(copy.read_bytes()))
        copy.unlink()
        lab.log.unlink()
        async with lab.tailer():
            await asyncio.sleep(0.3)  # nothing more may come, and nothing tells of that
        assert await lab.messages(4) == ["one", "two", "late", "after"]
        assert await lab.count() == 4

    run(work())


def test_the_text_of_a_compressed_file_is_not_a_deleted_log(lab, run):
    """It has no name either, and is no log on a disk of logs: the policy about deleted ones leaves it alone."""

    async def work():
        packed = lab.folder / "app.log.1.gz"
        packed.write_bytes(gzip.compress(b"one\n"))
        async with lab.tailer(lab.config(delivery={"hold_deleted_s": 0, "hold_deleted_bytes": 0})) as tailer:
            await lab.until(lambda: tailer.tracker.files)
            file = lab.one(tailer)
            file.gone_at = 1.0
            assert not overdue([file], tailer.config.delivery, time.monotonic())
            assert await lab.messages(1) == ["one"]

    run(work())
