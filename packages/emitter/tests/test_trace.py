"""Events name the span that they belong to, where OpenTelemetry is used, and miss nothing where it is not."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from dataplane_emitter.testing import Captured


def test_each_task_and_thread_names_its_own_span(captured: Captured) -> None:
    """Logs of both worlds carry the span of the context in which they were made; outside of spans there is none."""
    tracer = TracerProvider().get_tracer("test")
    log, process = logging.Logger("app"), captured.emitter.processor()  # noqa: LOG001 - nobody else's
    log.addHandler(captured.emitter.handler())
    wanted: dict[int, tuple[str, str]] = {}

    async def request(number: int) -> None:
        with tracer.start_as_current_span("request") as span:
            context = span.get_span_context()
            wanted[number] = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
            await asyncio.sleep(0)
            log.info("task", extra={"number": number})
            await asyncio.to_thread(process, None, "info", {"event": "thread", "number": number})
        log.info("outside", extra={"number": number})

    async def main() -> None:
        await asyncio.gather(*(request(number) for number in range(5)))

    asyncio.run(main())
    inside = [event for event in captured.events if event["message"] != "outside"]
    assert len(inside) == 10
    assert all((event["trace"]["id"], event["span"]["id"]) == wanted[event["number"]] for event in inside)
    outside = [event for event in captured.events if event["message"] == "outside"]
    assert len(outside) == 5
    assert not any("trace" in event or "span" in event for event in outside)


def test_without_opentelemetry_nothing_is_missed(run_program: Callable[..., Any]) -> None:
    """Where it is not installed, logs and histograms work, and nobody tries to import it."""
    program = """
        import sys
        from dataplane_emitter.testing import capture_events

        class NotInstalled:
            def find_spec(self, name, path=None, target=None):
                if name.startswith("opentelemetry"):
                    raise AssertionError(f"{name} was asked for")
        sys.meta_path.insert(0, NotInstalled())
        with capture_events() as captured:
            captured.emitter.processor()(None, "info", {"event": "x"})
            captured.emitter.histogram("h").observe(1)
            assert "trace" not in captured.events[0]
            assert "trace" not in captured.points[0]
    """
    run_program(program)
