"""Measures the sink: JetStream into Elasticsearch, beside ready bulk bodies posted by bare connections in the same run.

`make bench-sink`, or `.venv/bin/python bench/sink.py [--events 1000000]`. Everything runs on the loopback interface and
shares the cores. `null_endpoint.py` takes Elasticsearch's place for the sink's own limit.
Figures are printed as a table or as JSON lines (`--json`); none is asserted.
"""

import argparse
import asyncio
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

from sink_process import COMMAND, DEADLINE_S, Servers, Sink

from dataplane.download import elasticsearch_home, unseen
from dataplane_common import event
from dataplane_common.bus import Connection, Publisher, ensure_streams
from dataplane_common.config import NatsConfig
from dataplane_common.frame import FrameEncoder
from dataplane_common.local import ElasticsearchServer, NatsServer, free_port
from elastinats.decode import frame_body
from elastinats.part import seams

SOURCE = "0123456789abcdef"
AT = b"2026-11-22T10:15:30.123456Z"
#: Makes an event of 350 bytes.
PADDING = b"x" * 111
LINE = (
    b'"@timestamp":"%b","message":"GET /articles/%07d.html %b","log":{"level":"info"},'
    b'"host":{"name":"web-1.example.net"},"service":{"name":"nginx"},"event":{"dataset":"bench","sequence":%d}}'
)
#: Events in a frame: 256 KiB before compression.
PER_FRAME = 256 * 1024 // 350
BODY_BYTES = 5_000_000
CONNECTIONS = 3
BULK_PATH = "/_bulk?require_data_stream=true&filter_path=errors,items.*.status,items.*.error,items.*.failure_store"
LATENCIES = 30


def lines(numbers: range) -> bytes:
    """Return the lines of a frame."""
    return b"".join(b'{"_id":"%b-%x",' % (SOURCE.encode(), n) + LINE % (AT, n, PADDING, n + 1) + b"\n" for n in numbers)


def ranges(total: int) -> Iterator[range]:
    """Cut the events' numbers into frames."""
    return (range(first, min(total, first + PER_FRAME)) for first in range(0, total, PER_FRAME))


def bodies(total: int, dataset: str) -> list[bytes]:
    """Return ready bulk bodies of about 5 MB, made of the same frames by the sink's own cutting."""
    joint, found, parts, size = seams(f"logs-{dataset}-bench", AT.decode()), [], [], 0
    for numbers in ranges(total):
        part = frame_body(lines(numbers), joint)
        assert part is not None  # noqa: S101 - the frames are ours
        if parts and size + len(part[0]) > BODY_BYTES:
            found.append(b"".join(parts))
            parts, size = [], 0
        parts.append(part[0])
        size += len(part[0])
    return [*found, b"".join(parts)]


async def fill(url: str, total: int, dataset: str, *, framed: bool) -> None:
    """Put all events into JetStream, acknowledged."""
    connection = Connection(NatsConfig(servers=(url,)), name="bench")
    connection.start()
    await connection.wait_ready(10)
    await ensure_streams(connection)
    publisher = Publisher(connection)
    await publisher.start()
    subject, encoder = f"logs.bench.{dataset}.web-1", FrameEncoder()
    for numbers in ranges(total):
        if framed:
            made = encoder.encode(
                subject, SOURCE, lines(numbers), first=numbers.start, end=numbers.stop, count=len(numbers)
            )
            await publisher.publish(subject, made.payload, made.headers)
        else:
            for n in numbers:
                await publisher.publish(subject, b"{" + LINE % (AT, n, PADDING, n + 1), {})
    await publisher.drain(DEADLINE_S)
    await publisher.close()
    await connection.close()


