"""What the tailer promises about rotation, truncation and identity: each line once, whatever the names do."""

import asyncio
import gzip
import os
import shutil

import pytest

from dataplane_tailer.identity import key_of
from dataplane_tailer.tracker import _SHRUNK_FOR_S, Tracker


async def _block(tailer) -> None:
    """Take all of the window, as if the bus took nothing."""
    for _ in range(tailer.publisher.window):
        await tailer.publisher._slots.acquire()


def _unblock(tailer) -> None:
    for _ in range(tailer.publisher.window):
        tailer.publisher._slots.release()


@pytest.mark.parametrize("is_deaf", [False, True], ids=["notified", "polling"])
def test_three_rotations_inside_one_scan(lab, run, is_deaf, monkeypatch):
    """Files that came and were renamed between two looks are all found, each once."""
    if is_deaf:
        monkeypatch.setattr("dataplane_tailer.watch.changes", _no_inotify)
        monkeypatch.setattr("dataplane_tailer.pipeline._HEARING_FACTOR", 1_000_000)

    async def work():
        async with lab.tailer():
            lab.append("a\n")
            await lab.messages(1)
            for number, text in ((3, "b\n"), (2, "c\n"), (1, "d\n")):
                lab.append(text)
                lab.log.rename(lab.folder / f"app.log.{number}")
            lab.append("e\n")
            assert sorted(await lab.messages(5)) == ["a", "b", "c", "d", "e"]

    run(work())


async def _no_inotify(_folders, _stop, _linger_ms):
    raise OSError(24, "inotify instance limit reached")
    yield


def test_a_name_that_is_absent_for_a_while(lab, run):
    """Between rename and creation the old file is followed; the new one is read when it comes."""

    async def work():
        async with lab.tailer(lab.config(paths=[str(lab.log)])) as tailer:
            lab.append("old\n")
            await lab.messages(1)
            rotated = lab.log.rename(lab.folder / "old.1")
            await lab.until(lambda: lab.one(tailer).gone_at is not None)
            lab.append("late\n", rotated)
            await lab.messages(2)
            await lab.until(lambda: not tailer.tracker.files)
            lab.append("new\n")
            assert await lab.messages(3) == ["old", "late", "new"]

    run(work())


def test_a_link_that_is_set_to_another_file(lab, run, monkeypatch):
    """A chain of two links is followed to its file; when it is set anew, which is not told, the old one is read on."""
    monkeypatch.setattr("dataplane_tailer.pipeline._HEARING_FACTOR", 1_000_000)

    async def work():
        first, second, middle = (lab.folder / name for name in ("0.txt", "1.txt", "middle"))
        lab.append("first\n", first)
        middle.symlink_to(first)
        lab.log.symlink_to(middle)
        async with lab.tailer(lab.config(paths=[str(lab.log)])):
            await lab.messages(1)
            lab.append("second\n", second)
            lab.append("late\n", first)
            middle.unlink()
            middle.symlink_to(second)
            assert sorted(await lab.messages(3)) == ["first", "late", "second"]
            lab.append("on\n", second)
            await lab.messages(4)

    run(work())


def test_one_base_name_in_two_folders(lab, run):
    """Folders tell files apart, also where both begin alike and both are rotated."""

    async def work():
        logs = [lab.folder / folder / "app.log" for folder in ("a", "b")]
        for log in logs:
            log.parent.mkdir()
            lab.append("started\n", log)
        async with lab.tailer(lab.config(paths=[str(lab.folder / "*" / "app.log")], delivery={"hold_copy_ms": 200})):
            await lab.messages(2)
            for log in logs:
                lab.append(f"{log.parent.name} 1\n", log)
            await lab.messages(4)
        for log in logs:
            lab.append(f"{log.parent.name} 2\n", log)
            log.rename(log.with_suffix(".log.1"))
            lab.append(f"started\n{log.parent.name} 3\n", log)
        async with lab.tailer(lab.config(paths=[str(lab.folder / "*" / "app.log")], delivery={"hold_copy_ms": 200})):
            found = await lab.events(10)
        by_source: dict[str, list[str]] = {}
        for event in found:
            by_source.setdefault(event["dp"]["source"], []).append(event["message"])
        assert sorted(by_source.values()) == [
            ["started", "a 1", "a 2"], ["started", "a 3"], ["started", "b 1", "b 2"], ["started", "b 3"],
        ]  # fmt: skip

    run(work())


def test_a_size_that_shrinks_and_comes_back(lab, run):
    """A network file system may show a file too short for a moment: nothing is read again."""

    async def work():
        lab.append("one\ntwo\n")
        async with lab.tailer() as tailer:
            await lab.messages(2)
            source = lab.one(tailer).record.source
            for _ in range(2):
                os.truncate(lab.log, 4)
                await lab.until(lambda: not lab.one(tailer).is_whole)
                lab.append("two\nthree\n")
                assert await lab.messages(3) == ["one", "two", "three"]
                await asyncio.sleep(_SHRUNK_FOR_S)
            assert lab.one(tailer).record.source == source
        assert await lab.count() == 3

    run(work())


