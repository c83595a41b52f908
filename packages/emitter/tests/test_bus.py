"""The way to a real NATS server, in its good and its bad hours."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from dataplane_common.bus import ensure_streams
from dataplane_common.config import NatsConfig
from dataplane_common.local import free_port
from dataplane_emitter import Emitter

#: What a call may take at the very most while the bus is in trouble, on a machine that is busy with other tests.
_WORST_CALL_S = 0.25

MakeEmitter = Callable[..., Emitter]
WaitUntil = Callable[..., None]


def _sequences(events: list[dict[str, Any]]) -> list[int]:
    return [event["event"]["sequence"] for event in events]


def test_logs_and_metrics_arrive_in_their_streams(bus: Any, make_emitter: MakeEmitter, dataset: str) -> None:
    """Events are stored under the emitter's subjects, numbered from 1 without gaps, with their ids."""
    emitter = make_emitter(bus.url)
    log = emitter.processor()
    for number in range(100):
        log(None, "info", {"event": "hello", "number": number})
    emitter.counter("orders").inc(3)
    assert emitter.flush(10)
    logs, metrics = bus.events(dataset), bus.events(dataset, "METRICS")
    assert [event["number"] for event in logs] == list(range(100))
    assert [point["metric"]["value"] for point in metrics] == [3]
    assert sorted(_sequences(logs + metrics)) == list(range(1, 102))
    source = emitter.stats().source
    assert all(event["_id"] == f"{source}-{event['event']['sequence']:x}" for event in logs + metrics)
    assert emitter.stats().acknowledged == 101


def test_an_emitter_starts_and_logs_without_a_bus(make_emitter: MakeEmitter, capfd: pytest.CaptureFixture[str]) -> None:
    """With no server at all, the application starts, no call waits, and memory is bounded with drops counted."""
    started = time.monotonic()
    emitter = make_emitter(f"nats://127.0.0.1:{free_port().number}", queue={"max_events": 1_000})
    log = emitter.processor()
    slowest = time.monotonic() - started
    for number in range(5_000):
        before = time.monotonic()
        log(None, "error" if number % 10 == 0 else "debug", {"event": "x"})
        slowest = max(slowest, time.monotonic() - before)
    assert time.monotonic() - started < 5
    assert slowest < _WORST_CALL_S
    stats = emitter.stats()
    assert stats.queued == 1_000
    assert stats.dropped == {"queue_full": 4_000}
    assert not emitter.flush(0.3)
    emitter.close(0.2)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("dataplane_emitter:")]
    assert len(lines) == 2
    assert "1000 events were not delivered" in lines[-1]


def test_a_server_that_comes_late_gets_what_waited(
    make_emitter: MakeEmitter, make_bus: Callable[..., Any], wait_until: WaitUntil, dataset: str
) -> None:
    """What was logged before the server was there arrives when it comes; errors outlived debug in the full queue."""
    port = free_port().number
    emitter = make_emitter(f"nats://127.0.0.1:{port}", queue={"max_events": 50})
    for number in range(100):
        emitter.processor()(None, "error" if number < 50 else "debug", {"event": "early", "number": number})
    late = make_bus(port=port)
    late.run(ensure_streams)
    wait_until(lambda: emitter.stats().acknowledged == 50, 20)
    assert [event["number"] for event in late.events(dataset)] == list(range(50))


def test_kill_and_restart_lose_nothing_acknowledged(
    own_bus: Any, make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str
) -> None:
    """Across SIGKILL and restart of the server every event is stored; what is stored twice has the same id."""
    emitter = make_emitter(own_bus.url, linger_ms=10)
    log = emitter.processor()
    stop = threading.Event()
    logged = 0

    def keep_logging() -> None:
        nonlocal logged
        while not stop.is_set():
            log(None, "info", {"event": "x", "number": logged})
            logged += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=keep_logging)
    thread.start()
    for _ in range(2):
        reached = emitter.stats().acknowledged
        wait_until(lambda reached=reached: emitter.stats().acknowledged > reached + 100)
        own_bus.server.pause()  # so that it has read something, and stored it or not, that it never acknowledges
        sent = emitter.stats().last_sequence
        wait_until(lambda sent=sent: emitter.stats().last_sequence > sent + 50)
        own_bus.server.kill()
        own_bus.server.start()
    stop.set()
    thread.join()
    assert emitter.flush(30)
    stats = emitter.stats()
    assert (stats.acknowledged, stats.dropped) == (logged, {})
    by_id = {event["_id"]: event for event in own_bus.events(dataset)}
    assert sorted(event["number"] for event in by_id.values()) == list(range(logged))


