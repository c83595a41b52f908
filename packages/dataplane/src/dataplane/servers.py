"""The two servers of a stack, whichever way they run, and how that way is chosen.

Flows in: `auto`, `native` or `docker`. Flows out: `Servers`. Invariant: native where Java is new enough, else Docker
where an engine answers, else one sentence that names the package to install; a stack keeps the way it began with.
"""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dataplane import docker
from dataplane.download import Measured, elasticsearch_home, unseen
from dataplane.folder import Kind, StackFolder
from dataplane_common import config
from dataplane_common.errors import Fatal
from dataplane_common.local import ElasticsearchServer, Launch, NatsServer, Port
from dataplane_common.local.account import unprivileged
from dataplane_common.local.elasticsearch_files import CLUSTER
from dataplane_common.local.elasticsearch_home import home_of
from dataplane_common.local.java import MINIMUM_VERSION, find_java

_NATS_PORT = 4222
_MONITOR_PORT = 8222
_ELASTICSEARCH_PORT = 9200


class Server(Protocol):
    """What the stack does with a server; `dataplane_common.local.LocalService` has the promises."""

    @property
    def url(self) -> str:
        """Where clients connect."""

    @property
    def moved(self) -> Sequence[Port]:
        """The ports that somebody else had when it was started."""

    @property
    def is_running(self) -> bool:
        """Whether it runs."""

    def start(self) -> bool:
        """Start it unless it runs and answers; return whether it was started."""

    def stop(self) -> bool:
        """Stop it; return whether it ran."""


class MonitoredServer(Server, Protocol):
    """A server that answers questions about itself on another port."""

    @property
    def monitor_url(self) -> str:
        """Where it does so, over HTTP."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log that the stack ships about itself: which files (patterns), and what their lines are."""

    paths: tuple[str, ...]
    dataset: str
    service: str
    parser: str = "plain"


@dataclass(frozen=True)
class Servers:
    """NATS and Elasticsearch of one stack, and their logs."""

    kind: Kind
    nats: MonitoredServer
    elasticsearch: Server
    logs: tuple[Log, ...]


class NativeElasticsearch(ElasticsearchServer):
    """The local node; its home is downloaded when it is first started."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, home_of(config.cache_root()), port=_ELASTICSEARCH_PORT)
        self.measured: Measured = unseen

    def prepare(self, ports: dict[str, int]) -> Launch:
        """See `LocalService`; `measured` shows the download."""
        self.home = elasticsearch_home(self.measured)
        return super().prepare(ports)


def native(folder: StackFolder) -> Servers:
    """Return the servers as processes of this machine; nothing is started."""
    nats = NatsServer(folder.part("nats"), port=_NATS_PORT, monitor_port=_MONITOR_PORT)
    elasticsearch = NativeElasticsearch(folder.part("elasticsearch"))
    return Servers("native", nats, elasticsearch, _logs(nats.log_file, elasticsearch.logs))


def in_docker(folder: StackFolder, compose: list[str]) -> Servers:
    """Return the servers as containers; nothing is started."""
    project = docker.Project(folder, compose)
    nats_ports = {"DATAPLANE_NATS_PORT": _NATS_PORT, "DATAPLANE_NATS_MONITOR_PORT": _MONITOR_PORT}
    nats = docker.Container(project, "nats", "nats", "/healthz", nats_ports)
    ports = {"DATAPLANE_ELASTICSEARCH_PORT": _ELASTICSEARCH_PORT}
    elasticsearch = docker.Container(project, "elasticsearch", "http", "/_cluster/health", ports)
    part = folder.part("docker")
    return Servers(
        "docker", nats, elasticsearch, _logs(part / "nats" / "nats-server.log", part / "elasticsearch" / "logs")
    )


def choose(wish: str, folder: StackFolder) -> Servers:
    """Return the servers of this stack: `wish` is `auto`, `native` or `docker`.

    Raises:
        Fatal: what it needs is not installed, or the stack runs the other way now.
    """
    kind: Kind = wish if wish in ("native", "docker") else _best(folder)  # type: ignore[assignment]
    before = existing(folder)
    if before is not None and before.kind != kind and (before.nats.is_running or before.elasticsearch.is_running):
        raise Fatal(f"this stack runs as {before.kind}: `dataplane down` first, then `dataplane up --stack {kind}`")
    if kind == "native":
        if find_java(unprivileged()) is None:
            raise Fatal(f"no Java {MINIMUM_VERSION} or newer: install openjdk-17-jre-headless, or set JAVA_HOME")
        return native(folder)
    compose = docker.find_compose()
    if compose is None:
        raise Fatal("no Docker engine with compose answers: install docker.io and docker-compose, and start dockerd")
    docker.write_files(folder)
    return in_docker(folder, compose)


def existing(folder: StackFolder) -> Servers | None:
    """Return the servers of a stack that was started before, or None; containers only where an engine answers."""
    written = folder.read()
    # An `up` that was interrupted has written no file yet, and may have left containers.
    kind = written.kind if written else "docker" if folder.part("docker").exists() else None
    if kind is None:
        return None
    if kind == "native":
        return native(folder)
    compose = docker.find_compose()
    return in_docker(folder, compose) if compose else None


def _best(folder: StackFolder) -> Kind:
    written = folder.read()
    has_java = find_java(unprivileged()) is not None
    has_docker = docker.find_compose() is not None if not has_java or written is not None else False
    if written is not None and {"native": has_java, "docker": has_docker}[written.kind]:
        return written.kind
    if has_java:
        return "native"
    if has_docker:
        return "docker"
    raise Fatal(
        f"neither Java {MINIMUM_VERSION} nor a Docker engine is found: "
        "install openjdk-17-jre-headless (or docker.io and docker-compose)"
    )


def _logs(nats_log: Path, elasticsearch_logs: Path) -> tuple[Log, ...]:
    folder = glob.escape(str(elasticsearch_logs))
    return (
        Log(paths=(glob.escape(str(nats_log)),), dataset="nats_server", service="nats"),
        Log(
            paths=(f"{folder}/{CLUSTER}_server*.json",),
            dataset="elasticsearch_server",
            service="elasticsearch",
            parser="json",
        ),
        Log(paths=(f"{folder}/gc.log*",), dataset="elasticsearch_gc", service="elasticsearch"),
    )
