"""What the tailer promises about copies: content that was shipped under one name is not shipped under another."""

import asyncio
import gzip
import os
import shutil
from contextlib import asynccontextmanager

import pytest
import zstandard

from dataplane_tailer.identity import key_of
from dataplane_tailer.sight import open_files


def _settled(tailer) -> bool:
    return all(file.positions.waiting == 0 and file.offset > 0 for file in tailer.tracker.files.values())


@pytest.mark.parametrize("inside", [True, False], ids=["copy inside the pattern", "copy outside the pattern"])
@pytest.mark.parametrize("filler", ["", "x" * 3000], ids=["small", "large"])
def test_copytruncate(lab, run, inside, filler):
    """The copy goes on under its original's source; what was in it and not yet read is shipped, the rest not again."""

    async def work():
        config = lab.config(paths=[str(lab.folder / "app.log*") if inside else str(lab.log)])
        lab.append(f"one{filler}\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            await lab.until(lambda: _settled(tailer))
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

    run(work())


def test_a_copy_beside_a_living_original_is_not_shipped(lab, run):
    """A backup made inside the pattern repeats nothing."""

    async def work():
        lab.append("x" * 2000 + "\nlast\n")
        async with lab.tailer() as tailer:
            await lab.messages(2)
            await lab.until(lambda: _settled(tailer))
            shutil.copy(lab.log, lab.folder / "app.log.backup")
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
            await lab.until(lambda: _settled(tailer))
            lab.append(banner + "second\n", lab.folder / "app.log.other")
            lab.append("tiny\n", lab.folder / "app.log.tiny")
            await lab.messages(203)
            lab.append("tiny\n", lab.folder / "app.log.tiny2")
            await lab.messages(204)

    run(work())


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


def test_renamed_and_compressed_inside_the_pattern(lab, run):
    """Rotation that compresses at once: the open file is read to its end, the compressed form repeats nothing."""

    async def work():
        lab.append("one\n" + "x" * 2000 + "\n")
        async with lab.tailer() as tailer:
            await lab.messages(2)
            await lab.until(lambda: _settled(tailer))
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


def test_rotated_while_stopped_and_gone_is_reported_in_bytes(lab, run):
    """What cannot be found again is lost, and the account says how much at least."""

    async def work():
        config = lab.config(paths=[str(lab.log)])
        lab.append("one\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            await lab.until(lambda: _settled(tailer))
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
            await lab.until(lambda: _settled(tailer))
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
