"""Secrets stay in the process: by name, by pattern, by the application's own redactors; in doubt, masked."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.errors import ConfigError
from dataplane_emitter import configure
from dataplane_emitter.redact import Redactor
from dataplane_emitter.settings import RedactConfig
from dataplane_emitter.testing import Captured, capture_events

SECRET = "hunter2"


@dataclass
class Account:
    """What an application might log whole."""

    name: str
    password: str


@pytest.fixture
def log(captured: Captured) -> Iterator[logging.Logger]:
    """A logger that sends to what is captured."""
    logger = logging.getLogger("redacted")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    handler = captured.emitter.handler()
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def _redact(document: dict[str, Any], **settings: Any) -> dict[str, Any]:
    body = Redactor(RedactConfig(**settings)).body(msgspec.json.encode(document))
    decoded: dict[str, Any] = msgspec.json.decode(body)
    return decoded


@pytest.mark.parametrize(
    "fields",
    [
        {"password": SECRET},
        {"db_password": SECRET},
        {"DBPassword": SECRET},
        {"X-Api-Key": SECRET},
        {"apiKey": [SECRET, {"a": SECRET}]},
        {"user": {"profile": {"refreshToken": SECRET}}},
        {"headers": [{"Authorization": f"Bearer {SECRET}"}]},
        {"db.password": SECRET},
        {"error": {"message": f"password={SECRET}"}},
        {"account": Account("ann", SECRET)},
        {"accounts": (Account("ann", SECRET),)},
        {"note": f"login with password={SECRET} failed"},
        {"note": f"login with {{'password': '{SECRET} and more'}}"},
        {"note": f'{{"client_secret":"{SECRET}", "id": 1}}'},
        {"note": f"{Account('ann', SECRET)!r}"},
        {"url": f"postgres://ann:{SECRET}@db/shop"},
        {"note": f"Authorization: Basic {SECRET}=="},
        {"note": f"curl -H 'Authorization: Bearer {SECRET}'"},
        {"_id": f"token={SECRET}"},
        {"password": 0, "service": {"password": SECRET}},
        {"labels": {"token": SECRET}},
    ],
    ids=str,
)
def test_secrets_are_masked_by_name_wherever_they_are(captured: Captured, fields: dict[str, Any]) -> None:
    """A secret's name masks what is under it: in fields, nested, in lists, in data classes, in texts; both worlds."""
    captured.emitter.processor()(None, "info", {"event": "x", **fields})
    handler = captured.emitter.handler()
    record = logging.makeLogRecord({"name": "app", "msg": "x", "levelno": 20, "levelname": "INFO", **fields})
    handler.handle(record)
    events = captured.events
    assert len(events) == 2
    assert SECRET not in str(events)
    assert "***" in str(events[0])
    assert all(event["message"] == "x" for event in events)


def test_secrets_are_masked_in_arguments(captured: Captured, log: logging.Logger) -> None:
    """What a message is made of is masked before it is, and the record that other handlers see stays as it was."""
    arguments = {"user": "ann", "password": f"{SECRET} with blanks"}
    seen: list[str] = []
    log.addFilter(lambda record: seen.append(record.args) or True)
    log.info("%(user)s has %(password)s", arguments)
    log.info("got %s and %s", arguments, [arguments])
    log.info("password: %s", SECRET)
    log.info("url is %s", f"nats://ann:{SECRET}@bus")
    messages = [event["message"] for event in captured.events]
    assert SECRET not in str(messages)
    assert messages[0] == "ann has ***"
    assert messages[2] == "password: ***"
    assert seen[0] is arguments
    assert arguments["password"].startswith(SECRET)


def test_arguments_that_cannot_be_examined_are_masked(captured: Captured, log: logging.Logger) -> None:
    """A list that contains itself, with a secret in it, is masked whole."""
    endless: list[Any] = [{"password": SECRET}]
    endless.append(endless)
    log.info("got %s", endless)
    assert captured.events[0]["message"] == "got ***"


