"""Dead letters keep the original's bytes and headers, fit into messages, and can be put together again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.frame import size_on_wire
from elastinats.dead_letter import CAUSE, EVENT_ID, PART, REASON, Letter, Reason, cut, header_text, original_headers

AT = "2026-11-22T10:15:30.123456Z"


def letter(payload: bytes, headers: dict[str, str] | None = None, cause: str = "why", carrier: str = "") -> Letter:
    return Letter("logs.prod.web.h", carrier, payload, headers or {}, Reason.REJECTED, cause, "id-1")


@given(st.binary(max_size=20_000), st.integers(3_000, 8_000), st.text(max_size=3_000))
def test_a_letter_of_any_size_fits_and_comes_back(payload, max_bytes, cause):
    """No message is above the limit with its headers, and the pieces in order are the payload."""
    messages = cut(letter(payload, cause=cause), AT, max_bytes)
    assert b"".join(piece for piece, _ in messages) == payload
    assert all(size_on_wire(piece, headers) <= max(max_bytes, 6_000) for piece, headers in messages)
    assert len({headers["Nats-Msg-Id"] for _, headers in messages}) == len(messages)


def test_numbered_parts_say_how_many_there_are():
    """`Dp-Part` is `1/3`, `2/3`, `3/3`; a letter in one message has none."""
    parts = [headers[PART] for _, headers in cut(letter(b"x" * 6_000), AT, 3_000)]
    assert parts == [f"{number}/{len(parts)}" for number in range(1, len(parts) + 1)]
    assert len(parts) > 1
    assert PART not in cut(letter(b"x"), AT, 3_000)[0][1]


def test_headers_of_the_original_are_kept_and_given_back():
    """The letter has its reason beside the original's headers; the server's own are set aside."""
    original = {"Content-Encoding": "zstd", "Dp-Count": "5", "Nats-Msg-Id": "old"}
    (_, headers) = cut(letter(b"x", original, cause="line\n two"), AT, 3_000)[0]
    assert headers[REASON] == "rejected"
    assert headers[CAUSE] == "line two"
    assert headers[EVENT_ID] == "id-1"
    assert headers["Dp-Original-Nats-Msg-Id"] == "old"
    assert headers["Nats-Msg-Id"] != "old"
    assert original_headers(headers) == {"Content-Encoding": "zstd", "Dp-Count": "5"}


@given(st.text(max_size=3_000))
def test_any_text_can_be_a_header(text):
    """One line, printable, not longer than a thousand letters."""
    found = header_text(text)
    assert "\n" not in found
    assert "\r" not in found
    assert found.isprintable()
    assert len(found) <= 1_000


def message_id(one: Letter, at: str = AT) -> str:
    return cut(one, at, 3_000)[0][1]["Nats-Msg-Id"]


def test_a_repeated_letter_has_the_same_message_id():
    """After a crash between letter and settling, the second one is dropped by the server."""
    assert message_id(letter(b"x")) == message_id(letter(b"x"), "later")


def test_a_letter_about_a_replay_is_another_one():
    """An event that is refused again after its replay is not taken for a repeat of its first letter."""
    assert message_id(letter(b"x")) != message_id(letter(b"x", carrier="replay-DLQ-8"))


def test_parts_of_another_cut_are_no_repeats():
    """A letter that is cut anew, smaller, has no part that the server would take for one of the first cut."""
    first, second = (
        {headers["Nats-Msg-Id"] for _, headers in cut(letter(b"x" * 9_000), AT, size)} for size in (5_000, 3_000)
    )
    assert first.isdisjoint(second)


@pytest.mark.parametrize("headers", [{"Trace": "t" * 9_000}, {"t" * 9_000: ""}, {"Trace": "\u20ac" * 3_000}])
def test_headers_that_leave_no_room_are_shortened(headers):
    """A message may be all headers; its letter has a few more, and would fit nowhere."""
    ((payload, kept),) = cut(letter(b"x", {**headers, "Dp-Count": "5"}), AT, 9_100)
    assert size_on_wire(payload, kept) <= 9_100
    assert (payload, kept["Dp-Count"]) == (b"x", "5")
