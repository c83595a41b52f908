"""What the tailer promises about lines and frames that the stream, or the server, refuses for their size."""

import asyncio
import os
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.bus import Connection, stream_for
from dataplane_common.config import NatsConfig
from dataplane_common.errors import Fatal
from dataplane_common.local.nats_server import NatsServer
from dataplane_tailer.file import TailedFile
from dataplane_tailer.once import ship_once
from dataplane_tailer.split import split_event
from dataplane_tailer.state import Boundary

#: Two users: one may do all, the other must not ask what the streams are like.
_USERS = """
authorization {
  users: [
    { user: all, password: x }
    { user: untold, password: x, permissions: { publish: { deny: ["$JS.API.STREAM.INFO.>"] } } }
  ]
}
"""


async def limit_messages(url: str, max_msg_size: int) -> None:
    """Have the stream of logs refuse messages above a size."""
    connection = Connection(NatsConfig(servers=(url,)), name="tests")
    connection.start()
    await connection.wait_ready(10)
    assert await stream_for(connection, "logs.a.b.c") == "LOGS"
    config = {"name": "LOGS", "subjects": ["logs.>"], "storage": "file", "max_msg_size": max_msg_size}
    answer = await connection.request("$JS.API.STREAM.UPDATE.LOGS", msgspec.json.encode(config))
    assert b'"error"' not in answer, answer
    await connection.close()


@pytest.fixture
def guarded_lab(lab, tmp_path):
    """A laboratory on a server of its own, with the two users."""
    server = NatsServer(tmp_path / "guarded", extra=_USERS)
    server.start()
    lab.url = server.url.replace("://", "://all:x@")
    yield lab
    server.clear()


async def all_acknowledged(lab, tailer) -> TailedFile:
    """Wait until the whole file is settled."""
    await lab.until(lambda: bool(tailer.tracker.files))
    await lab.until(lambda: lab.one(tailer).positions.resolved.offset == lab.log.stat().st_size)
    return lab.one(tailer)


def check(events, lines) -> None:
    """Each line is there once, whole or in pieces that say so, and the numbers have neither gap nor repeat."""
    assert sorted(event["event"]["sequence"] for event in events) == list(range(1, len(events) + 1))
    joined: dict[int, list] = {}
    for event in events:
        joined.setdefault(event["log"]["offset"], []).append(event)
    found = []
    for offset in sorted(joined):
        pieces = sorted(joined[offset], key=lambda event: [int(n) for n in event["_id"].split(".")[1:]])
        assert [event.get("tags") for event in pieces] in ([None], [["split_line"]] * len(pieces))
        found.append("".join(event["message"] for event in pieces))
    assert found == lines


