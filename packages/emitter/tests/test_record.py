"""Records of stdlib and structlog as ECS events."""

import contextvars
import logging
import logging.config
import logging.handlers
import queue
import sys
import threading
import types
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_emitter.testing import Captured, capture_events


@pytest.fixture
def log(captured: Captured) -> logging.Logger:
    """A logger that has the emitter's handler only, and no parent."""
    logger = logging.Logger("shop.orders", logging.DEBUG)  # noqa: LOG001 - pytest must not handle its records, too
    logger.addHandler(captured.emitter.handler())
    return logger


def test_a_record_becomes_an_ecs_event(captured: Captured, log: logging.Logger) -> None:
    """Message, time, level, logger, origin, process, host, service and dataset are where ECS has them."""
    log.warning("order %d of %s", 7, "Ann", extra={"amount": 1.5, "currency": "EUR"})
    (event,) = captured.events
    assert [*event][:2] == ["_id", "@timestamp"]
    assert event["message"] == "order 7 of Ann"
    assert event["log"]["level"] == "warning"
    assert event["log"]["logger"] == "shop.orders"
    assert event["log"]["origin"]["file"]["name"] == "test_record.py"
    assert event["log"]["origin"]["function"] == "test_a_record_becomes_an_ecs_event"
    assert event["process"]["thread"]["name"] == "MainThread"
    assert event["service"] == {"name": "test"}
    assert event["host"]["name"]
    assert event["event"] == {"dataset": "test", "sequence": 1}
    assert event["_id"] == f"{event['dp']['source']}-1"
    assert (event["amount"], event["currency"]) == (1.5, "EUR")


def test_colliding_fields_lose_nothing_and_overwrite_nothing(captured: Captured, log: logging.Logger) -> None:
    """What collides with the envelope goes to labels; objects are merged where they can be."""
    extra: dict[str, Any] = {
        "_id": "mine",
        "host": "other",
        "service": {"version": "2", "name": "other"},
        "event": {"action": "paid", "dataset": "other", "sequence": 99},
        "dp": {"source": "x"},
        "labels": {"shop": "de"},
        "error": "boom",
        "trace": 5,
    }
    log.info("hello", extra=extra)
    (event,) = captured.events
    assert event["_id"] != "mine"
    assert event["service"] == {"name": "test", "version": "2"}
    assert event["event"] == {"action": "paid", "dataset": "test", "sequence": 1}
    assert event["error"] == {"message": "boom"}
    assert event["labels"]["shop"] == "de"
    for value in ("mine", "other", "99", "5", "x"):
        assert value in event["labels"].values()


@given(
    fields=st.dictionaries(
        st.one_of(
            st.text(max_size=6),
            st.sampled_from(["message", "host", "host.name", "event", "event.action", "_id", "@timestamp", "a.b", "a",
                             "labels", "error", "log", "log.level", "dp", "service", "process", "metric", "ecs"]),
        ),
        st.one_of(st.text(max_size=4), st.integers(), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)),
        max_size=6,
    )
)  # fmt: skip
def test_no_field_breaks_an_event(fields: dict[str, Any]) -> None:
    """Any names and values give one valid event, whose envelope is its own, without repeated names."""
    with capture_events(namespace="test") as captured:
        captured.emitter.processor()(None, "info", {**fields, "event": "hello", "level": "info"})
        assert captured.emitter.stats().dropped == {}
        (event,) = captured.events
    assert event["message"] == "hello"
    assert event["event"]["dataset"] == "test"
    assert event["event"]["sequence"] == 1
    assert event["service"]["name"] == "test"
    assert event["log"]["level"] == "info"
    assert not any("." in name for name in event)


def test_an_exception_is_told_with_its_causes(captured: Captured, log: logging.Logger) -> None:
    """`log.exception` gives type, message and trace, cause included."""

    def fail() -> None:
        try:
            {}["inner"]
        except KeyError as cause:
            raise ValueError("outer") from cause

    try:
        fail()
    except ValueError:
        log.exception("failed")
    (event,) = captured.events
    assert event["error"]["type"] == "ValueError"
    assert event["error"]["message"] == "outer"
    assert "inner" in event["error"]["stack_trace"]


def test_a_bad_format_costs_nothing(captured: Captured, log: logging.Logger) -> None:
    """Arguments that do not fit their format are shown beside it."""
    log.info("%d orders", "many")
    assert captured.events[0]["message"] == "%d orders many"


def test_records_through_a_queue_keep_their_thread(captured: Captured) -> None:
    """A record that another thread hands on still names the thread that logged it."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    logger = logging.Logger("queued", logging.INFO)  # noqa: LOG001 - as above
    logger.addHandler(logging.handlers.QueueHandler(waiting))
    thread = threading.Thread(target=lambda: logger.info("from a thread"), name="worker-7")
    thread.start()
    thread.join()
    captured.emitter.handler().handle(waiting.get())
    assert captured.events[0]["process"]["thread"]["name"] == "worker-7"


def test_dict_config_finds_the_handler(captured: Captured) -> None:
    """`logging.config.dictConfig` takes the handler as a callable."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"bus": {"()": captured.emitter.handler, "level": "WARNING"}},
            "loggers": {"by.dict": {"handlers": ["bus"], "level": "DEBUG", "propagate": False}},
        }
    )
    logging.getLogger("by.dict").info("no")
    logging.getLogger("by.dict").warning("yes")
    logging.getLogger("by.dict").handlers.clear()
    assert [event["message"] for event in captured.events] == ["yes"]


