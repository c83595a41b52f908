"""The sink between real servers: what becomes of each kind of message, and that nothing is lost or doubled."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from dataplane_common import event
from dataplane_common.bus import Connection, Publisher
from dataplane_common.config import NatsConfig
from dataplane_common.frame import FrameEncoder

#: Servers start in some of these tests, on machines that have other work, too.
pytestmark = pytest.mark.timeout(300)

DEADLINE_S = 60.0
AT = "2026-11-22T10:15:30.123456Z"

Sent = tuple[str, bytes, dict[str, str]]


def publish(url: str, messages: Iterable[Sent]) -> None:
    """Publish messages and wait for the acknowledgement of each."""

    async def work() -> None:
        connection = Connection(NatsConfig(servers=(url,)), name="test")
        connection.start()
        await connection.wait_ready(10)
        publisher = Publisher(connection)
        await publisher.start()
        for subject, payload, headers in messages:
            await publisher.publish(subject, payload, headers)
        assert await publisher.drain(30)
        await publisher.close()
        await connection.close()

    asyncio.run(work())


def frames(dataset: str, total: int, *, per_frame: int = 500) -> list[Sent]:
    """Return `total` numbered events in compressed frames of one source."""
    encoder, source, sent = FrameEncoder(), event.new_source(), []
    for first in range(0, total, per_frame):
        numbers = range(first, min(total, first + per_frame))
        lines = b"".join(event.encode(event.event_id(source, n), AT, {"message": f"line {n}"}) for n in numbers)
        subject = f"logs.test.{dataset}.host-1"
        made = encoder.encode(subject, source, lines, first=first, end=numbers.stop, count=len(numbers))
        sent.append((subject, made.payload, made.headers))
    return sent


def frame(dataset: str, *documents: dict[str, Any], source: str, signal: str = "logs", **headers: str) -> Sent:
    """Return one frame of the given documents, their positions counted from 0."""
    lines = b"".join(event.encode(event.event_id(source, n), AT, document) for n, document in enumerate(documents))
    return f"{signal}.test.{dataset}.host-1", lines, {"Dp-Count": str(len(documents)), **headers}


def hits(plane, signal: str = "logs") -> list[dict[str, Any]]:
    """Return id and source of everything in the test's data stream."""
    plane._ask(f"/{signal}-{plane.dataset}-test/_refresh")
    found = plane._ask(f"/{signal}-{plane.dataset}-test/_search?size=1000")
    return list(found["hits"]["hits"])


def letters(plane) -> list[dict[str, Any]]:
    """Return the dead letters of the test's dataset, as the command tells them."""
    pattern = f"logs.test.{plane.dataset}.>"
    text = plane.command("elastinats", "dlq", "list", "--json", "--nats", plane.nats_url, "--subject", pattern)
    return list(json.loads(text))


def wait_until(condition, plane) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, plane.outputs()
        time.sleep(0.05)


def assert_each_once(plane, total: int) -> None:
    counted = Counter(document["message"] for document in plane.documents())
    assert len(counted) == total
    assert set(counted.values()) == {1}


def test_anybodys_messages_are_searchable(plane):
    """JSON, NDJSON, arrays, text and the original programs' shapes become documents with an envelope."""
    subject = f"logs.test.{plane.dataset}.host-1"
    payloads = [
        b"plain text",
        b'{"user":"u","n":NaN}',
        b'{"a":1}\n{"a":2}',
        b'[{"a":3},"x"]',
        b'{"@msg":"GET /","@filepath":"/var/log/a.log","@hostname":"old-1"}',
        b'{"msg":"paid","level":"warning","time":"2026-01-02T03:04:05Z"}',
        b"\xff\xfe",
        b"",
    ]
    plane.start_sink()
    publish(plane.nats_url, [(subject, payload, {}) for payload in payloads])
    plane.wait_for_count(10)
    found = [hit["_source"] for hit in hits(plane)]
    assert len(found) == 10
    assert all(each["event"]["dataset"] == plane.dataset and "event.ingested" in each for each in found)
    by_message = {each.get("message"): each for each in found}
    assert by_message["GET /"]["log"]["file"]["path"] == "/var/log/a.log"
    assert by_message["GET /"]["host"]["name"] == "old-1"
    assert by_message["paid"]["@timestamp"] == "2026-01-02T03:04:05.000000Z"
    assert by_message["plain text"]["host"]["name"] == "host-1"
    assert letters(plane) == []


