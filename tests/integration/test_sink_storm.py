"""The mixed storm: everything that can go wrong between NATS and Elasticsearch, at once, while events flow.

100,000 events by default; DATAPLANE_STORM_EVENTS sets another number. Requests that arrive after the sink has given
them up, and rollovers in the middle, are part of it: what is late lands in one index, its repetition in the next.
"""

import asyncio
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from fault_proxy import Fault, FaultProxy, no_faults, storm

from dataplane_common import event
from dataplane_common.bus import Connection, Publisher
from dataplane_common.config import NatsConfig, environment
from dataplane_common.frame import FrameEncoder

EVENTS = int(environment("DATAPLANE_STORM_EVENTS") or 100_000)
PER_FRAME = 500
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


async def publish(url: str, dataset: str, source: str) -> None:
    """Publish all events in frames, at a pace that lets the storm happen; a server that restarts is waited for."""
    connection = Connection(NatsConfig(servers=(url,)), name="storm")
    connection.start()
    await connection.wait_ready(10)
    publisher = Publisher(connection)
    await publisher.start()
    encoder = FrameEncoder()
    for first in range(0, EVENTS, PER_FRAME):
        numbers = range(first, min(EVENTS, first + PER_FRAME))
        lines = b"".join(line(source, number) for number in numbers)
        subject = f"logs.test.{dataset}.host-1"
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
    file.write_text("ack_wait_s = 3\n" + text.replace("linger_ms = 50", f"linger_ms = 50\nmax_count = {EVENTS // 100}"))


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


def rage(plane, nats, elasticsearch) -> Any:
    """Roll over, kill and restart everything in turn while events flow; return the last sink."""
    sink = plane.start_sink()
    plane.wait_for_count(EVENTS // 20, timeout_s=DEADLINE_S)
    roll_over(plane)
    plane.wait_for_count(EVENTS // 6, timeout_s=DEADLINE_S)
    roll_over(plane)
    plane.kill(sink)
    roll_over(plane)
    sink = plane.start_sink()
    plane.wait_for_count(EVENTS // 4, timeout_s=DEADLINE_S)
    nats.kill()
    roll_over(plane)
    nats.start()
    plane.wait_for_count(EVENTS // 3, timeout_s=DEADLINE_S)
    elasticsearch.kill()
    elasticsearch.start()
    roll_over(plane)
    plane.wait_for_count(EVENTS // 2, timeout_s=DEADLINE_S)
    roll_over(plane)
    plane.kill(sink)
    return plane.start_sink()


def test_a_storm_doubles_and_loses_nothing(own_plane, own_servers):
    """Whatever happens at once: each event is a document or a dead letter, exactly once."""
    source = event.new_source()
    with (
        FaultProxy(own_plane.elasticsearch_url, storm(5, calm=0.6), slow_s=0.5, late_s=3.0) as proxy,
        ThreadPoolExecutor(1) as beside,
    ):
        configure(own_plane, proxy)
        sending = beside.submit(asyncio.run, publish(own_plane.nats_url, own_plane.dataset, source))
        sink = rage(own_plane, *own_servers)
        sending.result(DEADLINE_S)
        own_plane.wait_for_count(EVENTS * 3 // 4, timeout_s=DEADLINE_S)
        proxy.plan = no_faults
        until(own_plane, lambda: settled(own_plane))
        assert own_plane.terminate(sink) == 0
    assert set(proxy.met) == set(Fault), "each fault has to happen"
    bad = {identity(source, number) for number in range(EVENTS) if number % PER_FRAME == BAD}
    good = {identity(source, number) for number in range(EVENTS)} - bad
    found, dead = indexed_ids(own_plane), letters(own_plane)
    assert Counter(found) == Counter(good)
    assert sorted(letter["event_id"] for letter in dead) == sorted(bad)
    assert {letter["reason"] for letter in dead} == {"rejected"}
