"""Services of the usual frameworks log through the emitter: under real servers, from each of their processes, once."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataplane_common.local import free_port
from dataplane_emitter import configure

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SERVICES = Path(__file__).parent / "services"
BIN = Path(sys.executable).parent
REQUESTS = 60
SERVERS = {
    "fastapi on uvicorn": ("fastapi", ["uvicorn", "fastapi_service:app", "--port", "{port}"]),
    "fastapi on uvicorn workers": ("fastapi", ["uvicorn", "fastapi_service:app", "--port", "{port}", "--workers", "3"]),
    "django on gunicorn preload": (
        "django",
        ["gunicorn", "django_service", "--bind", "127.0.0.1:{port}", "--workers", "3", "--preload"],
    ),
    "django on gunicorn gevent": (
        "django",
        ["gunicorn", "django_service", "--bind", "127.0.0.1:{port}", "--workers", "2", "--worker-class", "gevent"],
    ),
    "django on gunicorn threads": (
        "django",
        ["gunicorn", "django_service", "--bind", "127.0.0.1:{port}", "--workers", "2", "--threads", "4"],
    ),
}


@pytest.fixture
def start(plane: Any) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Start a service that finds the bus, its namespace and its dataset in the environment."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> "subprocess.Popen[bytes]":
        given = {
            "DATAPLANE_NATS__SERVERS": plane.nats_url,
            "DATAPLANE_NAMESPACE": "test",
            "DATAPLANE_DATASET": plane.dataset,
            "PYTHONPATH": str(SERVICES),
        }
        environment = {**os.environ, **given}  # noqa: TID251 - a child gets what we have, and more
        with (plane.folder / "service.out").open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, cwd=plane.folder, stdout=output, stderr=output, start_new_session=True
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _get(url: str, deadline_s: float = 30.0) -> Any:
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            return {}
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.05)


def _by_source(documents: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for document in documents:
        found[document["dp"]["source"]].append(document)
    return found


@pytest.mark.parametrize("server", SERVERS)
def test_a_service_is_searchable(plane: Any, start: Callable[..., Any], server: str) -> None:
    """What each worker logs and counts is indexed once, under a source per process, up to a SIGTERM of the server."""
    framework, command = SERVERS[server]
    port = free_port().number
    plane.start_sink()
    service = start(str(BIN / command[0]), *(word.format(port=port) for word in command[1:]))
    pids = {_get(f"http://127.0.0.1:{port}/order/{number}")["pid"] for number in range(REQUESTS)}
    _get(f"http://127.0.0.1:{port}/pay/{REQUESTS}")
    service.terminate()
    service.wait(30)
    plane.wait_for_count(REQUESTS + 1)
    plane.wait_for_count(1, "metrics")
    documents, points = plane.documents(), plane.documents("metrics")
    orders = [document["order"] for document in documents if document["message"].endswith(" taken")]
    assert sorted(orders) == list(range(REQUESTS))
    assert sum(point["metric"]["value"] for point in points if point["metric"]["name"] == "orders") == REQUESTS
    (failed,) = [document for document in documents if "error" in document]
    assert "4111" not in json.dumps(failed)
    assert failed["error"]["type"] in ("ZeroDivisionError", "RuntimeError")
    assert {document["service"]["name"] for document in documents} == {f"{framework}-service"}
    by_source = _by_source([document for document in documents if document["log"].get("logger") == "shop"])
    logged_by = {source: {document["process"]["pid"] for document in found} for source, found in by_source.items()}
    assert all(len(found) == 1 for found in logged_by.values())
    assert {pid for found in logged_by.values() for pid in found} >= pids


def test_prefork_children_deliver_at_their_end(plane: Any, start: Callable[..., Any]) -> None:
    """Children of Celery's process library, which runs no exit functions of Python, lose nothing."""
    plane.start_sink()
    assert start(sys.executable, str(SERVICES / "prefork_service.py"), "90").wait(60) == 0
    plane.wait_for_count(90)
    plane.wait_for_count(3, "metrics")
    documents = plane.documents()
    assert sorted(document["order"] for document in documents) == list(range(90))
    assert len(_by_source(documents)) == 3
    assert sum(point["metric"]["value"] for point in plane.documents("metrics")) == 90


def test_celery_workers_deliver_at_a_warm_shutdown(plane: Any, start: Callable[..., Any]) -> None:
    """Tasks in Celery's prefork pool log and count; SIGTERM of the worker ends its children, and nothing is lost."""
    queueing = "import celery_service as s\nfor number in range(90): s.order.delay(number)\ns.emitter.close(0)"
    assert start(sys.executable, "-c", queueing).wait(60) == 0
    plane.start_sink()
    worker = start(str(BIN / "celery"), "--app", "celery_service", "worker", "--pool", "prefork", "--concurrency", "3")
    plane.wait_for_count(90)
    worker.terminate()
    assert worker.wait(60) == 0
    documents = plane.documents()
    assert sorted(document["order"] for document in documents) == list(range(90))
    sources = _by_source(documents)
    assert len(sources) == len({document["process"]["pid"] for document in documents})
    plane.wait_for_count(len(sources), "metrics")
    points = plane.documents("metrics")
    assert sum(point["metric"]["value"] for point in points) == 90


def test_a_spool_is_searchable_in_the_end(plane: Any, tmp_path: Path) -> None:
    """What two processes could not deliver is indexed once after a third one has drained it, with the ids it had."""
    away = f"nats://127.0.0.1:{free_port().number}"
    given = {"service": "spooler", "namespace": "test", "dataset": plane.dataset, "spool": {"dir": tmp_path / "spool"}}
    sources = []
    for process in range(2):
        spooling = configure(**given, servers=away, stderr=False, exit_timeout_s=3)
        for number in range(500):
            spooling.processor()(None, "info", {"event": "spooled", "order": 500 * process + number})
        spooling.close()
        assert (spooling.stats().spooled, spooling.stats().dropped) == (500, {})
        sources.append(spooling.stats().source)
    plane.start_sink()
    draining = configure(**given, servers=plane.nats_url)
    draining.processor()(None, "info", {"event": "of the third", "order": 1_000})
    plane.wait_for_count(1_001)
    draining.close(10)
    documents = plane.documents()
    assert sorted(document["order"] for document in documents) == list(range(1_001))
    found = {(document["dp"]["source"], document["event"]["sequence"]): document["order"] for document in documents}
    assert all(found[source, order % 500 + 1] == order for order in range(1_000) for source in [sources[order // 500]])
    assert not any((tmp_path / "spool").iterdir())
