"""What the tailer promises about where files lie: behind links, on mounts, under odd names, and not where they were."""

import asyncio
import gzip
import os
import shutil

import pytest

from dataplane_tailer.state import State


@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("is_truncated", [False, True], ids=["renamed", "copytruncate"])
@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "compressed"])
def test_a_file_behind_a_link_is_rotated_where_it_lies(lab, run, is_stopped, is_truncated, is_packed):
    """Links to the logs of containers: what the runtime rotates lies beside the file, under names like the file's."""
    link, target = lab.folder / "web_default_app-1.log", lab.folder / "pods" / "0.log"

    def rotate() -> None:
        lab.append("two\n", target)
        rotated = target.with_name("0.log.20261126")
        if is_truncated:
            shutil.copy(target, rotated)
            os.truncate(target, 0)
        else:
            target.rename(rotated)
        if is_packed:
            rotated.with_suffix(".gz").write_bytes(gzip.compress(rotated.read_bytes()))
            rotated.unlink()
        lab.append("three\n", target)

    async def work():
        target.parent.mkdir()
        lab.append("one\n", target)
        link.symlink_to(target)
        config = lab.config(paths=[str(lab.folder / "*.log")])
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            if not is_stopped:
                rotate()
                await lab.messages(3)
        if is_stopped:
            rotate()
        async with lab.tailer(config):
            events = await lab.events(3)
            await asyncio.sleep(0.2)
        assert sorted(event["message"] for event in events) == ["one", "three", "two"]
        assert await lab.count() == 3
        source = {event["message"]: event["dp"]["source"] for event in events}
        assert source["one"] == source["two"] != source["three"]

    run(work())


def test_names_that_are_not_utf8(lab, run):
    """Nothing can be said of such a file, but its presence stops nobody; a log that gets such a name is read on."""

    async def work():
        odd = os.fsdecode(os.fsencode(lab.folder) + b"/app.log.\xff")
        with open(odd, "w") as file:
            file.write("unnamable\n")
        lab.append("one\n")
        async with lab.tailer() as tailer:
            await lab.messages(1)
            os.rename(lab.log, odd)
            with open(odd, "a") as file:
                file.write("two\n")
            lab.append("three\n")
            assert sorted(await lab.messages(3)) == ["one", "three", "two"]
            await lab.settled(tailer)
        async with lab.tailer():
            lab.append("four\n")
            assert sorted(await lab.messages(4)) == ["four", "one", "three", "two"]

    run(work())


@pytest.mark.parametrize("device", [0, 1], ids=["the same device", "another device number"])
def test_a_folder_that_is_not_mounted_at_the_start(lab, run, device):
    """What is missing at a start is counted as lost until it is found again; then it goes on, and nothing is lost."""

    async def work():
        lab.append("one\n")
        async with lab.tailer() as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
        state = State(lab.state_dir)
        (record,) = state.sources()
        record.device, record.size_seen = record.device + device, record.size_seen + 4
        state.save([record])
        state.close()
        away = lab.folder.rename(lab.folder.with_name("away"))
        async with lab.tailer() as tailer:
            assert not tailer.tracker.files
            lab.append("two\n", away / "app.log")
            away.rename(lab.folder)
            events = await lab.events(2)
            assert lab.one(tailer).record.abandoned_bytes == {}
        assert [event["message"] for event in await lab.everything()] == ["one", "two"]
        assert len({event["dp"]["source"] for event in events}) == 1

    run(work())


@pytest.mark.parametrize(
    ("name", "later", "put"),
    [
        ("app.log", "app.log.1", lambda path: path.write_bytes(b"new\n")),
        ("app.log", "app.log.1", os.mkfifo),
        ("app.log.1.gz", "app.log.2.gz", lambda path: path.write_bytes(gzip.compress(b"new\n"))),
    ],
    ids=["plain", "a pipe", "compressed"],
)
def test_rotated_between_the_look_and_the_opening(lab, run, monkeypatch, name, later, put):
    """What is opened is what was seen, or it is left for the next look: neither file is taken for the other."""
    file, really = lab.folder / name, os.open
    file.write_bytes(gzip.compress(b"old\n") if name.endswith(".gz") else b"old\n")

    def opened(path, *options, **more):
        if path == str(file) and not (lab.folder / later).exists():
            file.rename(lab.folder / later)
            put(file)
        return really(path, *options, **more)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr("dataplane_tailer.unpack._RETRY_S", 0.1)

    async def work():
        wanted = ["old"] if put is os.mkfifo else ["new", "old"]
        async with lab.tailer():
            assert sorted(await lab.messages(len(wanted))) == wanted
            await asyncio.sleep(0.3)
        assert await lab.count() == len(wanted)

    run(work())


