"""`elastinats run` as a measured process: its telemetry, its CPU time, its peak memory.

Flows in: where both ends are, a dataset, a target. Flows out: what the process and the kernel say of it.
"""

import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from process_figures import cpu_s, peak_memory_kib

from dataplane_common.local import free_port

COMMAND = str(Path(sys.executable).parent / "elastinats")
DEADLINE_S = 300.0


class Servers(NamedTuple):
    """Where both ends are."""

    nats: str
    elasticsearch: str


class Sink:
    """`elastinats run` on one dataset of the stream."""

    def __init__(self, folder: Path, servers: Servers, dataset: str, target: str) -> None:
        self.listen = f"127.0.0.1:{free_port().number}"
        config = folder / f"{target}.toml"
        config.write_text(
            f'name = "{target}"\n[nats]\nservers = ["{servers.nats}"]\n'
            f'[elasticsearch]\nhosts = ["{servers.elasticsearch}"]\nsetup = false\n'
            f'[[routes]]\nname = "all"\nsubjects = ["logs.bench.{dataset}.>"]\ntarget = "logs-{target}-bench"\n'
            f'[telemetry]\nlisten = "{self.listen}"\n'
        )
        with (folder / f"{target}.out").open("w") as out:
            self.process = subprocess.Popen([COMMAND, "run", "--config", str(config)], stderr=out)

    def page(self, path: str) -> str:
        """Return a page of the sink's telemetry; empty while it says that it is not ready."""
        try:
            with urllib.request.urlopen(f"http://{self.listen}{path}", timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            return ""

    def indexed(self) -> int:
        """Return how many events are done."""
        found = re.search(r"^elastinats_indexed_events_total (\S+)", self.page("/metrics"), re.MULTILINE)
        return int(float(found[1])) if found else 0

    def cpu_s(self) -> float:
        """Return the process's CPU time so far."""
        return cpu_s(self.process.pid)

    def peak_mb(self) -> float:
        """Return the peak resident memory so far, as the kernel tells it."""
        return peak_memory_kib(self.process.pid) / 1024

    def until(self, condition: str) -> None:
        """Wait for `/readyz`, or for a count of events."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not (self.page("/readyz") if condition == "ready" else self.indexed() >= int(condition)):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                sys.exit(f"the sink did not come to {condition}")
            time.sleep(0.2)  # each look costs the sink a millisecond

    def stop(self) -> None:
        """Ask it to end."""
        self.process.terminate()
        self.process.wait(30)
