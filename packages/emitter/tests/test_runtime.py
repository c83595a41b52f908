"""What the process itself is worth knowing: its metrics, and the traces of its slowest observations."""

import gc
import json
import os

from opentelemetry.sdk.trace import TracerProvider

from dataplane_emitter.testing import capture_events


def test_the_process_is_measured_if_asked_for() -> None:
    """Processor time, memory, threads, files and collections of this process, and none of it by default."""
    with capture_events() as captured:
        assert captured.points == []
    with capture_events(metrics={"process": True}) as captured:
        gc.collect()
        first = {point["metric"]["name"]: point["metric"] for point in captured.points}
    assert first["process_cpu"]["value"] > 0.01
    assert first["process_memory"]["value"] > 5_000_000
    assert first["process_threads"]["value"] >= 1
    assert first["process_open_files"]["value"] >= 3
    assert captured.total("process_gc_collections", {"generation": "2"}) >= 1


def test_a_forked_child_measures_itself_only() -> None:
    """The child's processor time begins at its fork."""
    with capture_events(metrics={"process": True}) as captured:
        spent = sum(number * number for number in range(500_000))
        assert spent > 0
        before = captured.total("process_cpu")
        pid = os.fork()
        if pid == 0:
            emitter = captured.emitter
            emitter.pipeline.collect()
            values = [json.loads(line)["metric"] for _, line in emitter.pipeline.lines()]
            own = sum(metric["value"] for metric in values if metric["name"] == "process_cpu")
            os._exit(0 if own < before else 1)
        assert os.waitpid(pid, 0)[1] == 0


def test_the_slowest_observation_names_its_trace() -> None:
    """A point of a histogram or timer has the trace and span in which the greatest value was seen."""
    tracer = TracerProvider().get_tracer("test")
    with capture_events() as captured:
        sizes = captured.emitter.histogram("size")
        for value in (1, 9, 5):
            with tracer.start_as_current_span("work") as span:
                sizes.observe(value)
                if value == 9:
                    wanted = span.get_span_context()
        (point,) = captured.points
        sizes.observe(1)
        (_, later) = captured.points
    assert point["trace"]["id"] == f"{wanted.trace_id:032x}"
    assert point["span"]["id"] == f"{wanted.span_id:016x}"
    assert "trace" not in later