def test_a_refused_event_is_a_dead_letter_and_the_rest_is_indexed(plane):
    """What the mapping refuses is kept with Elasticsearch's reason; it can be dropped on purpose."""
    source = event.new_source()
    lines = [
        b'{"_id":"%s-%x","@timestamp":"%s","message":"line %d"}\n' % (source.encode(), n, at, n)
        for n, at in enumerate([AT.encode(), b"no date", AT.encode()])
    ]
    plane.start_sink()
    publish(plane.nats_url, [(f"logs.test.{plane.dataset}.h", b"".join(lines), {"Dp-Count": "3"})])
    plane.wait_for_count(2)
    wait_until(lambda: letters(plane), plane)
    (letter,) = letters(plane)
    assert letter["reason"] == "rejected"
    assert "no date" in letter["cause"]
    shown = json.loads(
        plane.command("elastinats", "dlq", "show", "--json", "--nats", plane.nats_url, str(letter["sequence"]))
    )
    assert shown["payload"] == lines[1].decode()
    plane.command("elastinats", "dlq", "drop", "--nats", plane.nats_url, str(letter["sequence"]))
    assert letters(plane) == []


def test_types_that_contradict_each_other_are_indexed_all_the_same(plane):
    """With our templates a field may be a text here and an object there; both are searchable."""
    publish(
        plane.nats_url,
        [
            frame(
                plane.dataset,
                {"message": "a", "user": "u", "n": 1},
                {"message": "b", "user": {"name": "v"}, "n": "many"},
                {"message": "c", "user": [{"name": {"first": "w"}}], "n": {"x": 1}},
                source=event.new_source(),
            )
        ],
    )
    plane.start_sink()
    plane.wait_for_count(3)
    assert letters(plane) == []
    found = plane._ask(f"/logs-{plane.dataset}-test/_search?q=user.name:v")
    assert [hit["_source"]["message"] for hit in found["hits"]["hits"]] == ["b"]


def test_a_repeated_event_is_a_duplicate_and_a_contradiction_is_a_dead_letter(plane):
    """The same id with the same message is indexed once; with another message it is an `id_conflict`."""
    source = event.new_source()
    plane.start_sink()
    publish(plane.nats_url, [frame(plane.dataset, {"message": "one"}, source=source)])
    plane.wait_for_count(1)
    publish(
        plane.nats_url,
        [
            frame(plane.dataset, {"message": "one"}, source=source),
            frame(plane.dataset, {"message": "two"}, source=source),
        ],
    )
    wait_until(lambda: letters(plane), plane)
    assert [letter["reason"] for letter in letters(plane)] == ["id_conflict"]
    assert [hit["_source"]["message"] for hit in hits(plane)] == ["one"]


def test_a_replay_after_a_rollover_is_not_doubled(plane):
    """`create` knows only the current backing index; re-sends are looked up in the older ones."""
    source = event.new_source()
    sink = plane.start_sink()
    publish(plane.nats_url, [frame(plane.dataset, {"message": "one"}, {"message": "two"}, source=source)])
    plane.wait_for_count(2)
    rolled = plane._ask(f"/logs-{plane.dataset}-test/_rollover", {})
    assert rolled["rolled_over"]
    documents = ({"message": "one"}, {"message": "two"}, {"message": "three"})
    publish(plane.nats_url, [frame(plane.dataset, *documents, source=source, **{"Dp-Replay": "1"})])
    plane.wait_for_count(3)
    assert plane.terminate(sink) == 0
    assert_each_once(plane, 3)


