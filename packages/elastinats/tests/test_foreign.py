"""Other people's messages: as they are, with what is missing filled in, and nothing lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastinats.foreign import _UNUSUAL, Context, _from_object, document, split
from elastinats.routes import place
from elastinats.usual import is_usual

AT = "2026-11-22T10:15:30.123456Z"
AT_NS = 1_795_342_530_123_456_000
CONTEXT = Context("logs.prod.web.host-1", place("logs.prod.web.host-1", "{signal}-{dataset}-{namespace}"), AT_NS)
ENVELOPE = {
    "@timestamp": AT,
    "event": {"dataset": "web"},
    "host": {"name": "host-1"},
    "ecs": {"version": "8.17"},
}
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def made(piece: bytes) -> dict:
    return json.loads(document(piece, CONTEXT))


def test_a_json_object_passes_as_it_is():
    """Unknown fields stay where they are; envelope fields are added."""
    assert made(b'{"user":{"id":5},"list":[1,2]}') == {**ENVELOPE, "user": {"id": 5}, "list": [1, 2]}


@pytest.mark.parametrize(
    ("payload", "pieces"),
    [
        (b'{"a":1}', 1),
        (b'{"a":\n1}', 1),
        (b'{"a":1}\n{"a":2}\n', 2),
        (b'{"a":1}\nnot json\n\n{"a":2}', 3),
        (b'[{"a":1},2,"x"]', 3),
        (b"[]", 1),
        (b"Traceback:\n  line 1\n  line 2", 1),
        (b"", 1),
        (b"\n", 1),
        (b"[not json]", 1),
        (b"5", 1),
    ],
)
def test_a_message_is_cut_into_its_events(payload, pieces):
    """Arrays and NDJSON are many events; everything else is one."""
    assert len(split(payload)) == pieces


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        (b"plain text\n", "plain text"),
        (b"", ""),
        (b"5", "5"),
        (b'"text"', '"text"'),
        (b"[1,2]", "[1,2]"),
        (b"{bad", "{bad"),
    ],
)
def test_what_is_no_object_becomes_the_message(piece, message):
    """Text, numbers, lists and broken JSON are kept as they were written."""
    assert made(piece) == {**ENVELOPE, "message": message}


def test_bytes_that_are_no_text_are_kept_and_marked():
    """Invalid UTF-8 stays readable as escapes, and says that it could not be decoded."""
    found = made(b"a\xff b")
    assert found["message"] == "a\\xff b"
    assert found["event"] == {"dataset": "web", "kind": "pipeline_error"}


def test_the_shape_of_the_original_tailer():
    """`@msg`, `@filepath` and `@hostname` become ECS fields."""
    found = made(b'{"@msg":"GET /","@filepath":"/var/log/a.log","@hostname":"Web-1.example.net"}')
    assert found == {
        **ENVELOPE,
        "message": "GET /",
        "log": {"file": {"path": "/var/log/a.log"}},
        "host": {"name": "Web-1.example.net"},
    }


def test_the_shape_of_the_original_emitter():
    """The `msg`, `level` and `time` of logrus become ECS fields; its own fields stay."""
    found = made(b'{"msg":"paid","level":"warning","time":"2026-01-02T03:04:05+01:00","order":7}')
    assert found["message"] == "paid"
    assert found["log"] == {"level": "warning"}
    assert found["@timestamp"] == "2026-01-02T02:04:05.000000Z"
    assert found["order"] == 7


def test_the_shape_of_the_original_sink():
    """`@raw_msg` becomes the message."""
    assert made(b'{"@raw_msg":"x","@source":"s"}')["message"] == "x"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"2026-01-02T03:04:05Z"', "2026-01-02T03:04:05.000000Z"),
        ("1767225600", "2026-01-01T00:00:00.000000Z"),
        ("1767225600123", "2026-01-01T00:00:00.123000Z"),
    ],
)
def test_a_records_own_time_is_the_events(written, expected):
    """A time that can be read replaces the time of arrival."""
    assert made(f'{{"@timestamp":{written}}}'.encode())["@timestamp"] == expected


@pytest.mark.parametrize("written", ['"yesterday"', "true", "1e400", "-5", "[]", "null"])
def test_a_time_that_cannot_be_read_is_a_label(written):
    """The event then has the time of arrival, and the value is kept."""
    found = made(f'{{"@timestamp":{written}}}'.encode())
    assert found["@timestamp"] == AT
    assert "labels" in found


@pytest.mark.parametrize("name", ["_id", "_index", "_source", "_routing", "", " ", ".x", "x.", "a..b"])
def test_a_name_that_elasticsearch_refuses_becomes_a_label(name):
    """The value is kept, under a name that can be indexed."""
    found = made(json.dumps({name: "kept", "other": 1}).encode())
    assert name not in found
    assert found["labels"] == {next(iter(found["labels"])): "kept"}
    assert found["other"] == 1


def test_the_envelope_cannot_be_overwritten():
    """`dp`, `event.dataset` and `event.sequence` of somebody else's go to labels."""
    found = made(b'{"dp":{"source":"evil"},"event":{"dataset":"evil","sequence":1,"action":"login"}}')
    assert found["event"] == {"dataset": "web", "action": "login"}
    assert "dp" not in found
    assert sorted(found["labels"].values()) == ["1", "evil", "evil"]


