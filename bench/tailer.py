"""Measures the tailer: files to an acknowledged JetStream stream, on this machine, with the physical limits beside.

`make bench-tailer`, or `.venv/bin/python bench/tailer.py [--mib 1024]`. Everything runs on the loopback interface; the
server shares the cores. Figures are printed as a table and as JSON lines (`--json`); none is asserted.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from process_figures import peak_memory_kib

from dataplane_common.bus import Connection, ConsumerConfig, Publisher, PullConsumer, ensure_streams
from dataplane_common.config import NatsConfig
from dataplane_common.frame import FrameEncoder, decode_payload
from dataplane_common.local import NatsServer
from dataplane_tailer.cut import cut_lines
from dataplane_tailer.render import Origin, PlainRenderer

COMMAND = str(Path(sys.executable).parent / "dataplane-tailer")
#: A program keeps what it has compiled, as an installed one does.
COMPILED = ("env", "--unset=PYTHONDONTWRITEBYTECODE")
LINE = (
    '192.0.2.%d - - [22/Nov/2026:10:15:%02d +0000] "GET /articles/%07d.html HTTP/1.1" 200 %d '
    '"https://example.net/index.html" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537"\n'
)
JSON_LINE = (
    '{"time":"2026-11-22T10:15:%02d.123456Z","level":"info","msg":"order %07d was paid","shop":"de","user_id":%d,'
    '"amount":%d,"path":"/api/orders","duration_ms":12.5,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}\n'
)
CHUNK_BYTES = 128 * 1024


def write_lines(file: Path, size_bytes: int, line: Callable[[int], str], first: int = 0) -> None:
    """Write about so many bytes, beginning with the line of this number."""
    with file.open("w") as out:
        while out.tell() < size_bytes:
            out.write("".join(line(number) for number in range(first, first + 1000)))
            first += 1000


def access_line(number: int) -> str:
    """One access log line of about 200 bytes."""
    return LINE % (number % 250, number % 60, number, number % 9000)


def json_line(number: int) -> str:
    """One JSON line of about 200 bytes."""
    return JSON_LINE % (number % 60, number, number % 9999, number % 500)


def ship(files: str, parser: str, url: str, folder: Path) -> dict[str, float]:
    """Run the command once over the files and return its rate, and what the kernel says about the process."""
    out_file = folder / "ship.out"
    with out_file.open("w") as out:
        cpu_s, peak_kib = run([files, "--once"], parser, url, folder, stdout=out)
    summary = json.loads(out_file.read_text())
    return {
        "lines/s": summary["lines"] / summary["seconds"],
        "MB/s": summary["bytes"] / 1e6 / summary["seconds"],
        "CPU s/GiB": cpu_s / (summary["bytes"] / 2**30),
        "RSS MB": peak_kib / 1024,
    }


def pipe(file: Path, url: str, folder: Path) -> dict[str, float]:
    """Give the command a file through a pipe; its start is part of the rate."""
    began_s = time.monotonic()
    with subprocess.Popen(["cat", str(file)], stdout=subprocess.PIPE) as source:
        cpu_s, peak_kib = run(["-"], "plain", url, folder, stdin=source.stdout, stderr=subprocess.DEVNULL)
    return {
        **rate(file, time.monotonic() - began_s),
        "CPU s/GiB": cpu_s / (file.stat().st_size / 2**30),
        "RSS MB": peak_kib / 1024,
    }


def run(words: list[str], parser: str, url: str, folder: Path, **streams: Any) -> tuple[float, int]:
    """Run the command to its end; return its CPU seconds and its peak resident memory in KiB."""
    name, peak_kib = f"b{time.monotonic_ns():x}", 0
    options = ["--dataset", name, "--parser", parser, "--nats", url, "--state-dir", str(folder / name)]
    process = subprocess.Popen([*COMPILED, COMMAND, "run", *words, *options], **streams)
    while (done := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        peak_kib = max(peak_kib, peak_memory_kib(process.pid))
        time.sleep(0.02)
    _, status, usage = done
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit("the tailer failed; see above")
    return usage.ru_utime + usage.ru_stime, peak_kib


def count_newlines(file: Path) -> dict[str, float]:
    """The first limit: `wc -l`."""
    began_s = time.monotonic()
    subprocess.run(["wc", "-l", str(file)], check=True, stdout=subprocess.DEVNULL)
    return rate(file, time.monotonic() - began_s)


def frame_only(file: Path) -> dict[str, float]:
    """The second limit: read, cut, render, compress; nothing published, nothing remembered."""
    render = PlainRenderer(Origin("0123456789abcdef", str(file), "bench", "host"))
    encoder = FrameEncoder()
    began_s, offset, sequence = time.monotonic(), 0, 0
    descriptor = os.open(file, os.O_RDONLY)
    while data := os.pread(descriptor, CHUNK_BYTES, offset):
        lines = cut_lines(data, CHUNK_BYTES)
        if not lines:
            break
        payload = render.bulk(lines, offset, sequence + 1, "2026-11-22T10:15:30.000000Z")
        encoder.encode("s", "0123456789abcdef", payload, first=offset, end=offset + 1, count=len(lines))
        offset += sum(map(len, lines)) + len(lines)
        sequence += len(lines)
    os.close(descriptor)
    return rate(file, time.monotonic() - began_s, sequence)


async def publish_only(file: Path, url: str) -> dict[str, float]:
    """The third limit: ready frames, published and acknowledged."""
    render = PlainRenderer(Origin("0123456789abcdef", str(file), "bench", "host"))
    with file.open("rb") as source:
        lines = cut_lines(source.read(CHUNK_BYTES), CHUNK_BYTES)
    payload = b"".join(render(lines, 0, 1, "2026-11-22T10:15:30.000000Z"))
    encoder = FrameEncoder()
    total = file.stat().st_size // (sum(map(len, lines)) + len(lines))
    frames = [
        encoder.encode("logs.bench.ready.h", "0123456789abcdef", payload, first=n, end=n + 1, count=len(lines))
        for n in range(total)
    ]
    connection, publisher = await connect(url)
    began_s = time.monotonic()
    for frame in frames:
        await publisher.publish(frame.subject, frame.payload, frame.headers)
    await publisher.drain(120)
    took_s = time.monotonic() - began_s
    await publisher.close()
    await connection.close()
    return rate(file, took_s, total * len(lines))


async def connect(url: str) -> tuple[Connection, Publisher]:
    """Return a ready connection and a publisher on it."""
    connection = Connection(NatsConfig(servers=(url,)), name="bench")
    connection.start()
    await connection.wait_ready(10)
    await ensure_streams(connection)
    publisher = Publisher(connection)
    await publisher.start()
    return connection, publisher


def rate(file: Path, took_s: float, lines: int = 0) -> dict[str, float]:
    """Return a file's rate."""
    found = {"MB/s": file.stat().st_size / 1e6 / took_s}
    return {"lines/s": lines / took_s, **found} if lines else found


