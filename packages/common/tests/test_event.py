"""Rules of the event."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.event import (
    METADATA_NAMES,
    encode,
    event_id,
    merge,
    new_source,
    parse_timestamp,
    split_id,
    timestamp,
)

ENVELOPE = {
    "log": {"offset": 1},
    "host": {"name": "h"},
    "event": {"dataset": "d", "sequence": 3},
    "dp": {"source": "s"},
}
NAMES = st.text(min_size=0, max_size=8) | st.sampled_from(["host", "event", "dp", "_id", "a.b", "labels", "host.name"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_no_record_overwrites_the_envelope(fields: dict) -> None:
    """Whatever a record holds, the envelope's values stay, and no name is left that Elasticsearch refuses."""
    document = merge(fields, ENVELOPE)
    for name, value in (("offset", 1),):
        assert document["log"][name] == value
    assert document["host"]["name"] == "h"
    assert (document["event"]["dataset"], document["event"]["sequence"]) == ("d", 3)
    assert document["dp"] == {"source": "s"}
    assert not METADATA_NAMES & set(document)
    _check_names(document)


def _check_names(value) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            assert name.strip()
            assert not name.startswith(".")
            assert not name.endswith(".")
            assert ".." not in name
            _check_names(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_names(inner)


@given(st.dictionaries(NAMES, st.text(min_size=1, max_size=5), max_size=6))
def test_no_text_of_a_record_is_lost(fields: dict) -> None:
    """A value that may not stay where it was is found under labels."""
    texts = _texts(merge(fields, ENVELOPE))
    assert all(value in texts for value in fields.values())


def _texts(value) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def test_dotted_names_are_nested_names() -> None:
    """`log.level` and `{"log": {"level": …}}` are the same field, as Elasticsearch has it."""
    document = merge({"log.level": "info", "user": {"name": "x"}, "user.id": "1"}, ENVELOPE)
    assert document["log"] == {"offset": 1, "level": "info"}
    assert document["user"] == {"name": "x", "id": "1"}


@given(st.dictionaries(st.text(min_size=1, max_size=5), VALUES, max_size=3), st.integers(0, 2**60))
def test_the_id_is_cut_off_by_slicing(document: dict, position: int) -> None:
    """A line is one JSON object with the id first; cutting it gives back id and document."""
    identity = event_id(new_source(), position)
    line = encode(identity, "2026-01-01T00:00:00.000000Z", document)
    found, rest = split_id(line)
    assert found.decode() == identity
    assert list(msgspec.json.decode(line))[:2] == ["_id", "@timestamp"]
    assert "_id" not in msgspec.json.decode(rest)
    assert line.count(b"\n") == 1


def test_a_line_without_an_id_is_not_cut() -> None:
    """What does not begin with an id is not ours."""
    with pytest.raises(ValueError, match="_id"):
        split_id(b'{"message":"x"}\n')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01T10:00:00+02:00", "2026-05-01T08:00:00.000000Z"),
        ("2026-05-01T10:00:00.123456Z", "2026-05-01T10:00:00.123456Z"),
        ("2026-05-01 10:00:00", "2026-05-01T10:00:00.000000Z"),
        ("yesterday", None),
        (12, None),
    ],
)
def test_a_records_own_time_is_taken_in_utc(text: object, expected: str | None) -> None:
    """ISO 8601 with or without a zone is understood; anything else is no time."""
    assert parse_timestamp(text) == expected


def test_timestamps_have_microseconds_in_utc() -> None:
    """RFC 3339, the same width always, so that texts sort by time."""
    assert timestamp(0.000001) == "1970-01-01T00:00:00.000001Z"


def test_a_null_gives_way_to_an_object_of_its_name() -> None:
    """A dotted name beside a null of its first part does not break the event."""
    assert merge({"a": None, "a.b": 1, "c": {"d": None, "d.e": 2}}, {}) == {"a": {"b": 1}, "c": {"d": {"e": 2}}}


def test_a_reserved_name_is_moved_however_it_is_spelt() -> None:
    """`dp.source` and `{"dp": {"source": …}}` are one name; two values of one name are both kept."""
    document = merge({"dp.source": "a", "dp": {"source": "b"}, "message": "m"}, {})
    assert document == {"message": "m", "labels": {"dp_source": "a", "dp_source_": "b"}}
