"""NATS and Elasticsearch as containers, by Docker's compose and the file beside this module.

Flows in: a Docker engine that answers. Flows out: two servers with the same manners as the native ones.
Invariant: data and logs lie in the stack's folder, ports on the loopback interface, and no container outlives `stop`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from dataplane.folder import StackFolder
from dataplane_common import config
from dataplane_common.errors import Fatal
from dataplane_common.local import Port, free_port, probe
from dataplane_common.local.ports import LOOPBACK
from dataplane_common.local.process import plain_environment

_READY_TIMEOUT_S = 180.0
#: Images of some hundred MB over a slow line.
_COMPOSE_TIMEOUT_S = 900.0
_ASK_TIMEOUT_S = 15.0
_POLL_S = 0.2
#: The account that the official image of Elasticsearch is built for.
_IMAGE_UID = 1000
_PASSED_ON = ("DATAPLANE_NATS_IMAGE", "DATAPLANE_ELASTICSEARCH_IMAGE", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG")
_NATS_CONF = """\
server_name: dataplane-local
host: 0.0.0.0
port: 4222
http_port: 8222
no_fast_producer_stall: true
log_file: "/stack/nats-server.log"
logfile_size_limit: 64MB
jetstream {
  store_dir: "/stack/data"
  max_file_store: 200GB
}
"""


def find_compose() -> list[str] | None:
    """Return the command for compose (`docker compose`, or the older `docker-compose`) if an engine answers."""
    if not shutil.which("docker") or not _succeeds(["docker", "version", "--format", "{{.Server.Version}}"]):
        return None
    if _succeeds(["docker", "compose", "version"]):
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


@dataclass(frozen=True)
class Project:
    """The containers of one stack: their name, their ports, their environment."""

    folder: StackFolder
    compose: list[str]

    @property
    def name(self) -> str:
        """The name that keeps two stacks of one machine apart."""
        return f"dataplane-{hashlib.sha256(str(self.folder.root).encode()).hexdigest()[:8]}"

    @property
    def ports_file(self) -> Path:
        """Where the ports are remembered that the containers were given."""
        return self.folder.part("docker") / "ports.json"

    def ports(self) -> dict[str, int]:
        """Return the remembered ports by variable; none before the first start."""
        try:
            return {str(name): int(number) for name, number in json.loads(self.ports_file.read_text()).items()}
        except (OSError, ValueError):
            return {}

    def remember(self, ports: dict[str, int]) -> None:
        """Remember ports beside those of the other server."""
        self.ports_file.parent.mkdir(parents=True, exist_ok=True)
        self.ports_file.write_text(json.dumps({**self.ports(), **ports}))

    def run(self, *arguments: str) -> None:
        """Run compose on the file.

        Raises:
            Fatal: it failed; the text has its last lines.
        """
        with resources.as_file(resources.files("dataplane") / "compose.yaml") as file:
            command = [*self.compose, "-p", self.name, "-f", str(file), *arguments]
            done = subprocess.run(  # noqa: S603 - the user asked for Docker
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_COMPOSE_TIMEOUT_S,
            )
        if done.returncode != 0:
            said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            raise Fatal(f"{' '.join(self.compose)} {arguments[0]} failed: {said}")

    def is_running(self, service: str) -> bool:
        """Tell whether a service's container runs."""
        filters = [f"label=com.docker.compose.project={self.name}", f"label=com.docker.compose.service={service}"]
        command = ["docker", "ps", "-q", *(word for each in filters for word in ("--filter", each))]
        return bool(_output(command).strip())

    def _environment(self) -> dict[str, str]:
        uid = os.getuid()
        return plain_environment(
            **{name: value for name in _PASSED_ON if (value := config.environment(name))},
            **{name: str(number) for name, number in self.ports().items()},
            DATAPLANE_STACK_DIR=str(self.folder.root),
            DATAPLANE_NATS_USER=f"{uid}:{os.getgid()}",
            DATAPLANE_ELASTICSEARCH_USER=f"{uid or _IMAGE_UID}:0",
        )


@dataclass
class Container:
    """One server of the project; `ports` are the variables of the compose file and the ports they wish for."""

    project: Project
    service: str
    scheme: str
    ready_path: str
    ports: dict[str, int]
    moved: list[Port] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where clients connect: the first port."""
        return f"{self.scheme}://{self._address(0)}"

    @property
    def monitor_url(self) -> str:
        """Where it answers over HTTP: the last port."""
        return f"http://{self._address(-1)}"

    @property
    def is_running(self) -> bool:
        """Whether its container runs."""
        return self.project.is_running(self.service)

    def start(self) -> bool:
        """Start the container unless it runs and answers; return whether it was started.

        Raises:
            Fatal: compose failed, or the server did not answer in time.
        """
        if self.is_running:
            if self._is_ready():
                return False
            self.stop()
        self._take_ports()
        self.project.run("up", "-d", self.service)
        self._wait()
        return True

    def stop(self) -> bool:
        """Stop and remove the container; its data stays in the stack's folder. Return whether it ran."""
        ran = self.is_running
        if ran:
            self.project.run("rm", "--stop", "--force", self.service)
        return ran

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not self._is_ready():
            if time.monotonic() > deadline or not self.is_running:
                raise Fatal(f"the container of {self.service} does not answer; see: docker ps -a, docker logs")
            time.sleep(_POLL_S)

    def _is_ready(self) -> bool:
        return probe.is_ok(self.monitor_url + self.ready_path)

    def _take_ports(self) -> None:
        known = self.project.ports()
        taken = {name: free_port(known.get(name) or wished) for name, wished in self.ports.items()}
        self.moved = [port for port in taken.values() if port.wished]
        self.project.remember({name: port.number for name, port in taken.items()})

    def _address(self, index: int) -> str:
        name = list(self.ports)[index]
        return f"{LOOPBACK}:{self.project.ports().get(name, self.ports[name])}"


def write_files(folder: StackFolder) -> None:
    """Make the folders that the containers write to, each belonging to its container's account."""
    nats = folder.part("docker") / "nats"
    nats.mkdir(parents=True, exist_ok=True)
    (nats / "nats-server.conf").write_text(_NATS_CONF)
    for name in ("data", "logs"):
        part = folder.part("docker") / "elasticsearch" / name
        part.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            os.chown(part, _IMAGE_UID, 0)


def _succeeds(command: list[str]) -> bool:
    return bool(_output(command))


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands
            command, capture_output=True, text=True, check=False, timeout=_ASK_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
