"""Fire and forget: what is counted as arrived was read by the bus."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from dataplane_common.bus import Connection
from dataplane_common.config import NatsConfig
from dataplane_emitter import Emitter
from dataplane_emitter.testing import FaultyBus, faulty_bus

MakeEmitter = Callable[..., Emitter]
WaitUntil = Callable[..., None]


def test_core_delivery_survives_a_killed_server(
    own_bus: Any, make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str
) -> None:
    """Fire and forget across a SIGKILL: all is accounted for, nothing doubled, and at most one stretch is missing."""
    emitter = make_emitter(own_bus.url, delivery="core", linger_ms=5)
    log = emitter.processor()
    for number in range(3_000):
        log(None, "info", {"event": "x", "number": number})
        if number == 1_000:
            wait_until(lambda: emitter.stats().acknowledged > 0)
            own_bus.server.kill()
        if number == 2_000:
            own_bus.server.start()
        time.sleep(0.0002)
    wait_until(lambda: emitter.stats().in_flight == 0, 20)
    stats = emitter.stats()
    assert stats.acknowledged + sum(stats.dropped.values()) == 3_000
    assert set(stats.dropped) <= {"bus_lost"}
    arrived = Counter(event["number"] for event in own_bus.events(dataset))
    assert set(arrived.values()) == {1}
    missing = [number for number in range(3_000) if number not in arrived]
    assert not missing or missing == list(range(missing[0], missing[-1] + 1))


def test_core_delivery_counts_what_the_bus_did_not_take(make_emitter: MakeEmitter, wait_until: WaitUntil) -> None:
    """Fire and forget: what is not counted as dropped was read by the bus before its session ended."""
    with faulty_bus() as bus:
        emitter = make_emitter(bus.url, delivery="core", linger_ms=1, compression="none")
        log = emitter.processor()
        for session in range(3):
            wait_until(lambda: emitter.stats().is_connected)
            for number in range(300):
                log(None, "info", {"event": "x", "number": 300 * session + number})
                time.sleep(0.0001)
            bus.go_away()
            wait_until(lambda: not emitter.stats().is_connected)
            bus.recover()
        wait_until(lambda: emitter.stats().in_flight == 0, 20)
        stats = emitter.stats()
        logs = [message.payload for message in bus.messages if message.subject.startswith("logs.")]
    assert stats.acknowledged + sum(stats.dropped.values()) == 900
    assert 0 < stats.acknowledged <= sum(payload.count(b"\n") for payload in logs)


class _Listening(FaultyBus):
    """Remembers the order of what it heard."""

    def __init__(self) -> None:
        self.verbs: list[bytes] = []
        super().__init__()

    def _answer(self, client: Any, line: bytes, stream: Any) -> None:
        self.verbs.append(line.split()[0])
        super()._answer(client, line, stream)


def test_a_confirmation_follows_what_it_confirms() -> None:
    """The ping whose answer means "read" is written behind the messages, not before them."""
    bus = _Listening()

    async def publish_and_flush() -> list[bytes]:
        connection = Connection(NatsConfig(servers=(bus.url,)), name="test")
        connection.start()
        await connection.wait_ready(10)
        bus.verbs.clear()
        for _ in range(3):
            await connection.publish("logs.a.b.c", b"x")
        await connection.flush(10)
        heard = list(bus.verbs)
        await connection.close()
        return heard

    try:
        assert asyncio.run(publish_and_flush()) == [b"PUB", b"PUB", b"PUB", b"PING"]
    finally:
        bus.close()


def test_a_session_that_ends_unconfirmed_holds_up_nothing(
    make_emitter: MakeEmitter, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for a confirmation that never comes is given up with its session, and the next one goes on at once."""
    monkeypatch.setattr("dataplane_emitter.publish._CONFIRM_TIMEOUT_S", 60)
    with faulty_bus() as bus:
        emitter = make_emitter(bus.url, delivery="core", linger_ms=1)
        wait_until(lambda: emitter.stats().is_connected)
        bus.stall()
        emitter.processor()(None, "info", {"event": "lost"})
        wait_until(lambda: emitter.stats().last_sequence == 1)
        bus.go_away()
        bus.recover()
        emitter.processor()(None, "info", {"event": "x"})
        wait_until(lambda: emitter.stats().acknowledged == 1, 30)
        assert emitter.stats().dropped == {"bus_lost": 1}
