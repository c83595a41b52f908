"""One subject of bench/emitter.py, in a process of its own.

Flows in: the subject's name, the bus, the process to freeze, the mode. Flows out: one line of JSON. Each peer sends to
a listener in this process that reads and forgets; OpenTelemetry exports to a function that does nothing.
"""

import asyncio
import contextlib
import json
import logging
import logging.handlers
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = 20_000
#: A pause after so many calls, so that the sender's thread works in between, as it does in a service.
BURST = 50
PAUSE_S = 0.002
FLOOD = 300_000
WARM_UP = 500
Call = Callable[[], object]


def drain(kind: socket.SocketKind) -> int:
    """Return the port of a listener that reads and forgets."""
    listener = socket.socket(socket.AF_INET, kind)
    listener.bind(("127.0.0.1", 0))

    def forget(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(65_536):
                pass

    def accept() -> None:
        listener.listen()
        while True:
            threading.Thread(target=forget, args=(listener.accept()[0],), daemon=True).start()

    target = accept if kind == socket.SOCK_STREAM else lambda: forget(listener)
    threading.Thread(target=target, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def logger_call(handler: logging.Handler, name: str = "bench") -> Call:
    """Return a log call to a logger that has this handler only."""
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return lambda: logger.info("order %s paid", 4711)


def logstash() -> Call:
    """Return a call of python-logstash-async."""
    from logstash_async.handler import AsynchronousLogstashHandler  # noqa: PLC0415 - one peer per process

    return logger_call(AsynchronousLogstashHandler("127.0.0.1", drain(socket.SOCK_STREAM), database_path=None))


def fluent() -> Call:
    """Return a call of fluent-logger."""
    from fluent import asynchandler  # noqa: PLC0415 - as above

    return logger_call(asynchandler.FluentHandler("bench", host="127.0.0.1", port=drain(socket.SOCK_STREAM)))


def otel_log() -> Call:
    """Return a call of OpenTelemetry's logging handler with its batch processor."""
    from opentelemetry.sdk import _logs as logs  # noqa: PLC0415 - as above
    from opentelemetry.sdk._logs import export  # noqa: PLC0415 - as above

    class Nothing(export.LogRecordExporter):  # type: ignore[misc,name-defined]
        def export(self, _batch: Any) -> Any:
            return export.LogRecordExportResult.SUCCESS

        def shutdown(self) -> None:
            pass

        def force_flush(self, _timeout_millis: int = 0) -> bool:
            return True

    provider = logs.LoggerProvider()
    provider.add_log_record_processor(export.BatchLogRecordProcessor(Nothing()))
    return logger_call(logs.LoggingHandler(logger_provider=provider))


def loguru() -> Call:
    """Return a call of loguru that writes in another thread."""
    from loguru import logger  # noqa: PLC0415 - as above

    logger.remove()
    logger.add(Path("/dev/null").open("w"), enqueue=True)  # noqa: SIM115 - until the end
    return lambda: logger.info("order {} paid", 4711)


def prometheus() -> Call:
    """Return a counter's increment of prometheus_client."""
    from prometheus_client import Counter  # noqa: PLC0415 - as above

    return Counter("bench", "x").inc


def otel_counter() -> Call:
    """Return a counter's increment of OpenTelemetry with a periodic reader."""
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415 - as above

    counter = MeterProvider([InMemoryMetricReader()]).get_meter("bench").create_counter("bench")
    return lambda: counter.add(1)


def dogstatsd() -> Call:
    """Return a counter's increment of dogstatsd, as it comes: with its buffer."""
    from datadog.dogstatsd import DogStatsd  # noqa: PLC0415 - as above

    client = DogStatsd(host="127.0.0.1", port=drain(socket.SOCK_DGRAM))
    return lambda: client.increment("bench")


PEERS: dict[str, Callable[[], Call]] = {
    "StreamHandler to /dev/null": lambda: logger_call(logging.FileHandler("/dev/null")),
    "QueueHandler": lambda: logger_call(queue_handler()),
    "python-logstash-async": logstash,
    "fluent-logger async": fluent,
    "OpenTelemetry batch log handler": otel_log,
    "loguru enqueue to /dev/null": loguru,
    "prometheus_client counter.inc": prometheus,
    "OpenTelemetry counter.add": otel_counter,
    "dogstatsd increment": dogstatsd,
}


def queue_handler() -> logging.Handler:
    """Return a handler that hands over to a listener writing to /dev/null."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    sink = logging.StreamHandler(Path("/dev/null").open("w"))  # noqa: SIM115 - until the end
    logging.handlers.QueueListener(waiting, sink).start()  # type: ignore[arg-type]
    return logging.handlers.QueueHandler(waiting)  # type: ignore[arg-type]


def emitter_call(name: str, url: str) -> tuple[Any, Call]:
    """Return an emitter and one of its calls."""
    from dataplane_emitter import configure  # noqa: PLC0415 - not in the peers' processes

    emitter = configure(service="bench", servers=url, stderr=False, exit_timeout_s=0.1)
    if "counter" in name:
        return emitter, emitter.counter("bench").inc
    if "structlog" in name:
        processor, event = emitter.processor(), {"event": "order paid", "order": 4711, "user": "ann"}
        return emitter, lambda: processor(None, "info", event)
    return emitter, logger_call(emitter.handler())


def make_streams(url: str) -> None:
    """Create the streams, if the server has none yet."""
    from dataplane_common.bus import Connection, ensure_streams  # noqa: PLC0415 - as above
    from dataplane_common.config import NatsConfig  # noqa: PLC0415 - as above

    async def create() -> None:
        connection = Connection(NatsConfig(servers=(url,)), name="bench")
        connection.start()
        await connection.wait_ready(10)
        await ensure_streams(connection)
        await connection.close()

    asyncio.run(create())


def paced(call: Call) -> dict[str, float]:
    """Return the median, the 99th percentile and the worst of single calls, in microseconds.

    Calls of `logging` without a handler are measured by turns with them: the machine's speed changes within seconds.
    """
    alone = logger_call(logging.NullHandler(), "alone")
    times: dict[Call, list[int]] = {call: [], alone: []}
    for _ in range((CALLS + WARM_UP) // BURST):
        for one, taken in times.items():
            time.sleep(PAUSE_S)
            for _ in range(BURST):
                before = time.perf_counter_ns()
                one()
                taken.append(time.perf_counter_ns() - before)
    own, base = (sorted(taken[WARM_UP:]) for taken in times.values())
    middle, high = CALLS // 2, CALLS * 99 // 100
    return {
        "p50": own[middle] / 1000,
        "p99": own[high] / 1000,
        "worst": own[-1] / 1000,
        "alone p50": base[middle] / 1000,
        "alone p99": base[high] / 1000,
    }


def flood(emitter: Any, call: Call) -> dict[str, float]:
    """Return how many events per second one thread can log, and have acknowledged."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before, started = emitter.stats(), time.perf_counter()
    for _ in range(FLOOD):
        call()
    called = time.perf_counter() - started
    emitter.flush(30 if emitter.stats().is_connected else 0.1)
    took = time.perf_counter() - started
    after = emitter.stats()
    return {
        "events": FLOOD,
        "calls": FLOOD / called,
        "acknowledged": (after.acknowledged - before.acknowledged) / took,
        "dropped": sum(after.dropped.values()),
        "grown_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024,
    }


def main() -> None:
    """Measure one subject and print its figures."""
    name, url, frozen, mode = sys.argv[1:]
    if name in PEERS:
        print(json.dumps(paced(PEERS[name]())), flush=True)
        os._exit(0)  # peers may wait long for their servers
    with contextlib.suppress(Exception):
        make_streams(url)
    emitter, call = emitter_call(name, url)
    call()
    emitter.flush(5)
    if int(frozen):
        os.kill(int(frozen), signal.SIGSTOP)
    try:
        figures = flood(emitter, call) if mode == "flood" else paced(call)
    finally:
        if int(frozen):
            os.kill(int(frozen), signal.SIGCONT)
    print(json.dumps(figures), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
