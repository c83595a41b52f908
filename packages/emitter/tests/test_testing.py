"""The test helpers that ship with the emitter."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from dataplane_emitter import configure, testing
from dataplane_emitter.testing import capture_events, faulty_bus

pytest_plugins = ["dataplane_emitter.pytest_plugin"]


def test_what_the_application_configures_is_captured() -> None:
    """An emitter that the application makes within the block sends nothing and is captured."""
    with capture_events() as captured:
        emitter = configure(service="shop", servers="nats://127.0.0.1:1")
        emitter.processor()(None, "info", {"event": "inside"})
        assert emitter.stats().is_connected is False
        assert [event["service"]["name"] for event in captured.events] == ["shop"]
    emitter.close(0)


def test_what_was_there_before_works_again_afterwards(bus: Any, make_emitter: Callable[..., Any], dataset: str) -> None:
    """An emitter at work is captured within the block only; afterwards it delivers as before."""
    emitter = make_emitter(bus.url)
    log = emitter.processor()
    counter = emitter.counter("c")
    log(None, "info", {"event": "before"})
    with capture_events() as captured:
        log(None, "info", {"event": "within"})
        counter.inc()
        assert [event["message"] for event in captured.events] == ["within"]
        assert captured.total("c") == 1
    log(None, "info", {"event": "after"})
    assert emitter.flush(10)
    assert [event["message"] for event in bus.events(dataset)] == ["before", "after"]
    assert bus.events(dataset, "METRICS") == []


def test_the_fixture_captures(captured_events: testing.Captured) -> None:
    """The pytest fixture is `capture_events` around a test."""
    captured_events.emitter.processor()(None, "info", {"event": "x"})
    assert len(captured_events.events) == 1


def _calls(log: Callable[..., Any], message: str) -> list[float]:
    """Return, sorted, how long each of a thousand calls took."""
    took = []
    for _ in range(1_000):
        started = time.perf_counter()
        log(None, "info", {"event": message})
        took.append(time.perf_counter() - started)
    return sorted(took)


@pytest.mark.parametrize("fault", ["stall", "deny", "go_away"])
def test_a_fault_hurts_nobody_and_ends(fault: str, wait_until: Callable[..., None]) -> None:
    """Each fault can be switched on under an emitter at work, calls stay quick, and after it events arrive again."""
    with faulty_bus() as bus:
        emitter = configure(
            service="shop",
            servers=bus.url,
            stderr=False,
            linger_ms=10,
            nats={"ping_interval_s": 0.3},
            compression="none",
        )
        log = emitter.processor()
        _calls(log, "before")
        assert emitter.flush(30)
        getattr(bus, fault)()
        meanwhile = _calls(log, "meanwhile")
        assert meanwhile[len(meanwhile) // 2] < 0.001  # a hundred times what it takes; a busy machine delays a few
        assert sum(meanwhile) < 10
        if fault == "deny":
            wait_until(lambda: emitter.stats().dropped.get("denied") == 1_000, 30)
        else:
            wait_until(lambda: not emitter.stats().is_connected, 30)
            assert not emitter.flush(0.1)
        bus.recover()
        log(None, "info", {"event": "after"})
        if fault != "deny":
            assert emitter.flush(60)
            assert any(b"after" in message.payload for message in bus.messages)
        emitter.close(1)
        assert emitter.stats().accepted == 2_001


def test_whoever_comes_in_as_the_bus_goes_is_hung_up_on() -> None:
    """A connection that the bus takes at the very moment it goes away ends like the others."""
    for _ in range(300):
        with faulty_bus() as bus:
            client = socket.create_connection(("127.0.0.1", int(bus.url.rpartition(":")[2])))
            threading.Thread(target=bus.go_away).start()
            client.settimeout(10)
            with client, client.makefile("rb") as answers, contextlib.suppress(ConnectionResetError):
                assert len(answers.readlines()) <= 1  # ends
