"""Our services as processes between two servers, and what a test asks of them."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DEADLINE_S = 90.0
_POLL_S = 0.05


class Plane:
    """The services of one test: each can be started, killed and started again."""

    def __init__(self, folder: Path, nats_url: str, elasticsearch_url: str, dataset: str) -> None:
        self.folder = folder
        self.nats_url = nats_url
        self.elasticsearch_url = elasticsearch_url
        self.dataset = dataset
        self.log = folder / "app.log"
        self._processes: list[subprocess.Popen[str]] = []
        (folder / "tailer.toml").write_text(self._tailer_toml())
        (folder / "elastinats.toml").write_text(self._elastinats_toml())

    def __enter__(self) -> Self:
        self.command("elastinats", "setup", "--config", str(self.folder / "elastinats.toml"))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)

    def _tailer_toml(self) -> str:
        return f"""
namespace = "test"
host = "host-1"
state_dir = "{self.folder}/tailer-state"
[nats]
servers = ["{self.nats_url}"]
[delivery]
linger_ms = 20
[[inputs]]
paths = ["{self.log}*"]
dataset = "{self.dataset}"
"""

    def _elastinats_toml(self) -> str:
        """One route for this test's dataset only: tests that share the servers leave each other alone."""
        return f"""
name = "sink_{self.dataset}"
[nats]
servers = ["{self.nats_url}"]
[elasticsearch]
hosts = ["{self.elasticsearch_url}"]
[batch]
linger_ms = 50
[[routes]]
name = "all"
subjects = ["logs.test.{self.dataset}.>", "metrics.test.{self.dataset}.>"]
"""

    def spawn(self, command: str, *arguments: str) -> "subprocess.Popen[str]":
        """Start one of our commands; it ends with the test."""
        output = (self.folder / f"{command}.{len(self._processes)}.out").open("w")
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / command), *arguments], stdout=output, stderr=output, text=True
        )
        output.close()
        self._processes.append(process)
        return process

    def command(self, command: str, *arguments: str) -> str:
        """Run one of our commands to its clean end and return what it printed."""
        done = subprocess.run(
            [str(Path(sys.executable).parent / command), *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_tailer(self) -> "subprocess.Popen[str]":
        """Start `dataplane-tailer run`."""
        return self.spawn("dataplane-tailer", "run", "--config", str(self.folder / "tailer.toml"))

    def start_sink(self) -> "subprocess.Popen[str]":
        """Start `elastinats run`."""
        return self.spawn("elastinats", "run", "--config", str(self.folder / "elastinats.toml"))

    def start_program(self, total: int, progress: Path) -> "subprocess.Popen[str]":
        """Start a program that logs `total` numbered records through the emitter; see `program.py`."""
        program = Path(__file__).with_name("program.py")
        return self.spawn("python", str(program), self.nats_url, self.dataset, str(total), str(progress))

    @staticmethod
    def kill(process: "subprocess.Popen[str]") -> None:
        """End a process as a power cut would."""
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    @staticmethod
    def terminate(process: "subprocess.Popen[str]") -> int:
        """Ask a process to end and return its exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(30)

    def write_lines(self, start: int, count: int) -> None:
        """Append numbered lines to the log."""
        with self.log.open("a") as file:
            file.writelines(f"line {number}\n" for number in range(start, start + count))

    def count(self, signal_: str = "logs") -> int:
        """Return how many documents of this test are searchable now; 0 also while Elasticsearch is away."""
        answer = self._ask(f"/{signal_}-{self.dataset}-test/_count?ignore_unavailable=true&allow_no_indices=true")
        return int(answer.get("count", 0))

    def wait_for_count(self, expected: int, signal_: str = "logs", *, timeout_s: float = DEADLINE_S) -> None:
        """Wait until at least `expected` documents are searchable."""
        deadline = time.monotonic() + timeout_s
        while (found := self.count(signal_)) < expected:
            assert time.monotonic() < deadline, f"{found} of {expected} documents; {self.outputs()}"
            time.sleep(_POLL_S)

    def documents(self, signal_: str = "logs") -> list[dict[str, Any]]:
        """Return all documents of this test."""
        page = self._ask(f"/{signal_}-{self.dataset}-test/_search?scroll=1m&size=10000&sort=_doc", refresh=True)
        found = []
        while hits := page["hits"]["hits"]:
            found += [hit["_source"] for hit in hits]
            page = self._ask("/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
        return found

    def outputs(self) -> str:
        """Return the last lines of every service, for a failed test to show."""
        return "\n".join(
            f"{file.name}: {' / '.join(file.read_text().splitlines()[-5:])}"
            for file in sorted(self.folder.glob("*.out"))
        )

    def _ask(self, path: str, body: dict[str, Any] | None = None, *, refresh: bool = False) -> dict[str, Any]:
        if refresh:
            self._ask(f"/*-{self.dataset}-test/_refresh")
        request = urllib.request.Request(
            self.elasticsearch_url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                decoded: dict[str, Any] = json.load(answer)
                return decoded
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if body is not None or refresh:
                raise
            return {}
