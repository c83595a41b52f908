"""Logs and metrics of a Python service, onto the data plane, without ever hurting the service.

`configure` returns an `Emitter`; hand its `processor()` to structlog or its `handler()` to `logging`, and count with
its `counter`, `gauge`, `histogram` and `timer`.
"""

from dataplane_common.errors import ConfigError
from dataplane_emitter.configure import configure
from dataplane_emitter.emitter import Emitter
from dataplane_emitter.handler import Handler
from dataplane_emitter.metrics import Counter, Gauge, Histogram
from dataplane_emitter.processor import Processor
from dataplane_emitter.settings import EmitterConfig
from dataplane_emitter.stats import Stats
from dataplane_emitter.timer import Timer

__all__ = [
    "ConfigError",
    "Counter",
    "Emitter",
    "EmitterConfig",
    "Gauge",
    "Handler",
    "Histogram",
    "Processor",
    "Stats",
    "Timer",
    "configure",
]