@pytest.mark.parametrize("user", ["all", "untold"])
def test_lines_that_the_stream_refuses(guarded_lab, run, user):
    """Lines behind them are stored already when the refusal comes: they keep their ids and their numbers."""
    lab = guarded_lab
    draw = random.Random(1)  # noqa: S311 - the same lines each time
    lines = [os.urandom(draw.choice((20, 20, 20, 20, 20, 8_000, 30_000, 60_000)) // 2).hex() for _ in range(150)]

    async def work():
        await lab.make_streams()
        await limit_messages(lab.url, 20_000)
        lab.append("".join(f"{line}\n" for line in lines))
        admin, lab.url = lab.url, lab.url.replace("all:", f"{user}:")
        async with lab.tailer(lab.config(delivery={"compression": "none"})) as tailer:
            await all_acknowledged(lab, tailer)
            lab.append("last\n")
            await all_acknowledged(lab, tailer)
            account = tailer.account.account_of(lab.one(tailer))
        lab.url = admin
        events = await lab.everything()
        check(events, [*lines, "last"])
        assert account.accepted == account.acknowledged == len(events)

    run(work())


def test_what_is_stored_is_not_cut(lab, own_nats, run):
    """Stored, its acknowledgement lost, and the server comes back taking less: the line is known to be there."""
    lab.url = own_nats.url
    lines = ["first", os.urandom(10_000).hex(), *(os.urandom(500).hex() for _ in range(20))]

    async def work():
        config = lab.config(delivery={"compression": "none", "ack_timeout_s": 1})
        lab.append(f"{lines[0]}\n")
        async with lab.tailer(config) as tailer:
            await all_acknowledged(lab, tailer)
            acknowledgements = f"{tailer.connection.inbox}.pub.*"
            await tailer.connection.unsubscribe(acknowledgements)
            for line in lines[1:]:
                lab.append(f"{line}\n")
            await lab.messages(len(lines))
            own_nats.kill()
            await tailer.connection.subscribe(acknowledgements, tailer.publisher._on_answer)
            own_nats.max_payload_bytes = 16 * 1024
            own_nats.start()
            await all_acknowledged(lab, tailer)
        events = await lab.everything()
        assert [event["message"] for event in events] == lines

    run(work())


def test_a_smaller_limit_after_a_crash(guarded_lab, run):
    """Nothing is cut before all that was sent before has its numbers again; the line that is cut is there twice."""
    lab = guarded_lab
    lines = ["a", "b", os.urandom(15_000).hex(), *(os.urandom(500).hex() for _ in range(400))]

    async def work():
        await lab.make_streams()
        config = lab.config(delivery={"compression": "none"})
        lab.append("".join(f"{line}\n" for line in lines[:2]))
        async with lab.tailer(config, without_checkpoints=True) as tailer:
            await lab.messages(2)
            for line in lines[2:]:
                lab.append(f"{line}\n")
                if len(line) > 20_000:
                    await lab.messages(3)  # in a frame of its own
            await lab.messages(len(lines))
        await limit_messages(lab.url, 20_000)
        async with lab.tailer(config) as tailer:
            await all_acknowledged(lab, tailer)
        events = await lab.everything()
        whole = [event for event in events if "tags" not in event]
        pieces = [event for event in events if "tags" in event]
        assert [event["message"] for event in sorted(whole, key=lambda event: event["log"]["offset"])] == lines
        assert [event["event"]["sequence"] for event in whole] == list(range(1, len(lines) + 1))
        again = [event["event"]["sequence"] for event in pieces]
        assert again == [3, *range(len(lines) + 1, len(lines) + len(pieces))]

    run(work())


def test_a_multi_line_event_that_the_stream_refuses(guarded_lab, run):
    """It comes in pieces, newlines and all, and the events behind it are what they were."""
    lab = guarded_lab
    long = "2 two\n" + "\n".join(f"  {os.urandom(300).hex()}" for _ in range(100))
    blocks = ["1 one\n  more", long, "3 three\n  more"]

    async def work():
        await lab.make_streams()
        await limit_messages(lab.url, 20_000)
        lab.append("".join(f"{block}\n" for block in blocks))
        entry = {"multiline": {"start": r"^\d", "timeout_ms": 200}}
        async with lab.tailer(lab.config(delivery={"compression": "none"}, **entry)) as tailer:
            await all_acknowledged(lab, tailer)
            lab.append("4 four\n")
            await all_acknowledged(lab, tailer)
        check(await lab.everything(), [*blocks, "4 four"])

    run(work())


@pytest.fixture
def tiny(lab, tmp_path):
    """A server that takes less than the smallest piece of a line, and has the streams."""
    server = NatsServer(tmp_path / "tiny", max_payload_bytes=4096 + 650)
    server.start()
    lab.url = server.url
    asyncio.run(lab.make_streams())
    yield server
    server.clear()


def test_an_event_that_cannot_be_sent_holds_up_its_own_file_only(lab, tiny, run):
    """It cannot be cut smaller, and is tried now and then; the file says why, others go on; later it is sent."""

    async def work():
        lab.append("short\n" + "x" * 2000 + "\nbehind\n")
        async with lab.tailer(lab.config(delivery={"compression": "none"})) as tailer:
            await lab.until(lambda: "raise max_payload" in lab.one(tailer).last_error)
            other = lab.folder / "app.log.other"
            for number in range(30):
                lab.append(f"line {number}\n", other)
                await lab.messages(number + 2)
            refused = tailer.publisher.counts.refused
            assert refused < 30
            assert "raise max_payload" in lab.one(tailer).last_error
            tiny.kill()
            tiny.max_payload_bytes = 1024 * 1024
            tiny.start()
            await all_acknowledged(lab, tailer)
        messages = [event["message"] for event in await lab.everything()]
        assert {"short", "behind"} <= set(messages)
        assert "".join(messages).count("x") == 2000

    run(work())


@pytest.mark.usefixtures("tiny")
def test_a_run_that_ends_gives_up_on_what_cannot_be_sent(lab, run):
    """`--once` says what it cannot do, and that the same command goes on later; it does not wait for ever."""
    lab.append("short\n" + "x" * 2000 + "\n")

    async def work():
        with pytest.raises(Fatal, match="raise max_payload; run the same command again"):
            await ship_once(lab.config(delivery={"compression": "none"}), asyncio.Event())
        assert await lab.messages(1) == ["short"]

    run(work())


def test_a_run_that_ends_sends_again_what_was_refused(guarded_lab, run):
    """`--once` goes on until what came back too large is there in pieces, and gives up on what cannot be sent."""
    lab = guarded_lab
    lines = ["one", os.urandom(30_000).hex(), *(os.urandom(400).hex() for _ in range(300))]

    async def work():
        await lab.make_streams()
        await limit_messages(lab.url, 20_000)
        lab.append("".join(f"{line}\n" for line in lines))
        config = lab.config(delivery={"compression": "none"})
        summary = await ship_once(config, asyncio.Event())
        events = await lab.everything()
        check(events, lines)
        assert (summary.lines, summary.bytes) == (len(events), lab.log.stat().st_size)

    run(work())


@given(data=st.binary(max_size=3000), limit=st.integers(256, 700), known=st.integers(0, 2), taken=st.integers(5, 9))
def test_pieces_hold_every_byte_once(data, limit, known, taken) -> None:
    """Pieces are joined without gaps, none is above the limit; the first keeps the number, the others get free ones."""
    boundary = None if known == 0 else Boundary(7, 7 + len(data), 3, known - 1, ends_line=False, sequence=4)
    pieces = split_event(data, 7, limit, taken, known=boundary)
    if not pieces:
        assert len(data.rstrip(b"\r\n")) <= limit
        return
    assert [piece.start for piece in pieces] == [7, *(piece.end for piece in pieces[:-1])]
    assert pieces[-1].end == 7 + len(data)
    assert all(0 < piece.end - piece.start <= limit + 2 for piece in pieces)
    assert [piece.sequence for piece in pieces[1:]] == list(range(taken + 1, taken + len(pieces)))
    assert pieces[0].sequence == (boundary.sequence if boundary else 0)
    names = [(piece.line_start, piece.piece, *piece.parts) for piece in pieces]
    base = (3, 1) if known == 2 else (7,)
    assert names == [(*base, number) for number in range(1, len(pieces) + 1)]
