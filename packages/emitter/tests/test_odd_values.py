"""Values that fight back, wherever an application may put them: each call gives one event, and raises nothing."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dataplane_emitter.testing import Captured, capture_events


class Hostile:
    """Raises whatever is asked of it."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("no")

    __repr__ = __str__ = __len__ = __bool__ = __iter__ = __eq__ = __float__ = __getattr__ = _raise  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class NoClass:
    """Has no class that one can ask for, so that even `isinstance` raises."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no")


class Endless:
    """Its repr never ends."""

    def __repr__(self) -> str:
        return repr(self)


class Text(str):
    """A text that does not want to be read."""

    __slots__ = ()

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("no")

    __str__ = __repr__ = __len__ = __getitem__ = encode = __eq__ = _raise  # type: ignore[assignment]

    def __hash__(self) -> int:
        return 1


class Mapping(dict[str, Any]):
    """A mapping that does not want to be read."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("no")

    items = keys = copy = __iter__ = _raise  # type: ignore[assignment]


class Nameless(type):
    """The type of a class whose name cannot be asked for."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no")


class OfNameless(metaclass=Nameless):
    """Cannot be described in any way."""

    def __repr__(self) -> str:
        raise ValueError("no")


class Scalar:
    """What numbers of numpy look like: numbers by their methods only."""

    def __float__(self) -> float:
        return 1.5

    def __repr__(self) -> str:
        return "np.float64(1.5)"


class Colour(enum.Enum):
    """An enumeration of an application."""

    RED = 1


@dataclasses.dataclass
class Order:
    """A data class that holds something hostile."""

    number: int
    customer: object


def _nested(depth: int) -> list[Any]:
    outer: list[Any] = []
    inner = outer
    for _ in range(depth):
        inner.append([])
        inner = inner[0]
    return outer


def _cycle() -> dict[str, Any]:
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    return cycle


def _group_with_a_cycle() -> ExceptionGroup[Exception]:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__context__ = second, first
    return ExceptionGroup("both", [first, second, ExceptionGroup("inner", [first])])


VALUES: dict[str, Callable[[], Any]] = {
    "hostile": Hostile,
    "without a class": NoClass,
    "endless repr": Endless,
    "hostile text": lambda: Text("x"),
    "hostile mapping": lambda: Mapping(a=1),
    "without a name": OfNameless,
    "like numpy": Scalar,
    "enumeration": lambda: Colour.RED,
    "data class": lambda: Order(1, Hostile()),
    "deep": lambda: _nested(100_000),
    "cycle": _cycle,
    "wide": lambda: ["x" * 100] * 50_000,
    "lone surrogate": lambda: "\ud800",
    "not a number": lambda: float("nan"),
    "huge number": lambda: 10**5_000,
    "bytes": lambda: b"\xff\x00",
    "a view of doubles": lambda: memoryview(bytearray(8)).cast("d"),
    "set": lambda: {1, "a"},
    "a time before time": lambda: dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))),
    "decimal": lambda: decimal.Decimal("sNaN"),
    "keys that are no texts": lambda: {None: 1, (1, 2): 2, b"k": 3, 1.5: {"": 1, ".": 2, "a..b": 3}},
    "10 MB": lambda: "ä" * 5_000_000,
    "generator": lambda: (number for number in [1]),
    "lock": threading.Lock,
    "group with a cycle": _group_with_a_cycle,
    "nothing": lambda: None,
}


each_value = pytest.mark.parametrize("kind", VALUES)


@pytest.fixture
def odd_log(captured: Captured) -> logging.Logger:
    """A logger of the emitter's handler only; nobody else knows it, because other handlers would raise."""
    logger = logging.Logger("odd")  # noqa: LOG001 - as said
    logger.addHandler(captured.emitter.handler())
    return logger


def _is_key(value: Any) -> bool:
    try:
        return hash(value) is not None
    except Exception:  # noqa: BLE001 - the value's own code
        return False


