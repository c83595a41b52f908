"""What waits is told as the server sees it; what was deleted unread is counted once."""

import asyncio
import json
import math
import secrets
import time

from dataplane_common.bus import Connection, ConsumerConfig
from dataplane_common.bus.consumer import create_consumer
from dataplane_common.config import NatsConfig
from elastinats.backlog import Backlog, look
from elastinats.routes import Feed

NS = 1_000_000_000


def stream(*, first=1, last=10, messages=10, size=1000, max_age_s=0, max_bytes=-1):
    state = {"first_seq": first, "last_seq": last, "messages": messages, "bytes": size}
    return {"state": state, "config": {"max_age": max_age_s * NS, "max_bytes": max_bytes}}


def consumer(*, floor=0, pending=10, unsettled=0, **config):
    return {"ack_floor": {"stream_seq": floor}, "num_pending": pending, "num_ack_pending": unsettled, "config": config}


def test_lag_is_the_age_of_the_oldest_and_age_deletes_it():
    """An hour of retention and ten minutes of lag leave fifty minutes."""
    backlog = Backlog()
    backlog.learn(stream(max_age_s=3600), consumer(unsettled=2), 1000.0, 1600.0)
    assert (backlog.waiting, backlog.lag_s, backlog.retention_s) == (12, 600.0, 3000.0)


def test_nothing_waiting_means_no_lag_and_no_deadline():
    """A sink that has read everything loses nothing to retention."""
    backlog = Backlog()
    backlog.learn(stream(max_age_s=3600, max_bytes=2000), consumer(pending=0, floor=10), None, 1600.0)
    assert (backlog.waiting, backlog.lag_s, backlog.retention_s) == (0, 0.0, math.inf)


def test_a_full_stream_deletes_at_the_pace_of_writing():
    """1,000 bytes of room at 100 bytes a second last ten seconds."""
    backlog = Backlog()
    backlog.learn(stream(max_bytes=2000), consumer(), 0.0, 100.0)
    assert backlog.retention_s == math.inf, "no pace is known yet"
    backlog.learn(stream(last=20, max_bytes=2000), consumer(), 0.0, 110.0)
    assert backlog.retention_s == 10.0


def test_what_expired_unread_is_counted_once():
    """Looking again counts only what is newly gone; what was read first is no loss."""
    backlog = Backlog()
    for first, floor, expired in [(1, 0, 0), (6, 0, 5), (6, 0, 5), (9, 2, 8), (20, 19, 8), (22, 19, 10)]:
        backlog.learn(stream(first=first), consumer(floor=floor), None, 0.0)
        assert backlog.expired == expired


def test_nobody_knows_whose_messages_expired_behind_a_filter():
    """A feed with a filter counts none."""
    backlog = Backlog()
    backlog.learn(stream(first=6), consumer(filter_subjects=["a"]), None, 0.0)
    assert backlog.expired == 0


def test_a_real_stream_that_deletes_unread_messages_is_told(nats_url):
    """Of fifteen messages in a stream of ten, five expired unread, ten wait, and the oldest is seconds old."""
    name = f"t_{secrets.token_hex(6)}"

    async def scenario() -> Backlog:
        connection = Connection(NatsConfig(servers=(nats_url,)), name="test")
        connection.start()
        await connection.wait_ready(10)
        limits = {"max_msgs": 10, "max_age": 3600 * NS, "discard": "old", "storage": "file"}
        body = json.dumps({"name": name, "subjects": [f"{name}.>"], **limits}).encode()
        assert "error" not in json.loads(await connection.request(f"$JS.API.STREAM.CREATE.{name}", body))
        await create_consumer(connection, ConsumerConfig(name, "d"))
        for _ in range(15):
            await connection.request(f"{name}.x", b"{}")
        found = Backlog()
        await look(connection, Feed("r", name, "d", (), "t"), found, time.time)
        await connection.close()
        return found

    found = asyncio.run(scenario())
    assert (found.waiting, found.expired) == (10, 5)
    assert 0 <= found.lag_s < 30
    assert 3500 < found.retention_s <= 3600
