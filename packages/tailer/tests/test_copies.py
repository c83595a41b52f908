"""What the tailer promises about copies: content that was shipped under one name is not shipped under another."""

import asyncio
import gzip
import os
import shutil
from contextlib import asynccontextmanager

import pytest

from dataplane_tailer.identity import key_of
from dataplane_tailer.sight import open_files
from dataplane_tailer.snapshot import read_snapshot
from dataplane_tailer.state import SourceRecord, State


@pytest.mark.parametrize("inside", [True, False], ids=["copy inside the pattern", "copy outside the pattern"])
@pytest.mark.parametrize("filler", ["", "x" * 3000], ids=["small", "large"])
def test_copytruncate(lab, run, inside, filler):
    """The copy goes on under its original's source; what was in it and not yet read is shipped, the rest not again."""

    async def work():
        config = lab.config(paths=[str(lab.folder / "app.log*") if inside else str(lab.log)])
        lab.append(f"one{filler}\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            lab.append("two\n")
            shutil.copy(lab.log, lab.folder / "app.log.1")
            os.truncate(lab.log, 0)
            lab.append("three\n")
            events = await lab.events(3)
            await asyncio.sleep(0.3)
        assert sorted(event["message"] for event in await lab.events(3)) == [f"one{filler}", "three", "two"]
        source = {event["message"]: event["dp"]["source"] for event in events}
        assert source["two"] == source[f"one{filler}"] != source["three"]
        assert await lab.count() == 3

    run(work())


@pytest.mark.parametrize(("name", "pack"), [("app.log.1", bytes), ("app.log.1.gz", gzip.compress)])
def test_a_copy_that_was_empty_when_it_was_seen(lab, run, name, pack):
    """Who copies or compresses creates an empty file first: what it becomes counts, not what it was at first sight."""

    async def work():
        lab.append("one" + "x" * 3000 + "\n")
        async with lab.tailer(lab.config(delivery={"idle_flush_ms": 100})) as tailer:
            await lab.messages(1)
            (lab.folder / name).touch()
            key = key_of((lab.folder / name).stat())
            await lab.until(lambda: key in {**tailer.tracker.files, **tailer.tracker.opener.known.by_key()})
            (lab.folder / name).write_bytes(pack(lab.log.read_bytes()))
            await asyncio.sleep(0.5)
            os.truncate(lab.log, 0)
            lab.append("two\n")
            await lab.messages(2)
            (lab.folder / "app.log.2").touch()
            await lab.until(lambda: key_of((lab.folder / "app.log.2").stat()) in tailer.tracker.files)
            lab.append("three\n", lab.folder / "app.log.2")
            assert [message[:5] for message in await lab.messages(3)] == ["onexx", "two", "three"]
        assert await lab.count() == 3
        assert all(record.sequence or record.is_final for record in read_snapshot(lab.state_dir).records)

    run(work())


def test_a_copy_beside_a_living_original_is_not_shipped(lab, run):
    """A backup made inside the pattern repeats nothing."""

    async def work():
        lab.append("x" * 2000 + "\nlast\n")
        async with lab.tailer(lab.config(delivery={"hold_copy_ms": 0})) as tailer:
            await lab.messages(2)
            await lab.settled(tailer)
            shutil.copy(lab.log, lab.folder / "app.log.backup")
            tailer.tracker.rescan()
            lab.append("more\n")
            await lab.messages(3)
            await asyncio.sleep(0.3)
            assert await lab.count() == 3

    run(work())


def test_files_that_only_begin_alike_are_both_shipped(lab, run):
    """Equal heads prove nothing: two services may start with the same banner."""

    async def work():
        banner = "# the same banner\n" * 100
        lab.append(banner + "first\n")
        async with lab.tailer(lab.config(delivery={"hold_copy_ms": 200})) as tailer:
            await lab.messages(101)
            await lab.settled(tailer)
            lab.append(banner + "second\n", lab.folder / "app.log.other")
            lab.append("tiny\n", lab.folder / "app.log.tiny")
            await lab.messages(203)
            lab.append("tiny\n", lab.folder / "app.log.tiny2")
            await lab.messages(204)

    run(work())


def test_rotated_while_stopped_and_gone_is_reported_in_bytes(lab, run):
    """What cannot be found again is lost, and the account says how much at least."""

    async def work():
        config = lab.config(paths=[str(lab.log)])
        lab.append("one\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            source = next(iter(tailer.tracker.files.values())).record.source
        state = tailer.state.__class__(lab.state_dir)
        record = next(record for record in state.sources() if record.source == source)
        record.size_seen += 1000
        state.save([record])
        state.close()
        lab.log.unlink()
        async with lab.tailer(config):
            ledger = await lab.ledger(source)
        assert ledger["final"] is True
        assert ledger["abandoned_bytes"] == {"rotated_while_stopped": 1000}

    run(work())


@asynccontextmanager
async def _blocked(tailer):
    """Take all room in the window, as if the bus took nothing."""
    for _ in range(tailer.publisher.window):
        await tailer.publisher._slots.acquire()
    yield
    for _ in range(tailer.publisher.window):
        tailer.publisher._slots.release()


@pytest.mark.parametrize(
    ("policy", "is_let_go"),
    [({"hold_deleted_bytes": 10_000}, True), ({"hold_deleted_s": 0}, True), ({}, False)],
    ids=["bytes", "time", "neither"],
)
def test_a_deleted_file_is_held_only_within_the_policy(lab, run, policy, is_let_go):
    """With the bus away, a deleted file's unread bytes are kept up to the limits, then let go and counted."""

    async def work():
        lab.append("x" * 1000 + "\n")
        config = lab.config(delivery={**policy, "max_line_bytes": 2000, "close_rotated_after_ms": 1})
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            file = lab.one(tailer)
            async with _blocked(tailer):
                lab.append(("y" * 1000 + "\n") * 50)
                await lab.until(lambda: file.size_seen > 50_000)
                lab.log.unlink()
                await lab.until(lambda: not tailer.tracker.files if is_let_go else file.gone_at is not None)
                await asyncio.sleep(0.3)  # some looks
                assert (file.key in open_files(os.getpid())) is not is_let_go
            await lab.until(lambda: file.record.is_final)
        ledger = await lab.ledger(file.record.source)
        shipped = ledger["accepted"] - 1
        assert 0 < shipped < 50 if is_let_go else shipped == 50
        assert ledger.get("abandoned_bytes", {}) == ({"deleted_unread": (50 - shipped) * 1001} if is_let_go else {})

    run(work())


@pytest.mark.parametrize("inside", [True, False], ids=["copy inside the pattern", "copy outside the pattern"])
@pytest.mark.parametrize("filler", ["", "x" * 3000], ids=["small", "large"])
@pytest.mark.parametrize("is_checkpointed", [True, False], ids=["after a checkpoint", "before a checkpoint"])
def test_copytruncate_while_stopped(lab, run, inside, filler, is_checkpointed):
    """A copy made while nobody looked goes on under its original's source, whatever the checkpoint had seen."""

    async def work():
        config = lab.config(paths=[str(lab.folder / "app.log*") if inside else str(lab.log)])
        lab.append("")
        async with lab.tailer(config, without_checkpoints=not is_checkpointed) as tailer:
            await lab.until(lambda: tailer.tracker.files)
            lab.append(f"one{filler}\n")
            await lab.messages(1)
        lab.append("two\n")
        shutil.copy(lab.log, lab.folder / "app.log.1")
        os.truncate(lab.log, 0)
        lab.append("three\n")
        async with lab.tailer(config):
            events = await lab.events(3)
            await asyncio.sleep(0.2)
        assert sorted(event["message"] for event in events) == [f"one{filler}", "three", "two"]
        assert await lab.count() == 3
        source = {event["message"]: event["dp"]["source"] for event in events}
        assert source["two"] == source[f"one{filler}"] != source["three"]

    run(work())


@pytest.mark.parametrize("inside", [True, False], ids=["copy inside the pattern", "copy outside the pattern"])
@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
def test_copytruncate_of_a_log_that_begins_as_before(lab, run, inside, is_stopped):
    """A service that writes the same banner again, and more than was there before: what follows it tells them apart."""
    banner = "#" * 3000

    def rotate() -> None:
        lab.append("two\n")
        shutil.copy(lab.log, lab.folder / "app.log.1")
        with lab.log.open("r+b") as log:
            log.truncate(0)
            log.write(f"{banner}\nthree\nfour\nfive\n".encode())

    async def work():
        config = lab.config(paths=[str(lab.folder / "app.log*") if inside else str(lab.log)])
        lab.append(f"{banner}\none\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(2)
            await lab.settled(tailer)
            if not is_stopped:
                rotate()
                tailer.tracker.rescan()  # before anything is read
                await lab.messages(7)
        if is_stopped:
            rotate()
        async with lab.tailer(config):
            events = await lab.events(7)
            await asyncio.sleep(0.3)
        assert await lab.count() == 7
        by_source: dict[str, list[str]] = {}
        for event in sorted(events, key=lambda event: event["log"]["offset"]):
            by_source.setdefault(event["dp"]["source"], []).append(event["message"])
        assert sorted(by_source.values()) == [[banner, "one", "two"], [banner, "three", "four", "five"]]

    run(work())


@pytest.mark.parametrize("place", ["old/app.log", "old"], ids=["inside the pattern", "beside the pattern"])
def test_a_copy_of_what_was_moved(lab, run, place):
    """The file itself goes on, where its writer does; its copy, though it is found first, repeats nothing."""

    async def work():
        config = lab.config(paths=[f"{lab.folder}/**/app.log*"])
        lab.append(f"one{'x' * 3000}\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
        shutil.copy(lab.log, lab.folder / "app.log.copy")
        moved = lab.folder / place
        moved.parent.mkdir(exist_ok=True)
        lab.log.rename(moved)
        async with lab.tailer(config):
            lab.append("two\n", moved)
            assert (await lab.messages(2))[1] == "two"
            await asyncio.sleep(0.3)
        assert await lab.count() == 2

    run(work())


def test_a_copy_that_comes_when_its_original_is_gone(lab, run, monkeypatch):
    """That the original was truncated is remembered: its copy, however small, repeats it; that is written down once."""

    async def work():
        async with lab.tailer(lab.config(delivery={"hold_copy_ms": 50})) as tailer:
            await lab.grow_beyond_copy(tailer, lab.folder / "away")
            os.truncate(lab.log, 0)
            lab.append("after\n")
            await lab.messages(4)
            lab.log.unlink()
            await lab.until(lambda: not tailer.tracker.files and not tailer.tracker.retired)
            (lab.folder / "away").rename(lab.folder / "app.log.1")
            await asyncio.sleep(0.6)  # nothing more may come, and nothing tells of that
            written: list[SourceRecord] = []
            with monkeypatch.context() as patch:
                patch.setattr(State, "_save", lambda _state, records: written.extend(records))
                tailer.tracker.rescan()
            assert written == []
        assert await lab.messages(4) == ["one", "two", "late", "after"]
        assert await lab.count() == 4

    run(work())
