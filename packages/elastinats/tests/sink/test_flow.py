"""The sink beside slow, absent and restarted servers, beside another sink, and when it is told to stop."""

import asyncio
import time
from typing import Any


def test_a_slow_elasticsearch_causes_no_redelivery(make_bench, scripted):
    """While a bulk takes longer than `ack_wait`, its messages, and those that wait behind it, are kept alive."""
    bench = make_bench(ack_wait_s=1.0, batch={"in_flight": 1, "max_count": 1})

    def slow(lines: list[bytes]) -> tuple[int, Any]:
        time.sleep(3.0)
        return bench.created(lines)

    scripted.bulks += [slow]

    async def scenario() -> None:
        async with bench.running():
            for number in range(3):
                await bench.publish_frame(bench.line(number))
            await bench.until(lambda: bool(scripted.bodies))
            for number in range(3, 20):
                await bench.publish_frame(bench.line(number))
            await bench.until_done(20)
            assert bench.sink.counts.messages == 20
            assert bench.sink.counts.indexed == 20

    bench.run(scenario())


def test_an_elasticsearch_that_is_away_at_the_start_is_waited_for(make_bench, scripted):
    """Nothing is pulled until the templates are there: an index that is made without them stays without them."""
    bench = make_bench(elasticsearch={"setup": True})
    scripted.told += [("_template", 503, {"error": {"type": "master_not_discovered_exception"}})] * 2

    async def scenario() -> None:
        async with bench.running():
            assert scripted.told == []
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)

    bench.run(scenario())
    assert bench.exit_code == 0


def test_an_absent_elasticsearch_stops_the_pull(make_bench, scripted):
    """While nobody answers, no more is taken than the bulks in flight hold; then all is indexed once."""
    bench = make_bench(batch={"in_flight": 1, "max_count": 1})
    down = True

    def absent(lines: list[bytes]) -> tuple[int, Any]:
        if down:
            scripted.bulks.append(absent)
            return bench.fails(503)(lines)
        return bench.created(lines)

    scripted.bulks.append(absent)

    async def scenario() -> None:
        nonlocal down
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until(lambda: len(scripted.bodies) >= 2)
            for number in range(1, 50):
                await bench.publish_frame(bench.line(number))
            await bench.until(lambda: bench.sink.counts.retried >= 3)
            assert bench.sink.counts.indexed == 0
            assert bench.sink.counts.in_flight <= 3
            down = False
            await bench.until_done(50)
            assert bench.sink.counts.indexed == 50

    bench.run(scenario())


def test_a_stop_drains_what_is_in_flight(bench, scripted):
    """Asked to stop with a bulk on its way, the sink waits for the answer and ends with 0."""
    begun = asyncio.Event()
    loop: list[asyncio.AbstractEventLoop] = []

    def slow(lines: list[bytes]) -> tuple[int, Any]:
        loop[0].call_soon_threadsafe(begun.set)
        time.sleep(0.5)
        return bench.created(lines)

    scripted.bulks.append(slow)

    async def scenario() -> None:
        loop.append(asyncio.get_running_loop())
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await begun.wait()
        assert bench.sink.counts.indexed == 1

    bench.run(scenario())
    assert bench.exit_code == 0


def test_a_stop_that_cannot_finish_hands_everything_back(make_bench, scripted):
    """With Elasticsearch away, the grace period ends, everything goes back at once, and the exit code is 3."""
    bench = make_bench(grace_s=0.5)

    def absent(lines: list[bytes]) -> tuple[int, Any]:
        scripted.bulks.append(absent)
        return bench.fails(503)(lines)

    scripted.bulks.append(absent)

    async def first() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0), bench.line(1))
            await bench.until(lambda: len(scripted.bodies) >= 1)
        assert bench.sink.counts.returned == 2
        assert bench.sink.counts.in_flight == 0

    bench.run(first())
    assert bench.exit_code == 3
    scripted.bulks.clear()

    async def second() -> None:
        started = time.monotonic()
        async with bench.running():
            await bench.until_done(2)
            assert bench.sink.counts.indexed == 2
        assert time.monotonic() - started < bench.config.ack_wait_s / 2

    bench.run(second())


def test_two_sinks_of_one_name_share_the_work(make_bench, scripted):
    """Each message goes to one of them, and all of them are indexed once."""
    first, second = make_bench(), make_bench()
    second.dataset, second.subject, second.config = first.dataset, first.subject, first.config

    async def scenario() -> None:
        async with first.running(), second.running():
            for number in range(400):
                await first.publish_frame(first.line(number))
            await first.until(lambda: first.sink.counts.indexed + second.sink.counts.indexed == 400)

    first.run(scenario())
    assert sorted(identity for body in scripted.bodies for identity in first.ids(body)) == sorted(
        first.identity(number) for number in range(400)
    )


def test_a_deleted_consumer_comes_back(bench):
    """Deleted while the sink runs, the durable is created again, and what is sent later is indexed."""

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            await bench.sink.connection.request(f"$JS.API.CONSUMER.DELETE.LOGS.{bench.dataset}_r")
            await bench.publish_frame(bench.line(1))
            await bench.until(lambda: bench.sink.counts.indexed >= 2)

    bench.run(scenario())
