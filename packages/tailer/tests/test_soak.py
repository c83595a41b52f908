"""What long use costs: nothing that grows.

Flows in: a steady writer, rotations every few seconds, now and then a copytruncate or a bus that is away. Flows out:
each line once and in order, and a process whose memory, descriptors and state are as small at the end as before.
`DATAPLANE_SOAK_S=3600` makes it an hour.
"""

import array
import asyncio
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from dataplane_common.config import environment
from dataplane_common.errors import Transient
from dataplane_common.frame import decode_payload
from dataplane_tailer.snapshot import read_snapshot

SOAK_S = float(environment("DATAPLANE_SOAK_S") or 8)
LINES_PER_S = 1000
TICK_S = 0.1
ROTATE_S = min(4.0, SOAK_S / 40)
#: SQLite begins its write-ahead log again after 1,000 pages; a short run does not come that far.
WAL_BYTES = 5_000_000
#: The command, but what it remembers of files that are gone is full after minutes, not after days.
COMMAND = "from dataplane_tailer import known; known._KEEP_GONE = 3; from dataplane_tailer.cli import main; main()"
CONFIG = """
namespace = "test"
host = "host-1"
state_dir = "{lab.state_dir}"
[nats]
servers = ["{lab.url}"]
[delivery]
rescan_ms = 500
close_rotated_after_ms = 500
ack_timeout_s = 2
[[inputs]]
paths = ["{lab.folder}/app.log*"]
dataset = "{lab.dataset}"
"""


class Sample(NamedTuple):
    """What the process takes at one moment."""

    memory_kb: int
    descriptors: int
    state_bytes: int
    state_rows: int


@dataclass
class Seen:
    """The lines of the stream by their number, small enough for millions: who brought each, and in which order."""

    ids: array.array = field(default_factory=lambda: array.array("q"))
    count: int = 0
    order: dict[str, array.array] = field(default_factory=dict)

    def add(self, event: dict) -> None:
        """Take an event; one that comes again must be the same one."""
        number, identity = int(event["message"].split()[1]), hash(event["_id"]) | 1
        if number >= len(self.ids):
            self.ids.extend(array.array("q", bytes(8 * (number + 100_000 - len(self.ids)))))
        if self.ids[number] == 0:
            self.ids[number] = identity
            self.count += 1
            places = self.order.setdefault(event["dp"]["source"], array.array("q"))
            places.append(event["event"]["sequence"] << 32 | number)
        assert self.ids[number] == identity, f"line {number} came under two ids, the second is {event['_id']}"

    def check(self, total: int) -> None:
        """Each line is there, and each source has its lines in order and without a gap."""
        missing = [number for number in range(total) if number >= len(self.ids) or self.ids[number] == 0]
        assert missing == [], f"{len(missing)} of {total} lines are missing"
        assert self.count == total
        for source, places in self.order.items():
            numbers = [place & 0xFFFF_FFFF for place in sorted(places)]
            assert [place >> 32 for place in sorted(places)] == list(range(1, len(places) + 1)), source
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), source