def test_a_copy_that_lacks_half_a_line_of_its_original(lab, run):
    """What was seen at the end of a small file, and is not in its copy, makes the copy no other file."""

    async def work():
        lab.append("one\ntwo\n")
        async with lab.tailer() as tailer:
            await lab.messages(2)
            shutil.copy(lab.log, lab.folder / "app.log.1")
            lab.append("half")
            await lab.until(lambda: lab.one(tailer).record.head.endswith(b"half"))
            os.truncate(lab.log, 0)
            lab.append("new\n")
            await lab.messages(3)
            await asyncio.sleep(0.3)
        assert sorted(await lab.messages(3)) == ["new", "one", "two"]
        assert await lab.count() == 3

    run(work())


@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("more", ["", "two\n"], ids=["the same", "and more"])
def test_written_anew_under_its_own_name(lab, run, more, is_stopped):
    """`rsync` and editors put a new file in the place of the old one: what was shipped of it does not come again."""

    def write_anew() -> None:
        shutil.copy(lab.log, lab.folder / "new")
        lab.append(more, lab.folder / "new")
        (lab.folder / "new").rename(lab.log)

    async def work():
        config = lab.config(delivery={"close_rotated_after_ms": 200})
        wanted = [*more.splitlines(), "three"]
        lab.append(f"one{'x' * 3000}\n")
        async with lab.tailer(config) as tailer:
            (first,) = await lab.events(1)
            await lab.settled(tailer)
            if not is_stopped:
                write_anew()
                await lab.until(lambda: lab.log.stat().st_ino in {key.inode for key in tailer.tracker.files})
                lab.append("three\n")
                await lab.messages(1 + len(wanted))
        if is_stopped:
            write_anew()
            lab.append("three\n")
        async with lab.tailer(config):
            events = await lab.events(1 + len(wanted))
        assert [event["message"] for event in events[1:]] == wanted
        assert {event["dp"]["source"] for event in events} == {first["dp"]["source"]}

    run(work())


def test_a_small_log_that_begins_as_a_rotated_one_did(lab, run):
    """What was rotated and is done goes on in no new file, however much that begins like it."""

    async def work():
        rotated = lab.folder / "app.log.1"
        lab.append("started\n")
        async with lab.tailer(lab.config(delivery={"close_rotated_after_ms": 50})) as tailer:
            await lab.messages(1)
            lab.log.rename(rotated)
            await lab.until(lambda: lab.one(tailer).path == str(rotated))
            rotated.rename(lab.folder / "kept")  # so that its inode is not used again
            await lab.until(lambda: not tailer.tracker.files)
            lab.append("started\nmore\n")
            assert await lab.messages(3) == ["started", "started", "more"]

    run(work())


def test_a_small_log_that_is_moved_to_another_disk(lab, run):
    """A move is then a copy and a removal: the whole copy of what is gone repeats it, however small it is."""

    async def work():
        delivery = {"hold_copy_ms": 100, "close_rotated_after_ms": 1500}
        old = lab.folder / "old"
        old.mkdir()
        config = lab.config(paths=[str(lab.log), f"{old}/*"], delivery=delivery)
        lab.append("one\ntwo\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(2)
            shutil.copy(lab.log, old / "app.log-1")
            lab.log.unlink()
            lab.append("three\n")
            assert (await lab.messages(3))[2] == "three"
            await lab.until(lambda: len(tailer.tracker.files) == 1)
            tailer.tracker.rescan()
        async with lab.tailer(config) as tailer:
            lab.append("four\n")
            await lab.messages(4)
        assert await lab.messages(await lab.count()) == ["one", "two", "three", "four"]

    run(work())
