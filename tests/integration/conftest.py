"""Real servers for the integration tests, and the plane: our services as processes between them.

The servers come from one of three places: addresses in the environment (DATAPLANE_TEST_NATS_URL and
DATAPLANE_TEST_ES_URL; only for tests that leave them alone), containers (DATAPLANE_TEST_SERVERS=containers, where an
engine answers and has the images), or native processes, which are also what the other two fall back to.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from containers import container_servers, why_no_containers
from native import native_servers
from plane import Plane

from dataplane_common.config import environment


class Server(Protocol):
    """What a test does with a server; it comes back under the same address with its data."""

    @property
    def url(self) -> str:
        """Where clients connect."""

    def start(self) -> Any:
        """Start and wait until it answers."""

    def stop(self) -> Any:
        """Ask it to end."""

    def kill(self) -> Any:
        """End it as a power cut would."""


ServerFactory = Callable[[Path], tuple[Server, Server]]


def _wishes_containers() -> bool:
    return environment("DATAPLANE_TEST_SERVERS") == "containers"


def pytest_report_header() -> str:
    """Say where the servers come from."""
    if not _wishes_containers():
        return "servers: native processes"
    reason = why_no_containers()
    return f"servers: native processes, because {reason}" if reason else "servers: containers"


@pytest.fixture(scope="session", autouse=True)
def _no_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep a running local stack out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATAPLANE_STACK_DIR", str(tmp_path_factory.mktemp("no-stack")))
        yield


@pytest.fixture(scope="session")
def server_factory() -> ServerFactory:
    """Make a NATS server and an Elasticsearch, not yet started, with their files in a folder."""
    return container_servers if _wishes_containers() and not why_no_containers() else native_servers


@pytest.fixture(scope="session")
def shared_urls(tmp_path_factory: pytest.TempPathFactory, server_factory: ServerFactory) -> Iterator[tuple[str, str]]:
    """Addresses of servers that tests share and leave alone: (NATS, Elasticsearch)."""
    given = environment("DATAPLANE_TEST_NATS_URL"), environment("DATAPLANE_TEST_ES_URL")
    if given[0] and given[1]:
        yield given[0], given[1]
        return
    with ExitStack() as stack:
        nats, elasticsearch = server_factory(tmp_path_factory.mktemp("shared"))
        for server in (nats, elasticsearch):
            stack.callback(server.clear)
            server.start()
        yield nats.url, elasticsearch.url


@pytest.fixture(scope="session")
def nats_url(shared_urls: tuple[str, str]) -> str:
    """The address of the shared NATS server."""
    return shared_urls[0]


@pytest.fixture(scope="session")
def elasticsearch_url(shared_urls: tuple[str, str]) -> str:
    """The address of the shared Elasticsearch."""
    return shared_urls[1]


@pytest.fixture(scope="session")
def own_servers(
    tmp_path_factory: pytest.TempPathFactory, server_factory: ServerFactory
) -> Iterator[tuple[Server, Server]]:
    """Servers that tests may end and start; each test leaves them running."""
    nats, elasticsearch = server_factory(tmp_path_factory.mktemp("own"))
    with ExitStack() as stack:
        for server in (nats, elasticsearch):
            stack.callback(server.clear)
            server.start()
        yield nats, elasticsearch


@pytest.fixture
def plane(tmp_path: Path, nats_url: str, elasticsearch_url: str) -> Iterator[Plane]:
    """A plane on the shared servers with a dataset of its own."""
    with Plane(tmp_path, nats_url, elasticsearch_url, f"t_{secrets.token_hex(6)}") as made:
        yield made


@pytest.fixture
def own_plane(tmp_path: Path, own_servers: tuple[Server, Server]) -> Iterator[Plane]:
    """A plane on servers that the test may end."""
    nats, elasticsearch = own_servers
    with Plane(tmp_path, nats.url, elasticsearch.url, f"t_{secrets.token_hex(6)}") as made:
        yield made
