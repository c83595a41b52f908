"""One fault at a time between the sink and Elasticsearch: every event becomes a document once, whatever the answer."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from fault_proxy import Fault, FaultProxy, no_faults, sequence

from dataplane_common import event
from dataplane_common.bus import Connection, Publisher
from dataplane_common.config import NatsConfig

#: Servers start in some of these tests, on machines that have other work, too.
pytestmark = pytest.mark.timeout(300)

DEADLINE_S = 60.0
AT = "2026-11-22T10:15:30.123456Z"
EVENTS = 3_000
PER_FRAME = 100


def frame(signal: str, dataset: str, source: str, numbers: range) -> tuple[str, bytes, dict[str, str]]:
    """Return one message with the events of these numbers."""
    envelope = {"dp": {"source": source}}
    lines = b"".join(event.encode(event.event_id(source, n), AT, {"message": f"line {n}", **envelope}) for n in numbers)
    return f"{signal}.test.{dataset}.host-1", lines, {"Dp-Count": str(len(numbers))}


def publish(plane, total: int, *signals: str) -> None:
    """Publish numbered events in frames, `total` to each signal."""

    async def work() -> None:
        connection = Connection(NatsConfig(servers=(plane.nats_url,)), name="test")
        connection.start()
        await connection.wait_ready(10)
        publisher = Publisher(connection)
        await publisher.start()
        for signal in signals or ("logs",):
            source = event.new_source()
            for first in range(0, total, PER_FRAME):
                await publisher.publish(*frame(signal, plane.dataset, source, range(first, first + PER_FRAME)))
        assert await publisher.drain(30)
        await publisher.close()
        await connection.close()

    asyncio.run(work())


@pytest.fixture
def proxy(plane) -> Iterator[FaultProxy]:
    """A proxy that the test's sink has to take; small requests, a short patience."""
    with FaultProxy(plane.elasticsearch_url) as made:
        file = plane.folder / "elastinats.toml"
        text = file.read_text().replace(plane.elasticsearch_url, made.url)
        text = text.replace("[elasticsearch]", "[elasticsearch]\nrequest_timeout_s = 1")
        file.write_text(text.replace("linger_ms = 50", "linger_ms = 50\nmax_count = 500"))
        yield made


def assert_each_once(plane, total: int, signal: str = "logs") -> None:
    counted = Counter(document["message"] for document in plane.documents(signal))
    assert (len(counted), set(counted.values())) == (total, {1})


def wait_until(condition, plane, deadline_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, plane.outputs()
        time.sleep(0.02)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
def test_after_any_fault_each_event_is_there_once(plane, proxy, fault):
    """Three bulks in a row meet the fault: what was applied is not applied again, what was not is."""
    proxy.plan = sequence(fault, fault, fault)
    publish(plane, EVENTS)
    sink = plane.start_sink()
    plane.wait_for_count(EVENTS)
    assert plane.terminate(sink) == 0
    assert proxy.met[fault] == 3
    assert_each_once(plane, EVENTS)


def test_a_late_request_and_a_rollover_double_nothing(plane, proxy):
    """Given up on, looked up, sent again: the first arrives before a rollover, the second after it; one copy stays."""
    file = plane.folder / "elastinats.toml"
    file.write_text(file.read_text().replace("max_count = 500", "in_flight = 1").replace("_s = 1\n", "_s = 4\n"))
    publish(plane, PER_FRAME)
    sink = plane.start_sink()
    plane.wait_for_count(PER_FRAME)
    proxy.plan, proxy.late_s = sequence(Fault.LATE, Fault.LATE), DEADLINE_S
    publish(plane, PER_FRAME)
    wait_until(lambda: len(proxy.late) == 2, plane)
    proxy.late[0].set()
    plane.wait_for_count(2 * PER_FRAME)
    assert plane._ask(f"/logs-{plane.dataset}-test/_rollover", {})["rolled_over"]
    proxy.late[1].set()
    wait_until(lambda: not proxy.running, plane)
    assert plane.terminate(sink) == 0
    counted = Counter((each["message"], each["dp"]["source"]) for each in plane.documents())
    assert (len(counted), set(counted.values())) == (2 * PER_FRAME, {1})


def test_retries_stay_within_the_limit(plane, proxy):
    """However many streams are read and however often requests are refused: never more at once than allowed."""
    file = plane.folder / "elastinats.toml"
    file.write_text(file.read_text().replace("_s = 1\n", "_s = 60\n"))
    proxy.plan = sequence(*[Fault.SLOW] * 6, *[Fault.BUSY, Fault.SLOW, Fault.ITEMS_429] * 5)
    publish(plane, EVENTS, "logs", "metrics")
    plane.start_sink()
    plane.wait_for_count(EVENTS)
    plane.wait_for_count(EVENTS, "metrics")
    assert proxy.most_running == 3


def test_a_rollover_while_a_re_send_waits_for_its_turn_doubles_nothing(plane, proxy):
    """What was looked up before a rollover is looked up again after it, before it is sent."""
    file = plane.folder / "elastinats.toml"
    file.write_text(file.read_text().replace("max_count = 500", "in_flight = 1").replace("_s = 1\n", "_s = 20\n"))
    proxy.plan, proxy.slow_s = sequence(Fault.RESET_AFTER, Fault.SLOW), 4.0
    publish(plane, PER_FRAME, "logs", "metrics")
    sink = plane.start_sink()
    wait_until(lambda: proxy.met[Fault.SLOW] == 1 and proxy.look_ups, plane)
    for signal in ("logs", "metrics"):
        wait_until(lambda signal=signal: plane.count(signal), plane)
        assert plane._ask(f"/{signal}-{plane.dataset}-test/_rollover", {})["rolled_over"]
    assert proxy.running == 1, "the re-send still waits"
    for signal in ("logs", "metrics"):
        plane.wait_for_count(PER_FRAME, signal)
    proxy.plan = no_faults
    assert plane.terminate(sink) == 0
    assert_each_once(plane, PER_FRAME)
    assert_each_once(plane, PER_FRAME, "metrics")
