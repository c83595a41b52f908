"""What idle files cost: 10,000 of three lines each, followed by one tailer; processor time and memory of the quiet.

`make bench-tailer` runs it last, or `.venv/bin/python bench/tailer_idle.py [--files 10000]`.
"""

import argparse
import asyncio
import subprocess
import tempfile
import time
from pathlib import Path

from process_figures import cpu_s, peak_memory_kib
from tailer import COMMAND, COMPILED, connect, publish_nothing

from dataplane_common.bus.streams import stream_info
from dataplane_common.local import NatsServer

DEADLINE_S = 120.0
#: Looking at everything happens every half minute; twice that is watched.
WATCHED_S = 60.0


async def wait_for(url: str, count: int) -> None:
    """Wait until so many frames are stored."""
    connection, publisher = await connect(url)
    deadline_s = time.monotonic() + DEADLINE_S
    while (await stream_info(connection, "LOGS"))["state"]["messages"] < count:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"less than {count} frames after {DEADLINE_S:g} s")
        await asyncio.sleep(0.1)
    await publisher.close()
    await connection.close()


def main() -> None:
    """Measure and print one row."""
    options = argparse.ArgumentParser()
    options.add_argument("--files", type=int, default=10_000)
    count = options.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        for number in range(count):
            (folder / "logs" / f"{number}.log").write_text("".join(f"{number} {line}\n" for line in range(3)))
        server = NatsServer(folder / "nats")
        server.start()
        asyncio.run(publish_nothing(server.url))
        words = [
            "run",
            f"{folder}/logs/*.log",
            "--dataset",
            "idle",
            "--nats",
            server.url,
            "--state-dir",
            str(folder / "s"),
        ]
        began_s = time.monotonic()
        process = subprocess.Popen([*COMPILED, COMMAND, *words], stderr=subprocess.DEVNULL)
        try:
            asyncio.run(wait_for(server.url, count))
            opened_s = time.monotonic() - began_s
            time.sleep(5.0)
            before_s = cpu_s(process.pid)
            time.sleep(WATCHED_S)
            share = (cpu_s(process.pid) - before_s) / WATCHED_S
            peak_mb = peak_memory_kib(process.pid) / 1024
        finally:
            process.terminate()
            process.wait(30)
            server.clear()
    print(f"{count:,} idle files: all shipped after {opened_s:.1f} s, {share:.2%} of a core, {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
