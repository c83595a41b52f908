"""Rules of what a service says about itself."""

import json
import urllib.error
import urllib.request

import prometheus_client
import pytest
import structlog

from dataplane_common.errors import ConfigError
from dataplane_common.local.ports import free_port
from dataplane_common.telemetry import OncePerMinute, TelemetryServer


def test_a_problem_is_said_once_a_minute_with_its_count() -> None:
    """Repeats within a minute are held back and counted; another problem is not held back by them."""
    now = [0.0]
    limit = OncePerMinute(clock=lambda: now[0])
    limit(None, "error", {"event": "bus.away", "error": "refused"})
    for _ in range(5):
        with pytest.raises(structlog.DropEvent):
            limit(None, "error", {"event": "bus.away", "error": "refused"})
    limit(None, "error", {"event": "bus.away", "error": "time-out"})
    assert limit(None, "info", {"event": "bus.away"}) == {"event": "bus.away"}
    now[0] = 61.0
    assert limit(None, "error", {"event": "bus.away", "error": "refused"})["repeated"] == 5


def test_health_readiness_and_metrics_are_served() -> None:
    """/healthz says alive, /readyz why not ready, /metrics the registry."""
    reasons = ["bus: away"]
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("lines", "Lines.", registry=registry).inc(3)
    address = f"127.0.0.1:{free_port(0).number}"
    server = TelemetryServer(address, lambda: reasons, registry)
    server.start()
    try:
        assert _get(address, "/healthz")[0] == 200
        status, body = _get(address, "/readyz")
        assert (status, json.loads(body)["reasons"]) == (503, ["bus: away"])
        reasons.clear()
        assert _get(address, "/readyz")[0] == 200
        assert "lines_total 3.0" in _get(address, "/metrics")[1]
        assert _get(address, "/other")[0] == 404
        with pytest.raises(ConfigError, match="choose a free port"):
            TelemetryServer(address, list, registry).start()
    finally:
        server.close()


def _get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("bad", ["9600", "host:", "host:port"])
def test_a_bad_address_is_refused(bad: str) -> None:
    """The message has the value and an example."""
    with pytest.raises(ConfigError, match="expected host:port"):
        TelemetryServer(bad, list).start()
