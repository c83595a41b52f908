"""Messages that are wrong in every way: each of their events is a document or a dead letter, and the others go on."""

import json

import pytest
import zstandard
from test_sink_endurance import settled
from test_sink_outcomes import AT, hits, letters, publish, wait_until

from dataplane_common import event

#: Servers start in some of these tests, on machines that have other work, too.
pytestmark = pytest.mark.timeout(300)

ODD = {
    "invalid UTF-8": b'"message":"\xff\xfe"',
    "not a number": b'"n":NaN',
    "a key twice": b'"message":"a","message":"b"',
    "no JSON": b'"message":',
    "a name that is refused": b'"a..b":1',
    "a name without letters": b'"":1',
    "half a surrogate pair": rb'"message":"\ud800"',
    "a metadata field": b'"_index":"other"',
    "nested beyond reason": b'"a":' + b'{"a":' * 150 + b"1" + b"}" * 150,
}


def test_an_odd_line_in_a_frame_hurts_no_other(plane):
    """Frames are not parsed, so Elasticsearch decides: a document or a dead letter; the rest is indexed, once."""
    source = event.new_source()
    members = [content for odd in ODD.values() for content in (odd, b'"message":"good"')]
    lines = [
        b'{"_id":"%b-%x","@timestamp":"%b",%b}\n' % (source.encode(), n, AT.encode(), content)
        for n, content in enumerate(members)
    ]
    sink = plane.start_sink()
    subject = f"logs.test.{plane.dataset}.h"
    publish(plane.nats_url, [(subject, b"".join(lines), {"Dp-Count": str(len(lines))})])
    wait_until(lambda: plane.count() + len(letters(plane)) == len(members), plane)
    for again in ({}, {"Dp-Replay": "1"}):
        publish(plane.nats_url, [(subject, b"".join(lines), {"Dp-Count": str(len(lines)), **again})])
        assert plane._ask(f"/logs-{plane.dataset}-test/_rollover", {})["rolled_over"]
    wait_until(lambda: settled(plane), plane)
    assert plane.terminate(sink) == 0
    indexed = {hit["_id"] for hit in hits(plane)}
    dead = {letter["event_id"] for letter in letters(plane)}
    assert plane.count() == len(indexed)
    assert indexed | dead == {event.event_id(source, n) for n in range(len(members))}
    assert indexed.isdisjoint(dead)
    assert {event.event_id(source, n) for n in range(1, len(members), 2)} <= indexed


@pytest.mark.parametrize("pack", [lambda data: data, zstandard.ZstdCompressor().compress])
def test_anybodys_odd_messages_are_all_indexed(plane, pack):
    """Without the form of our frames they are mended, whatever is wrong with them; nothing is a dead letter."""
    payloads = [b"{" + content + b"}" for content in ODD.values()]
    payloads += [b"", b"5", b'"text"', b"null", b"[1,2", b"\x00\x01", b"\xef\xbb\xbf{}", b'{"a":1}\n{"a":', b"[[]]"]
    events = len(payloads) + 1
    sink = plane.start_sink()
    subject = f"logs.test.{plane.dataset}.h"
    publish(plane.nats_url, [(subject, pack(payload), {}) for payload in payloads])
    wait_until(lambda: plane.count() + len(letters(plane)) >= events, plane)
    assert plane.terminate(sink) == 0
    assert (plane.count(), json.dumps(letters(plane))) == (events, "[]")


def test_a_zip_bomb_is_a_dead_letter_as_it_came(plane):
    """What would fill the memory is not unpacked; its few bytes are kept."""
    bomb = zstandard.ZstdCompressor(level=19).compress(b"\0" * 200_000_000)
    sink = plane.start_sink()
    publish(plane.nats_url, [(f"logs.test.{plane.dataset}.h", bomb, {"Content-Encoding": "zstd"})])
    wait_until(lambda: letters(plane), plane)
    (letter,) = letters(plane)
    assert (letter["reason"], letter["bytes"]) == ("too_large", len(bomb))
    assert plane.terminate(sink) == 0


@pytest.mark.parametrize(
    ("identity", "content"),
    [
        (b"0" * 16 + b"-" + b"f" * 600, b'"message":"an id of more than 512 bytes"'),
        (b"0" * 16 + b"-f", b'"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        (b"0" * 16 + b"-f", b'"' + b"n" * 40_000 + b'":1'),
    ],
    ids=["id", "nesting", "name"],
)
def test_what_is_beyond_elasticsearchs_limits_hurts_no_other(plane, identity, content):
    """Whether the one document or the whole request is refused: it is a letter or a document, the rest is there."""
    source = event.new_source().encode()
    lines = [
        b'{"_id":"%b-%d","@timestamp":"%b","message":"good"}\n' % (source, number, AT.encode()) for number in range(5)
    ]
    lines.insert(2, b'{"_id":"%b","@timestamp":"%b",%b}\n' % (identity, AT.encode(), content))
    sink = plane.start_sink()
    publish(plane.nats_url, [(f"logs.test.{plane.dataset}.h", b"".join(lines), {"Dp-Count": str(len(lines))})])
    wait_until(lambda: plane.count() + len(letters(plane)) == len(lines), plane)
    assert plane.terminate(sink) == 0
    assert {f"{source.decode()}-{number}" for number in range(5)} <= {hit["_id"] for hit in hits(plane)}
