"""Events that are too long."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_emitter.shrink import shrink

_LIMIT = 2_048


def _document(**fields: Any) -> bytes:
    return json.dumps(
        {"@timestamp": "2026-01-01T00:00:00.000000Z", "message": "m", **fields, "event": {"dataset": "d"}}
    ).encode()


@given(
    message=st.text(max_size=6_000),
    fields=st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), st.text(max_size=3_000), max_size=6
    ),
)
def test_the_result_fits_and_is_valid(message: str, fields: dict[str, str]) -> None:
    """Whatever is long, the result is at or below the limit, and still the event."""
    document = json.loads(_document(x=fields))
    document["message"] = message
    raw = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
    short = shrink(raw, _LIMIT)
    assert len(short) <= _LIMIT
    decoded = json.loads(short)
    assert decoded["@timestamp"] == document["@timestamp"]
    assert decoded["event"]["original_size"] == len(raw)
    assert [*decoded][-1] == "event"


def test_the_longest_text_goes_first() -> None:
    """Only what is long is cut; short fields stay whole, and the cut is marked."""
    short = json.loads(shrink(_document(long="x" * 10_000, short="y" * 100), _LIMIT))
    assert short["short"] == "y" * 100
    assert short["long"].endswith("…")
    assert len(short["long"]) > 1_000


def test_many_short_fields_give_way_to_the_envelope() -> None:
    """An event that is long by its number of fields keeps time and message."""
    short = json.loads(shrink(_document(many={f"k{n}": n for n in range(2_000)}), _LIMIT))
    assert short["message"] == "m"
    assert "many" not in short


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_line_stays_a_line(ending: bytes) -> None:
    """The newline at the end of a line is kept, and none is added."""
    assert shrink(_document(long="x" * 9_000) + ending, _LIMIT).endswith(b"}" + ending)


def test_the_first_size_is_the_one_that_is_told() -> None:
    """An event that is cut twice tells the size it had before the first cut."""
    raw = _document(long="x" * 9_000)
    assert json.loads(shrink(shrink(raw, 4_096), _LIMIT))["event"]["original_size"] == len(raw)
