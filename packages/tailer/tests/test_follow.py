"""What the tailer promises about files that live: each line once, in order, on a real bus."""

import asyncio
import os
import time

import pytest

from dataplane_tailer import pipeline
from dataplane_tailer.identity import key_of


def test_what_is_there_and_what_comes_is_shipped(lab, run):
    """Lines from before the start and after it arrive once each, in the order of the file."""

    async def work():
        lab.append("one\ntwo\n")
        async with lab.tailer():
            assert await lab.messages(2) == ["one", "two"]
            lab.append("three\n")
            assert await lab.messages(3) == ["one", "two", "three"]

    run(work())


def test_a_line_in_several_writes_is_one_event(lab, run):
    """A line is complete with its newline, however many writes it takes."""

    async def work():
        async with lab.tailer() as tailer:
            for part in ("a", "b", "c"):
                lab.append(part)
                await lab.until(lambda: any(file.size_seen for file in tailer.tracker.files.values()))
            lab.append("d\nnext\n")
            assert await lab.messages(2) == ["abcd", "next"]

    run(work())


def test_renamed_and_created_anew(lab, run):
    """Rotation by rename: the old file is read to its end, also what is written late, then the new one."""

    async def work():
        async with lab.tailer(lab.config(paths=[str(lab.log)])):
            lab.append("old 1\n")
            await lab.messages(1)
            rotated = lab.log.rename(lab.folder / "app.log.1")
            lab.append("old 2\n", rotated)
            lab.append("new 1\n")
            lab.append("old 3\n", rotated)
            events = await lab.events(4)
            old, new = events[0]["dp"]["source"], next(e for e in events if e["message"] == "new 1")["dp"]["source"]
            assert old != new
            assert [e["message"] for e in events if e["dp"]["source"] == old] == ["old 1", "old 2", "old 3"]

    run(work())


@pytest.mark.parametrize("is_inside", [False, True], ids=["out of the pattern", "inside the pattern"])
def test_a_writer_that_goes_on_in_the_old_file(lab, run, monkeypatch, is_inside):
    """A renamed file is followed as long as it grows, and each line comes soon: not by looking at everything."""
    monkeypatch.setattr("dataplane_tailer.pipeline._HEARING_FACTOR", 1_000_000)

    async def work():
        close_after_ms = 800
        config = lab.config(
            paths=[str(lab.folder / "app.log*") if is_inside else str(lab.log)],
            delivery={"close_rotated_after_ms": close_after_ms, "rescan_ms": 20},
        )
        async with lab.tailer(config) as tailer:
            lab.append("0\n")
            await lab.messages(1)
            file = lab.one(tailer)
            rotated = lab.log.rename(lab.folder / "app.log.1")
            await lab.until(lambda: file.gone_at is not None or file.path == str(rotated))
            began_s, written = time.monotonic(), 1
            while time.monotonic() - began_s < close_after_ms / 1000 * 2:
                lab.append(f"{written}\n", rotated)
                written += 1
                await lab.until(lambda: file.positions.resolved.sequence == written)  # noqa: B023
                await asyncio.sleep(close_after_ms / 1000 / 2)  # it is looked at while nothing is new
            assert await lab.messages(written) == [str(number) for number in range(written)]

    run(work())