def test_levels_filter_where_they_are_set() -> None:
    """The processor's level, the handler's level and a logger's level each hold back what is below."""
    with capture_events(levels={"noisy": "error"}, datasets={"access": "web_access"}) as captured:
        processor = captured.emitter.processor(level="warning")
        processor(None, "info", {"event": "no"})
        processor(None, "warning", {"event": "yes"})
        free = captured.emitter.processor()
        free(None, "warning", {"event": "no", "logger": "noisy.part"})
        free(None, "error", {"event": "noise", "logger": "noisy"})
        free(None, "info", {"event": "request", "logger": "access.log"})
        assert [event["message"] for event in captured.events] == ["yes", "noise", "request"]
        assert captured.events[2]["event"]["dataset"] == "web_access"


def test_a_handlers_level_may_be_spelt_small(captured: Captured) -> None:
    """`handler("info")` and `handler("INFO")` are the same."""
    assert captured.emitter.handler("info").level == captured.emitter.handler("INFO").level == logging.INFO


def test_static_and_dynamic_fields_are_on_each_event() -> None:
    """Fixed fields, and those that a function gives at each event; the record's own value counts before both."""
    context: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")

    def broken() -> str:
        raise RuntimeError("no")

    fields = {"service.version": "1.2", "region": "eu", "tenant": context.get, "broken": broken}
    with capture_events(fields=fields) as captured:
        processor = captured.emitter.processor()
        processor(None, "info", {"event": "a"})
        context.set("acme")
        processor(None, "info", {"event": "b", "region": "us"})
        first, second = captured.events
    assert (first["region"], first["tenant"], first["service"]) == ("eu", "none", {"name": "test", "version": "1.2"})
    assert (second["region"], second["tenant"]) == ("us", "acme")
    assert "RuntimeError" in first["broken"]


def test_the_current_span_is_named(captured: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenTelemetry is imported and a span is current, its identifiers are on the event."""
    context = types.SimpleNamespace(is_valid=True, trace_id=0xABC, span_id=0xDEF)
    span = types.SimpleNamespace(get_span_context=lambda: context)
    module: Any = types.ModuleType("opentelemetry.trace")
    module.get_current_span = lambda: span
    captured.emitter.processor()(None, "info", {"event": "without"})
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)
    captured.emitter.processor()(None, "info", {"event": "with"})
    without, with_span = captured.events
    assert "trace" not in without
    assert with_span["trace"] == {"id": f"{0xABC:032x}"}
    assert with_span["span"] == {"id": f"{0xDEF:016x}"}


def test_a_value_that_logs_while_it_is_read_ends(captured: Captured, log: logging.Logger) -> None:
    """A `__str__` that logs itself is stopped after a few rounds and counted."""

    class Talkative:
        def __str__(self) -> str:
            log.info("I am %s", self)
            return "talkative"

    log.info("hello %s", Talkative())
    assert captured.emitter.stats().dropped == {"recursion": 1}
    assert captured.events[-1]["message"] == "hello talkative"


def test_logging_from_finalisers_and_warnings_arrives(captured: Captured, log: logging.Logger) -> None:
    """`__del__` and `warnings` log like anyone."""

    class Ending:
        def __del__(self) -> None:
            log.info("gone")

    ending = Ending()
    del ending
    logging.captureWarnings(True)
    try:
        logging.getLogger("py.warnings").addHandler(handler := captured.emitter.handler())
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old thing", stacklevel=1)
    finally:
        logging.captureWarnings(False)
        logging.getLogger("py.warnings").removeHandler(handler)
    messages = [event["message"] for event in captured.events]
    assert messages[0] == "gone"
    assert "old thing" in messages[1]


def test_long_events_are_shortened_not_dropped() -> None:
    """An event above `max_event_bytes` arrives cut, and says how long it was."""
    with capture_events(max_event_bytes=4_096) as captured:
        captured.emitter.processor()(None, "info", {"event": "x" * 100_000, "user": "ann"})
        (event,) = captured.events
    assert event["user"] == "ann"
    assert 1_000 < len(event["message"]) < 4_096
    assert event["event"]["original_size"] > 100_000


def test_an_endless_name_of_a_logger_counts_in_an_events_size(captured: Captured) -> None:
    """What is cut is the whole event, not only what its own fields are."""
    captured.emitter.handler().handle(logging.makeLogRecord({"name": "x" * 300_000, "msg": "hello"}))
    (event,) = captured.events
    assert event["event"]["original_size"] > 300_000
    assert event["message"] == "hello"
    assert len(event["log"]["logger"]) < captured.emitter.config.max_event_bytes


def test_a_record_handed_on_keeps_the_thread_that_logged_it(captured: Captured, log: logging.Logger) -> None:
    """Also by a thread that logs itself."""
    log.info("x")
    log.handle(logging.makeLogRecord({"msg": "x", "levelno": 20, "thread": 4711, "threadName": "worker"}))
    own, other = (event["process"]["thread"] for event in captured.events)
    assert own == {"id": threading.get_ident(), "name": "MainThread"}
    assert other == {"id": 4711, "name": "worker"}


def test_blank_names_become_labels(captured: Captured) -> None:
    """Elasticsearch would refuse the whole event for a field without a name."""
    captured.emitter.processor()(None, "info", {"event": "x", " ": 1, "": 2, "\t": 3, "plain": 4})
    (event,) = captured.events
    assert event["plain"] == 4
    assert sorted(event["labels"].values()) == ["1", "2", "3"]
    assert all(name.strip() for name in event)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64 - 1, 2**64])
def test_an_integer_beyond_64_bits_is_a_text(captured: Captured, log: logging.Logger, number: int) -> None:
    """Elasticsearch would refuse the whole event for it."""
    log.info("x", extra={"number": number, "largest": 2**63 - 1})
    (event,) = captured.events
    assert (event["number"], event["largest"]) == (str(number), 2**63 - 1)
