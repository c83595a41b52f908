"""The whole sink on a real NATS server; Elasticsearch's answers are scripted, because no healthy server gives them."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dataplane_common import event
from dataplane_common.bus import Connection
from dataplane_common.config import NatsConfig
from dataplane_common.lifecycle import cancel
from elastinats import dlq
from elastinats.config import BatchConfig, ElasticsearchConfig, RouteConfig, SinkConfig, StopConfig
from elastinats.service import Sink, flow

SOURCE = "0123456789abcdef"
AT = "2026-11-22T10:15:30.123456Z"
DEADLINE_S = 20.0


def line(position: int, message: str = "hello") -> bytes:
    return event.encode(event.event_id(SOURCE, position), AT, {"message": message})


def answers(*items: dict[str, Any], status: int = 200) -> Callable[[list[bytes]], tuple[int, Any]]:
    return lambda _lines: (status, {"errors": True, "items": [{"create": item} for item in items]})


def fails(status: int, reason: str = "no") -> Callable[[list[bytes]], tuple[int, Any]]:
    return lambda _lines: (status, {"error": {"type": "some_exception", "reason": reason}, "status": status})


def ids(body: bytes) -> list[str]:
    return [json.loads(text)["create"]["_id"] for text in body.splitlines()[::2]]


class Bench:
    """One sink between the bus and the script, with a dataset of its own."""

    def __init__(self, nats_url: str, elasticsearch_url: str, **changes: Any) -> None:
        self.dataset = f"t_{secrets.token_hex(6)}"
        self.subject = f"logs.test.{self.dataset}.host"
        elasticsearch = ElasticsearchConfig(hosts=(elasticsearch_url,), setup=False, **changes.pop("elasticsearch", {}))
        batch = BatchConfig(linger_ms=20, **changes.pop("batch", {}))
        self.config = SinkConfig(
            name=self.dataset,
            nats=NatsConfig(servers=(nats_url,)),
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
        """Run the sink until the block ends, then stop it in order."""
        self.sink, self.stop = Sink(self.config), asyncio.Event()
        await self.sink.prepare(self.stop)
        task = self.task = asyncio.create_task(flow(self.sink, self.stop))
        try:
            yield self
            self.stop.set()
            self.exit_code = int(await task)
        finally:
            await cancel(task)  # type: ignore[arg-type]
            await self.sink.close()

    async def publish(self, payload: bytes, headers: dict[str, str] | None = None) -> None:
        await self.sink.connection.publish(self.subject, payload, headers=headers)

    async def publish_frame(self, *lines: bytes, **headers: str) -> None:
        await self.publish(b"".join(lines), {"Dp-Count": str(len(lines)), **headers})

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert not self.task.done(), self.task.exception()
            assert time.monotonic() < deadline, self.sink.counts
            await asyncio.sleep(0.01)

    async def until_done(self, events: int) -> None:
        """Wait until so many events were received and all of them are done."""
        counts = self.sink.counts
        await self.until(lambda: counts.received >= events and counts.in_flight == 0 and not self.task.done())

    async def letters(self) -> list[dlq.Entry]:
        return [entry async for entry in dlq.entries(self.sink.connection, subject=f"logs.test.{self.dataset}.>")]

    async def ack_pending(self) -> int:
        answer = await self.sink.connection.request(f"$JS.API.CONSUMER.INFO.LOGS.{self.dataset}_r")
        return int(json.loads(answer)["num_ack_pending"])


@pytest.fixture
def bench(nats_url, scripted) -> Bench:
    return Bench(nats_url, scripted.url)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


def test_only_what_can_succeed_later_is_sent_again(bench, scripted):
    """One bulk with 201, 400, 409 and 429: the 429 goes again, the 400 is a dead letter, the 409 a duplicate."""
    conflict = {"type": "version_conflict_engine_exception", "index": ".ds-1"}
    scripted.documents[".ds-1", f"{SOURCE}-2"] = {"message": "hello", "event.ingested": "earlier"}
    scripted.bulks.append(
        answers(
            {"status": 201},
            {
                "status": 400,
                "error": {"type": "document_parsing_exception", "reason": "bad", "caused_by": {"type": "x"}},
            },
            {"status": 409, "error": conflict},
            {"status": 429, "error": {"type": "es_rejected_execution_exception"}},
        )
    )

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(*(line(number) for number in range(4)), Trace="t")
            await bench.until_done(4)
            counts = bench.sink.counts
            assert (counts.indexed, counts.duplicate, counts.dead_lettered) == (2, 1, {"rejected": 1})
            assert [ids(body) for body in scripted.bodies] == [[f"{SOURCE}-{n}" for n in range(4)], [f"{SOURCE}-3"]]
            (letter,) = await bench.letters()
            assert letter.payload == line(1)
            assert letter.headers["Trace"] == "t"
            assert letter.cause == "document_parsing_exception: bad; caused by x"
            await bench.until(lambda: bench.sink.settler.open_claims == 0)

    run(scenario())
    assert bench.exit_code == 0


def test_another_document_under_the_same_id_is_a_dead_letter(bench, scripted):
    """A 409 whose stored document says something else is an `id_conflict`, and nothing is overwritten."""
    scripted.documents[".ds-1", f"{SOURCE}-0"] = {"message": "something else"}
    scripted.bulks.append(
        answers({"status": 409, "error": {"type": "version_conflict_engine_exception", "index": ".ds-1"}})
    )

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(line(0))
            await bench.until_done(1)
            (letter,) = await bench.letters()
            assert letter.reason == "id_conflict"

    run(scenario())


@pytest.mark.parametrize("status", [400, 413])
def test_a_refused_request_is_halved_down_to_the_one_event(bench, scripted, status):
    """The event that a whole request is refused for becomes a dead letter; the others are indexed."""

    def refuse_five(lines: list[bytes]) -> tuple[int, Any]:
        scripted.bulks.append(refuse_five)
        if any(f"{SOURCE}-5".encode() in text for text in lines[::2]):
            return fails(status)(lines)
        return 200, {"errors": False, "items": [{"create": {"status": 201}}] * (len(lines) // 2)}

    scripted.bulks.append(refuse_five)

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(*(line(number) for number in range(8)))
            await bench.until_done(8)
            assert bench.sink.counts.indexed == 7
            (letter,) = await bench.letters()
            assert letter.payload == line(5)
            assert letter.reason == ("too_large" if status == 413 else "rejected")

    run(scenario())


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503])
def test_a_refusal_that_time_can_mend_is_tried_again(bench, scripted, status):
    """The request is sent again unchanged until it is taken; readiness says why meanwhile."""
    scripted.bulks += [fails(status), fails(status)]

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(line(0), line(1))
            await bench.until(lambda: len(scripted.bodies) == 2)
            assert any(str(status) in reason for reason in bench.sink.not_ready())
            await bench.until_done(2)
            assert bench.sink.counts.indexed == 2
            assert bench.sink.not_ready() == []
            assert await bench.letters() == []

    run(scenario())
    assert len(set(scripted.bodies)) == 1


def test_too_many_requests_slows_down(nats_url, scripted):
    """A 429 halves the number of bulks that may be on their way."""
    bench = Bench(nats_url, scripted.url, batch={"in_flight": 4})
    scripted.bulks.append(fails(429))

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(line(0))
            await bench.until(lambda: bench.sink.limit.allowed == 2)
            await bench.until_done(1)

    run(scenario())


def test_an_answer_that_does_not_fit_settles_nothing(bench, scripted):
    """With another number of items than actions, no event counts as done; all are sent again."""
    scripted.bulks.append(lambda _lines: (200, {"errors": False, "items": [{"create": {"status": 201}}]}))

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(line(0), line(1))
            await bench.until_done(2)
            assert len(scripted.bodies) == 2

    run(scenario())


def test_after_an_open_answer_older_backing_indices_are_searched(bench, scripted):
    """A request that may have been carried out is looked up before it is sent again: a rollover may lie between."""
    scripted.indices = [".ds-1", ".ds-2"]
    scripted.documents[".ds-1", f"{SOURCE}-0"] = {"message": "hello"}
    scripted.bulks.append(fails(503))

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(line(0), line(1))
            await bench.until_done(2)
            assert (bench.sink.counts.duplicate, bench.sink.counts.indexed) == (1, 1)

    run(scenario())
    assert [ids(body) for body in scripted.bodies] == [[f"{SOURCE}-0", f"{SOURCE}-1"], [f"{SOURCE}-1"]]


def test_a_replay_is_looked_up_in_older_backing_indices(bench, scripted):
    """What was indexed before a rollover is not indexed again."""
    scripted.indices = [".ds-1", ".ds-2", ".ds-3"]
    scripted.documents[".ds-1", f"{SOURCE}-0"] = {"message": "hello"}

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(line(0), **{"Dp-Replay": "1"})
            await bench.until_done(1)
            assert bench.sink.counts.duplicate == 1

    run(scenario())
    assert scripted.bodies == []


def test_a_message_that_nobody_can_read_is_a_dead_letter_as_it_came(bench):
    """The letter has the message's very bytes and headers, and the server delivers it no more."""

    async def scenario() -> None:
        async with bench.running():
            await bench.publish(b"\x00\x01", {"Dp-Version": "7", "Dp-Count": "12", "Trace": "t"})
            await bench.until_done(12)
            (letter,) = await bench.letters()
            assert (letter.payload, letter.reason) == (b"\x00\x01", "undecodable")
            assert letter.headers["Trace"] == "t"
            assert letter.headers["Dp-Version"] == "7"
            assert letter.subject == bench.subject
            assert bench.sink.counts.dead_lettered == {"undecodable": 12}

    run(scenario())


