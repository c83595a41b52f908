"""Metrics of the process itself: processor time, memory, garbage collection, threads, open files.

Flows in: what the interpreter and the kernel tell. Flows out: counters and gauges of the registry at each interval.
Invariant: a forked child counts from its own beginning, and what a system cannot tell is left out.
"""

import gc
import os
import threading
import time
from pathlib import Path

from dataplane_emitter.metrics import Counter, Gauge
from dataplane_emitter.registry import Registry
from dataplane_emitter.series import CounterSeries, GaugeSeries

_STATM = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd")
_RESIDENT = 1


class Runtime:
    """Reads the process when the registry asks."""

    def __init__(self, registry: Registry) -> None:
        def counter(name: str, unit: str) -> Counter:
            return Counter(registry.family(name, "counter", unit, CounterSeries))

        def gauge(name: str, unit: str) -> Gauge:
            return Gauge(registry.family(name, "gauge", unit, GaugeSeries))

        self._cpu = counter("process_cpu", "s")
        self._collections = counter("process_gc_collections", "1")
        self._collected = counter("process_gc_objects", "1")
        self._memory = gauge("process_memory", "By")
        self._threads = gauge("process_threads", "1")
        self._files = gauge("process_open_files", "1")
        self._cpu_s = 0.0
        self._gc: list[dict[str, int]] = []
        self._begin()
        registry.on_collect(self.read)

    def read(self) -> None:
        """Set the gauges, and add to the counters what has been since the last time."""
        if os.getpid() != self._pid:
            self._begin()
        cpu_s = time.process_time()
        self._cpu.inc(cpu_s - self._cpu_s)
        self._cpu_s = cpu_s
        self._threads.set(threading.active_count())
        self._read_collector()
        try:
            pages = int(_STATM.read_text().split()[_RESIDENT])
            self._memory.set(pages * os.sysconf("SC_PAGE_SIZE"))
            self._files.set(sum(1 for _ in _FILES.iterdir()))
        except (OSError, ValueError, IndexError):
            return  # not Linux

    def _read_collector(self) -> None:
        for generation, (before, now) in enumerate(zip(self._gc, gc.get_stats(), strict=True)):
            labels = {"generation": str(generation)}
            self._collections.inc(now["collections"] - before["collections"], labels)
            self._collected.inc(now["collected"] - before["collected"], labels)
        self._gc = gc.get_stats()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._cpu_s = 0.0
        self._gc = gc.get_stats()