def test_truncated_before_it_was_read_is_counted(lab, run):
    """With the bus away, what a truncation takes is counted in bytes, and what comes after it is shipped."""

    async def work():
        lab.append("x" * 1000 + "\n")
        async with lab.tailer(lab.config(delivery={"max_line_bytes": 2000})) as tailer:
            await lab.messages(1)
            await lab.until(lambda: lab.one(tailer).positions.waiting == 0)
            source = lab.one(tailer).record.source
            await _block(tailer)
            lab.append(("y" * 1000 + "\n") * 500)
            await lab.until(lambda: lab.one(tailer).whole_size > 500_000)
            lab.log.write_text("after\n")
            await lab.until(lambda: lab.one(tailer).record.source != source)
            _unblock(tailer)
            await lab.until(lambda: not tailer.tracker.retired)
        ledger = await lab.ledger(source)
        assert 0 < ledger["accepted"] - 1 < 500
        assert ledger["abandoned_bytes"] == {"truncated_unread": (501 - ledger["accepted"]) * 1001}
        assert "after" in [event["message"] for event in await lab.everything()]

    run(work())


def test_truncated_and_refilled_loses_nothing_and_counts_nothing(lab, run):
    """A file that was read to its end and written anew has nothing abandoned."""

    async def work():
        lab.append("first\n")
        async with lab.tailer() as tailer:
            await lab.messages(1)
            source = lab.one(tailer).record.source
            lab.log.write_text("second, longer than the first one\n")
            await lab.messages(2)
            await lab.until(lambda: not tailer.tracker.retired)
        assert (await lab.ledger(source)).get("abandoned_bytes", {}) == {}

    run(work())


def test_rewritten_before_the_checkpoint_was_stored(lab, run, monkeypatch):
    """A checkpoint is about what was read, not about what lies there when it is stored."""

    async def work():
        banner = "#" * 2000
        lab.append(f"{banner}\n{'a' * 50}\n")
        async with lab.tailer() as tailer:
            await lab.messages(2)
            await lab.settled(tailer)
            await _block(tailer)
            file = lab.one(tailer)
            monkeypatch.setattr(Tracker, "rewritten", lambda _tracker, _file: None)  # the crash comes before
            with lab.log.open("r+b") as log:
                log.truncate(0)
                log.write(f"{banner}\n{'b' * 60}\nlast\n".encode())
            tailer.state.save([file.checkpoint()])
            _unblock(tailer)
            tailer.state.save = lambda _records: None
        monkeypatch.undo()
        async with lab.tailer():
            assert await lab.messages(5) == [banner, "a" * 50, banner, "b" * 60, "last"]

    run(work())


def test_copytruncate_with_a_late_line_that_was_read(lab, run):
    """A copy that ends before what was shipped of its original has nothing new."""

    async def work():
        lines = [f"line {number:04d} {'x' * 40}" for number in range(100)]
        lab.append("".join(f"{line}\n" for line in lines))
        async with lab.tailer() as tailer:
            await lab.messages(100)
            shutil.copy(lab.log, lab.folder / "app.log.1")
            lab.append("late\n")
            await lab.messages(101)
            await lab.until(lambda: lab.one(tailer).positions.waiting == 0)
            os.truncate(lab.log, 0)
            lab.append("after\n")
            assert await lab.messages(102) == [*lines, "late", "after"]
            await asyncio.sleep(0.5)
        async with lab.tailer():
            await asyncio.sleep(0.3)
        assert await lab.count() == 102

    run(work())


def test_a_small_file_that_is_compressed_while_its_original_is_open(lab, run):
    """The compressed form of a file that is still held open is its copy, however small and however long that lasts."""

    async def work():
        config = lab.config(delivery={"hold_copy_ms": 100, "close_rotated_after_ms": 1500})
        lab.append("small\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            rotated = lab.log.rename(lab.folder / "app.log.1")
            (lab.folder / "app.log.1.gz").write_bytes(gzip.compress(rotated.read_bytes()))
            rotated.unlink()
            await lab.until(lambda: not tailer.tracker.files)
            await asyncio.sleep(0.3)
        assert await lab.count() == 1

    run(work())


def test_start_at_end_survives_a_restart_without_a_line(lab, run):
    """What was passed over at the first start stays passed over."""

    async def work():
        config = lab.config(start_at="end")
        lab.append("history\n" * 20)
        for _ in range(2):
            async with lab.tailer(config) as tailer:
                await lab.until(lambda: tailer.tracker.files)
        async with lab.tailer(config):
            lab.append("news\n")
            assert await lab.messages(1) == ["news"]
        assert await lab.count() == 1

    run(work())


def test_an_inode_that_is_used_again(lab, run):
    """A new file with the inode of a finished one is a new source, from its first byte."""

    async def work():
        async with lab.tailer() as tailer:
            for number in range(3):
                lab.append(f"file {number}\n" + "same\n" * number)
                await lab.messages(1 + number + sum(range(number + 1)))
                key = key_of(lab.log.stat())
                lab.log.unlink()
                await lab.until(lambda key=key: key not in tailer.tracker.files)
        assert len({event["dp"]["source"] for event in await lab.everything()}) == 3

    run(work())


@pytest.mark.parametrize("size", [20, 2000], ids=["small", "large"])
def test_another_device_number_after_a_reboot(lab, run, size):
    """A device's number is not stable: content, name and inode say that it is the same file."""

    async def work():
        lab.append("one\n" + "x" * size + "\n")
        async with lab.tailer() as tailer:
            first = await lab.events(2)
            await lab.until(lambda: lab.one(tailer).positions.waiting == 0)
        state = tailer.state.__class__(lab.state_dir)
        for record in (records := state.sources()):
            record.device += 1
        state.save(records)
        state.close()
        lab.append("two\n")
        async with lab.tailer():
            events = await lab.events(3)
            await asyncio.sleep(0.2)
        assert (events[2]["dp"], events[2]["event"]["sequence"]) == (first[0]["dp"], 3)
        assert await lab.count() == 3

    run(work())
