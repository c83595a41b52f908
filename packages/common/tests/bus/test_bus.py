"""What the bus promises, on a real server that is stopped, frozen and killed."""

import asyncio
import time

import pytest

from dataplane_common.bus import Connection, ConsumerConfig, Publisher, PullConsumer, ensure_streams, stream_for
from dataplane_common.bus.answer import PubAck
from dataplane_common.bus.streams import load_streams
from dataplane_common.config import NatsConfig
from dataplane_common.errors import TooLarge, Transient

SUBJECT = "logs.test.bus.host"


def _connection(server, **more) -> Connection:
    return Connection(NatsConfig(servers=(server.url,), **more), name="tests")


class Bus:
    """A connection with a publisher, from the first streams to the end."""

    def __init__(self, server, **more) -> None:
        self.connection = _connection(server, **more)
        self.publisher = Publisher(self.connection, ack_timeout_s=1, report=lambda _text: None)

    async def __aenter__(self):
        self.connection.start()
        await self.connection.wait_ready(10)
        await ensure_streams(self.connection)
        await self.publisher.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.publisher.close()
        await self.connection.close()

    async def publish(self, count: int, size: int = 10, start: int = 0) -> list["asyncio.Future[PubAck]"]:
        """Publish numbered messages."""
        numbers = range(start, start + count)
        bodies = [(f"{n}", f"{n}".encode().ljust(size)) for n in numbers]
        return [await self.publisher.publish(SUBJECT, body, {"Nats-Msg-Id": f"m{name}"}) for name, body in bodies]

    async def stored(self, count: int) -> list[int]:
        """Consume until `count` different numbers were seen, and return all of them in their order."""
        consumer = PullConsumer(self.connection, ConsumerConfig("LOGS", "reader"), report=lambda _text: None)
        await consumer.start()
        seen: list[int] = []
        deadline = time.monotonic() + 30
        while len(set(seen)) < count:
            assert time.monotonic() < deadline, f"{len(set(seen))} of {count}"
            for delivery in await consumer.fetch(0.2):
                seen.append(int(delivery.data))
                await delivery.ack()
        await consumer.close()
        return seen


def test_acknowledged_messages_are_stored_once_and_in_order(nats, run):
    """What was acknowledged is in the stream, in the order of publishing."""

    async def work():
        async with Bus(nats) as bus:
            futures = await bus.publish(500)
            assert await bus.publisher.drain(10)
            assert [future.result().seq for future in futures] == list(range(1, 501))
            assert await bus.stored(500) == list(range(500))

    run(work())


def test_a_killed_server_loses_and_doubles_nothing(nats, run):
    """Messages in flight at a SIGKILL are sent again under their ids: every one is stored exactly once."""

    async def work():
        async with Bus(nats) as bus:
            publishing = asyncio.ensure_future(bus.publish(400, size=20_000))
            while bus.publisher.counts.acknowledged < 50:
                await asyncio.sleep(0.001)
            await asyncio.to_thread(nats.kill)
            await asyncio.to_thread(nats.start)
            await publishing
            assert await bus.publisher.drain(30)
            assert await bus.stored(400) == list(range(400))

    run(work())


def test_a_frozen_server_is_noticed_and_nothing_blocks(nats, run):
    """A half-open connection is given up after the missed pings; publishing up to the window never hangs."""

    async def work():
        async with Bus(nats, ping_interval_s=0.3) as bus:
            await asyncio.to_thread(nats.pause)
            await asyncio.wait_for(bus.publish(32, size=500_000), 5)
            while bus.connection.is_connected:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(nats.resume)
            assert await bus.publisher.drain(30)
            assert sorted(set(await bus.stored(32))) == list(range(32))

    run(work())


def test_a_reconnect_keeps_the_order(nats, run):
    """What waits for the server goes first; what is published at the very moment of its return goes behind it."""

    async def work():
        async with Bus(nats) as bus:
            await asyncio.to_thread(nats.kill)
            while bus.connection.is_connected:
                await asyncio.sleep(0.01)
            await bus.publish(20)
            await asyncio.to_thread(nats.start)
            await bus.connection.wait_ready(20)
            await bus.publish(10, start=20)
            assert await bus.stored(30) == list(range(30))

    run(work())


def test_a_withdrawn_message_is_not_sent(nats, run):
    """What its owner cancels before it was sent is never sent, and gives its room in the window back."""

    async def work():
        async with Bus(nats) as bus:
            await asyncio.to_thread(nats.kill)
            while bus.connection.is_connected:
                await asyncio.sleep(0.01)
            futures = await bus.publish(bus.publisher.window)
            for number in (1, 3):
                futures[number].cancel()
            await asyncio.to_thread(nats.start)
            kept = [number for number in range(bus.publisher.window) if number not in (1, 3)]
            assert await bus.stored(len(kept)) == kept
            while bus.publisher.in_flight:
                await asyncio.sleep(0.01)

    run(work())


