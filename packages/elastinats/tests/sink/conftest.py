"""The whole sink on a real NATS server; Elasticsearch's answers are scripted, because no healthy server gives them."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scripted import Script, Scripted, created, served

from dataplane_common import event
from dataplane_common.config import NatsConfig
from dataplane_common.errors import Transient
from dataplane_common.lifecycle import cancel
from elastinats import dlq
from elastinats.config import BatchConfig, ElasticsearchConfig, RouteConfig, SinkConfig, StopConfig
from elastinats.service import Sink, flow

AT = "2026-11-22T10:15:30.123456Z"
DEADLINE_S = 20.0


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A scripted endpoint on a free port."""
    with served(Scripted()) as script:
        yield script


class Bench:
    """One sink between the bus and the script, with a dataset of its own; and what its tests write and read."""

    def line(self, position: int, message: str = "hello") -> bytes:
        """Return an event's line."""
        return event.encode(event.event_id(self.source, position), AT, {"message": message})

    def identity(self, position: int) -> str:
        """Return an event's id."""
        return event.event_id(self.source, position)

    @staticmethod
    def answers(*items: dict[str, Any]) -> Script:
        """Answer a bulk with these items."""
        return lambda _lines: (200, {"errors": True, "items": [{"create": item} for item in items]})

    @staticmethod
    def created(lines: list[bytes]) -> tuple[int, Any]:
        """Answer that each action created its document."""
        return created(lines)

    @staticmethod
    def fails(status: int) -> Script:
        """Refuse a whole request."""
        return lambda _lines: (status, {"error": {"type": "some_exception", "reason": "no"}, "status": status})

    @staticmethod
    def ids(body: bytes) -> list[str]:
        """Return the ids of a bulk's actions."""
        return [json.loads(text)["create"]["_id"] for text in body.splitlines()[::2]]

    @staticmethod
    def run(scenario: Coroutine[Any, Any, None]) -> None:
        """Run a scenario to its end."""
        asyncio.run(asyncio.wait_for(scenario, 60))

    def __init__(self, nats_url: str, elasticsearch_url: str, **changes: Any) -> None:
        self.source = event.new_source()
        self.dataset = f"t_{secrets.token_hex(6)}"
        self.subject = f"logs.test.{self.dataset}.host"
        more = {"setup": False, **changes.pop("elasticsearch", {})}
        elasticsearch = ElasticsearchConfig(hosts=(elasticsearch_url,), **more)
        batch = BatchConfig(linger_ms=20, **changes.pop("batch", {}))
        self.config = SinkConfig(
            name=self.dataset,
            nats=NatsConfig(servers=tuple(nats_url.split(","))),
            elasticsearch=elasticsearch,
            batch=batch,
            routes=(RouteConfig(name="r", subjects=(f"logs.test.{self.dataset}.>",)),),
            stop=StopConfig(grace_s=changes.pop("grace_s", 10.0)),
            **changes,
        )
        self.sink: Sink = None  # type: ignore[assignment]
        self.stop: asyncio.Event = None  # type: ignore[assignment]
        self.task: asyncio.Task[Any] = None  # type: ignore[assignment]
        self.exit_code: int | None = None

    @asynccontextmanager
    async def running(self):
        """Run the sink until the block ends, then stop it in order; the block begins when the sink is pulling."""
        self.sink, self.stop = Sink(self.config), asyncio.Event()
        await self.sink.prepare(self.stop)
        task = self.task = asyncio.create_task(flow(self.sink, self.stop))
        try:
            while not (await self.consumer()).get("num_waiting"):
                await asyncio.sleep(0.01)
            yield self
            self.stop.set()
            self.exit_code = int(await task)
        finally:
            await cancel(task)  # type: ignore[arg-type]
            await self.sink.close()

    async def publish(self, payload: bytes, headers: dict[str, str] | None = None) -> None:
        """Publish any message on the sink's subject."""
        await self.sink.connection.publish(self.subject, payload, headers=headers)

    async def publish_frame(self, *lines: bytes, **headers: str) -> None:
        """Publish lines as a frame of ours."""
        await self.publish(b"".join(lines), {"Dp-Count": str(len(lines)), **headers})

    async def publish_acknowledged(self, *lines: bytes) -> None:
        """Publish lines as a frame, and wait until the stream has it."""
        await (await self.sink.publisher.publish(self.subject, b"".join(lines), {"Dp-Count": str(len(lines))}))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition while the sink runs."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert not self.task.done(), self.task.exception()
            assert time.monotonic() < deadline, self.sink.counts
            self.assert_conserved()
            await asyncio.sleep(0.01)

    def assert_conserved(self) -> None:
        """Hold the counts to what is really being worked on: received = done + dead + in flight, at any moment."""
        waiting = sum(claim.waiting for claim in self.sink.settler._claims)
        assert self.sink.counts.in_flight == waiting, (self.sink.counts, waiting)

    async def until_done(self, events: int) -> None:
        """Wait until so many events were received and all of them are done."""
        counts = self.sink.counts
        await self.until(lambda: counts.received >= events and counts.in_flight == 0 and not self.task.done())

    async def replay_one(self, outcome: str) -> None:
        """Send one event again, wait until it is done, and hold it to the one outcome that it must have."""
        async with self.running():
            await self.publish_frame(self.line(0), **{"Dp-Replay": "1"})
            await self.until_done(1)
            assert getattr(self.sink.counts, outcome) == 1

    async def letters(self) -> list[dlq.Entry]:
        """Return this sink's dead letters."""
        return [entry async for entry in dlq.entries(self.sink.connection, subject=f"logs.test.{self.dataset}.>")]

    async def ack_pending(self) -> int:
        """Return how many messages are delivered and not settled."""
        return int((await self.consumer())["num_ack_pending"])

    async def consumer(self) -> dict[str, Any]:
        """Return what the server says of the sink's consumer."""
        subject = f"$JS.API.CONSUMER.INFO.LOGS.{self.config.name}_r"
        try:
            answer: dict[str, Any] = json.loads(await self.sink.connection.request(subject))
        except Transient:  # a cluster says nothing of a consumer that has no leader yet
            return {}
        return answer


@pytest.fixture
def make_bench(nats_url, scripted) -> Callable[..., Bench]:
    """Return a function that makes a sink with other settings than the defaults."""
    return lambda **changes: Bench(changes.pop("nats_url", nats_url), scripted.url, **changes)


@pytest.fixture
def bench(make_bench) -> Bench:
    """A sink with the default settings."""
    return make_bench()
