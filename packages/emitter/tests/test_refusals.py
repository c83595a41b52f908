"""What a server refuses: subjects, credentials, sizes."""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from dataplane_common.bus import Connection, ensure_streams
from dataplane_emitter import Emitter

#: What a call may take at the very most while the bus is in trouble, on a machine that is busy with other tests.
_WORST_CALL_S = 0.25

MakeEmitter = Callable[..., Emitter]
WaitUntil = Callable[..., None]


def _sequences(events: list[dict[str, Any]]) -> list[int]:
    return [event["event"]["sequence"] for event in events]


def _connections(bus: Any) -> int:
    """Return how many connections a server has ever taken."""
    with urllib.request.urlopen(f"{bus.server.monitor_url}/varz", timeout=5) as answer:
        return int(json.load(answer)["total_connections"])


_USERS = """
authorization {
  users = [
    { user: all, password: all }
    { user: logs, password: logs, permissions: {
        publish: { allow: ["logs.>", "ledger.>"] }, subscribe: ["_INBOX.>"] } }
  ]
}
"""


def _trouble(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines on stderr that tell of a trouble, not those of its end."""
    lines = capfd.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("dataplane_emitter:") and "arrive again" not in line]


def test_a_denied_subject_is_counted_and_harms_no_other(
    make_bus: Callable[..., Any], make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Metrics that the server forbids are dropped as `denied`, and said once; the logs, which it allows, go on."""
    bus = make_bus(extra=_USERS, user="all")
    bus.run(ensure_streams)
    emitter = make_emitter(bus.url_of("logs"), metrics={"interval_s": 0.1})
    for number in range(50):
        emitter.gauge("g", labels={"n": number}).set(1)
    wait_until(lambda: emitter.stats().dropped.get("denied", 0) >= 1_000, 30)
    for number in range(100):
        emitter.processor()(None, "info", {"event": "x", "number": number})
    assert emitter.flush(10)
    assert len(bus.events(dataset)) == 100
    assert bus.events(dataset, "METRICS") == []
    stats = emitter.stats()
    assert stats.acknowledged == 100
    assert stats.acknowledged + stats.in_flight + sum(stats.dropped.values()) == stats.accepted
    assert "ermissions violation" in stats.last_problem
    (said,) = _trouble(capfd)
    assert "ermissions violation" in said


def test_wrong_credentials_are_retried_and_told(
    make_bus: Callable[..., Any], make_emitter: MakeEmitter, wait_until: WaitUntil, tmp_path: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A wrong password is tried ever more rarely, and said in one line a minute without being shown.

    When the file is put right, events flow without a restart.
    """
    bus = make_bus(extra=_USERS)
    secret = tmp_path / "password"
    nats = {"user": "all", "password_file": str(secret)}
    emitter = make_emitter(bus.url, nats=nats)
    emitter.processor()(None, "info", {"event": "x"})
    wait_until(lambda: "cannot read" in emitter.stats().last_problem)
    secret.write_text("hunter2")
    wait_until(lambda: "uthorization" in emitter.stats().last_problem)
    first = _connections(bus)
    started = time.monotonic()
    wait_until(lambda: time.monotonic() > started + 1 and _connections(bus) > first, 30)
    assert _connections(bus) - first < 20 * (time.monotonic() - started)
    secret.write_text("all")
    wait_until(lambda: emitter.stats().is_connected, 20)
    said = _trouble(capfd)
    assert len(said) == 1
    assert "hunter2" not in said[0]


def test_without_a_stream_events_wait_and_one_line_says_why(
    make_bus: Callable[..., Any], make_emitter: MakeEmitter, wait_until: WaitUntil, dataset: str
) -> None:
    """Where nobody stores the subject, nothing is taken for delivered; when the stream is made, everything arrives."""
    bare = make_bus()
    emitter = make_emitter(bare.url)
    emitter.processor()(None, "info", {"event": "x"})
    wait_until(lambda: "no stream" in emitter.stats().last_problem)
    assert emitter.stats().acknowledged == 0
    bare.run(ensure_streams)
    assert emitter.flush(20)
    assert len(bare.events(dataset)) == 1


def test_an_event_above_max_payload_arrives_shortened(
    make_bus: Callable[..., Any], make_emitter: MakeEmitter, dataset: str
) -> None:
    """A server that takes little gets small frames, and a long event cut, with its size told."""
    small = make_bus(max_payload_bytes=16 * 1024)
    small.run(ensure_streams)
    emitter = make_emitter(small.url, compression="none")
    log = emitter.processor()
    log(None, "info", {"event": "a" * 100_000})
    for number in range(200):
        log(None, "info", {"event": "b" * 200, "number": number})
    assert emitter.flush(15)
    long, *short = small.events(dataset)
    assert len(short) == 200
    assert long["event"]["original_size"] > 100_000
    assert 5_000 < len(long["message"]) < 16_000
    assert emitter.stats().dropped == {}


def test_frames_are_cut_again_when_a_stream_takes_less(
    make_bus: Callable[..., Any], make_emitter: MakeEmitter, dataset: str
) -> None:
    """A stream with a smaller limit than the server's gets smaller frames of the same events."""
    bus = make_bus()
    bus.run(ensure_streams)

    async def limit(connection: Connection) -> None:
        info = json.loads(await connection.request("$JS.API.STREAM.INFO.LOGS"))
        config = {**info["config"], "max_msg_size": 8_000}
        answer = json.loads(await connection.request("$JS.API.STREAM.UPDATE.LOGS", json.dumps(config).encode()))
        assert "error" not in answer, answer

    bus.run(limit)
    emitter = make_emitter(bus.url, compression="none")
    log = emitter.processor()
    log(None, "info", {"event": "a" * 50_000, "number": -1})
    for number in range(300):
        log(None, "info", {"event": "b" * 100, "number": number})
    assert emitter.flush(15)
    events = bus.events(dataset)
    assert sorted(event["number"] for event in events) == list(range(-1, 300))
    assert sorted(_sequences(events)) == list(range(1, 302))
    assert emitter.stats().dropped == {}