def test_a_full_window_waits(nats, run):
    """The window is the back-pressure: with the server away, one more publish waits until there is room."""

    async def work():
        async with Bus(nats) as bus:
            await asyncio.to_thread(nats.kill)
            await bus.publish(bus.publisher.window)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(bus.publish(1, start=1000), 0.3)
            await asyncio.to_thread(nats.start)
            assert await bus.publisher.drain(30)
            await bus.publish(1, start=1000)
            assert await bus.publisher.drain(30)

    run(work())


def test_a_message_above_the_limit_is_refused_and_the_others_go_on(nats, run):
    """`TooLarge` reaches whoever can cut the message; the connection survives."""

    async def work():
        async with Bus(nats) as bus:
            too_large = await bus.publisher.publish(SUBJECT, b"x" * 2_000_000, {"Nats-Msg-Id": "big"})
            headers_count = await bus.publisher.publish(SUBJECT, b"x" * 1_040_000, {"Nats-Msg-Id": "y" * 8000})
            await bus.publish(3)
            for refused in (too_large, headers_count):
                with pytest.raises(TooLarge):
                    await refused
            assert await bus.stored(3) == [0, 1, 2]

    run(work())


def test_messages_wait_for_their_stream(nats, run):
    """No stream takes the subject yet: the message is sent again until one does."""

    async def work():
        connection = _connection(nats)
        connection.start()
        await connection.wait_ready(10)
        reports: list[str] = []
        publisher = Publisher(connection, ack_timeout_s=1, report=reports.append)
        await publisher.start()
        settled = await publisher.publish(SUBJECT, b"1", {"Nats-Msg-Id": "1"})
        while not reports:
            await asyncio.sleep(0.01)
        assert "no stream takes this subject" in reports[0]
        assert await stream_for(connection, SUBJECT) is None
        await ensure_streams(connection)
        assert (await asyncio.wait_for(settled, 20)).stream == "LOGS"
        assert await stream_for(connection, SUBJECT) == "LOGS"
        await publisher.close()
        await connection.close()

    run(work())


def test_a_server_that_is_away_is_named_with_the_remedy(run):
    """One line: where, why, what to do."""

    async def work():
        connection = Connection(NatsConfig(servers=("nats://u:p@127.0.0.1:1",)), name="tests")
        connection.start()
        with pytest.raises(
            Transient, match=r"nats://\*\*\*@127\.0\.0\.1:1 cannot be reached.*refused.*\[nats\] servers"
        ):
            await connection.wait_ready(0.5)
        await connection.close()

    run(work())


def test_a_server_that_comes_later_is_found(nats, run):
    """Connecting goes on in the background for ever."""

    async def work():
        await asyncio.to_thread(nats.kill)
        connection = _connection(nats)
        connection.start()
        with pytest.raises(Transient):
            await connection.wait_ready(0.3)
        await asyncio.to_thread(nats.start)
        await connection.wait_ready(20)
        await connection.close()

    run(work())


def test_a_deleted_consumer_is_created_again(nats, run):
    """A consumer or stream that somebody removed comes back, and what is in the stream is read."""

    async def work():
        async with Bus(nats) as bus:
            consumer = PullConsumer(bus.connection, ConsumerConfig("LOGS", "reader"), report=lambda _text: None)
            await consumer.start()
            await bus.publish(1)
            while not (got := await consumer.fetch(1)):
                pass
            await got[0].ack()
            await bus.connection.request("$JS.API.CONSUMER.DELETE.LOGS.reader")
            await bus.publish(1, start=1)
            seen: set[int] = set()
            while 1 not in seen:
                for delivery in await consumer.fetch(1):
                    seen.add(int(delivery.data))
                    await delivery.ack()
            await consumer.close()

    run(work())


def test_what_is_not_acknowledged_comes_again(nats, run):
    """A nak is delivered again after its delay, an in-progress keeps the message, a term ends it."""

    async def work():
        async with Bus(nats) as bus:
            config = ConsumerConfig("LOGS", "reader", ack_wait_s=1)
            consumer = PullConsumer(bus.connection, config, report=lambda _text: None)
            await consumer.start()
            await bus.publish(2)
            first: list = []
            while len(first) < 2:
                first += await consumer.fetch(1)
            await first[0].nak(0.1)
            await first[1].term()
            again: list = []
            while not again:
                again += await consumer.fetch(1)
            assert [(int(delivery.data), delivery.metadata.deliveries) for delivery in again] == [(0, 2)]
            await again[0].ack()
            assert await consumer.fetch(1.5) == []
            await consumer.close()

    run(work())


def test_streams_are_created_once_and_left_alone(nats, run):
    """The second time there is nothing to do."""

    async def work():
        connection = _connection(nats)
        connection.start()
        await connection.wait_ready(10)
        assert await ensure_streams(connection) == [stream.name for stream in load_streams()]
        assert await ensure_streams(connection) == []
        await connection.close()

    run(work())
