"""What the publisher promises about messages that it sends again: the stream knows them, or they say what they are."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from dataplane_common.bus import Connection, ConsumerConfig, Publisher, PullConsumer, ensure_streams
from dataplane_common.bus.delivery import Delivery
from dataplane_common.config import NatsConfig
from dataplane_common.errors import TooLarge
from dataplane_common.local.nats_server import NatsServer

SUBJECT = "logs.test.bus.host"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, within a deadline."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def publishing(nats, **settings: Any) -> AsyncIterator[Publisher]:
    """A publisher on streams that have these settings."""
    connection = Connection(NatsConfig(servers=(nats.url,), ping_interval_s=0.3), name="tests")
    connection.start()
    await connection.wait_ready(10)
    await ensure_streams(connection)
    await change_stream(connection, **settings)
    publisher = Publisher(connection, ack_timeout_s=0.4, report=lambda _text: None)
    publisher.limits.spread_s = 0.0
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.close()
        await connection.close()


async def change_stream(connection: Connection, **settings: Any) -> None:
    """Give the stream of logs other settings."""
    config = {"name": "LOGS", "subjects": ["logs.>"], "storage": "file", "num_replicas": 1, "max_age": 0, **settings}
    answer = await connection.request("$JS.API.STREAM.UPDATE.LOGS", msgspec.json.encode(config))
    assert b'"error"' not in answer, answer


async def stored(connection: Connection, count: int) -> list[Delivery]:
    """Return the first messages of the stream, or as many as are there if `count` is 0."""
    consumer = PullConsumer(connection, ConsumerConfig("LOGS", f"reader{time.monotonic_ns()}"))
    await consumer.start()
    found: list[Delivery] = []
    deadline = time.monotonic() + 30
    while len(found) < count or count == 0:
        assert time.monotonic() < deadline, f"{len(found)} of {count}"
        if not (some := await consumer.fetch(0.5)) and count == 0:
            break
        found += some
    await consumer.close()
    return found


def test_a_repeat_that_the_stream_has_forgotten_says_so(nats, run):
    """Stored, its acknowledgement lost, sent again after the duplicate window: each further copy is marked."""

    async def work():
        async with publishing(nats, duplicate_window=1_000_000_000) as publisher:
            connection = publisher.connection
            await (await publisher.publish(SUBJECT, b"0", {"Nats-Msg-Id": "0"}))
            await until(lambda: publisher.limits.duplicate_window_s == 1)
            await connection.unsubscribe(f"{connection.inbox}.pub.*")  # from now on acknowledgements go nowhere
            await publisher.publish(SUBJECT, b"1", {"Nats-Msg-Id": "1"})
            copies = (await stored(connection, 3))[1:]
            assert [delivery.data for delivery in copies] == [b"1", b"1"]
            assert [delivery.headers.get("Dp-Replay") for delivery in copies] == [None, "1"]

    run(work())


def test_a_repeat_that_the_stream_knows_is_not_marked(nats, run):
    """Within the window the stream itself tells a repeat, so that no sink has to look anything up."""

    async def work():
        async with publishing(nats) as publisher:
            connection = publisher.connection
            await (await publisher.publish(SUBJECT, b"0", {"Nats-Msg-Id": "0"}))
            await asyncio.to_thread(nats.pause)
            await publisher.publish(SUBJECT, b"1", {"Nats-Msg-Id": "1"})
            await asyncio.to_thread(nats.kill)  # what it had not read is gone
            await asyncio.to_thread(nats.start)
            await until(lambda: publisher.in_flight == 0)
            assert publisher.counts.resent >= 1
            assert [delivery.headers.get("Dp-Replay") for delivery in await stored(connection, 2)] == [None, None]

    run(work())


@pytest.mark.parametrize("is_stored", [True, False])
def test_what_became_too_large_meanwhile_is_asked_for(nats, run, is_stored):
    """Sent, then the server takes less: stored already is acknowledged, not stored is refused, and is nowhere."""

    async def work():
        async with publishing(nats) as publisher:
            connection = publisher.connection
            if is_stored:
                await connection.unsubscribe(f"{connection.inbox}.pub.*")
            else:
                await asyncio.to_thread(nats.pause)
            settled = await publisher.publish(SUBJECT, b"x" * 100_000, {"Nats-Msg-Id": "1"})
            if is_stored:
                assert len(await stored(connection, 1)) == 1
                await connection.subscribe(f"{connection.inbox}.pub.*", publisher._on_answer)
            await asyncio.to_thread(nats.kill)
            nats.max_payload_bytes = 64 * 1024
            await asyncio.to_thread(nats.start)
            if is_stored:
                assert (await asyncio.wait_for(settled, 30)).duplicate
            else:
                with pytest.raises(TooLarge) as refused:
                    await asyncio.wait_for(settled, 30)
                assert not refused.value.may_be_stored
            assert len(await stored(connection, 0)) == is_stored

    run(work())


def test_what_nobody_can_tell_any_more_says_so(nats, run):
    """Refused for its size long after it was sent: whoever cuts it hears that it may be there already."""

    async def work():
        async with publishing(nats, duplicate_window=200_000_000) as publisher:
            connection = publisher.connection
            await (await publisher.publish(SUBJECT, b"0", {"Nats-Msg-Id": "0"}))
            await until(lambda: publisher.limits.duplicate_window_s < 1)
            await connection.unsubscribe(f"{connection.inbox}.pub.*")
            settled = await publisher.publish(SUBJECT, b"x" * 1000, {"Nats-Msg-Id": "1"})
            await until(lambda: publisher.counts.resent > 0)
            await change_stream(connection, duplicate_window=200_000_000, max_msg_size=500)
            await connection.subscribe(f"{connection.inbox}.pub.*", publisher._on_answer)
            with pytest.raises(TooLarge) as refused:
                await asyncio.wait_for(settled, 30)
            assert refused.value.may_be_stored
            await until(lambda: publisher.max_message_bytes(SUBJECT) == 500 - 64)

    run(work())


def test_what_is_asked_in_vain_is_refused(nats, run):
    """A stream that does not answer whether a message is there holds it up for some questions only."""

    async def work():
        async with publishing(nats) as publisher:
            connection = publisher.connection
            await connection.unsubscribe(f"{connection.inbox}.pub.*")
            settled = await publisher.publish(SUBJECT, b"x" * 100_000, {"Nats-Msg-Id": "1"})
            assert len(await stored(connection, 1)) == 1
            await asyncio.to_thread(nats.kill)
            nats.max_payload_bytes = 64 * 1024
            await asyncio.to_thread(nats.start)
            with pytest.raises(TooLarge) as refused:
                await asyncio.wait_for(settled, 30)
            assert refused.value.may_be_stored

    run(work())


_USERS = """
authorization {
  users: [
    { user: all, password: x }
    { user: untold, password: x, permissions: { publish: { deny: ["$JS.API.STREAM.INFO.>"] } } }
  ]
}
"""


def test_a_user_who_must_not_ask_does_without(tmp_path, run):
    """Nobody is bothered with it; the numbers are the safe ones."""
    server = NatsServer(tmp_path / "guarded", extra=_USERS)
    server.start()

    async def work():
        url = server.url.replace("://", "://{}:x@")
        admin = Connection(NatsConfig(servers=(url.format("all"),)), name="tests")
        admin.start()
        await admin.wait_ready(10)
        await ensure_streams(admin)
        reports: list[str] = []
        connection = Connection(NatsConfig(servers=(url.format("untold"),)), name="tests", report=reports.append)
        connection.start()
        await connection.wait_ready(10)
        publisher = Publisher(connection, report=reports.append)
        publisher.limits.spread_s = 0.0
        await publisher.start()
        await (await publisher.publish(SUBJECT, b"0", {"Nats-Msg-Id": "0"}))
        await until(lambda: "$js.api.stream.info" in connection.last_error)
        assert reports == []
        assert publisher.limits.duplicate_window_s == 120
        assert publisher.max_message_bytes(SUBJECT) == connection.max_message_bytes
        await publisher.close()
        for each in (admin, connection):
            await each.close()

    try:
        run(work())
    finally:
        server.clear()