class Soak:
    """The writer, its rotations and its bus, and what is measured meanwhile."""

    def __init__(self, lab, server, process) -> None:
        self.lab, self.server, self.process = lab, server, process
        self.written = 0
        self.rotations = 0
        self.samples: list[Sample] = []

    def write(self) -> None:
        """Write what is due at this rate."""
        numbers = range(self.written, self.written + int(LINES_PER_S * TICK_S))
        self.lab.append("".join(f"line {number} {'x' * (number % 120)}\n" for number in numbers))
        self.written = numbers.stop

    def rotate(self) -> None:
        """Keep three old files; every fifth rotation copies and truncates."""
        for number in (2, 1):
            if (old := self.lab.folder / f"app.log.{number}").exists():
                old.rename(self.lab.folder / f"app.log.{number + 1}")
        if self.rotations % 5 == 3:
            shutil.copy(self.lab.log, self.lab.folder / "app.log.1")
            os.truncate(self.lab.log, 0)
        else:
            self.lab.log.rename(self.lab.folder / "app.log.1")
        self.rotations += 1

    def trouble_the_bus(self) -> None:
        """Freeze it for two rotations out of fifteen, another time let it crash."""
        match self.rotations % 30:
            case 7:
                self.server.pause()
            case 9:
                self.server.resume()
            case 22:
                self.server.kill()
                self.server.start()

    def measure(self) -> None:
        """Take a sample."""
        assert self.process.poll() is None, "the tailer has ended"
        proc, snapshot = Path(f"/proc/{self.process.pid}"), read_snapshot(self.lab.state_dir)
        memory_kb = int(re.search(r"VmRSS:\s*(\d+) kB", (proc / "status").read_text())[1])
        state_bytes = sum(file.stat().st_size for file in self.lab.state_dir.glob("state.db*"))
        rows = len(snapshot.records) + sum(map(len, snapshot.boundaries.values())) + len(snapshot.texts)
        self.samples.append(Sample(memory_kb, len(os.listdir(proc / "fd")), state_bytes, rows))

    async def go_on(self) -> None:
        """Write, rotate and measure until the time is over."""
        began_s = rotated_s = time.monotonic()
        for tick in range(1, int(SOAK_S / TICK_S) + 1):
            self.write()
            if time.monotonic() - rotated_s >= ROTATE_S:
                rotated_s = time.monotonic()
                self.rotate()
                self.trouble_the_bus()
                self.measure()
            await asyncio.sleep(max(0.0, began_s + tick * TICK_S - time.monotonic()))
        self.server.resume()

    def quarter(self, number: int) -> Sample:
        """Return the medians of a quarter of the time."""
        size = len(self.samples) // 4
        return Sample(
            *(statistics.median(column) for column in zip(*self.samples[number * size :][:size], strict=True))
        )


async def _read(lab, seen: Seen) -> None:
    """Take what arrives until cancelled."""
    async with lab._consumer(f"logs.test.{lab.dataset}.>", "LOGS") as consumer:
        while True:
            for delivery in await consumer.fetch(0.2):
                for line in decode_payload(delivery.data, delivery.headers).splitlines():
                    seen.add(msgspec.json.decode(line))
                try:
                    await delivery.ack()
                except Transient:
                    continue  # it comes again


@pytest.mark.timeout(SOAK_S + 180)
def test_nothing_grows_with_time_and_rotations(lab, own_nats, tmp_path):
    """Each line comes once and in order; the last quarter takes no more memory, descriptors or disk than the second."""
    lab.url = own_nats.url
    file, errors, seen = tmp_path / "tailer.toml", tmp_path / "stderr", Seen()
    file.write_text(CONFIG.format(lab=lab))
    with errors.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", COMMAND, "run", "--config", file], stderr=log)
    soak = Soak(lab, own_nats, process)

    async def work() -> None:
        soak.write()
        await lab.messages(soak.written)
        reader = asyncio.ensure_future(_read(lab, seen))
        await soak.go_on()
        await lab.until(lambda: reader.done() or seen.count >= soak.written)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        if not reader.cancelled():
            reader.result()

    try:
        asyncio.run(work())
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, errors.read_text()[-2000:]
    seen.check(soak.written)
    quarters = [soak.quarter(number) for number in range(4)]
    print(f"{soak.written} lines, {soak.rotations} rotations", *quarters, sep="\n")  # noqa: T201 - for `pytest -s`
    _compare(quarters[1], quarters[3])


def _compare(before: Sample, after: Sample) -> None:
    assert after.memory_kb <= before.memory_kb * 1.05 + 2048
    assert after.descriptors <= before.descriptors + 2
    assert after.state_bytes <= max(before.state_bytes * 1.1, WAL_BYTES)
    assert after.state_rows <= before.state_rows + 2
