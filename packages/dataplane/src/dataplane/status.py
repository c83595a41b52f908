"""What runs of the local stack, how well, and what waits where.

Flows in: the stack's folder and the answers of its parts. Flows out: a report.
Invariant: asking changes nothing, and a part that does not answer is a row, not an error.
"""

import importlib.metadata
from collections.abc import Callable
from typing import TypeVar

import msgspec

from dataplane import agents, backlog, servers
from dataplane.agents import Agent
from dataplane.backlog import Stream
from dataplane.elastic import Elastic
from dataplane.folder import current
from dataplane.servers import MonitoredServer, Server
from dataplane.settings import ElasticsearchConfig
from dataplane_common.errors import DataPlaneError
from dataplane_common.local import LocalService, probe

_OK = 200
_WELL = frozenset({"healthy", "ready", "green", "yellow"})
_STOPPED = "stopped"
_RUNNING = "running"
#: A part that hangs must not hold up the others' rows.
_TIMEOUT_S = 3.0
_T = TypeVar("_T")


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the stack; `health` is its own word, or why there is none."""

    name: str
    state: str
    health: str = ""
    version: str = ""
    url: str = ""
    pid: int | None = None

    @property
    def is_well(self) -> bool:
        """Whether it runs and says that it is well."""
        return self.state == _RUNNING and self.health in _WELL


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `status` tells; `documents` by data stream."""

    stack: str
    kind: str
    components: list[Component]
    streams: list[Stream]
    documents: dict[str, int]

    @property
    def is_well(self) -> bool:
        """Whether every part is well."""
        return all(component.is_well for component in self.components)


def gather() -> Report:
    """Ask every part of the current stack."""
    folder = current()
    written = folder.read()
    chosen = servers.existing(folder) or servers.native(folder)
    nats, elasticsearch = chosen.nats, chosen.elasticsearch
    elastic = Elastic(ElasticsearchConfig(hosts=(elasticsearch.url,)), timeout_s=_TIMEOUT_S)
    components = [
        _nats(nats),
        _elasticsearch(elasticsearch, elastic),
        _agent(agents.elastinats(folder, chosen)),
        _agent(agents.tailer(folder, chosen)),
    ]
    return Report(
        stack=str(folder.root),
        kind=written.kind if written else "never started",
        components=components,
        streams=_answer(lambda: backlog.streams(nats.monitor_url), []) if components[0].is_well else [],
        documents=_answer(elastic.counts, {}) if components[1].is_well else {},
    )


def _nats(server: MonitoredServer) -> Component:
    if not server.is_running:
        return Component(name="nats", state=_STOPPED)
    healthy = probe.is_ok(f"{server.monitor_url}/healthz", _TIMEOUT_S)
    return Component(
        name="nats",
        state=_RUNNING,
        health="healthy" if healthy else "does not answer",
        version=_answer(lambda: backlog.server_version(server.monitor_url), ""),
        url=server.url,
        pid=_pid(server),
    )


def _elasticsearch(server: Server, elastic: Elastic) -> Component:
    if not server.is_running:
        return Component(name="elasticsearch", state=_STOPPED)
    version, health = _answer(elastic.health, ("", "does not answer"))
    return Component(
        name="elasticsearch", state=_RUNNING, health=health, version=version, url=server.url, pid=_pid(server)
    )


def _agent(agent: Agent) -> Component:
    version = _installed(agent.name)
    if not agent.is_running:
        return Component(name=agent.name, state=_STOPPED, version=version)
    return Component(
        name=agent.name,
        state=_RUNNING,
        health=_readiness(agent.telemetry_url),
        version=version,
        url=agent.telemetry_url,
        pid=agent.process.pid,
    )


def _readiness(url: str) -> str:
    """Return `ready`, or the reasons why not."""
    try:
        status, body = probe.get(f"{url}/readyz", _TIMEOUT_S)
        if status == _OK:
            return "ready"
        reasons = msgspec.json.decode(body).get("reasons", [])
    except (DataPlaneError, msgspec.DecodeError, AttributeError):
        return "does not answer"
    return "not ready: " + "; ".join(str(reason) for reason in reasons)


def _pid(server: Server) -> int | None:
    return server.process.pid if isinstance(server, LocalService) else None


def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _answer(ask: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return ask()
    except DataPlaneError:
        return otherwise
