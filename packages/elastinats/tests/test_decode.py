"""Frames are cut without being parsed; whatever else comes becomes documents or a reasoned refusal."""

import gzip
import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common import event
from dataplane_common.errors import Permanent, TooLarge
from elastinats.decode import ORIGIN, Limits, decode, frame_body, originals
from elastinats.part import Claim, events, seams
from elastinats.routes import place

SOURCE = "0123456789abcdef"
AT = "2026-11-22T10:15:30.123456Z"
LIMITS = Limits(decoded_bytes=100_000, part_bytes=1_000_000)
PLACE = place("logs.prod.web.host-1", "{signal}-{dataset}-{namespace}")
texts = st.text(st.characters(exclude_categories=["Cs"]))


def frame(*messages: str) -> bytes:
    return b"".join(
        event.encode(event.event_id(SOURCE, position), AT, {"message": text}) for position, text in enumerate(messages)
    )


def decoded(delivery, limits=LIMITS):
    return decode(Claim(delivery), PLACE, AT, limits)


def documents(delivery) -> list[dict]:
    return [json.loads(found.document) for part in decoded(delivery) for found in events(part)]


@given(st.lists(texts, min_size=1, max_size=20))
def test_each_line_of_a_frame_is_one_create_with_its_id(messages):
    """For any texts, ids and documents come out as they went in, with only the time of arrival added."""
    found = frame_body(frame(*messages), seams("logs-web-prod", AT))
    assert found is not None
    body, count = found
    lines = [json.loads(line) for line in body.split(b"\n")[:-1]]
    assert count == len(messages)
    assert [line["create"]["_id"] for line in lines[::2]] == [f"{SOURCE}-{n:x}" for n in range(count)]
    assert all(line["create"]["_index"] == "logs-web-prod" for line in lines[::2])
    assert lines[1::2] == [{"event.ingested": AT, "@timestamp": AT, "message": message} for message in messages]


@given(st.lists(texts, min_size=1, max_size=20))
def test_an_event_can_be_had_back_byte_for_byte(messages):
    """The line of each event is the very line of the frame."""
    payload = frame(*messages)
    body, count = frame_body(payload, seams("logs-web-prod", AT)) or (b"", 0)
    from elastinats.part import Part  # noqa: PLC0415 - beside its use

    part = Part(Claim(None), "logs-web-prod", body, count, framed=True, resent=False)  # type: ignore[arg-type]
    assert b"".join(found.line for found in events(part)) == payload


@pytest.mark.parametrize(
    "line",
    [
        b'{"_id":"0123456789abcdef-1"}',
        b'{"_id":"mine","message":"x"}',
        b'{"_id":"0123456789abcdef-1" ,"_index":"logs-evil-x","a":"b","c":1}',
        b'{"_id":"0123456789abcdef-1\\"","message":"x"}',
        b"plain",
        b"",
    ],
)
def test_a_line_that_is_no_event_of_ours_is_no_action_of_its_own_making(line):
    """One odd line makes the whole frame go the careful way, where it becomes a document like anybody's."""
    good = b'{"_id":"0123456789abcdef-0","message":"good"}\n'
    assert frame_body(good + line + b"\n" + good, seams("t", AT)) is None


def test_a_damaged_frame_keeps_its_good_events(make_delivery):
    """In a frame with a bad line the others keep their ids, and the bad one is a message."""
    delivery = make_delivery(frame("one") + b"broken {\n", {"Dp-Count": "2"})
    (part,) = decoded(delivery)
    assert not part.framed
    first, second = events(part)
    assert first.key == f"{SOURCE}-0"
    assert second.key == f"LOGS-7-{1767225600000000000:x}-1"
    assert json.loads(second.document)["message"] == "broken {"


def test_a_compressed_frame_is_the_same_frame(make_delivery):
    """Packed by zstd or gzip, said by header or by the first bytes, it decodes the same."""
    payload = frame("one", "two")
    plain = documents(make_delivery(payload, {"Dp-Count": "2"}))
    for packed, name in ((zstandard.compress(payload), "zstd"), (gzip.compress(payload), "gzip")):
        assert documents(make_delivery(packed, {"Dp-Count": "2", "Content-Encoding": name})) == plain
        assert documents(make_delivery(packed, {"Dp-Count": "2"})) == plain


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_zip_bomb_is_refused(make_delivery, pack):
    """What decompresses to more than the limit is not decompressed."""
    name = "gzip" if pack is gzip.compress else "zstd"
    with pytest.raises(TooLarge):
        decoded(make_delivery(pack(b"x" * 200_000), {"Content-Encoding": name}))


