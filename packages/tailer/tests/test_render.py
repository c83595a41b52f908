"""Rules of rendering lines as events."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane_common.event import encode, event_id, merge
from dataplane_tailer.config import InputConfig
from dataplane_tailer.parse import Parsed, parser
from dataplane_tailer.render import Origin, PlainRenderer, Tally, parsed_renderer, render_piece, renderer
from dataplane_tailer.splice import joined

AT = "2026-01-02T03:04:05.000006Z"
ORIGIN = Origin("0123456789abcdef", "/var/log/100%/a.log", "web", "Host.Example", {"service.name": "nginx", "a": 1})


def entry(**keys: Any) -> InputConfig:
    """An input with these keys."""
    return msgspec.convert({"paths": ["/var/log/*.log"], "dataset": "web", **keys}, InputConfig)


def events(lines: list[bytes], origin: Origin = ORIGIN, **keys: Any) -> list[dict[str, Any]]:
    """The events of lines as an input with these keys renders them."""
    return [msgspec.json.decode(event) for event in renderer(origin, entry(**keys))(lines, 100, 1, AT)]


def expected(origin: Origin, parsed: Parsed, offset: int, sequence: int) -> dict[str, Any]:
    """What an event has to be by the contract: fields merged under the envelope, one name at a time."""
    envelope = origin.envelope(offset, sequence)
    if parsed.timestamp is not None:
        envelope["event"]["created"] = AT
    if parsed.problem:
        envelope["error"] = {"message": parsed.problem}
    line = encode(event_id(origin.source, offset), parsed.timestamp or AT, merge(parsed.fields, envelope))
    decoded: dict[str, Any] = msgspec.json.decode(line)
    return decoded


@given(
    st.lists(st.text().map(lambda text: text.replace("\n", "").rstrip("\r"))), st.integers(min_value=1, max_value=2**40)
)
def test_a_plain_line_becomes_its_event(lines: list[str], offset: int) -> None:
    """Message, id, offset and sequence of each event follow from the line and its place."""
    encoded = [line.encode(errors="surrogatepass") for line in lines if line.isprintable()]
    found = [msgspec.json.decode(event) for event in PlainRenderer(ORIGIN)(encoded, offset, 5, AT)]
    assert [event["message"].encode() for event in found] == encoded
    for number, event in enumerate(found):
        assert event["_id"] == f"0123456789abcdef-{event['log']['offset']:x}"
        assert event["event"] == {"dataset": "web", "sequence": 5 + number}
        assert event["host"] == {"name": "Host.Example"}
        assert event["service"] == {"name": "nginx"}
        assert event["a"] == 1
        assert event["log"]["file"] == {"path": "/var/log/100%/a.log"}


def test_id_and_timestamp_have_their_fixed_places() -> None:
    """Consumers cut the id off by slicing: it is the first key, the timestamp the second."""
    for render in (
        PlainRenderer(ORIGIN),
        parsed_renderer(ORIGIN, _json_parser()),
        renderer(ORIGIN, entry(parser="json")),
    ):
        for line in (b"x", b'{"msg":"m","level":"info"}'):
            assert render([line], 16, 1, AT)[0].startswith(b'{"_id":"0123456789abcdef-10","@timestamp":"' + AT.encode())


def _json_parser() -> Any:
    return parser(entry(parser="json"))


def test_every_event_is_one_line() -> None:
    """Control characters are escaped, so a frame can be split at newlines."""
    for keys in ({}, {"parser": "json"}, {"parser": "common"}, {"filters": [{"drop": "nothing"}]}):
        event = renderer(ORIGIN, entry(**keys))([b"a\x00b\x0bc\x85\nd"], 0, 1, AT)[0]
        assert event.endswith(b"}\n")
        assert event.count(b"\n") == 1


def test_invalid_utf8_is_marked() -> None:
    """The line stays, with visible escapes and a tag, beside the tags that the input gives."""
    tagged = Origin("0123456789abcdef", "/a", "web", "h", {"tags": ["dmz"]})
    for keys in ({}, {"parser": "json"}, {"filters": [{"keep": "."}]}):
        assert events([b"caf\xe9"], **keys)[0]["message"] == "caf\\xe9"
        assert events([b"caf\xe9"], **keys)[0]["tags"] == ["invalid_encoding"]
        assert events([b"caf\xe9"], tagged, **keys)[0]["tags"] == ["dmz", "invalid_encoding"]


def test_json_members_become_fields_and_nothing_overwrites_the_envelope() -> None:
    """Common names move to ECS; what collides with the envelope goes to labels; the record's own time counts."""
    line = b'{"time":"2026-05-01T10:00:00+02:00","level":"WARN","msg":"hi","host":"x","dp":{"source":"y"},"n":1}'
    event = events([line], parser="json")[0]
    assert event["@timestamp"] == "2026-05-01T08:00:00.000000Z"
    assert event["event"]["created"] == AT
    assert (event["message"], event["log"]["level"], event["n"]) == ("hi", "WARN", 1)
    assert event["host"] == {"name": "Host.Example"}
    assert event["labels"] == {"host": "x", "dp_source": "y"}


