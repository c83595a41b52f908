"""The servers as containers, where a Docker engine answers and its images are there or can be pulled in time."""

import functools
import gc
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, ImageNotFound
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

from dataplane_common.config import environment
from dataplane_common.local.ports import free_port

#: Images that `DATAPLANE_TEST_NATS_IMAGE` and `DATAPLANE_TEST_ES_IMAGE` override.
NATS_IMAGE = environment("DATAPLANE_TEST_NATS_IMAGE") or "nats:2.12-alpine"
ELASTICSEARCH_IMAGE = environment("DATAPLANE_TEST_ES_IMAGE") or "elasticsearch:8.19.21"
_PULL_TIMEOUT_S = 120.0
_READY_TIMEOUT_S = 120


@functools.cache
def why_no_containers() -> str:
    """Return why containers cannot be used here; an empty text means that they can."""
    client = _engine()
    if client is None:
        return "no Docker engine answers"
    for image in (NATS_IMAGE, ELASTICSEARCH_IMAGE):
        if not _has_or_pulls(client, image):
            return f"the image {image} is not here and could not be pulled within {_PULL_TIMEOUT_S:g} s"
    return ""


def _engine() -> Any:
    """Return a client of the engine, or None; the client's own socket to no engine is not left for a test to close."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env(timeout=10)
            client.ping()
        except DockerException:
            client = None
        gc.collect()
    return client


def _has_or_pulls(client: Any, image: str) -> bool:
    try:
        client.images.get(image)
    except ImageNotFound:
        pulled = threading.Event()
        threading.Thread(target=_pull, args=(client, image, pulled), daemon=True).start()
        return pulled.wait(_PULL_TIMEOUT_S)
    return True


def _pull(client: Any, image: str, pulled: threading.Event) -> None:
    try:
        client.images.pull(image)
    except DockerException:
        return
    pulled.set()


class ContainerServer:
    """One server in a container, under a fixed port, so that it comes back under the same address."""

    def __init__(self, image: str, scheme: str, port: int, health: tuple[int, str], **environment_: str) -> None:
        self._number = free_port(0).number
        health_port, path = health
        # Its helper image cannot be had everywhere; what is started here is removed by `clear`.
        os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"  # noqa: TID251 - testcontainers reads nothing else
        self._container = DockerContainer(image).with_bind_ports(port, self._number)
        if health_port != port:  # a port that is exposed again loses its fixed number
            self._container.with_exposed_ports(health_port)
        self._container.waiting_for(HttpWaitStrategy(health_port, path).with_startup_timeout(_READY_TIMEOUT_S))
        for name, value in environment_.items():
            self._container.with_env(name, value)
        self._scheme = scheme
        self._is_made = False

    def with_command(self, command: list[str]) -> "ContainerServer":
        """Set what the container runs."""
        self._container.with_command(command)
        return self

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{self._scheme}://127.0.0.1:{self._number}"

    def start(self) -> None:
        """Start the container, and wait until the server answers."""
        if not self._is_made:
            self._container.start()
            self._is_made = True
            return
        self._container.get_wrapped_container().start()
        self._container._wait_strategy.wait_until_ready(self._container)

    def stop(self) -> None:
        """Ask the server to end."""
        self._container.get_wrapped_container().stop(timeout=30)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._container.get_wrapped_container().kill()

    def clear(self) -> None:
        """Remove the container with its data."""
        if self._is_made:
            self._container.stop()


def container_servers(_folder: Path) -> tuple[ContainerServer, ContainerServer]:
    """Return a NATS server and an Elasticsearch, not yet started."""
    nats = ContainerServer(NATS_IMAGE, "nats", 4222, (8222, "/healthz"))
    elasticsearch = ContainerServer(
        ELASTICSEARCH_IMAGE,
        "http",
        9200,
        (9200, "/_cluster/health"),
        **{
            "discovery.type": "single-node",
            "xpack.security.enabled": "false",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            "cluster.max_shards_per_node": "10000",
            "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
        },
    )
    return nats.with_command(["-js", "-sd", "/data", "-m", "8222"]), elasticsearch
