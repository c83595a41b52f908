"""What the tailer promises about who a file is, when its name, size or place say too little."""

import asyncio
import os
import shutil
import sqlite3

import msgspec
import pytest

from dataplane_tailer import ship
from dataplane_tailer.identity import guard_of
from dataplane_tailer.state import State


async def _no_inotify(_folders, _stop, _linger_ms):
    raise OSError(24, "inotify instance limit reached")
    yield


@pytest.mark.parametrize("is_deaf", [False, True], ids=["notified", "polling"])
def test_written_anew_at_the_very_same_size(lab, run, monkeypatch, is_deaf):
    """Between two looks a file may be emptied and filled to the same byte: what is in it now is another generation."""
    if is_deaf:
        monkeypatch.setattr("dataplane_tailer.watch.changes", _no_inotify)

    async def work():
        lab.append("first line\n")
        async with lab.tailer() as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            with lab.log.open("r+") as file:
                file.write("other line\n")
            assert await lab.messages(2) == ["first line", "other line"]
            assert len({event["dp"]["source"] for event in await lab.everything()}) == 2

    run(work())


@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("same", [10, 100], ids=["small", "large"])
def test_written_anew_with_another_first_line_only(lab, run, is_stopped, same):
    """Lines of one length often end alike: that the same bytes lie before the offset is not enough."""
    lines = ["a" * 20, *["the same line"] * same], ["b" * 20, *["the same line"] * same, "last"]
    count = 2 * same + 3

    def write(generation: list[str]) -> None:
        with lab.log.open("r+b" if lab.log.exists() else "wb") as log:
            log.truncate(0)
            log.write("".join(f"{line}\n" for line in generation).encode())

    async def work():
        write(lines[0])
        async with lab.tailer() as tailer:
            await lab.messages(same + 1)
            await lab.settled(tailer)
            if not is_stopped:
                write(lines[1])
                lab.one(tailer).checkpoint()  # before anything is read
                await lab.messages(count)
        if is_stopped:
            write(lines[1])
        async with lab.tailer():
            assert await lab.messages(count) == [*lines[0], *lines[1]]
        assert await lab.count() == count

    run(work())


@pytest.mark.parametrize(
    ("banner", "anew"),
    [("", "other\nlonger\n"), ("", "same\nbbb\n"), ("#" * 2000 + "\n", "other\nlonger\n")],
    ids=["before the offset", "behind it", "behind a long banner"],
)
def test_written_anew_between_the_look_and_the_read(lab, run, monkeypatch, banner, anew):
    """What is read is compared with what is known of the file, in the very read."""
    really, rewrites = ship.read_next, []

    def read_next(*options):
        if rewrites:
            lab.log.write_text(rewrites.pop())
        return really(*options)

    monkeypatch.setattr(ship, "read_next", read_next)

    async def work():
        wanted = [*f"{banner}same".splitlines(), *(banner + anew).splitlines()]
        lab.append(f"{banner}same\n")
        async with lab.tailer() as tailer:
            await lab.until(lambda: tailer.tracker.files and lab.one(tailer).offset)
            await lab.settled(tailer)
            rewrites.append(banner + anew)
            lab.append("aaa\n")
            assert await lab.messages(len(wanted)) == wanted
        assert await lab.count() == len(wanted)

    run(work())


def test_a_small_copy_is_not_shipped_again_after_two_restarts_and_a_rename(lab, run):
    """A copy that was told from a new log once stays known as one, whatever becomes of its original."""

    async def work():
        async with lab.tailer() as tailer:
            await lab.grow_beyond_copy(tailer, lab.folder / "app.log.1")
            os.truncate(lab.log, 0)
            lab.append("after\n")
            await lab.messages(4)
            await lab.settled(tailer)
        (lab.folder / "app.log.1").rename(lab.folder / "app.log.2")
        lab.log.unlink()
        for text in ("five\n", "six\n"):
            lab.append(text)
            async with lab.tailer(lab.config(delivery={"hold_copy_ms": 50})) as tailer:
                await lab.until(lambda: tailer.tracker.files)
                await asyncio.sleep(0.4)  # nothing more may come, and nothing tells of that
        assert sorted(await lab.messages(6)) == ["after", "five", "late", "one", "six", "two"]
        assert await lab.count() == 6

    run(work())


def test_a_copy_that_ends_within_a_line(lab, run):
    """A copy is made when it is made, also while a line is half written: it repeats nothing."""

    async def work():
        lab.append("a whole line\nhalf of ano")
        config = lab.config(delivery={"hold_copy_ms": 50})
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            shutil.copy(lab.log, lab.folder / "app.log.1")
            lab.append("ther\n")
            await lab.messages(2)
            await lab.settled(tailer)
            os.truncate(lab.log, 0)
            lab.append("next\n")
            await lab.messages(3)
            await asyncio.sleep(0.4)
        assert await lab.messages(3) == ["a whole line", "half of another", "next"]
        assert await lab.count() == 3

    run(work())


def test_truncated_in_the_middle_of_a_line(lab, run):
    """Half a line that was never ended is not joined to what is written after the truncation."""

    async def work():
        lab.append("whole\nhalf")
        async with lab.tailer() as tailer:
            await lab.messages(1)
            source = lab.one(tailer).record.source
            os.truncate(lab.log, 0)
            lab.append("new\n")
            assert await lab.messages(2) == ["whole", "new"]
            await lab.until(lambda: not tailer.tracker.retired)
        assert (await lab.ledger(source))["abandoned_bytes"] == {"truncated_unread": 4}

    run(work())