def test_metrics_can_be_aggregated(plane):
    """Counters add up, gauges average, a timer's buckets are there to be summed, dimensions are terms."""
    source = event.new_source()
    labels = {"shop": "de", "number": "5"}
    documents = [
        {"metric": {"name": "orders", "type": "counter", "value": 3, "interval_ms": 1000}, "labels": labels},
        {"metric": {"name": "orders", "type": "counter", "value": 4, "interval_ms": 1000}, "labels": labels},
        {"metric": {"name": "t", "type": "timer", "count": 2, "sum": 0.5, "buckets": {"0.1": 1, "0.5": 1}}},
        {"metric": {"name": "t", "type": "timer", "count": 1, "sum": 0.4, "buckets": {"0.5": 1}}},
    ]
    plane.start_sink()
    publish(plane.nats_url, [frame(plane.dataset, *documents, source=source, signal="metrics")])
    plane.wait_for_count(4, "metrics")
    answer = plane._ask(
        f"/metrics-{plane.dataset}-test/_search?size=0",
        {
            "aggs": {
                "orders": {"sum": {"field": "metric.value"}},
                "half": {"sum": {"field": "metric.buckets.0.5"}},
                "shops": {"terms": {"field": "labels.shop"}},
            }
        },
    )["aggregations"]
    assert answer["orders"]["value"] == 7
    assert answer["half"]["value"] == 2
    assert [(bucket["key"], bucket["doc_count"]) for bucket in answer["shops"]["buckets"]] == [("de", 2)]


def test_set_up_twice_changes_nothing(plane):
    """The second `setup` finds everything as it left it."""
    config = str(plane.folder / "elastinats.toml")
    plane.command("elastinats", "setup", "--config", config)
    again = plane.command("elastinats", "setup", "--config", config)
    assert again.splitlines()[-1] == "set up; created or changed: 0"
    assert "unchanged" in again
    checked = json.loads(plane.command("elastinats", "check", "--config", config, "--json"))
    assert all(finding["is_well"] for finding in checked["findings"])
    status = json.loads(plane.command("elastinats", "status", "--config", config, "--json"))
    assert [(feed["waiting"], feed["problem"]) for feed in status["feeds"]] == [(0, ""), (0, "")]


def test_a_killed_sink_doubles_and_loses_nothing(plane):
    """SIGKILL in the middle of bulks, three times: each event of each frame is indexed exactly once."""
    total = 60_000
    publish(plane.nats_url, frames(plane.dataset, total))
    config = plane.folder / "elastinats.toml"
    config.write_text("ack_wait_s = 2\n" + config.read_text().replace("linger_ms = 50", "max_count = 1000"))
    for share in (1, 2, 3):
        sink = plane.start_sink()
        plane.wait_for_count(share * 5_000)
        plane.kill(sink)
    sink = plane.start_sink()
    plane.wait_for_count(total)
    assert plane.terminate(sink) == 0
    assert_each_once(plane, total)
    assert letters(plane) == []


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_restarted_elasticsearch_doubles_and_loses_nothing(own_plane, own_servers, way):
    """Elasticsearch ended in the middle of bulks and started again: each event is indexed exactly once."""
    total = 60_000
    config = own_plane.folder / "elastinats.toml"
    config.write_text(config.read_text().replace("linger_ms = 50", "max_count = 1000"))
    publish(own_plane.nats_url, frames(own_plane.dataset, total))
    sink = own_plane.start_sink()
    own_plane.wait_for_count(5_000)
    getattr(own_servers[1], way)()
    own_servers[1].start()
    own_plane.wait_for_count(total)
    assert own_plane.terminate(sink) == 0
    assert_each_once(own_plane, total)