def test_a_line_that_is_no_json_keeps_its_text_and_says_why() -> None:
    """A failed parse loses nothing, and is counted."""
    tally = Tally()
    render = renderer(ORIGIN, entry(parser="json"), tally)
    deep = b'{"a":' * 3000 + b"1" + b"}" * 3000
    for line in (b"plain", b"[1]", b'{"a":', b"1", b'"msg"', b'["msg","level"]', b"[" * 100_000, deep):
        event = msgspec.json.decode(render([line], 0, 1, AT)[0])
        assert event["message"] == line.decode()
        assert event["error"]["message"]
    assert tally.unparsed == 8


def test_a_record_that_is_too_deep_to_be_merged_is_kept_as_its_line() -> None:
    """What is valid but nested hundreds of levels deep is shown as text; the tailer goes on."""
    line = b'{"a.b":1,"a":' + b'{"a":' * 600 + b"1" + b"}" * 601
    assert events([line], parser="json")[0]["message"] == line.decode()


NAMES = st.sampled_from(
    [
        "a", "b", "msg", "message", "level", "severity", "time", "ts", "@timestamp", "log", "event", "host", "dp",
        "tags",
        "error", "user", "labels", "service", "log.level", "log.logger", "event.dataset", "event.duration", "a.b",
        "a.b.c",
        "a..b", ".x", "", " ", "_id", "_source", "user.name", "x y", "ecs.version", "stream", "caf\u00e9", 'q"', "\x00",
    ]
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["info", "2026-05-01T10:00:00Z", "2026-05-01T10:00:00.123456Z", "2026-05-01 10:00:00,5", ""])
    | st.text(max_size=8).filter(lambda text: text.isprintable())
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
RECORDS = st.dictionaries(NAMES, VALUES, max_size=6)
ORIGINS = st.sampled_from(
    [
        ORIGIN,
        Origin("0123456789abcdef", "/a", "web", "h", {"labels.team": "shop", "user.domain": "x", "log.a": 1}),
        Origin("0123456789abcdef", '/"log":{"offset":-1', "web", "h", {"error.code": 1, "event.created": "never"}),
        Origin("0123456789abcdef", "/a", "web", "h", {"tags": ["t"], "event.kind": "event"}),
    ]
)


@settings(max_examples=400)
@given(st.lists(RECORDS, min_size=1, max_size=5), ORIGINS)
def test_fast_ways_give_what_merging_gives(records: list[dict[str, Any]], origin: Origin) -> None:
    """However records follow each other, each event is the one that the contract's merge of its fields gives."""
    lines = [msgspec.json.encode(record) for record in records]
    parse = _json_parser()
    render = renderer(origin, entry(parser="json"))
    offset = 7
    for sequence, (line, event) in enumerate(zip(lines, render(lines, offset, 1, AT), strict=True), start=1):
        assert event.count(b"\n") == 1
        assert msgspec.json.decode(event) == expected(origin, parse(line.decode(), AT), offset, sequence)
        offset += len(line) + 1


@settings(max_examples=400)
@given(RECORDS, ORIGINS)
def test_joining_is_merging(record: dict[str, Any], origin: Origin) -> None:
    """Events of streams, too, are the contract's merge of fields and envelope."""
    envelope = origin.envelope(7, 1)
    del envelope["log"]
    parsed = _json_parser()(msgspec.json.encode(record).decode(), AT)
    assert joined(parsed, envelope) == merge(parsed.fields, envelope)


@settings(max_examples=200)
@given(RECORDS)
def test_no_value_of_a_record_is_lost(record: dict[str, Any]) -> None:
    """Every text in a record is somewhere in its event."""
    event = events([msgspec.json.encode(record)], parser="json")[0]
    shown = msgspec.json.encode(event).decode()
    for value in record.values():
        if isinstance(value, str) and not value.startswith("2026"):
            assert msgspec.json.encode(value).decode()[1:-1] in shown.replace('\\\\\\"', '\\"')


def test_the_same_line_gives_the_same_event_whatever_was_rendered_before() -> None:
    """What a renderer has learnt of other lines changes nothing: only times of arrival may differ."""
    line = b'{"msg":"m","level":"info","time":"2026-05-01T10:00:00.123456Z","user":{"id":"u"},"n":[1]}'
    others = [b'{"msg":1}', b'{"user":"bob"}', b'{"n":{"a.b":1},"msg":"x"}', b'{"ts":1,"level":30}', b"no", line[:-1]]
    fresh = renderer(ORIGIN, entry(parser="json"))([line], 50, 9, AT)
    used = renderer(ORIGIN, entry(parser="json"))
    for other in others * 3:
        used([other], 1, 1, AT)
        assert used([line], 50, 9, AT) == fresh