@pytest.mark.parametrize("headers", [{"Dp-Version": "2"}, {"Content-Encoding": "br"}, {"Content-Encoding": "zstd"}])
def test_what_nobody_can_read_is_refused(make_delivery, headers):
    """An unknown version or encoding, or bytes that are not what the header says, are permanent errors."""
    with pytest.raises(Permanent):
        decoded(make_delivery(b"text", headers))


@pytest.mark.parametrize(
    ("headers", "deliveries", "resent"), [({}, 1, False), ({}, 2, True), ({"Dp-Replay": "1"}, 1, True)]
)
@pytest.mark.parametrize("payload", [b"text", b'{"a":1}'])
def test_re_sends_are_known(make_delivery, headers, deliveries, resent, payload):
    """A replay, or a delivery that is not the first, may have been indexed before."""
    (part,) = decoded(make_delivery(payload, headers, deliveries=deliveries))
    assert part.resent is resent


def test_a_large_message_becomes_several_parts(make_delivery):
    """No part passes the limit unless it has one event only, and no event is lost."""
    delivery = make_delivery(frame(*["x" * 100] * 50), {"Dp-Count": "50"})
    parts = decoded(delivery, Limits(100_000, 1_000))
    assert all(len(part.body) <= 1_000 or part.count == 1 for part in parts)
    assert [found.key for part in parts for found in events(part)] == [f"{SOURCE}-{n:x}" for n in range(50)]


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_become_at_least_one_event(payload, framed):
    """Nothing that a message holds can make decoding fail, and every document is one JSON object on one line."""
    from types import SimpleNamespace  # noqa: PLC0415 - fixtures do not go with hypothesis

    from dataplane_common.bus import Delivery  # noqa: PLC0415

    reply = "$JS.ACK.LOGS.sink.1.7.1.1767225600000000000.0"
    headers = {"Dp-Count": "1"} if framed else {}
    message = SimpleNamespace(subject="logs.prod.web.host-1", data=payload, headers=headers, reply=reply)
    parts = decoded(Delivery(message, None))  # type: ignore[arg-type]
    found = [each for part in parts for each in events(part)]
    assert len(found) == sum(part.count for part in parts) >= 1
    assert all(isinstance(json.loads(each.document), dict) for each in found)
    assert len({each.key for each in found}) == len(found)


def test_a_rejected_event_of_a_frame_comes_back_as_a_frame_of_one(make_delivery):
    """The dead letter of one event of many is its own line, and decodes to the same event again."""
    headers = {"Dp-Count": "2", "Content-Encoding": "zstd", "Trace": "t"}
    (part,) = decoded(make_delivery(zstandard.compress(frame("one", "two")), headers))
    (found,) = originals(part, [1], 100_000)
    assert found.payload == frame("one", "two").splitlines(keepends=True)[1]
    assert found.headers == {"Dp-Count": "1", "Trace": "t"}
    again = events(decoded(make_delivery(found.payload, found.headers, sequence=99))[0])[0]
    assert again == events(part)[1]


def test_a_rejected_event_of_a_foreign_message_keeps_its_id_in_a_replay(make_delivery):
    """One document of many, sent again alone from elsewhere in the stream, has the id that it had."""
    (part,) = decoded(make_delivery(b'{"a":1}\n{"a":2}\n{"a":3}'))
    (found,) = originals(part, [2], 100_000)
    assert found.payload == b'{"a":3}'
    again = events(decoded(make_delivery(found.payload, found.headers, sequence=99))[0])[0]
    assert again == events(part)[2]


def test_a_single_foreign_message_comes_back_whole(make_delivery):
    """Payload and headers of a message with one event are kept as they came."""
    packed = gzip.compress(b"text")
    (part,) = decoded(make_delivery(packed, {"Content-Encoding": "gzip"}))
    (found,) = originals(part, [0], 100_000)
    assert found.payload == packed
    assert found.headers == {"Content-Encoding": "gzip", ORIGIN: events(part)[0].key}


def test_somebody_elses_origin_header_is_passed_over(make_delivery):
    """A header that is not ours does not make an id."""
    (part,) = decoded(make_delivery(b"text", {ORIGIN: "nonsense"}))
    assert events(part)[0].key.startswith("LOGS-7-")