def test_a_repeated_key_loses_no_value():
    """JSON with the same key twice keeps both: the first in place, the second as a label."""
    found = made(b'{"a":1,"b":{"a":2},"a":"three"}')
    assert found["a"] == 1
    assert found["labels"] == {"a": "three"}


def test_not_a_number_becomes_text():
    """NaN and infinities, which JSON does not have, are kept as texts."""
    assert made(b'{"a":NaN,"b":-Infinity}')["a"] == "NaN"


def test_half_a_surrogate_pair_does_no_harm():
    """A lone surrogate becomes the replacement character."""
    assert made(b'{"a":"x\\ud800y"}')["a"] == "x\ufffdy"


def test_invalid_bytes_within_json_do_not_lose_the_structure():
    """JSON with a bad byte is still JSON."""
    assert made(b'{"a":"\xff","b":1}') == {**ENVELOPE, "a": "\ufffd", "b": 1}


def test_json_nested_beyond_reason_is_text():
    """What no mapping could hold becomes the message."""
    deep = b'{"a":' * 900 + b"1" + b"}" * 900
    assert made(deep)["message"] == deep.decode()


def test_a_host_of_ones_own_is_kept():
    """A record that names its host is not overruled by the subject."""
    assert made(b'{"host":{"name":"other"}}')["host"] == {"name": "other"}
    assert made(b'{"host":"other"}')["host"] == {"name": "other"}
    assert made(b'{"host.name":"other"}')["host"] == {"name": "other"}


@given(st.dictionaries(st.text(max_size=8), values, max_size=6))
def test_any_object_becomes_one_document_with_its_envelope(fields):
    """Whatever the names and values: dataset and time are there, no metadata name is, and it is one line."""
    line = document(json.dumps(fields).encode(), CONTEXT)
    found = json.loads(line)
    assert b"\n" not in line
    assert found["event"]["dataset"] == "web"
    assert isinstance(found["@timestamp"], str)
    assert not found.keys() & {"_id", "_index", "_source", "", "dp"}


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}x", fullmatch=True), values, max_size=6))
def test_plain_fields_come_through_unchanged(fields):
    """Fields with ordinary top-level names are found again with their very values, unless names inside are refused."""
    found = made(json.dumps(fields).encode())
    for name, value in fields.items():
        if not isinstance(value, dict | list):
            assert found[name] == value


@pytest.mark.parametrize(
    "fields",
    [
        {"@timestamp": AT, "message": "x."},
        {"@timestamp": AT, "message": ".", "event": {"dataset": "other", "sequence": 4, "kind": "event"}},
        {"@timestamp": AT, "_id": "a-1", "dp": {"source": "s"}, "labels": {"a": "b"}, "host": {"ip": "::1"}},
        {"@timestamp": AT, "host": {"name": "own"}, "ecs": {"version": "1"}, "log": {"level": "info"}},
        {"@timestamp": AT, "_id": "a", "labels": {"id": "taken"}},
    ],
)
def test_the_quick_way_says_what_the_thorough_one_says(fields):
    """A document that is shaped as events are gets the same envelope, and the same labels, as any other one."""
    piece = json.dumps(fields).encode()
    assert is_usual(fields, _UNUSUAL)
    assert made(piece) == _from_object(json.loads(piece), CONTEXT)


def test_a_repeated_key_in_disguise_loses_no_value():
    """Quotes that are written as escapes do not hide that a key stands there twice."""
    found = made(rb'{"a":1,"a":2,"b":"\u0022\u0022"}')
    assert (found["a"], found["b"], found["labels"]) == (1, '""', {"a": "2"})
