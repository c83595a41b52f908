"""The mixed storm: everything that can go wrong between NATS and Elasticsearch, at once, while events flow.

It comes in rounds of 100,000 events, one by default: DATAPLANE_STORM_EVENTS=1000000 plays ten, DATAPLANE_STORM_SEED
other orders of faults. In each round every fault of the proxy happens, both servers and the sink end and come back, and
indices roll over in the middle: what is late lands in one index, its repetition in the next.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from operator import methodcaller
from typing import Any

import pytest
from fault_proxy import Fault, FaultProxy, no_faults, storm

from dataplane_common import event
from dataplane_common.bus import Connection, Publisher
from dataplane_common.config import NatsConfig, environment
from dataplane_common.frame import FrameEncoder

EVENTS = int(environment("DATAPLANE_STORM_EVENTS") or 100_000)
SEED = int(environment("DATAPLANE_STORM_SEED") or 5)
ROUNDS = max(1, EVENTS // 100_000)
ROUND = EVENTS // ROUNDS
#: Of so many bulk requests each fault troubles one, and a request has at most so many events.
EVERY = 25
PER_BULK = 1_000
PER_FRAME = 500
#: The publisher is so far ahead of what can be searched at most: it is at work whenever a server ends.
AHEAD = ROUND // 2
#: Every frame has one event that no mapping takes.
BAD = 7
#: Far more than it takes, for machines that have other work, too.
DEADLINE_S = 300 + EVENTS / 500
AT = b"2026-11-22T10:15:30.123456Z"
PADDING = b"x" * 200

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2 * DEADLINE_S)]


def identity(source: str, number: int) -> str:
    return event.event_id(source, number)


def line(source: str, number: int) -> bytes:
    """One event of about 350 bytes."""
    at = b"no date" if number % PER_FRAME == BAD else AT
    return (
        b'{"_id":"%b","@timestamp":"%b","message":"line %d %b","log":{"level":"info"},"host":{"name":"host-1"},'
        b'"event":{"sequence":%d}}\n' % (identity(source, number).encode(), at, number, PADDING, number + 1)
    )


async def publish(plane, source: str, over: threading.Event) -> None:
    """Publish all events in frames, at the pace at which they are indexed; a server that restarts is waited for."""
    connection = Connection(NatsConfig(servers=(plane.nats_url,)), name="storm")
    connection.start()
    await connection.wait_ready(10)
    publisher = Publisher(connection)
    await publisher.start()
    encoder = FrameEncoder()
    for first in range(0, EVENTS, PER_FRAME):
        while first > await asyncio.to_thread(plane.count) + AHEAD and not over.is_set():
            await asyncio.sleep(0.1)
        if over.is_set():
            return
        numbers = range(first, min(EVENTS, first + PER_FRAME))
        lines = b"".join(line(source, number) for number in numbers)
        subject = f"logs.test.{plane.dataset}.host-1"
        made = encoder.encode(subject, source, lines, first=first, end=numbers.stop, count=len(numbers))
        await publisher.publish(subject, made.payload, made.headers)
    assert await publisher.drain(120)
    await publisher.close()
    await connection.close()


def configure(plane, proxy: FaultProxy) -> None:
    """Let the sink reach Elasticsearch through the proxy only, in many small requests."""
    file = plane.folder / "elastinats.toml"
    text = file.read_text().replace(plane.elasticsearch_url, proxy.url)
    text = text.replace("[elasticsearch]", "[elasticsearch]\nrequest_timeout_s = 2")
    file.write_text("ack_wait_s = 3\n" + text.replace("linger_ms = 50", f"linger_ms = 50\nmax_count = {PER_BULK}"))


def indexed_ids(plane) -> list[str]:
    """Return the ids of all documents in all backing indices."""
    path = f"/logs-{plane.dataset}-test/_search?scroll=2m&size=10000&sort=_doc&_source=false"
    page, found = plane._ask(path, refresh=True), []
    while hits := page["hits"]["hits"]:
        found += [hit["_id"] for hit in hits]
        page = plane._ask("/_search/scroll", {"scroll": "2m", "scroll_id": page["_scroll_id"]})
    return found


def letters(plane) -> list[dict[str, Any]]:
    pattern = f"logs.test.{plane.dataset}.>"
    wanted = ("--subject", pattern, "--limit", str(EVENTS))
    text = plane.command("elastinats", "dlq", "list", "--json", "--nats", plane.nats_url, *wanted)
    return list(json.loads(text))


def settled(plane) -> bool:
    """Tell whether nothing waits in the sink's consumers and nothing is in flight."""
    text = plane.command("elastinats", "status", "--json", "--config", str(plane.folder / "elastinats.toml"))
    return all(feed["waiting"] == feed["in_flight"] == 0 for feed in json.loads(text)["feeds"])


def roll_over(plane) -> None:
    """Begin a new backing index, however long a server that has just started takes."""
    until(plane, lambda: plane._ask(f"/logs-{plane.dataset}-test/_rollover", {})["rolled_over"])


def until(plane, condition) -> None:
    """Wait for a condition; a server that is away, or busy, is asked again."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        with suppress(OSError):
            if condition():
                return
        assert time.monotonic() < deadline, plane.outputs()
        time.sleep(0.2)


def rage(plane, servers, sink, number: int) -> Any:
    """Roll over, end and start everything in turn while the events of a round flow; return the last sink."""
    nats, elasticsearch = servers
    end = methodcaller("stop" if number % 2 else "kill")

    def reach(share: float) -> None:
        plane.wait_for_count(int((number + share) * ROUND), timeout_s=DEADLINE_S)

    reach(0.05)
    roll_over(plane)
    reach(0.15)
    roll_over(plane)
    plane.kill(sink)
    roll_over(plane)
    sink = plane.start_sink()
    reach(0.25)
    end(nats)
    roll_over(plane)
    nats.start()
    reach(0.35)
    end(elasticsearch)
    elasticsearch.start()
    roll_over(plane)
    reach(0.5)
    roll_over(plane)
    plane.kill(sink)
    sink = plane.start_sink()
    reach(0.75)
    return sink


def test_a_storm_doubles_and_loses_nothing(own_plane, own_servers):
    """Whatever happens at once: each event is a document or a dead letter, exactly once."""
    source, over = event.new_source(), threading.Event()
    with (
        FaultProxy(own_plane.elasticsearch_url, storm(SEED, every=EVERY), slow_s=0.5, late_s=3.0) as proxy,
        ThreadPoolExecutor(1) as beside,
        ExitStack() as stack,
    ):
        stack.callback(over.set)
        configure(own_plane, proxy)
        sink = own_plane.start_sink()
        sending = beside.submit(asyncio.run, publish(own_plane, source, over))
        for number in range(ROUNDS):
            sink = rage(own_plane, own_servers, sink, number)
        sending.result(DEADLINE_S)
        assert min(proxy.met[fault] for fault in Fault) >= EVENTS // (2 * EVERY * PER_BULK), "all faults, all the time"
        proxy.plan = no_faults
        until(own_plane, lambda: settled(own_plane))
        assert own_plane.terminate(sink) == 0
    bad = {identity(source, number) for number in range(EVENTS) if number % PER_FRAME == BAD}
    good = {identity(source, number) for number in range(EVENTS)} - bad
    found, dead = indexed_ids(own_plane), letters(own_plane)
    assert Counter(found) == Counter(good)
    counted = Counter(letter["event_id"] for letter in dead)
    twice = [letter for letter in dead if counted[letter["event_id"]] > 1]
    assert counted == Counter(bad), twice
    assert {letter["reason"] for letter in dead} == {"rejected"}