async def latency(url: str, folder: Path, lines_per_s: int = 1000, seconds: int = 10) -> dict[str, float]:
    """Time from a write to the arrival in a live consumer, with `linger_ms = 20`."""
    log, config = folder / "latency.log", folder / "latency.toml"
    log.touch()
    config.write_text(
        f'namespace = "bench"\nstate_dir = "{folder}/latency"\n[nats]\nservers = ["{url}"]\n'
        f'[delivery]\nlinger_ms = 20\n[[inputs]]\npaths = ["{log}"]\ndataset = "latency"\n'
    )
    connection, publisher = await connect(url)
    consumer = PullConsumer(connection, ConsumerConfig("LOGS", "latency", ("logs.bench.latency.>",)))
    await consumer.start()
    process = subprocess.Popen([COMMAND, "run", "--config", str(config)], stderr=subprocess.DEVNULL)
    try:
        writer = asyncio.create_task(asyncio.to_thread(write_stamps, log, lines_per_s, seconds))
        took: list[float] = []
        while len(took) < lines_per_s * seconds:
            for delivery in await consumer.fetch(10):
                now_s = time.time()
                lines = decode_payload(delivery.data, delivery.headers).splitlines()
                took += [now_s - float(msgspec.json.decode(line)["message"]) for line in lines]
                await delivery.ack()
        await writer
    finally:
        process.terminate()
        process.wait(20)
        await publisher.close()
        await connection.close()
    warm = sorted(took[lines_per_s:])
    return {"p50 ms": statistics.median(warm) * 1e3, "p99 ms": warm[int(len(warm) * 0.99)] * 1e3}


def write_stamps(log: Path, lines_per_s: int, seconds: int) -> None:
    """Write the time, so many times a second."""
    deadline_s = time.monotonic() + 2.0
    while time.monotonic() < deadline_s:
        time.sleep(0.1)
    began_s = time.monotonic()
    with log.open("a", buffering=1) as file:
        for number in range(lines_per_s * seconds):
            pause_s = began_s + number / lines_per_s - time.monotonic()
            if pause_s > 0:
                time.sleep(pause_s)
            file.write(f"{time.time():.6f}\n")


def show(name: str, figures: dict[str, float], *, as_json: bool) -> None:
    """Print one row."""
    if as_json:
        print(json.dumps({"name": name, **figures}), flush=True)
    else:
        print(f"{name:<44}" + "  ".join(f"{value:>12,.1f} {unit}" for unit, value in figures.items()), flush=True)


def main() -> None:
    """Run all measurements."""
    options = argparse.ArgumentParser()
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    size = chosen.mib * 2**20
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {chosen.mib} MiB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = NatsServer(folder / "nats")
        server.start()
        try:
            measure(folder, server.url, size, as_json=chosen.json)
        finally:
            server.clear()


def measure(folder: Path, url: str, size: int, *, as_json: bool) -> None:
    """Measure and print, limits first."""
    log = folder / "access.log"
    write_lines(log, size, access_line)
    asyncio.run(publish_nothing(url))
    show("limit: wc -l", count_newlines(log), as_json=as_json)
    show("limit: ready frames, acknowledged", asyncio.run(publish_only(log, url)), as_json=as_json)
    first = folder / "first.log"
    write_lines(first, 1, access_line)
    ship(str(first), "plain", url, folder)  # compiles the program
    for turn in ("first", "second"):
        show(f"limit: framing only, {turn} turn", frame_only(log), as_json=as_json)
        show(f"plain, one file, {turn} turn", ship(str(log), "plain", url, folder), as_json=as_json)
    show("combined, one file", ship(str(log), "combined", url, folder), as_json=as_json)
    records = folder / "records.json"
    write_lines(records, size // 2, json_line)
    show("json, one file", ship(str(records), "json", url, folder), as_json=as_json)
    for count in (10, 1000):
        many = folder / f"many{count}"
        many.mkdir()
        for number in range(count):
            write_lines(many / f"{number}.log", size // 4 // count, access_line, number * 10_000_000)
        show(f"plain, {count} files", ship(f"{many}/*.log", "plain", url, folder), as_json=as_json)
    show("plain, standard input", pipe(records, url, folder), as_json=as_json)
    show("1,000 lines/s, write to stream, linger 20 ms", asyncio.run(latency(url, folder)), as_json=as_json)


async def publish_nothing(url: str) -> None:
    """Make the streams."""
    connection, publisher = await connect(url)
    await publisher.close()
    await connection.close()


if __name__ == "__main__":
    main()
