"""structlog's event dictionaries as ECS events."""

import asyncio
from typing import Any

import structlog

from dataplane_emitter.testing import Captured


def test_structlog_events_are_sent_and_passed_on(captured: Captured) -> None:
    """The processor sends what it sees and hands the same dictionary to the renderer."""
    rendered: list[Any] = []

    def render(_logger: Any, _method: str, event: Any) -> str:
        rendered.append(dict(event))
        return ""

    chain = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level,
             structlog.processors.TimeStamper(fmt="iso"), captured.emitter.processor(), render]  # fmt: skip
    log = structlog.wrap_logger(structlog.testing.CapturingLogger(), processors=chain)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        log.bind(user="ann").info("paid", amount=5)
    (event,) = captured.events
    assert (event["message"], event["user"], event["amount"], event["request_id"]) == ("paid", "ann", 5, "r-1")
    assert event["@timestamp"] == rendered[0]["timestamp"]
    assert "timestamp" not in event
    assert rendered[0]["event"] == "paid"


def test_a_final_processor_ends_the_chain(captured: Captured) -> None:
    """With `final`, nothing comes after: structlog drops the event quietly."""
    target = structlog.testing.CapturingLogger()
    log = structlog.wrap_logger(target, processors=[captured.emitter.processor(final=True)])
    log.error("only the bus", exc_info=ValueError("x"))
    assert target.calls == []
    assert captured.events[0]["error"]["type"] == "ValueError"
    assert captured.events[0]["log"]["level"] == "error"


def test_a_processor_takes_rendered_exceptions_and_texts(captured: Captured) -> None:
    """After `format_exc_info`, or even after a renderer, an event still arrives."""
    processor = captured.emitter.processor()
    trace = "Traceback (most recent call last):\nValueError: x\n"
    processor(None, "error", {"event": "bad", "exception": trace})
    processor(None, "info", "rendered already")  # type: ignore[type-var]
    bad, text = captured.events
    assert bad["error"] == {"type": "ValueError", "message": "x", "stack_trace": trace}
    assert "exception" not in bad
    assert text["message"] == "rendered already"


def test_context_follows_tasks_and_threads(captured: Captured) -> None:
    """Each task and each `to_thread` logs with its own context variables."""
    log = structlog.wrap_logger(
        structlog.testing.CapturingLogger(),
        processors=[structlog.contextvars.merge_contextvars, captured.emitter.processor(final=True)],
    )

    async def request(number: int) -> None:
        structlog.contextvars.bind_contextvars(number=number)
        await asyncio.sleep(0)
        log.info("task", expected=number)
        await asyncio.to_thread(lambda: log.info("thread", expected=number))

    async def main() -> None:
        await asyncio.gather(*(request(number) for number in range(5)))

    asyncio.run(main())
    assert len(captured.events) == 10
    assert all(event["expected"] == event["number"] for event in captured.events)
