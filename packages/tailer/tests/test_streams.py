"""What the tailer promises about what is no file: standard input, and streams of any kind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.errors import ConfigError
from dataplane_common.event import encode, event_id
from dataplane_tailer.batch import Batch, batches_of
from dataplane_tailer.config import InputConfig
from dataplane_tailer.linger import CHUNK_BYTES, lingering
from dataplane_tailer.numbered import NumberedRenderer
from dataplane_tailer.parse.parsed import as_message
from dataplane_tailer.pipeline import create
from dataplane_tailer.shorten import shorten
from dataplane_tailer.stream import Stream


def _options(lab) -> list[str]:
    command = str(Path(sys.executable).parent / "dataplane-tailer")
    return [command, "run", "-", "--dataset", lab.dataset, "--namespace", "test", "--nats", lab.url, "--state-dir",
            str(lab.state_dir)]  # fmt: skip


def test_standard_input_is_shipped_to_its_end(lab, run):
    """A program's output arrives whole, in order, its last line without a newline, too; the exit code says so."""
    text = "".join(f"line {number}\n" for number in range(20_000)) + "last"
    done = subprocess.run(_options(lab), input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    events = run(lab.events(20_001))
    assert [event["message"] for event in events] == [*text.split("\n")]
    assert [event["event"]["sequence"] for event in events] == list(range(1, 20_002))


def test_standard_input_from_a_file_and_again(lab, run):
    """A redirected file works as well; a clean end lets the next run go on with the same source and sequence."""
    lab.append("one\ntwo\n")
    for _ in range(2):
        with lab.log.open() as file:
            assert subprocess.run(_options(lab), stdin=file, timeout=60, check=False).returncode == 0
    events = run(lab.events(4))
    assert [event["message"] for event in events] == ["one", "two", "one", "two"]
    assert len({event["dp"]["source"] for event in events}) == 1


def test_after_a_crash_standard_input_is_a_new_source(lab, run):
    """What a pipe gave is gone with a SIGKILL: no id is ever given to two lines."""
    process = subprocess.Popen(_options(lab), stdin=subprocess.PIPE, text=True)
    process.stdin.write("first\n")
    process.stdin.flush()
    first = run(lab.events(1))
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdin.close()
    subprocess.run(_options(lab), input="second\n", text=True, timeout=60, check=True)
    events = run(lab.events(2))
    assert events[1]["message"] == "second"
    assert events[1]["dp"]["source"] != first[0]["dp"]["source"]


@asynccontextmanager
async def _without_a_bus(lab, kind: str) -> AsyncIterator[Stream]:
    """A stream of a tailer whose bus is away: nothing that it sends is acknowledged."""
    lab.url = "nats://127.0.0.1:1"
    tailer = create(lab.config_of({"dataset": lab.dataset, "type": kind}))
    await tailer.start()
    try:
        yield tailer.streams[0]
    finally:
        await tailer.close()


def test_what_was_on_its_way_at_the_stop_is_not_numbered_again(lab, run):
    """After a stop that could not wait for acknowledgements, too, standard input is a new source."""

    async def work() -> None:
        async with _without_a_bus(lab, "stdin") as stream:
            await stream.ship(Batch([b"one"]))
        async with _without_a_bus(lab, "stdin") as again:
            assert again.saved.source != stream.saved.source

    run(work())


def test_a_cursor_waits_for_what_comes_before_it(lab, run):
    """It is saved when all up to it is acknowledged, in whatever order that comes."""

    async def work() -> None:
        async with _without_a_bus(lab, "journal") as stream:
            for cursor in "ab":
                await stream.ship(Batch([b"{}"], cursor))
            await stream.ship(Batch([b"x" * 200_000, b"y" * 200_000], "c"))
            frames = list(stream.positions._sent)
            for index, saved in ((1, ("", 0)), (0, ("b", 2)), (2, ("b", 3)), (3, ("c", 4))):
                stream._resolve(frames[index])
                assert (stream.saved.cursor, stream.saved.sequence) == saved

    run(work())


def test_standard_input_is_parsed_filtered_and_accounted(lab, run):
    """Its lines become events as those of files do, and its last account says what became of all of them."""
    filters = [{"drop": "noise"}]
    entry = {"dataset": lab.dataset, "type": "stdin", "parser": "json", "filters": filters}

    async def work() -> None:
        lab.append('{"message":"one"}\nnoise\n{"message":"two"}\nnoise')
        tailer = create(lab.config_of(entry))
        with lab.log.open() as file:
            tailer.streams[0].reader.descriptor = file.fileno()
            await tailer.start()
            assert await tailer.run(asyncio.Event())
            await tailer.connection.wait_ready(10)
            await tailer.close()
        assert await lab.messages(2) == ["one", "two"]
        account = await lab.ledger(tailer.streams[0].saved.source)
        assert (account["accepted"], account["acknowledged"], account["dropped"]) == (4, 2, {"filter": 2})

    run(work())


def test_what_comes_within_a_linger_is_read_together(run):
    """After a little has come, more is waited for, as a line each would be a frame each; what fills a chunk is not."""

    async def work() -> None:
        reader = asyncio.StreamReader()
        chunks = lingering(reader, 3600.0)
        reader.feed_data(b"one\n")
        assert await anext(chunks) == b"one\n"
        more = asyncio.ensure_future(anext(chunks))
        written = b""
        while len(written) < 3 * CHUNK_BYTES:
            reader.feed_data(b"two\n" * 8192)
            written += b"two\n" * 8192
            for _ in range(50):
                await asyncio.sleep(0)  # what is there is seen in one turn of the loop
            assert more.done() is (len(written) >= CHUNK_BYTES)
        reader.feed_eof()
        rest = b"".join([await more, *[chunk async for chunk in chunks]])
        assert rest == written

    run(work())


def test_what_comes_after_a_rest_is_read_at_once(run):
    """A linger begins with what comes: a line behind a quiet time waits for nothing, and none is left behind."""

    async def work() -> None:
        reader = asyncio.StreamReader()
        chunks = lingering(reader, 0.001)
        for text in (b"one\n", b"two\n", b"three\n"):
            more = asyncio.ensure_future(anext(chunks))
            await asyncio.sleep(0.01)  # longer than the linger
            reader.feed_data(text)
            assert await more == text

    run(work())


@given(st.binary(max_size=300), st.integers(1, 40), st.lists(st.integers(1, 50), max_size=20))
def test_batches_hold_every_byte_once(data, limit, cuts) -> None:
    """However bytes come, lines and pieces are the same, and together they are what came."""

    async def read(chunks: list[bytes]) -> list[tuple[bytes, bool]]:
        async def give():
            for chunk in chunks:
                yield chunk

        return [
            (line, index in batch.going_on)
            async for batch in batches_of(give(), limit)
            for index, line in enumerate(batch.lines)
        ]

    chunks, rest = [], data
    for length in cuts:
        chunks, rest = [*chunks, rest[:length]], rest[length:]
    found = asyncio.run(read([chunk for chunk in [*chunks, rest] if chunk]))
    assert found == asyncio.run(read([data] if data else []))
    assert b"".join(line + b"\n" * (not goes_on) for line, goes_on in found).removesuffix(b"\n") == data.removesuffix(
        b"\n"
    )
    assert all(len(line) <= limit for line, _ in found)


@given(st.text(max_size=400), st.text(max_size=400), st.integers(250, 900))
def test_a_shortened_event_fits_and_says_so(text, other, limit) -> None:
    """Identity and envelope stay, the size is said, and as much of the text as fits."""
    envelope = {"message": text, "host": {"name": "h"}, "event": {"dataset": "d", "sequence": 1}, "x": other}
    event = encode(event_id("0123456789abcdef", 1), "2026-01-02T03:04:05.000006Z", envelope)
    short = shorten(event, limit)
    found = msgspec.json.decode(short)
    assert short.startswith(event[:70])
    assert found["event"] == {"dataset": "d", "sequence": 1, "original_size": len(event)}
    assert found["tags"] == ["truncated"]
    assert short.count(b"\n") == 1
    assert len(short) <= limit
    again = msgspec.json.decode(shorten(short, limit))
    assert (again["event"], again["tags"]) == (found["event"], found["tags"])


def test_a_terminal_and_no_input_are_read_too(lab, run):
    """`/dev/null` ends at once; a terminal is left as it was found."""
    assert subprocess.run(_options(lab), stdin=subprocess.DEVNULL, timeout=60, check=False).returncode == 0
    leader, follower = os.openpty()
    process = subprocess.Popen(_options(lab), stdin=follower)
    os.write(leader, b"typed\n\x04")
    assert process.wait(60) == 0
    assert os.get_blocking(follower)
    assert run(lab.messages(1)) == ["typed"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"type": "stdin", "multiline": {"preset": "java"}}, "multiline"),
        ({"type": "stdin", "encoding": "latin-1"}, "encoding"),
        ({"type": "journal", "parser": "json"}, "parser"),
        ({"type": "journal", "exclude": ["x"]}, "exclude"),
        ({"type": "stdin", "encoding": "no such"}, "is no encoding"),
    ],
)
def test_keys_that_only_files_have_are_refused(lab, keys, words):
    """What a stream would pass over in silence is an error at the start."""
    with pytest.raises(ConfigError, match=f"inputs.0.*{words}"):
        lab.config_of({"dataset": lab.dataset, **keys})


@given(
    st.lists(st.binary(max_size=20) | st.text(max_size=20).map(str.encode), max_size=8),
    st.sampled_from([{}, {"service.name": "shop"}, {"tags": ["t"], "message": "fixed"}, {"labels.a%b": "%x"}]),
)
def test_many_lines_at_once_give_the_events_that_one_gives(lines, fields) -> None:
    """The short way of lines that need no closer look is nothing but shorter."""
    entry = msgspec.convert({"type": "stdin", "dataset": "web", "fields": fields}, InputConfig)
    renderer = NumberedRenderer("0123456789abcdef", entry, "h", as_message)
    lines = [line.replace(b"\n", b"") for line in lines]
    at = "2026-05-01T10:00:05.000000Z"
    one_by_one = [msgspec.json.decode(renderer.one(line, number, at) or b"") for number, line in enumerate(lines, 1)]
    if events := renderer.all(lines, 1, at):
        assert [msgspec.json.decode(event) for event in events] == one_by_one
    else:
        assert not lines or "message" in fields or any(not _is_utf8(line) for line in lines)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