def test_a_frozen_server_blocks_nobody(own_bus: Any, make_emitter: MakeEmitter, dataset: str) -> None:
    """While the server is stopped by SIGSTOP, and the socket is full, no call waits; then everything is there once."""
    emitter = make_emitter(own_bus.url, linger_ms=10, compression="none", nats={"ping_interval_s": 1})
    log = emitter.processor()
    log(None, "info", {"event": "x", "number": 0})
    assert emitter.flush(10)
    own_bus.server.pause()
    slowest = 0.0
    number = 0
    started = time.monotonic()
    while time.monotonic() - started < 4:
        number += 1
        text = "x" * 4_000
        before = time.monotonic()
        log(None, "info", {"event": text, "number": number})
        slowest = max(slowest, time.monotonic() - before)
        time.sleep(0.0005)
    flushed = emitter.flush(0.2)
    own_bus.server.resume()
    assert not flushed
    assert slowest < _WORST_CALL_S
    assert number * 4_000 > 8_000_000
    assert emitter.flush(30)
    assert emitter.stats().dropped == {}
    numbers = {event["_id"]: event["number"] for event in own_bus.events(dataset)}
    assert sorted(numbers.values()) == list(range(number + 1))


def test_a_half_open_connection_is_given_up_after_three_pings(
    own_bus: Any, make_emitter: MakeEmitter, wait_until: WaitUntil
) -> None:
    """A server that answers nothing any more is noticed within three ping intervals: 30 seconds by default."""
    assert NatsConfig().ping_interval_s == 10
    emitter = make_emitter(own_bus.url, nats={"ping_interval_s": 1})
    emitter.processor()(None, "info", {"event": "x"})
    assert emitter.flush(10)
    own_bus.server.pause()
    wait_until(lambda: not emitter.stats().is_connected, 4)
    own_bus.server.resume()
    emitter.processor()(None, "info", {"event": "y"})
    assert emitter.flush(30)


def test_the_ledger_adds_up(bus: Any, make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str) -> None:
    """Accounts are told while events flow, add up each time, and the final one is what the stream holds."""
    emitter = make_emitter(bus.url, ledger_interval_s=0.2, queue={"max_events": 10_000})
    log = emitter.processor()
    for number in range(500):
        log(None, "info", {"event": "x", "number": number})
    wait_until(lambda: bus.accounts(dataset))
    emitter.counter("c").inc()
    log(None, "info", {"event": "last"})
    emitter.close(10)
    accounts = bus.accounts(dataset)
    for account in accounts:
        dropped = sum(account.dropped.values())
        assert account.accepted == account.acknowledged + account.in_flight + account.spooled + dropped
    final = accounts[-1]
    stored = len(bus.events(dataset)) + len(bus.events(dataset, "METRICS"))
    assert final.final
    assert not any(account.final for account in accounts[:-1])
    assert (final.accepted, final.acknowledged, final.last_sequence, stored) == (502, 502, 502, 502)
    assert (final.source, final.dataset, final.namespace) == (emitter.stats().source, dataset, "test")
    assert final.first_at <= final.last_at


def test_an_idle_emitter_tells_nothing(bus: Any, make_emitter: MakeEmitter, dataset: str) -> None:
    """Without news there is no ledger message but the final one."""
    emitter = make_emitter(bus.url, ledger_interval_s=0.05)
    assert emitter.flush(10)
    time.sleep(0.5)  # the rule is about silence, for which there is nothing to wait
    emitter.close(5)
    assert [account.final for account in bus.accounts(dataset)] == [True]


def test_no_recursion_with_everything_at_debug(bus: Any, make_emitter: MakeEmitter, dataset: str) -> None:
    """On the root logger at DEBUG, with the client's and asyncio's loggers too, only the application's records go."""
    emitter = make_emitter(bus.url)
    handler = emitter.handler()
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in ("", "nats", "nats.aio.client", "asyncio", "dataplane_common")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        logging.getLogger("app").debug("hello")
        logging.getLogger("nats.aio.client").error("client trouble")
        assert emitter.flush(10)
        assert emitter.flush(10)
    finally:
        root.removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    assert [event["message"] for event in bus.events(dataset)] == ["hello"]


def test_sixteen_threads_arrive_exactly(bus: Any, make_emitter: MakeEmitter, dataset: str) -> None:
    """Counts and logs of 16 threads are exact on the bus, over many intervals."""
    emitter = make_emitter(bus.url, metrics={"interval_s": 0.05})
    counter = emitter.counter("hits")
    log = emitter.processor()

    def work() -> None:
        for _ in range(1_000):
            counter.inc()
            log(None, "info", {"event": "x"})

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert emitter.flush(20)
    assert sum(point["metric"]["value"] for point in bus.events(dataset, "METRICS")) == 16_000
    assert sorted(_sequences(bus.events(dataset) + bus.events(dataset, "METRICS"))) == list(
        range(1, emitter.stats().last_sequence + 1)
    )
