"""The tap, on a real server."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataplane import tap
from dataplane_common.bus import Connection
from dataplane_common.config import NatsConfig
from dataplane_common.errors import ConfigError
from dataplane_common.frame import FrameEncoder
from dataplane_common.local import NatsServer, probe

Run = Callable[..., subprocess.CompletedProcess[str]]
SUBJECT = "logs.test.x.host"


def lines(count: int) -> bytes:
    """Return events, enough of them to be compressed."""
    return b"".join(b'{"_id":"s-%x","@timestamp":"t","message":"line %d"}\n' % (n, n) for n in range(count))


@pytest.fixture
def taken() -> tuple[tap.Tap, list[dict[str, Any]], list[str]]:
    """Give a tap, what it shows and what it reports."""
    shown: list[dict[str, Any]] = []
    reported: list[str] = []
    return tap.Tap(lambda document, _line: shown.append(document), reported.append), shown, reported


def test_frames_are_decoded_compressed_or_not(taken: Any) -> None:
    """A large frame is compressed, a small one is not; both become the same lines."""
    reader, shown, reported = taken
    for count in (1, 2_000):
        frame = FrameEncoder().encode(SUBJECT, "s", lines(count), first=0, end=1, count=count)
        reader.take(SUBJECT, frame.payload, frame.headers)
    assert [each["message"] for each in shown] == ["line 0", *(f"line {n}" for n in range(2_000))]
    assert (reader.events, reader.messages, reported) == (2_001, 2, [])


def test_a_missing_frame_is_shown_and_counted(taken: Any) -> None:
    """Who reads along is told what he did not see."""
    reader, _, reported = taken
    encoder = FrameEncoder()
    frames = [encoder.encode(SUBJECT, "s", lines(1), first=n, end=n + 1, count=1) for n in range(4)]
    for frame in (frames[0], frames[3]):
        reader.take(SUBJECT, frame.payload, frame.headers)
    assert reported == [f"2 frames of {SUBJECT} are missing here"]
    assert reader.summary() == "2 events in 2 messages, 2 frames missing"


@pytest.mark.parametrize(
    ("payload", "messages"),
    [
        (b"plain text", ["plain text"]),
        (b'{"message":"a"}\n{"message":"b"}', ["a", "b"]),
        (b'"quoted"', ["quoted"]),
        (b"\xff\xfe", ["\ufffd\ufffd"]),
        (b"", []),
        (b"[1,2]", ["[1,2]"]),
    ],
)
def test_foreign_messages_are_shown(payload: bytes, messages: list[str], taken: Any) -> None:
    """Anyone may publish anything; it is shown as it can be read."""
    reader, shown, _ = taken
    assert reader.take(SUBJECT, payload, {})
    assert [each["message"] for each in shown] == messages


def test_a_payload_that_cannot_be_decoded_is_reported(taken: Any) -> None:
    """A broken frame is one remark; the tap goes on."""
    reader, shown, reported = taken
    assert reader.take(SUBJECT, b"no zstd", {"Content-Encoding": "zstd"})
    assert not shown
    assert "cannot be decompressed" in reported[0]


def test_the_limit_ends_it(taken: Any) -> None:
    """`--limit 2` shows two events, also out of the middle of a frame."""
    reader, shown, _ = taken
    reader.limit = 2
    assert not reader.take(SUBJECT, lines(5), {})
    assert len(shown) == 2


@pytest.mark.parametrize("subject", ["", "logs..x", "logs.>.x", "logs. x", ".", "logs.x."])
def test_a_subject_that_cannot_exist_is_refused(subject: str) -> None:
    """The message shows what can be typed; the server would close the connection."""
    with pytest.raises(ConfigError, match="expected tokens with dots between"):
        tap.check_subject(subject)


def test_the_command_shows_what_is_published(nats: NatsServer) -> None:
    """`dataplane tap --json --limit 2` prints two events as they travelled, and ends with the count."""
    command = [str(Path(sys.executable).with_name("dataplane")), "tap", "--json", "--limit", "2", "--nats", nats.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        _wait_for_subscription(nats)
        asyncio.run(_publish(nats.url))
        out, err = reader.communicate(timeout=30)
    assert [json.loads(line)["message"] for line in out.splitlines()] == ["line 0", "line 1"]
    assert err == "2 events in 1 messages, 0 frames missing\n"
    assert reader.returncode == 0


def test_an_absent_server_is_one_line(run: Run) -> None:
    """No traceback: where it was looked for, why it failed, what to set; and exit code 1."""
    done = run("tap", "--nats", "nats://127.0.0.1:1")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) <= 3
    assert "nats://127.0.0.1:1 cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


async def _publish(url: str) -> None:
    connection = Connection(NatsConfig(servers=(url,)), name="test")
    connection.start()
    await connection.wait_ready(10)
    frame = FrameEncoder().encode(SUBJECT, "s", lines(3), first=0, end=3, count=3)
    await connection.publish(SUBJECT, frame.payload, headers=frame.headers)
    await connection.flush(10)
    await connection.close()


def _wait_for_subscription(nats: NatsServer) -> None:
    deadline = time.monotonic() + 30
    while "logs.>" not in str(probe.get_json(f"{nats.monitor_url}/subsz?subs=1").get("subscriptions_list")):
        assert time.monotonic() < deadline, "the tap did not subscribe"
        time.sleep(0.02)
