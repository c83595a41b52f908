"""An event as a line."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.show import event_line, field

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["@timestamp", "message", "log", "log.level", "event", "host", "labels", "metric", "x"]), JSON
)


def test_time_level_dataset_host_and_message_are_shown() -> None:
    """What an engineer looks for at first stands in one line, milliseconds included."""
    document = {
        "@timestamp": "2026-11-22T10:15:30.123456Z",
        "message": "disk full",
        "log": {"level": "ERROR"},
        "event": {"dataset": "checkout"},
        "host": {"name": "web-1"},
    }
    assert event_line(document).plain == "2026-11-22T10:15:30.123Z error checkout web-1 disk full"


def test_dotted_and_nested_names_mean_the_same() -> None:
    """Servers that write `"log.level"` are read like those that nest."""
    assert field({"log.level": "info"}, "log.level") == "info"
    assert field({"log": {"level": "info"}}, "log.level") == "info"
    assert field({"a": {"b.c": 1}}, "a.b.c") == 1
    assert field({"log": "text"}, "log.level") is None


def test_levels_have_colours() -> None:
    """An error is red, whatever case its level is written in."""
    line = event_line({"log": {"level": "Error"}, "message": "x"})
    assert any(span.style == "red" for span in line.spans)


@pytest.mark.parametrize(
    ("metric", "shown"),
    [
        ({"name": "orders", "type": "counter", "unit": "1", "value": 3}, "orders 3 1 shop=de"),
        (
            {"name": "payment", "type": "timer", "unit": "s", "count": 2, "sum": 0.5, "min": 0.1, "max": 0.4},
            "payment count=2 sum=0.5 min=0.1 max=0.4 s shop=de",
        ),
    ],
)
def test_a_metric_shows_name_value_and_labels(metric: dict[str, Any], shown: str) -> None:
    """A metric has no message: its point is the message."""
    assert event_line({"metric": metric, "labels": {"shop": "de"}}).plain.endswith(shown)


def test_a_document_without_message_shows_its_fields() -> None:
    """Somebody else's record has fields of its own; they are shown, the envelope is not."""
    assert event_line({"@timestamp": "t", "dp": {"source": "s"}, "user": "u"}).plain.endswith('{"user":"u"}')


@given(document=DOCUMENTS)
def test_any_document_is_one_line_that_cannot_steer_the_terminal(document: dict[str, Any]) -> None:
    """Log lines are written by strangers: no newline, escape or other control character comes through."""
    plain = event_line(document).plain
    assert len(plain.splitlines()) <= 1
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in plain)