def test_secrets_are_masked_in_exceptions(captured: Captured, log: logging.Logger) -> None:
    """Message and trace of an exception, its causes and notes are examined."""
    try:
        try:
            int(f"token={SECRET}")
        except ValueError as cause:
            error = RuntimeError({"api_key": SECRET})
            error.add_note(f"url http://u:{SECRET}@h")
            raise error from cause
    except RuntimeError:
        log.exception("failed")
        captured.emitter.processor()(None, "error", {"event": "failed", "exc_info": True})
    for event in captured.events:
        assert SECRET not in str(event)
        assert "RuntimeError" in event["error"]["stack_trace"]
        assert event["error"]["message"].startswith("{'api_key': ***")


def test_patterns_are_masked_everywhere() -> None:
    """A pattern is searched in texts, numbers and names, nested; the envelope stays readable."""
    card = "4111111111111111"
    with capture_events(redact={"patterns": [r"\b4\d{15}\b", r"iban (?P<secret>\w+)", r"\d{4}-\d\d"]}) as captured:
        captured.emitter.processor()(
            None,
            "info",
            {
                "event": f"paid with {card}",
                "card": int(card),
                "cards": {"all": [{"n": card}], card: 1},
                card: 2,
                "note": "iban DE12 of ann",
                "exc_info": ValueError(card),
            },
        )
        captured.emitter.counter("paid", labels={"card": card}).inc()
        (event,), (point,) = captured.events, captured.points
    assert card not in str(event) + str(point)
    assert event["message"] == "paid with ***"
    assert event["card"] is None
    assert event["note"] == "iban *** of ann"
    assert event["@timestamp"].startswith("20")
    assert event["log"]["level"] == "info"
    assert point["metric"]["value"] == 1


def test_a_redactor_that_raises_masks() -> None:
    """The application's own redactor replaces values; where it raises or returns nonsense, the value is masked."""

    def redact(name: str, value: Any) -> Any:
        if name == "boom":
            raise RuntimeError(SECRET)
        if name == "odd":
            return object()
        return "ANN" if value == "ann" else value

    with capture_events(redact={"redactors": [redact]}) as captured:
        captured.emitter.processor()(
            None, "info", {"event": "x", "boom": SECRET, "odd": SECRET, "deep": [{"user": "ann"}], "n": 5}
        )
        (event,) = captured.events
    assert (event["boom"], event["odd"], event["deep"], event["n"]) == ("***", "***", [{"user": "ANN"}], 5)


def test_an_event_that_cannot_be_examined_loses_all_but_its_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong within, nothing unexamined leaves."""
    monkeypatch.setattr(Redactor, "_members", lambda *_: 1 / 0)
    with capture_events() as captured:
        captured.emitter.processor()(None, "error", {"event": f"password={SECRET}", "x": SECRET})
        captured.emitter.processor()(None, "error", {"event": f"password={SECRET}", "metric": {"x": SECRET}})
        events = captured.events
    for event in events:
        assert SECRET not in str(event)
        assert (event["message"], event["log"]["level"]) == ("***", "error")
        assert event["service"]["name"] == "test"
        assert event["event"]["dataset"] == "test"
    assert [event["event"]["sequence"] for event in events] == [1, 2]


def test_long_events_are_masked_before_they_are_cut() -> None:
    """A secret at the place where an event is cut is not left as its first half."""
    with capture_events(max_event_bytes=2_048, redact={"patterns": [r"S{900}"]}) as captured:
        captured.emitter.processor()(None, "info", {"event": "x" * 1_000 + "S" * 900 + "y" * 3_000})
        (event,) = captured.events
    assert "S" not in event["message"]


@pytest.mark.parametrize("name", ["event", "trace", "span", "metric", "log", "process", "error", "labels", "service"])
def test_fields_within_the_envelope_are_no_hiding_place(captured: Captured, name: str) -> None:
    """What an application puts into an object of the envelope is examined like the rest."""
    given = {name: {"password": SECRET, "reason": f"token={SECRET}", "inner": {"api_key": SECRET}}}
    captured.emitter.processor()(None, "info", {"event": "x", **({} if name == "event" else given)})
    captured.emitter.handler().handle(logging.makeLogRecord({"msg": "x", **given}))
    assert SECRET not in str(captured.events)


def test_redactors_see_every_text_of_an_event() -> None:
    """Also where it was logged, by whom, and in which thread, which many events share."""
    seen: set[str] = set()

    def look(name: str, value: Any) -> Any:
        seen.add(name)
        return "***" if name in ("log.origin.function", "process.thread.name") else value

    with capture_events(redact={"redactors": [look]}) as captured:
        captured.emitter.handler().handle(logging.makeLogRecord({"msg": "x", "funcName": "pay_ann"}))
        (event,) = captured.events
    assert {"message", "log.logger", "log.origin.file.name", "process.pid"} <= seen
    assert (event["log"]["origin"]["function"], event["process"]["thread"]["name"]) == ("***", "***")


def test_names_of_loggers_and_threads_are_examined(captured: Captured) -> None:
    """What an application puts into such names is masked like any text, whatever the message is."""
    thread = threading.Thread(
        target=captured.emitter.processor(),
        args=(None, "info", {"event": "x", "logger": "client.token=hunter2"}),
        name="session(password=hunter2)",
    )
    thread.start()
    thread.join()
    captured.emitter.handler().handle(logging.LogRecord("api_key=hunter2", 20, "f.py", 1, "x", None, None))
    assert "hunter2" not in str(captured.events)
    assert [event["log"]["logger"] for event in captured.events] == ["client.token=***", "api_key=***"]


def test_static_and_dynamic_fields_are_examined() -> None:
    """Fields of the configuration are events' fields."""
    with capture_events(fields={"db.password": SECRET, "url": lambda: f"x://u:{SECRET}@h"}) as captured:
        captured.emitter.processor()(None, "info", {"event": "x"})
        assert SECRET not in str(captured.events)


