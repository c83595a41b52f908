"""Values of an application as JSON."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dataplane_emitter import encode


class _Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr today")

    __str__ = __repr__


class _Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class _Point:
    x: int
    y: Any


_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(st.characters(exclude_categories=())),
    st.binary(),
    st.datetimes(),
    st.decimals(),
    st.uuids(),
    st.complex_numbers(),
    st.builds(_Broken),
    st.builds(object),
    st.just(_Colour.RED),
    st.just(len),
)
_anything = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none()), inner, max_size=4),
        st.builds(_Point, st.integers(), inner),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), _anything, max_size=5))
def test_any_value_becomes_json(document: dict[str, Any]) -> None:
    """Whatever a program logs, `encode` gives one valid JSON object and raises nothing."""
    assert isinstance(json.loads(encode.encode(document)), dict)


@given(_anything)
def test_plain_values_are_valid_and_stable(value: Any) -> None:
    """What `plain` returns encodes as it is, and `plain` of it changes nothing more."""
    first = encode.plain(value)
    text = json.dumps(first)
    assert json.dumps(encode.plain(first)) == text
    text.encode()


def test_neighbours_of_a_bad_value_survive() -> None:
    """One value that cannot be described costs only itself."""
    document = json.loads(encode.encode({"good": 1, "bad": _Broken(), "surrogate": "a\ud800b"}))
    assert document["good"] == 1
    assert "_Broken" in document["bad"]
    assert "RuntimeError" in document["bad"]
    assert document["surrogate"] == "a\\ud800b"


def test_cycles_end() -> None:
    """A value that contains itself is cut where it does."""
    cycle: dict[str, Any] = {"name": "root"}
    cycle["self"] = cycle
    cycle["list"] = [cycle]
    assert json.loads(encode.encode(cycle)) == {"name": "root", "self": "<cycle>", "list": ["<cycle>"]}


def test_the_same_value_twice_is_no_cycle() -> None:
    """Only containment is a cycle; a value that occurs twice is written twice."""
    shared = {"a": object}
    assert "<cycle>" not in str(encode.plain({"x": shared, "y": shared}))


def test_depth_and_width_are_bounded() -> None:
    """A value that nests without end, or lists without end, is cut."""
    deep: Any = object()
    for _ in range(5_000):
        deep = [deep]
    assert "nested too deeply" in str(encode.plain(deep))
    wide = encode.plain([object] * 5_000)
    assert len(wide) == 1_001
    assert wide[-1] == "<4000 more>"


def test_numbers_that_elasticsearch_refuses_degrade() -> None:
    """NaN and infinities become null; an integer beyond 64 bits becomes a text."""
    for infinite in ("nan", "inf", "-inf"):
        assert encode.encode({"x": encode.plain([float(infinite)])}) == b'{"x":[null]}'
    assert json.loads(encode.encode({"n": float("nan"), "i": float("-inf")})) == {"n": None, "i": None}
    assert encode.plain(2**63) == str(2**63)
    assert encode.plain(2**63 - 1) == 2**63 - 1
    assert encode.plain(2**400_000).startswith("0x")


def test_known_types_have_readable_forms() -> None:
    """Dates, numbers, identifiers, enumerations, bytes and data classes read as a person would write them."""
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    values = {
        "date": moment,
        "money": decimal.Decimal("1.10"),
        "id": uuid.UUID(int=1),
        "colour": _Colour.RED,
        "raw": b"caf\xc3\xa9 \xff",
        "point": _Point(1, {2}),
    }
    assert encode.plain(values) == {
        "date": "2026-01-02T03:04:05+00:00",
        "money": "1.10",
        "id": "00000000-0000-0000-0000-000000000001",
        "colour": "red",
        "raw": "café \\xff",
        "point": {"x": 1, "y": [2]},
    }


def test_a_message_is_always_a_text() -> None:
    """Texts, bytes, numbers and objects whose `str` raises all give a message."""
    assert encode.message_text("x") == "x"
    assert encode.message_text(b"x\xff") == "x\\xff"
    assert encode.message_text(5) == "5"
    assert "_Broken" in encode.message_text(_Broken())