def test_a_replayed_dead_letter_is_indexed_under_its_id(bench, scripted):
    """After the mapping is mended a replay brings the event, keeps its id and removes the letter."""
    refusal = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}}
    scripted.bulks.append(answers({"status": 201}, refusal, {"status": 201}))

    async def scenario() -> None:
        async with bench.running():
            await bench.publish(b'{"a":1}\n{"a":2}\n{"a":3}')
            await bench.until_done(3)
            (letter,) = await bench.letters()
            await dlq.replay(bench.sink.connection, bench.sink.publisher, letter)
            await bench.until_done(4)
            assert bench.sink.counts.indexed == 3
            assert await bench.letters() == []

    run(scenario())
    assert ids(scripted.bodies[1]) == [ids(scripted.bodies[0])[1]]
    assert json.loads(scripted.bodies[1].splitlines()[1])["a"] == 2


def test_a_replay_that_is_refused_again_is_a_letter_again(bench, scripted):
    """Replayed before anything was mended, the event is back among the dead letters, not lost."""
    refusal = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}}
    scripted.bulks += [answers(refusal), answers(refusal)]

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(line(0))
            await bench.until_done(1)
            (first,) = await bench.letters()
            await dlq.replay(bench.sink.connection, bench.sink.publisher, first)
            await bench.until_done(2)
            (second,) = await bench.letters()
            assert second.payload == first.payload
            assert second.sequences != first.sequences

    run(scenario())