def post(url: str, ready: list[bytes]) -> None:
    """Post bodies over one bare connection until none is left."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port or 80, timeout=120)
    while True:
        try:
            body = ready.pop()
        except IndexError:
            return
        connection.request("POST", BULK_PATH, body, {"Content-Type": "application/x-ndjson"})
        answer = connection.getresponse().read()
        if not answer.startswith(b'{"errors":false'):
            sys.exit(f"the limit's bodies were refused: {answer[:300]!r}")


def limit(url: str, total: int, dataset: str) -> dict[str, float]:
    """What Elasticsearch takes from bare connections."""
    ready = bodies(total, dataset)
    posters = [threading.Thread(target=post, args=(url, ready)) for _ in range(CONNECTIONS)]
    began_s, cpu_s = time.monotonic(), time.process_time()
    for poster in posters:
        poster.start()
    for poster in posters:
        poster.join()
    took_s = time.monotonic() - began_s
    return {"events/s": total / took_s, "CPU s/M": (time.process_time() - cpu_s) * 1e6 / total, "wall s": took_s}


def drain(folder: Path, servers: Servers, total: int, dataset: str, target: str) -> dict[str, float]:
    """Run the sink over all events of a dataset; the clocks start when it is ready, its start apart."""
    sink = Sink(folder, servers, dataset, target)
    try:
        sink.until("ready")
        began_s, start_cpu_s = time.monotonic(), sink.cpu_s()
        sink.until(str(total))
        took_s, cpu_s = time.monotonic() - began_s, sink.cpu_s()
        return {
            "events/s": total / took_s,
            "CPU s/M": (cpu_s - start_cpu_s) * 1e6 / total,
            "wall s": took_s,
            "RSS MB": sink.peak_mb(),
            "CPU s of the start": start_cpu_s,
        }
    finally:
        sink.stop()


async def latency(folder: Path, servers: Servers) -> dict[str, float]:
    """Time from the publication of an event to the first search that finds it."""
    sink = Sink(folder, servers, "latency", "latency")
    connection = Connection(NatsConfig(servers=(servers.nats,)), name="bench")
    connection.start()
    await connection.wait_ready(10)
    publisher = Publisher(connection)
    await publisher.start()
    sink.until("ready")
    took = []
    for number in range(LATENCIES):
        line, began_s = lines(range(number, number + 1)), time.monotonic()
        await publisher.publish("logs.bench.latency.web-1", line, {"Dp-Count": "1"})
        await publisher.drain(10)
        await asyncio.to_thread(searchable, servers.elasticsearch, event.event_id(SOURCE, number))
        took.append(time.monotonic() - began_s)
    sink.stop()
    await publisher.close()
    await connection.close()
    return {"p50 ms": statistics.median(took) * 1e3, "max ms": max(took) * 1e3}


def searchable(url: str, identity: str) -> None:
    """Search until a document is found; an index that is only just made is not ready yet."""
    body = {"query": {"ids": {"values": [identity]}}}
    while True:
        with suppress(urllib.error.HTTPError):
            if ask(url, "/logs-latency-bench/_search?ignore_unavailable=true", body)["hits"]["total"]["value"]:
                return
        time.sleep(0.01)


def ask(url: str, path: str, body: object = None, method: str | None = None) -> dict:
    """Ask Elasticsearch."""
    data = None if body is None else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(url + path, data=data, headers=kind, method=method)  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def check_counts(url: str, total: int, *datasets: str) -> None:
    """End the run if a data stream has not exactly the events."""
    for dataset in datasets:
        ask(url, f"/logs-{dataset}-bench/_refresh", method="POST")
        if (found := ask(url, f"/logs-{dataset}-bench/_count")["count"]) != total:
            sys.exit(f"{dataset}: {found} documents instead of {total}")


def set_up(servers: Servers) -> None:
    """Put the templates, and for the measured data streams the same with one shard and a rare refresh."""
    arguments = ["--nats", servers.nats, "--elasticsearch", servers.elasticsearch, "--single-node"]
    subprocess.run([COMMAND, "setup", *arguments], check=True, stdout=subprocess.DEVNULL)
    found = ask(servers.elasticsearch, "/_index_template/dataplane-logs")["index_templates"][0]["index_template"]
    settings = found.setdefault("template", {}).setdefault("settings", {}).setdefault("index", {})
    settings["refresh_interval"] = "30s"
    template = {**found, "index_patterns": ["logs-bench_*-bench"], "priority": 300}
    ask(servers.elasticsearch, "/_index_template/bench", template, "PUT")


def show(name: str, figures: dict[str, float], *, as_json: bool) -> None:
    """Print one row."""
    if as_json:
        print(json.dumps({"name": name, **figures}), flush=True)
    else:
        print(f"{name:<44}" + "  ".join(f"{value:>9,.1f} {unit}" for unit, value in figures.items()), flush=True)


def measure(folder: Path, servers: Servers, total: int, *, as_json: bool) -> None:
    """Measure and print; limit and sink by turns, because the server grows faster while it warms up."""
    set_up(servers)
    asyncio.run(fill(servers.nats, total, "frames", framed=True))
    limit(servers.elasticsearch, total // 5, "bench_warm")
    for turn in ("1", "2"):
        show(f"limit: {CONNECTIONS} bare connections, {turn}",
             limit(servers.elasticsearch, total, f"bench_limit{turn}"), as_json=as_json)  # fmt: skip
        show(f"frames, {turn}", drain(folder, servers, total, "frames", f"bench_frames{turn}"), as_json=as_json)
    check_counts(servers.elasticsearch, total, "bench_frames1", "bench_frames2", "bench_limit1", "bench_limit2")
    asyncio.run(fill(servers.nats, total, "single", framed=False))
    show("single messages", drain(folder, servers, total, "single", "bench_single"), as_json=as_json)
    check_counts(servers.elasticsearch, total, "bench_single")
    show("publish to searchable, refresh_interval 1 s", asyncio.run(latency(folder, servers)), as_json=as_json)


def measure_nothing(folder: Path, servers: Servers, total: int, *, as_json: bool) -> None:
    """Measure the sink against the null endpoint, with both servers' work out of the way but that of NATS."""
    nowhere = servers._replace(elasticsearch=f"http://127.0.0.1:{free_port().number}")
    port = str(urlsplit(nowhere.elasticsearch).port)
    endpoint = subprocess.Popen([sys.executable, str(Path(__file__).with_name("null_endpoint.py")), port])
    try:
        for dataset in ("frames", "single"):
            figures = drain(folder, nowhere, total, dataset, f"bench_null_{dataset}")
            show(f"null endpoint, {dataset}", figures, as_json=as_json)
    finally:
        endpoint.terminate()
        endpoint.wait(10)


def main() -> None:
    """Run all measurements, or the null endpoint."""
    options = argparse.ArgumentParser()
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}")
    print(f"{chosen.events:,} events of {len(lines(range(1))):,} bytes", flush=True)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        nats, elasticsearch = (
            NatsServer(folder / "nats"),
            ElasticsearchServer(folder / "es", elasticsearch_home(unseen)),
        )
        for server in (nats, elasticsearch):
            stack.callback(server.clear)
            server.start()
        servers = Servers(nats.url, elasticsearch.url)
        measure(folder, servers, chosen.events, as_json=chosen.json)
        elasticsearch.stop()
        measure_nothing(folder, servers, chosen.events, as_json=chosen.json)


if __name__ == "__main__":
    main()
