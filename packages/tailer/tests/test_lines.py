"""What the tailer promises about lines of every kind, in the file and on the wire."""

import asyncio
import itertools
import os
import time

import pytest

from dataplane_common.local.nats_server import NatsServer
from dataplane_tailer.pipeline import create


def test_one_byte_at_a_time(lab, run):
    """Characters of several bytes and CRLF, cut anywhere between two reads, come out whole."""

    async def work():
        async with lab.tailer(lab.config(delivery={"linger_ms": 0})):
            for byte in "grün 上\r\nlone\rcr\n\n end\n".encode():
                lab.append(bytes([byte]))
                await asyncio.sleep(0.002)
            assert await lab.messages(4) == ["grün 上", "lone\rcr", "", " end"]

    run(work())


@pytest.mark.parametrize(
    ("rest", "blank"),
    [(["\n"], 0), (["\r\n"], 0), (["\r", "\n"], 0), (["\n", "\n"], 1), (["\r\n", "\n\r\n"], 2)],
    ids=["LF", "CRLF", "CR then LF", "LF then LF", "CRLF then two"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_the_end_of_a_line_that_was_flushed_adds_nothing(lab, run, rest, blank, encoding):
    """The newline of a line that was sent before it came is no line of its own, however it comes; the next one is."""

    async def work():
        async with lab.tailer(lab.config(encoding=encoding, delivery={"idle_flush_ms": 400})) as tailer:
            lab.append("half".encode(encoding))
            await lab.messages(1)
            for part in rest:
                for byte in part.encode(encoding):
                    lab.append(bytes([byte]))
                    await lab.until(lambda: lab.one(tailer).size_seen == lab.log.stat().st_size)
                    await asyncio.sleep(0.02)
            lab.append("next\n".encode(encoding))
            assert await lab.messages(2 + blank) == ["half", *[""] * blank, "next"]

    run(work())


def test_a_carriage_return_that_stays_alone_for_long(lab, run):
    """The first half of the newline of a flushed line is no line, also if the second comes after another idle time."""

    async def work():
        async with lab.tailer(lab.config(delivery={"idle_flush_ms": 100})) as tailer:
            lab.append("half")
            await lab.messages(1)
            lab.append("\r")
            await lab.until(lambda: lab.one(tailer).offset == 5)
            lab.append("\nnext\n")
            assert await lab.messages(2) == ["half", "next"]

    run(work())


def test_a_carriage_return_behind_a_flushed_line_that_ends_nothing(lab, run):
    """What follows it without a newline between them belongs to one line with it."""

    async def work():
        lab.append("half")
        async with lab.tailer(lab.config(delivery={"idle_flush_ms": 50})) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
        async with lab.tailer(lab.config()) as tailer:
            await lab.until(lambda: tailer.tracker.files)
            lab.append("\r")
            await lab.until(lambda: lab.one(tailer).size_seen == 5)
            await asyncio.sleep(0.05)  # some looks at it
            lab.append("more\n")
            assert await lab.messages(2) == ["half", "\rmore"]

    run(work())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_around_the_limit(lab, run, end):
    """A line at the limit is whole, one above it comes in pieces, and the lines behind it are whole again."""

    async def work():
        lines = ["a" * 299, "b" * 300, "c" * 301, "d" * 600, "e" * 601, "f"]
        lab.append("".join(line + end for line in lines))
        async with lab.tailer(lab.config(delivery={"max_line_bytes": 300})):
            events = await lab.events(9)
            joined: dict[int, str] = {}
            for event in events:
                at = event["log"]["offset"]
                joined[at] = joined.get(at, "") + event["message"]
        assert list(joined.values()) == lines
        split = {event["log"]["offset"] for event in events if "tags" in event}
        assert split == {at for at, line in joined.items() if len(line + end[:-1]) > 300}
        assert await lab.count() == len(events)

    run(work())


def test_fifty_megabytes_in_one_line(lab, run):
    """A runaway line is shipped in pieces within little memory, and the next line is whole."""

    async def work():
        block = b"".join(b"%015d " % number for number in range(65536))
        for _ in range(50):
            lab.append(block)
        lab.append("\nnormal\n")
        async with lab.tailer():
            pieces = 50 * len(block) // (128 * 1024)
            events = await lab.events(pieces + 1)
        assert events[-1]["message"] == "normal"
        assert "".join(event["message"] for event in events[:-1]).encode() == block * 50

    run(work())


def test_offsets_beyond_two_gibibytes(lab, run):
    """Positions are not cut to 31 or 32 bits, also not in the state."""
    start = 5 * 1024**3

    async def work():
        with lab.log.open("wb") as file:
            file.truncate(start - 1)
        lab.append("\none\n")
        config = lab.config(start_at="end")
        async with lab.tailer(config) as tailer:
            await lab.until(lambda: tailer.tracker.files)
            lab.append("two\n")
            first = await lab.events(1)
            await lab.until(lambda: lab.one(tailer).positions.waiting == 0)
        async with lab.tailer(config):
            lab.append("three\n")
            events = await lab.events(2)
        assert [event["log"]["offset"] for event in events] == [start + 4, start + 8]
        assert events[0] == first[0]
        assert [event["event"]["sequence"] for event in events] == [1, 2]

    run(work())


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_a_server_that_takes_less_than_before(lab, own_nats, run, compression):
    """With a smaller `max_payload` frames are cut smaller, lines only where they must be, and nothing comes twice."""
    lab.url = own_nats.url

    def restart(max_payload_bytes: int) -> None:
        own_nats.kill()
        NatsServer(own_nats.directory, max_payload_bytes=max_payload_bytes).start()

    async def work():
        config = lab.config(delivery={"compression": compression, "ack_timeout_s": 0.5})
        lines = [os.urandom(size).hex() for size in (10, 300, 1000, 8000, 20_000)] * 40
        lab.append("first\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            own_nats.pause()
            lab.append("".join(f"{line}\n" for line in lines))
            await lab.until(lambda: tailer.publisher.in_flight > 5)
            restart(32 * 1024)
            await lab.until(lambda: tailer.publisher.in_flight == 0 and lab.one(tailer).positions.waiting == 0)
            await lab.until(lambda: lab.one(tailer).positions.resolved.offset == lab.log.stat().st_size)
        starts = itertools.accumulate((len(line) + 1 for line in ["first", *lines]), initial=0)
        long_at = {at for at, line in zip(starts, ["first", *lines], strict=False) if len(line) > 2000}
        joined: dict[int, str] = {}
        for event in sorted(await lab.everything(), key=lambda event: event["event"]["sequence"]):
            at = event["log"]["offset"]
            joined[at] = joined.get(at, "") + event["message"]
            assert "tags" not in event or at in long_at
        assert [joined[at] for at in sorted(joined)] == ["first", *lines]

    run(work())


def test_a_line_that_was_sent_whole_is_not_cut_later(lab, run):
    """A smaller limit after a crash is about lines that were never sent: the others come again as they were."""

    async def work():
        lines = ["a" * 900, "b" * 10, "c" * 800]
        lab.append("".join(f"{line}\n" for line in lines))
        async with lab.tailer(lab.config(delivery={"max_line_bytes": 1000}), without_checkpoints=True):
            await lab.messages(3)
        async with lab.tailer(lab.config(delivery={"max_line_bytes": 700})) as tailer:
            await lab.until(lambda: tailer.tracker.files and lab.one(tailer).positions.resolved.sequence == 3)
        assert [event["message"] for event in await lab.everything()] == lines

    run(work())


def test_many_small_lines_for_a_server_that_takes_little(lab, tmp_path, run):
    """The frames are cut to what the server takes, whatever it is; lines that fit stay whole."""
    small = NatsServer(tmp_path / "small", max_payload_bytes=8 * 1024)
    small.start()
    lab.url = small.url

    async def work():
        await lab.make_streams()
        lines = [f"{number:06d} {'x' * 80}" for number in range(2000)]
        lab.append("".join(f"{line}\n" for line in lines))
        async with lab.tailer(lab.config(delivery={"compression": "none"})):
            events = await lab.events(2000)
        assert [event["message"] for event in events] == lines
        assert all("tags" not in event for event in events)

    try:
        run(work())
    finally:
        small.clear()


@pytest.mark.parametrize("jump_s", [0, -86_400, 86_400], ids=["a steady clock", "it jumps back", "it jumps forward"])
def test_no_stream_yet(lab, tmp_path, run, monkeypatch, jump_s):
    """Lines wait until there is a stream that takes them, whatever the clock says meanwhile; none is lost."""
    really = time.time
    bare = NatsServer(tmp_path / "bare")
    bare.start()
    lab.url = bare.url

    async def work():
        lab.append("a\nb\n")
        tailer = create(lab.config(delivery={"ack_timeout_s": 0.5}))
        await tailer.start()
        task = asyncio.ensure_future(tailer.run(stop := asyncio.Event()))
        await lab.until(lambda: "no stream" in tailer.publisher.last_problem)
        assert lab.one(tailer).positions.resolved.offset == 0
        monkeypatch.setattr(time, "time", lambda: really() + jump_s)
        await lab.make_streams()
        assert await lab.messages(2) == ["a", "b"]
        stop.set()
        assert await task
        await tailer.close()

    try:
        run(work())
    finally:
        bare.clear()