def test_a_slow_elasticsearch_causes_no_redelivery(nats_url, scripted):
    """While a bulk takes longer than `ack_wait`, its messages, and those that wait behind it, are kept alive."""
    bench = Bench(nats_url, scripted.url, ack_wait_s=1.0, batch={"in_flight": 1, "max_count": 1})

    def slow(lines: list[bytes]) -> tuple[int, Any]:
        time.sleep(3.0)
        return 200, {"errors": False, "items": [{"create": {"status": 201}}] * (len(lines) // 2)}

    scripted.bulks += [slow]

    async def scenario() -> None:
        async with bench.running():
            for number in range(20):
                await bench.publish_frame(line(number))
            await bench.until_done(20)
            assert bench.sink.counts.messages == 20
            assert bench.sink.counts.indexed == 20

    run(scenario())


def test_an_absent_elasticsearch_stops_the_pull(nats_url, scripted):
    """While nobody answers, no more is taken than the bulks in flight and one request hold; then all is indexed once."""
    bench = Bench(nats_url, scripted.url, batch={"in_flight": 1, "max_count": 1})
    down = True

    def absent(lines: list[bytes]) -> tuple[int, Any]:
        if down:
            scripted.bulks.append(absent)
            return fails(503)(lines)
        return 200, {"errors": False, "items": [{"create": {"status": 201}}] * (len(lines) // 2)}

    scripted.bulks.append(absent)

    async def scenario() -> None:
        nonlocal down
        async with bench.running():
            await bench.publish_frame(line(0))
            await bench.until(lambda: len(scripted.bodies) >= 2)
            for number in range(1, 50):
                await bench.publish_frame(line(number))
            await bench.until(lambda: bench.sink.counts.retried >= 3)
            assert bench.sink.counts.indexed == 0
            assert bench.sink.counts.in_flight <= 3
            down = False
            await bench.until_done(50)
            assert bench.sink.counts.indexed == 50

    run(scenario())


def test_a_stop_drains_what_is_in_flight(bench, scripted):
    """Asked to stop with a bulk on its way, the sink waits for the answer and ends with 0."""
    begun = asyncio.Event()
    loop: list[asyncio.AbstractEventLoop] = []

    def slow(lines: list[bytes]) -> tuple[int, Any]:
        loop[0].call_soon_threadsafe(begun.set)
        time.sleep(0.5)
        return 200, {"errors": False, "items": [{"create": {"status": 201}}] * (len(lines) // 2)}

    scripted.bulks.append(slow)

    async def scenario() -> None:
        loop.append(asyncio.get_running_loop())
        async with bench.running():
            await bench.publish_frame(line(0))
            await begun.wait()
        assert bench.sink.counts.indexed == 1

    run(scenario())
    assert bench.exit_code == 0


def test_a_stop_that_cannot_finish_hands_everything_back(nats_url, scripted):
    """With Elasticsearch away, the grace period ends, the messages go back to the stream at once, the exit code is 3."""
    bench = Bench(nats_url, scripted.url, grace_s=0.5)

    def absent(lines: list[bytes]) -> tuple[int, Any]:
        scripted.bulks.append(absent)
        return fails(503)(lines)

    scripted.bulks.append(absent)

    async def first() -> None:
        async with bench.running():
            await bench.publish_frame(line(0), line(1))
            await bench.until(lambda: len(scripted.bodies) >= 1)
        assert bench.sink.counts.returned == 2
        assert bench.sink.counts.in_flight == 0

    run(first())
    assert bench.exit_code == 3
    scripted.bulks.clear()

    async def second() -> None:
        started = time.monotonic()
        async with bench.running():
            await bench.until_done(2)
            assert bench.sink.counts.indexed == 2
        assert time.monotonic() - started < bench.config.ack_wait_s / 2

    run(second())


def test_two_sinks_of_one_name_share_the_work(nats_url, scripted):
    """Each message goes to one of them, and all of them are indexed once."""
    first, second = Bench(nats_url, scripted.url), Bench(nats_url, scripted.url)
    second.dataset, second.subject, second.config = first.dataset, first.subject, first.config

    async def scenario() -> None:
        async with first.running(), second.running():
            for number in range(400):
                await first.publish_frame(line(number))
            await first.until(lambda: first.sink.counts.indexed + second.sink.counts.indexed == 400)

    run(scenario())
    assert sorted(identity for body in scripted.bodies for identity in ids(body)) == sorted(
        f"{SOURCE}-{number:x}" for number in range(400)
    )


def test_a_rotated_key_is_read_again(nats_url, scripted, tmp_path: Path):
    """After a 401 the key's file is read anew, and the work goes on without a restart."""
    key = tmp_path / "key"
    key.write_text("old")
    bench = Bench(nats_url, scripted.url, elasticsearch={"api_key_file": key})

    def unauthorised(lines: list[bytes]) -> tuple[int, Any]:
        key.write_text("new")
        return fails(401)(lines)

    scripted.bulks.append(unauthorised)

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(line(0))
            await bench.until_done(1)

    run(scenario())
    assert scripted.authorizations == ["ApiKey old", "ApiKey new"]


def test_a_deleted_consumer_comes_back(bench):
    """Deleted while the sink runs, the durable is created again, and what is sent later is indexed."""

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(line(0))
            await bench.until_done(1)
            await bench.sink.connection.request(f"$JS.API.CONSUMER.DELETE.LOGS.{bench.dataset}_r")
            await bench.publish_frame(line(1))
            await bench.until(lambda: bench.sink.counts.indexed >= 2)

    run(scenario())


def test_dead_letters_that_cannot_be_stored_hold_their_message(bench, scripted, nats_url):
    """While the stream refuses the letter the message is not acknowledged; afterwards both are done."""
    scripted.bulks.append(answers({"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}}))

    async def scenario() -> None:
        admin = Connection(NatsConfig(servers=(nats_url,)), name="admin")
        admin.start()
        await admin.wait_ready(5)
        info = json.loads(await admin.request("$JS.API.STREAM.INFO.DLQ"))["config"]
        async with bench.running():
            try:
                await admin.request("$JS.API.STREAM.UPDATE.DLQ", json.dumps({**info, "subjects": ["other.>"]}).encode())
                await bench.publish_frame(line(0))
                await bench.until(lambda: bool(bench.sink.publisher.last_problem))
                assert bench.sink.counts.dead_lettered.total() == 0
                assert await bench.ack_pending() == 1
            finally:
                await admin.request("$JS.API.STREAM.UPDATE.DLQ", json.dumps(info).encode())
            await bench.until_done(1)
            assert len(await bench.letters()) == 1
        await admin.close()

    run(scenario())
