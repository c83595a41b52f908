"""What a log call and a counter cost the application, with the bus there, frozen and away, beside stdlib handlers.

    .venv/bin/python bench/emitter.py

Flows in: nothing. Flows out: a table; microseconds per call, paced so that the queue never fills.
"""

import asyncio
import logging
import logging.handlers
import queue
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dataplane_common.bus import Connection, ensure_streams
from dataplane_common.config import NatsConfig
from dataplane_common.local import NatsServer, free_port
from dataplane_emitter import Emitter, configure

_CALLS = 20_000
#: A pause after so many calls, so that the emitter's thread works in between, as it does in a service.
_BURST = 50
_PAUSE_S = 0.002
_FLOOD = 200_000


def measure(call: Callable[[], object]) -> tuple[float, float, float]:
    """Return the median, the 99th percentile and the worst of single calls, in microseconds."""
    times = []
    for number in range(_CALLS):
        before = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - before)
        if number % _BURST == 0:
            time.sleep(_PAUSE_S)
    times.sort()
    return times[_CALLS // 2] / 1000, times[_CALLS * 99 // 100] / 1000, times[-1] / 1000


def logger_with(handler: logging.Handler) -> logging.Logger:
    """Return a logger that has this handler only."""
    logger = logging.getLogger(f"bench.{id(handler)}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return logger


def show(name: str, call: Callable[[], object]) -> None:
    """Measure and print one row."""
    median, high, worst = measure(call)
    print(f"{name:42} {median:8.2f} {high:8.2f} {worst:10.1f}", flush=True)


def show_emitter(state: str, emitter: Emitter) -> None:
    """Print the rows of one emitter."""
    log = logger_with(emitter.handler())
    processor = emitter.processor()
    counter = emitter.counter("bench")
    event = {"event": "order paid", "order": 4711, "user": "ann"}
    show(f"{state}: logging handler", lambda: log.info("order %s paid", 4711))
    show(f"{state}: structlog processor", lambda: processor(None, "info", event))
    show(f"{state}: counter.inc", counter.inc)


def flood(emitter: Emitter) -> None:
    """Print how many events per second one thread can have acknowledged."""
    processor = emitter.processor()
    event = {"event": "order paid", "order": 4711, "user": "ann"}
    before, started = emitter.stats(), time.perf_counter()
    for _ in range(_FLOOD):
        processor(None, "info", event)
    called = time.perf_counter() - started
    emitter.flush(60)
    took = time.perf_counter() - started
    after = emitter.stats()
    sent = after.acknowledged - before.acknowledged
    rate = f"{_FLOOD / called:,.0f} calls/s, {sent / took:,.0f} acknowledged/s"
    print(f"\nflood of {_FLOOD:,} from one thread: {rate}; dropped {dict(after.dropped)}")


def make_streams(url: str) -> None:
    """Create the streams on a server."""

    async def create() -> None:
        connection = Connection(NatsConfig(servers=(url,)), name="bench")
        connection.start()
        await connection.wait_ready(10)
        await ensure_streams(connection)
        await connection.close()

    asyncio.run(create())


def main() -> None:
    """Measure everything."""
    print(f"{'microseconds per call':42} {'p50':>8} {'p99':>8} {'worst':>10}")
    null = logger_with(logging.NullHandler())
    show("logging alone (NullHandler)", lambda: null.info("order %s paid", 4711))
    with Path("/dev/null").open("w") as sink:
        stream = logger_with(logging.StreamHandler(sink))
        show("StreamHandler to /dev/null", lambda: stream.info("order %s paid", 4711))
    queued = logger_with(logging.handlers.QueueHandler(queue.SimpleQueue()))
    show("QueueHandler", lambda: queued.info("order %s paid", 4711))
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder))
        server.start()
        try:
            make_streams(server.url)
            emitter = configure(service="bench", servers=server.url)
            emitter.flush()
            show_emitter("bus there", emitter)
            server.pause()
            show_emitter("bus frozen", emitter)
            server.resume()
            emitter.flush(30)
            flood(emitter)
            emitter.close()
        finally:
            server.clear()
    away = configure(service="bench", servers=f"nats://127.0.0.1:{free_port().number}", exit_timeout_s=0.1)
    show_emitter("bus away", away)


if __name__ == "__main__":
    main()