def test_a_link_to_nothing_and_a_folder_in_the_pattern(lab, run):
    """What is no file is passed over; a link is followed as soon as there is something behind it."""

    async def work():
        target = lab.folder / "later.txt"
        lab.log.symlink_to(target)
        (lab.folder / "app.log.d").mkdir()
        os.mkfifo(lab.folder / "app.log.fifo")
        lab.append("file\n", lab.folder / "app.log.1")
        async with lab.tailer():
            assert await lab.messages(1) == ["file"]
            lab.append("behind the link\n", target)
            assert sorted(await lab.messages(2)) == ["behind the link", "file"]

    run(work())


def test_files_with_a_date_in_their_names(lab, run):
    """A service that begins a file each day: each is read from its first byte, also those of days it was stopped."""

    async def work():
        def day(number: int):
            return lab.folder / f"app.log-2026-11-{number}"

        lab.append("one\n", day(20))
        async with lab.tailer():
            await lab.messages(1)
            lab.append("late\n", day(20))
            lab.append("two\n", day(21))
            await lab.messages(3)
        lab.append("three\n", day(22))
        lab.append("four\n", day(23))
        async with lab.tailer():
            assert sorted(await lab.messages(5)) == ["four", "late", "one", "three", "two"]

    run(work())


def test_a_state_of_an_older_version(lab, run):
    """A record that lacks what later versions know goes on at its checkpoint, and nothing is sent twice."""

    async def work():
        lab.append("old\nnew\n")
        descriptor, seen = os.open(lab.log, os.O_RDONLY), lab.log.stat()
        record = {
            "source": "0123456789abcdef", "path": str(lab.log), "log_path": str(lab.log), "dataset": lab.dataset,
            "device": seen.st_dev, "inode": seen.st_ino, "offset": 4, "sequence": 1,
            "guard": guard_of(descriptor, 4).hex(), "head_length": 4, "a_key_of_another_version": True,
        }  # fmt: skip
        os.close(descriptor)
        State(lab.state_dir).close()
        with sqlite3.connect(lab.state_dir / "state.db") as database:
            database.execute("INSERT INTO sources VALUES (?, ?)", (record["source"], msgspec.msgpack.encode(record)))
        database.close()
        async with lab.tailer():
            events = await lab.events(1)
        assert [(event["message"], event["_id"]) for event in events] == [("new", "0123456789abcdef-4")]
        assert events[0]["event"]["sequence"] == 2

    run(work())


@pytest.mark.parametrize("is_beside", [True, False], ids=["beside the pattern", "inside the pattern"])
def test_the_inode_of_an_empty_file_is_used_again(lab, run, is_beside):
    """Where nothing but an inode is known the name must fit, too: a stranger's lines are not shipped as that file's."""

    async def work():
        config = lab.config(paths=[f"{lab.folder}/{{service}}/*.log"])
        empty, stranger = lab.folder / "checkout" / "app.log", lab.folder / "payment" / "other.log"
        empty.parent.mkdir()
        stranger.parent.mkdir()
        lab.append("", empty)
        async with lab.tailer(config) as tailer:
            await lab.until(lambda: tailer.tracker.files)
        empty.rename(stranger := empty.with_name("notes") if is_beside else stranger)
        lab.append("private\n", stranger)
        lab.append("public\n", empty)
        async with lab.tailer(config):
            events = await lab.events(1 if is_beside else 2)
            await asyncio.sleep(0.2)
        paths = {event["message"]: event["log"]["file"]["path"] for event in events}
        assert paths == {"public": str(empty)} | ({} if is_beside else {"private": str(stranger)})
        assert await lab.count() == len(events)

    run(work())


@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
def test_names_that_are_swapped(lab, run, is_stopped):
    """Each file goes on under its own source, whatever it is called, however little is in it."""
    one, two = lab.folder / "a.log", lab.folder / "b.log"

    def swap() -> None:
        one.rename(lab.folder / "c")
        two.rename(one)
        (lab.folder / "c").rename(two)
        lab.append("one on\n", two)
        lab.append("two on\n", one)

    async def work():
        config = lab.config(paths=[str(lab.folder / "*.log")])
        lab.append("one\n", one)
        lab.append("two\n", two)
        async with lab.tailer(config) as tailer:
            await lab.messages(2)
            await lab.settled(tailer)
            if not is_stopped:
                swap()
                await lab.messages(4)
        if is_stopped:
            swap()
        async with lab.tailer(config):
            events = await lab.events(4)
            await asyncio.sleep(0.2)
        assert await lab.count() == 4
        source = {event["message"]: event["dp"]["source"] for event in events}
        assert source["one"] == source["one on"] != source["two"] == source["two on"]

    run(work())


def test_another_name_with_the_same_first_line(lab, run):
    """So little proves nothing: a new log that begins as one that is gone is read from its first byte."""

    async def work():
        config = lab.config(paths=[str(lab.folder / "*.log")])
        lab.append("started\n")
        async with lab.tailer(config):
            await lab.messages(1)
        lab.append("started\nmore\n", lab.folder / "other.log")
        lab.log.unlink()  # after that, or its inode might be used again, and this be a renamed file that has grown
        async with lab.tailer(config):
            assert await lab.messages(3) == ["started", "started", "more"]

    run(work())