def test_names_can_be_added_and_kept() -> None:
    """`keys` adds names, `keep` makes exceptions, `defaults=False` leaves only what is given, `mask` is shown."""
    document = {"pin": 1, "page_token": "a", "token": "b", "note": "page_token=a token=b pin: 4711", "max_tokens": 5}
    assert _redact(document, keys=("pin",), keep=("page_token",), mask="#") == {
        "pin": "#",
        "page_token": "a",
        "token": "#",
        "note": "page_token=a token=# pin: #",
        "max_tokens": 5,
    }
    assert _redact(document, keys=("pin",), defaults=False) == {
        **document,
        "pin": "***",
        "note": "page_token=a token=b pin: ***",
    }
    assert _redact(document, defaults=False) == document


def test_what_is_no_secret_stays() -> None:
    """Texts that merely speak of secrets, flags, and ordinary events are untouched, to the byte."""
    plain = {"message": "the secret of http://h/x?a=1", "has_password": True, "token": None, "n": 1.5, "at": "10:15:30"}
    assert _redact(plain) == plain


@given(st.text(), st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=6), st.text())
def test_a_quoted_secret_never_survives(before: str, secret: str, after: str) -> None:
    """Whatever is around it, and however the name is spelt, the quoted value after a secret's name is gone."""
    secret = f"Q{secret}Q"
    for name in ("password", "API-Key", "x_secret_y"):
        text = f"{before} {name}: '{secret}' {after}"
        assert secret not in _redact({"message": text})["message"]


@pytest.mark.parametrize(
    "text",
    ["token" * 20_000, "token='" * 20_000, "://a" * 20_000, "eyJaaaa." * 10_000, "-----BEGIN PRIVATE KEY-----" * 4_000],
    ids=range(5),
)
def test_no_text_takes_long(text: str) -> None:
    """Texts made to be slow take time in proportion to their length."""
    assert len(_redact({"message": text})["message"]) > 0


@pytest.mark.parametrize(
    ("redact", "words"),
    [
        ({"patterns": ["("]}, 'redact.patterns.0: "(" is no regular expression'),
        ({"redactors": ["x"]}, "redact.redactors.0: 'x' cannot be called"),
        ({"keys": ["a-b"]}, 'redact.keys.0: "a-b" is no key'),
    ],
)
def test_rules_that_cannot_work_are_refused(redact: dict[str, Any], words: str) -> None:
    """A wrong rule is refused at the start, in one line: silence would be a leak."""
    with pytest.raises(ConfigError) as caught:
        configure(service="x", redact=redact)
    assert words in str(caught.value)
