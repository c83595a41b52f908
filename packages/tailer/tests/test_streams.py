"""What the tailer promises about what is no file: standard input, and streams of any kind."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.errors import ConfigError
from dataplane_common.event import encode, event_id
from dataplane_tailer.batch import batches_of
from dataplane_tailer.shorten import shorten


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


def test_an_entry_of_any_length_arrives_in_pieces(lab, run, journalctl):
    """What no message can hold is split and marked, and what comes behind it goes on; its cursor is passed."""
    journalctl(
        """
import json, time
for cursor, text in (("a", "x" * 3_000_000), ("b", "short"), ("c", "\\x01" * 400_000)):
    print(json.dumps({"__CURSOR": cursor, "MESSAGE": text}), flush=True)
time.sleep(600)
""",
    )
    config = lab.config_of({"dataset": lab.dataset, "type": "journal"})

    async def work() -> list[dict]:
        async with lab.tailer(config) as tailer:
            await lab.until(lambda: tailer.streams[0].saved.cursor == "c")
            return await lab.everything()

    events = run(work())
    assert [event["event"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    whole = [event["message"] for event in events if "tags" not in event]
    assert whole == ["short"]
    pieces = [event for event in events if event.get("tags") == ["split_line"]]
    assert len(pieces) == len(events) - 1
    first = [event["message"] for event in pieces if event["event"]["sequence"] < events[-1]["event"]["sequence"]]
    assert "".join(first).count("x") >= 3_000_000
    assert sum(event["message"].count("\\u0001") for event in pieces) >= 399_000  # each is six bytes: some lie in two
    assert len({event["_id"] for event in events}) == len(events)
    assert events[0]["_id"].endswith("-1.1")


def test_what_became_too_large_is_cut_again(own_nats, lab, run, journalctl):
    """The server takes less after a restart: frames are halved, one event is shortened and says so; nothing stalls."""
    lab.url = own_nats.url
    journalctl(
        f"""
import json, os, sys, time
while not os.path.exists({str(lab.folder / "go")!r}):
    time.sleep(0.01)
for number in range(200):
    text = "x" * (100_000 if number == 50 else 1_000)
    print(json.dumps({{"__CURSOR": str(number), "MESSAGE": f"{{number}} {{text}}"}}))
sys.stdout.flush()
time.sleep(600)
""",
    )
    config = lab.config_of({"dataset": lab.dataset, "type": "journal"}, {"compression": "none"})

    async def work() -> list[dict]:
        async with lab.tailer(config) as tailer:
            stream = tailer.streams[0]
            own_nats.stop()
            (lab.folder / "go").touch()
            await lab.until(lambda: stream.account().in_flight == 200)
            own_nats.max_payload_bytes = 32 * 1024
            own_nats.start()
            await lab.until(lambda: stream.saved.cursor == "199")
            return await lab.everything()

    events = sorted(run(work()), key=lambda event: event["event"]["sequence"])
    assert [event["event"]["sequence"] for event in events] == list(range(1, 201))
    assert [event["message"].split()[0] for event in events] == [str(number) for number in range(200)]
    assert [event["event"].get("original_size", 0) > 100_000 for event in events] == [n == 50 for n in range(200)]
    assert events[50]["tags"] == ["truncated"]
    assert len(events[50]["message"]) > 15_000


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