@each_value
def test_a_structlog_event_survives_any_value(captured: Captured, kind: str) -> None:
    """As a field, nested, as the event, its level, time, logger, exception, labels, or as the call's own arguments."""
    value = VALUES[kind]()
    process = captured.emitter.processor()
    names = (
        "v",
        "event",
        "level",
        "logger",
        "timestamp",
        "exc_info",
        "exception",
        "labels",
        "log",
        "error",
        "dp",
        "_id",
    )
    calls = [(None, "info", {"event": "x", name: value}) for name in names]
    calls += [(None, "info", {"event": "x", "v": [{"k": value}]}), (None, "info", value), (None, value, {"event": "x"})]
    calls += [(value, "info", {"event": "x"})]
    if _is_key(value):
        calls += [(None, "info", {"event": "x", value: 1}), (None, "info", {"event": "x", "v": {value: 1}})]
    for call in calls:
        process(*call)
    assert len(captured.events) == len(calls)
    assert captured.emitter.stats().dropped == {}


@each_value
def test_a_record_survives_any_value(captured: Captured, odd_log: logging.Logger, kind: str) -> None:
    """As message, argument, extra, and in attributes that a filter may have changed."""
    value = VALUES[kind]()
    odd_log.info(value)
    odd_log.info("a", extra={"v": value})
    made = 2
    if kind != "without a class":  # there `logging` itself raises
        odd_log.info("a %s", value)
        odd_log.info("a %d %s", value)
        made += 2
    for name in ("name", "levelname", "filename", "lineno", "funcName", "thread", "threadName", "created", "levelno",
                 "exc_info", "exc_text", "stack_info", "args"):  # fmt: skip
        record = logging.LogRecord("odd", logging.INFO, "f.py", 1, "m", None, None, "f")
        setattr(record, name, value)
        odd_log.handlers[0].handle(record)
        made += 1
    assert len(captured.events) == made
    assert captured.emitter.stats().dropped == {}


@each_value
def test_a_metric_survives_any_value(captured: Captured, kind: str) -> None:
    """As amount, label, labels, name and unit; the points are valid, and a good amount beside it is counted."""
    value = VALUES[kind]()
    emitter = captured.emitter
    counter = emitter.counter("good")
    for instrument in (counter.inc, emitter.gauge("g").set, emitter.gauge("g").inc, emitter.histogram("h").observe):
        instrument(value)
        instrument(1, {"label": value})
        instrument(1, value)
    emitter.counter("good", labels={"a": value}).inc()
    emitter.counter("good", labels=value).bind(a=value).inc()
    emitter.counter(value, unit=value).inc()
    emitter.gauge("callback", callback=lambda: value)
    with emitter.timer("t", value), emitter.timer("t", {"a": value}):
        counter.inc()
    points = captured.points
    assert all(isinstance(json.dumps(point), str) for point in points)
    assert captured.total("good") >= 5
    assert emitter.stats().dropped == {}


def test_exc_info_without_an_exception_is_no_error(captured: Captured, odd_log: logging.Logger) -> None:
    """`log.exception` outside of an `except` block is an ordinary event."""
    odd_log.exception("x")
    captured.emitter.processor()(None, "error", {"event": "y", "exc_info": True})
    assert [(event["message"], "error" in event) for event in captured.events] == [("x", False), ("y", False)]


def test_extra_with_reserved_names_stays_beside_the_envelope(captured: Captured, odd_log: logging.Logger) -> None:
    """What the envelope owns cannot be said by a field; it is found in `labels`."""
    extra = {"_id": 1, "@timestamp": "noon", "event.sequence": 9, "dp": "x", "ecs": 1, "host": "h", "service": "s"}
    odd_log.info("x", extra=extra)
    (event,) = captured.events
    assert event["_id"].endswith("-1")
    assert event["event"] == {"dataset": "test", "sequence": 1}
    assert (event["service"], set(event["dp"])) == ({"name": "test"}, {"source"})
    assert {"id", "host", "service", "ecs"} <= event["labels"].keys()


def test_amounts_that_are_numbers_by_method_count(captured: Captured) -> None:
    """Decimals and numpy's scalars are added up like floats, also in turn with them."""
    counter = captured.emitter.counter("mixed")
    for amount in (1, 0.5, decimal.Decimal("0.25"), Scalar(), True):
        counter.inc(amount)  # type: ignore[arg-type]
    assert captured.total("mixed") == 4.25


def test_names_of_ten_megabytes_are_not_remembered() -> None:
    """Data used as a level or logger costs no memory after the call."""
    with capture_events() as captured:
        intake = captured.emitter.pipeline.intake
        for number in range(20):
            endless = str(number) * 1_000_000
            captured.emitter.processor()(None, "info", {"event": "x", "level": endless, "logger": endless})
        assert len(captured.events) == 20
        assert sum(len(str(key)) for key in intake.origins._known) < 100_000
