"""What a service says about itself: structured lines on stderr, and /healthz, /readyz, /metrics over HTTP.

Flows in: log calls, a Prometheus registry, a function that lists what is not ready. Flows out: lines and pages.
Invariant: the same problem is logged at most once a minute, with the count of what was held back.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import prometheus_client
import structlog

from dataplane_common.errors import ConfigError

#: A problem that goes on is repeated this often.
_REPEAT_AFTER_S = 60.0
#: Distinct problems that are remembered; beyond it the memory starts anew, so that it stays bounded.
_MAX_REMEMBERED = 1_000
_PROBLEMS = frozenset({"warning", "error", "critical"})

Logger = structlog.typing.FilteringBoundLogger


@dataclass(slots=True)
class OncePerMinute:
    """A structlog processor that lets each problem pass once a minute, with `repeated` for what was held back."""

    clock: Callable[[], float] = time.monotonic
    _seen: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Pass the event on, or raise `structlog.DropEvent`."""
        if method not in _PROBLEMS:
            return event
        key = (str(event.get("event")), str(event.get("key", event.get("error", "")))[:200])
        last_s, held = self._seen.get(key, (-_REPEAT_AFTER_S, 0))
        now_s = self.clock()
        if now_s - last_s < _REPEAT_AFTER_S:
            self._seen[key] = (last_s, held + 1)
            raise structlog.DropEvent
        if len(self._seen) >= _MAX_REMEMBERED:
            self._seen.clear()
        self._seen[key] = (now_s, 0)
        if held:
            event["repeated"] = held
        return event


def configure_logging(*, verbose: bool = False, quiet: bool = False) -> None:
    """Send this process's own lines to stderr: coloured on a terminal, JSON elsewhere; `quiet` has problems only."""
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    renderer: Any = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            OncePerMinute(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="@timestamp"),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.getLogger("nats").addHandler(logging.NullHandler())
    logging.getLogger("nats").propagate = False


def get_logger(name: str) -> Logger:
    """Return a logger for one part of a service."""
    logger: Logger = structlog.get_logger(component=name)
    return logger


@dataclass(slots=True, eq=False)
class TelemetryServer:
    """Serves /healthz (alive), /readyz (503 with the reasons while `not_ready` lists any) and /metrics."""

    listen: str
    not_ready: Callable[[], list[str]]
    registry: prometheus_client.CollectorRegistry = prometheus_client.REGISTRY
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen on `host:port` in a thread of its own.

        Raises:
            ConfigError: the address is no `host:port`, or is taken.
        """
        host, colon, port = self.listen.rpartition(":")
        if not colon or not port.isdigit():
            raise ConfigError(f'telemetry.listen: "{self.listen}": expected host:port, for example 127.0.0.1:9600')
        try:
            self._server = ThreadingHTTPServer((host or "127.0.0.1", int(port)), self._handler())
        except OSError as error:
            raise ConfigError(
                f'telemetry.listen: cannot listen on "{self.listen}": {error.strerror}; choose a free port'
            ) from error
        threading.Thread(target=self._server.serve_forever, name="telemetry", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def page(self, path: str) -> tuple[int, str, bytes]:
        """Return (status, content type, body) of a path."""
        match path.partition("?")[0]:
            case "/healthz":
                return 200, "application/json", b'{"status":"ok"}'
            case "/readyz":
                reasons = self.not_ready()
                body = json.dumps({"status": "not ready" if reasons else "ready", "reasons": reasons}).encode()
                return (503 if reasons else 200), "application/json", body
            case "/metrics":
                return 200, prometheus_client.CONTENT_TYPE_LATEST, prometheus_client.generate_latest(self.registry)
        return 404, "text/plain", b"try /healthz, /readyz or /metrics\n"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        page = self.page

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                status, kind, body = page(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
                """Keep requests out of the service's own lines."""

        return Handler