@pytest.mark.parametrize("is_quick", [True, False], ids=["while it is open", "after it was finished"])
def test_renamed_out_of_the_pattern_and_back(lab, run, is_quick):
    """A file that was away for a while goes on where it was."""

    async def work():
        config = lab.config(paths=[str(lab.log)], delivery={"close_rotated_after_ms": 60_000 if is_quick else 100})
        lab.append("one\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            away = lab.log.rename(lab.folder / "away")
            await lab.until(lambda: lab.one(tailer).gone_at is not None if is_quick else not tailer.tracker.files)
            lab.append("two\n", away)
            away.rename(lab.log)
            await lab.until(lambda: tailer.tracker.files and lab.one(tailer).gone_at is None)
            lab.append("three\n")
            events = await lab.events(3)
        assert [event["message"] for event in await lab.everything()] == ["one", "two", "three"]
        assert len({event["dp"]["source"] for event in events}) == 1

    run(work())


def test_a_rotated_file_inside_the_pattern_is_not_sent_again(lab, run):
    """A file is its inode and content, not its name: a chain of renames repeats nothing."""

    async def work():
        async with lab.tailer() as tailer:
            lab.append("a\n")
            await lab.messages(1)
            lab.log.rename(lab.folder / "app.log.1")
            lab.append("b\n")
            await lab.messages(2)
            (lab.folder / "app.log.1").rename(lab.folder / "app.log.2")
            lab.log.rename(lab.folder / "app.log.1")
            lab.append("c\n")
            assert await lab.messages(3) == ["a", "b", "c"]
            assert len(tailer.tracker.files) == 3

    run(work())


def test_truncated_and_written_anew(lab, run, monkeypatch):
    """After a truncation the file is a new source, read from its first byte, and soon: not by looking at everything."""
    monkeypatch.setattr("dataplane_tailer.pipeline._HEARING_FACTOR", 1_000_000)

    async def work():
        async with lab.tailer():
            lab.append("long first line\n")
            first = await lab.events(1)
            os.truncate(lab.log, 0)
            lab.append("x\n")
            events = await lab.events(2)
            assert [event["message"] for event in events] == ["long first line", "x"]
            assert events[1]["dp"]["source"] != first[0]["dp"]["source"]

    run(work())


def test_truncated_and_refilled_beyond_the_offset(lab, run):
    """A file that was truncated and grew past the old offset between two looks is still noticed."""

    async def work():
        async with lab.tailer() as tailer:
            lab.append("first\n")
            await lab.messages(1)
            await lab.until(lambda: all(file.positions.waiting == 0 for file in tailer.tracker.files.values()))
            with lab.log.open("r+b") as file:
                file.truncate(0)
                file.write(b"second, longer\nthird\n")
            assert await lab.messages(3) == ["first", "second, longer", "third"]

    run(work())


def test_an_unterminated_line_is_sent_after_an_idle_time(lab, run):
    """The rest of such a line becomes an event of its own; a late newline alone adds nothing."""

    async def work():
        async with lab.tailer(lab.config(delivery={"idle_flush_ms": 150})):
            lab.append("no newline")
            assert await lab.messages(1) == ["no newline"]
            lab.append("\nnext")
            assert await lab.messages(2) == ["no newline", "next"]
            lab.append(" goes on\nlast\n")
            assert await lab.messages(4) == ["no newline", "next", " goes on", "last"]

    run(work())


def test_a_line_above_the_limit_comes_in_pieces(lab, run):
    """Nothing of an over-long line is lost, and the lines around it stay whole."""

    async def work():
        line = "".join(f"{number:05d}é" for number in range(3000))
        async with lab.tailer(lab.config(delivery={"max_line_bytes": 1000})):
            lab.append(f"before\n{line}\nafter\n")
            size = len(line.encode())
            events = await lab.events(2 + -(-size // 999))
            pieces = [event for event in events if "split_line" in event.get("tags", [])]
            assert "".join(event["message"] for event in pieces) == line
            assert [event["_id"].rpartition(".")[2] for event in pieces] == [str(n + 1) for n in range(len(pieces))]
            assert events[0]["message"] == "before"
            assert events[-1]["message"] == "after"
            assert [event["event"]["sequence"] for event in events] == list(range(1, len(events) + 1))

    run(work())


def test_blank_lines_crlf_and_control_characters_are_kept(lab, run):
    """Lines are shipped as they are: blank, indented, with NULs; only the CR of a CRLF goes."""

    async def work():
        async with lab.tailer():
            lab.append(b"\n  indented\x00 \r\n\r\nlone\rcr\ncaf\xe9\n")
            assert await lab.messages(5) == ["", "  indented\x00 ", "", "lone\rcr", "caf\\xe9"]

    run(work())


def test_names_of_one_file_are_one_source(lab, run):
    """Hard and symbolic links to a file add nothing; a dangling link does no harm."""

    async def work():
        lab.append("once\n")
        os.link(lab.log, lab.folder / "app.log.hard")
        os.symlink(lab.log, lab.folder / "app.log.soft")
        os.symlink(lab.folder / "nowhere", lab.folder / "app.log.dangling")
        async with lab.tailer() as tailer:
            lab.append("twice\n")
            assert await lab.messages(2) == ["once", "twice"]
            assert set(tailer.tracker.files) == {key_of(lab.log.stat())}

    run(work())


def test_a_folder_that_appears_later_is_found(lab, run, monkeypatch):
    """Inputs may name what is not there yet; as soon as it is, notifications of it come."""
    looks, really = [], pipeline.folders
    monkeypatch.setattr(pipeline, "folders", lambda inputs: looks.append(really(inputs)) or looks[-1])

    async def work():
        later = lab.folder / "later" / "x.log"
        async with lab.tailer(lab.config(paths=[str(lab.folder / "later" / "*.log")])) as tailer:
            await lab.until(lambda: len(looks) > 1)  # it is not there, and is waited for
            later.parent.mkdir()
            lab.append("hello\n", later)
            assert await lab.messages(1) == ["hello"]
            await lab.until(lambda: not tailer.is_deaf)

    run(work())


def test_start_at_end_is_about_files_that_are_there_at_the_first_start(lab, run):
    """Old lines of old files are passed over; files that come later are read from their first byte."""

    async def work():
        lab.append("history\n")
        async with lab.tailer(lab.config(start_at="end")) as tailer:
            await lab.until(lambda: len(tailer.tracker.files) == 1)
            lab.append("news\n")
            assert await lab.messages(1) == ["news"]
            lab.append("first\n", lab.folder / "app.log.new")
            assert await lab.messages(2) == ["news", "first"]

    run(work())


def test_a_quiet_file_is_not_starved_by_a_hot_one(lab, run):
    """Files take turns, one chunk each: a quiet one does not wait until the hot one is read to its end."""

    async def work():
        lab.append(("y" * 200 + "\n") * 20_000)
        lab.append("quiet\n", lab.folder / "app.log.quiet")  # the hot one comes first
        async with lab.tailer():
            assert (await lab.messages(20_001)).index("quiet") < 5_000

    run(work())
