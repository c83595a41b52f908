"""Rules of rendering lines as events."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.parse import parser
from dataplane_tailer.render import Origin, parsed_renderer, plain_renderer, render_piece

AT = "2026-01-02T03:04:05.000006Z"
ORIGIN = Origin("0123456789abcdef", "/var/log/100%/a.log", "web", "Host.Example", {"service.name": "nginx", "a": 1})


@given(
    st.lists(st.text().map(lambda text: text.replace("\n", "").rstrip("\r"))), st.integers(min_value=0, max_value=2**40)
)
def test_a_plain_line_becomes_its_event(lines: list[str], offset: int) -> None:
    """Message, id, offset and sequence of each event follow from the line and its place."""
    encoded = [line.encode(errors="surrogatepass") for line in lines if line.isprintable()]
    events = [msgspec.json.decode(event) for event in plain_renderer(ORIGIN)(encoded, offset, 5, AT)]
    assert [event["message"].encode() for event in events] == encoded
    for number, event in enumerate(events):
        assert event["_id"] == f"0123456789abcdef-{event['log']['offset']:x}"
        assert event["event"] == {"dataset": "web", "sequence": 5 + number}
        assert event["host"] == {"name": "Host.Example"}
        assert event["service"] == {"name": "nginx"}
        assert event["a"] == 1
        assert event["log"]["file"] == {"path": "/var/log/100%/a.log"}


def test_id_and_timestamp_have_their_fixed_places() -> None:
    """Consumers cut the id off by slicing: it is the first key, the timestamp the second."""
    for render in (plain_renderer(ORIGIN), parsed_renderer(ORIGIN, parser("json"))):
        assert render([b"x"], 16, 1, AT)[0].startswith(b'{"_id":"0123456789abcdef-10","@timestamp":"' + AT.encode())


def test_every_event_is_one_line() -> None:
    """Control characters are escaped, so a frame can be split at newlines."""
    event = plain_renderer(ORIGIN)([b"a\x00b\x0bc\x85"], 0, 1, AT)[0]
    assert event.endswith(b"}\n")
    assert event.count(b"\n") == 1


def test_invalid_utf8_is_marked() -> None:
    """The line stays, with visible escapes and a tag."""
    event = msgspec.json.decode(plain_renderer(ORIGIN)([b"caf\xe9"], 0, 1, AT)[0])
    assert (event["message"], event["tags"]) == ("caf\\xe9", ["invalid_encoding"])


def test_json_members_become_fields_and_nothing_overwrites_the_envelope() -> None:
    """Common names move to ECS; what collides with the envelope goes to labels; the record's own time counts."""
    line = b'{"time":"2026-05-01T10:00:00+02:00","level":"WARN","msg":"hi","host":"x","dp":{"source":"y"},"n":1}'
    event = msgspec.json.decode(parsed_renderer(ORIGIN, parser("json"))([line], 0, 1, AT)[0])
    assert event["@timestamp"] == "2026-05-01T08:00:00.000000Z"
    assert event["event"]["created"] == AT
    assert (event["message"], event["log"]["level"], event["n"]) == ("hi", "WARN", 1)
    assert event["host"] == {"name": "Host.Example"}
    assert event["labels"] == {"host": "x", "dp_source": "y"}


def test_a_line_that_is_no_json_keeps_its_text_and_says_why() -> None:
    """A failed parse loses nothing."""
    for line in (b"plain", b"[1]", b'{"a":'):
        event = msgspec.json.decode(parsed_renderer(ORIGIN, parser("json"))([line], 0, 1, AT)[0])
        assert event["message"] == line.decode()
        assert "JSON" in event["error"]["message"]


def test_a_piece_says_that_it_is_one() -> None:
    """Pieces share the line's offset, are numbered behind the position, and are tagged."""
    event = msgspec.json.decode(render_piece(ORIGIN, (255, 2), 9, AT, b"part"))
    assert (event["_id"], event["message"], event["tags"]) == ("0123456789abcdef-ff.2", "part", ["split_line"])