ACCESS = st.builds(
    '{} {} {} [{}] "{}" {} {} "{}" "{}"{}'.format,
    st.sampled_from(["10.0.0.1", "::1", "fe80::1%eth0", "www.example.net", "256.1.1.1", "é"]),
    st.sampled_from(["-", "ident"]),
    st.sampled_from(["-", "bob", "bob smith"]),
    st.sampled_from(["10/Oct/2000:13:55:36 -0700", "31/Feb/2026:00:00:00 +0000", "10/Oct/2000:13:55:36", "-"]),
    st.sampled_from(
        ["GET /a?b=1 HTTP/1.1", "GET / HTTP/2", "-", "", r"\x16\x03\x01", r"GET /\"x\" HTTP/1.0", "GET /ü HTTP/1.1"]
    ),
    st.sampled_from(["200", "404", "-", "000"]),
    st.sampled_from(["0", "-", "2326", "007"]),
    st.sampled_from(["-", "", "http://www.example.com/", r"\"quoted\"", "é"]),
    st.sampled_from(["-", "Mozilla/5.0 (X11)", r"a\x22b\\", "\t"]),
    st.sampled_from(["", ' "10.0.0.9"', " 0.003", " "]),
)


@settings(max_examples=300)
@given(st.lists(ACCESS, min_size=1, max_size=3), ORIGINS, st.sampled_from(["common", "combined"]))
def test_the_short_way_of_access_logs_gives_what_parsing_gives(lines: list[str], origin: Origin, kind: str) -> None:
    """Usual and unusual lines alike become what the parser says of them, merged under the envelope."""
    parse = parser(entry(parser=kind))
    assert parse is not None
    for line in lines:
        event = msgspec.json.decode(renderer(origin, entry(parser=kind))([line.encode()], 7, 3, AT)[0])
        assert event == expected(origin, parse(line, AT), 7, 3)


def test_dropped_lines_leave_no_gap() -> None:
    """A dropped line has no event and no number; it is counted by its rule, and the places behind it stay right."""
    tally = Tally()
    rules = [{"drop": "healthz"}, {"keep": "GET|POST"}]
    lines = [b"GET /a", b"GET /healthz", b"PUT /b", b"POST /c"]
    found = renderer(ORIGIN, entry(filters=rules), tally)(lines, 0, 7, AT)
    kept = [msgspec.json.decode(event) for event in found if event]
    assert found[1:3] == [b"", b""]
    assert [(event["event"]["sequence"], event["log"]["offset"]) for event in kept] == [(7, 0), (8, 27)]
    assert tally.dropped == {'drop "healthz"': 1, 'keep "GET|POST"': 1}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "latin-1", "cp1252", "shift_jis", "utf-8"])
def test_offsets_count_the_bytes_of_the_encoding(encoding: str) -> None:
    """The next line's place is behind the newline as the encoding writes it."""
    lines = [text.encode(encoding) for text in ("one\r", "two", "three")]
    found = events(lines, encoding=encoding)
    newline = len("\n".encode(encoding))
    assert [event["message"] for event in found] == ["one", "two", "three"]
    assert [event["log"]["offset"] for event in found] == [
        100,
        100 + len(lines[0]) + newline,
        100 + len(lines[0]) + len(lines[1]) + 2 * newline,
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    """The mark at the start of a file says how it is encoded and is dropped there only."""
    for keys in ({}, {"parser": "json"}, {"filters": [{"keep": "x"}]}):
        render = renderer(ORIGIN, entry(**keys))
        for offset, text in ((0, "x"), (50, "\ufeffx")):
            assert msgspec.json.decode(render(["\ufeffx".encode()], offset, 1, AT)[0])["message"] == text


def test_a_block_of_container_lines_gives_one_event_per_line_of_the_container() -> None:
    """Partial lines are joined by stream; each event has the place of its first line; numbers follow each other."""
    lines = [
        b"2026-05-01T10:00:00.1Z stdout P one ",
        b"2026-05-01T10:00:00.2Z stderr P oh ",
        b"2026-05-01T10:00:00.3Z stdout F two",
        b"2026-05-01T10:00:00.4Z stderr F no",
    ]
    found = renderer(ORIGIN, entry(parser="cri"))([b"\n".join(lines), lines[2]], 10, 5, AT)
    assert [event.count(b"\n") for event in found] == [2, 1]
    decoded = [msgspec.json.decode(line) for line in b"".join(found).splitlines()]
    assert [(event["message"], event["stream"]) for event in decoded] == [
        ("one two", "stdout"), ("oh no", "stderr"), ("two", "stdout")
    ]  # fmt: skip
    assert [event["log"]["offset"] for event in decoded] == [10, 10 + len(lines[0]) + 1, 10 + sum(map(len, lines)) + 4]
    assert [event["event"]["sequence"] for event in decoded] == [5, 6, 7]
    assert decoded[0]["@timestamp"] == "2026-05-01T10:00:00.100000Z"


def test_a_piece_says_that_it_is_one() -> None:
    """Pieces share the line's offset, are numbered behind the position, and are tagged."""
    event = msgspec.json.decode(render_piece(ORIGIN, (255, 2), 9, AT, b"part"))
    assert (event["_id"], event["message"], event["tags"]) == ("0123456789abcdef-ff.2", "part", ["split_line"])
