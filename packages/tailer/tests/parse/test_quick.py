"""The rule of the short ways: whatever a line is, its event is the one that parsing gives."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane_common.errors import ConfigError
from dataplane_common.event import encode, event_id, merge
from dataplane_tailer.config import InputConfig
from dataplane_tailer.parse import parser
from dataplane_tailer.parse.ats import STOCK
from dataplane_tailer.parse.ats_fields import ECS, HEADERS, MILESTONES, OTHERS
from dataplane_tailer.render import Origin, PlainRenderer, Tally, renderer
from dataplane_tailer.splice import INVALID_ENCODING

AT = "2026-05-01T10:00:05.000000Z"
FIELDS = st.sampled_from(
    [{}, {"service.name": "shop"}, {"event.duration": 1}, {"labels.a": "b", "source.port": 1}, {"tags": ["t"]}]
)


def entry(**keys: Any) -> InputConfig:
    """An input with these keys."""
    return msgspec.convert({"paths": ["/a"], "dataset": "web", **keys}, InputConfig)


def expected(origin: Origin, config: InputConfig, line: bytes, place: tuple[int, int]) -> dict[str, Any]:
    """The event that parsing and merging, one name at a time, give."""
    offset, sequence = place
    try:
        text, is_valid = line.decode(), True
    except UnicodeDecodeError:
        text, is_valid = line.decode(errors="backslashreplace"), False
    text = text.removeprefix("\ufeff") if offset == 0 else text
    text = text.removesuffix("\r")
    parse = parser(config)
    own = origin.envelope(offset, sequence)
    fields, moment = {"message": text}, None
    if parse is not None:
        found = parse(text, AT)
        fields, moment = found.fields, found.timestamp
        if found.problem:
            own["error"] = {"message": found.problem}
    if moment is not None:
        own["event"]["created"] = AT
    if not is_valid:
        own["tags"] = [*own.get("tags", []), INVALID_ENCODING]
    decoded: dict[str, Any] = msgspec.json.decode(
        encode(event_id(origin.source, offset), moment or AT, merge(fields, own))
    )
    return decoded


def check(config: InputConfig, fields: dict[str, Any], lines: list[bytes], offset: int = 5) -> None:
    """Compare the events of lines with what parsing gives, at the start of a file and within it."""
    origin = Origin("0123456789abcdef", "/a%b", "web", "h", fields)
    render = renderer(origin, config, Tally())
    events = render(lines, offset, 3, AT)
    assert len(events) == len(lines)
    for sequence, (line, event) in enumerate(zip(lines, events, strict=True), start=3):
        assert (event.count(b"\n"), event[-2:]) == (1, b"}\n")
        assert msgspec.json.decode(event) == expected(origin, config, line, (offset, sequence))
        offset += len(line) + 1


#: Bytes that mean something to some format, or to JSON, and bytes that are no text.
NASTY = st.sampled_from(
    ['"', "\\", '\\"', "\\x22", "\\u0041", "-", "", " ", "  ", "\t", "\r", "\x00", "\x7f", "ü", "\u2028", "😀", "[",
     "]", "/", "0", "00", "-0", "007", "9" * 19, "HTTP/1.1", "GET", ",", ", ", ":", "\ufeff", "%", "%b", "{", "}"]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, good: st.SearchStrategy[str]) -> bytes:
    """A good line with up to three places cut out, doubled or replaced, seldom with bytes that are no UTF-8."""
    line = draw(good)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        start = draw(st.integers(0, len(line)))
        end = min(len(line), start + draw(st.integers(0, 4)))
        line = line[:start] + draw(NASTY | st.just(line[start:end] * 2)) + line[end:]
    encoded = line.replace("\n", "").encode()
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(encoded)))
        encoded = encoded[:at] + draw(st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f"])) + encoded[at:]
    return encoded


CLIENTS = st.sampled_from(
    ["10.0.0.1", "255.255.255.255", "256.1.1.1", "01.2.3.4", "1.2.3", "::1", "2001:db8::7", "fe80::1%e", "www.a.net",
     "a:80 1.2.3.4", "1.2.3.4, 5.6.7.8", "1.2.3.4,5.6.7.8", "unix:", "[::1]", "é"]
)  # fmt: skip
CLF_TIMES = st.sampled_from(
    ["10/Oct/2000:13:55:36 -0700", "01/May/2026:10:00:00 +0000", "31/Feb/2026:00:00:00 +0000", "1/oct/2000:13:55:36",
     "31/Dec/2016:23:59:60 +0000", "01/May/2026:10:00:00.5 +0000", "2026-05-01T10:00:00+02:00", "-"]
)  # fmt: skip
REQUESTS = st.sampled_from(
    ["GET /a?b=1 HTTP/1.1", "GET / HTTP/2", "POST /x HTTP/1.0", "M-SEARCH * HTTP/1.1", "get /%7Ea HTTP/1.1", "GET /a",
     "GET /a b HTTP/1.1", "-", "", r"\x16\x03\x01", r"GET /\"x\" HTTP/1.0", "GET /ü HTTP/1.1", "GET  / HTTP/1.1",
     "GET / HTTP/1.1 ", "GET / HTTP/11", "GET / HTTP/1.12"]
)  # fmt: skip
NUMBERS = st.sampled_from(["0", "-", "200", "000", "007", "9" * 18, "9" * 19, "-5", "-0", "+1", "٣"])
TEXTS = st.sampled_from(
    ["-", "", "http://www.example.com/", r"\"q\"", "é", "Mozilla/5.0 (X11)", r"a\x22b\\", "a, b", "--"]
)
ACCESS = st.builds(
    '{} {} {} [{}] "{}" {} {} "{}" "{}"{}'.format,
    CLIENTS,
    st.sampled_from(["-", "-", "ident"]),
    st.sampled_from(["-", "-", "bob", "bob smith", '""', "[x]"]),
    CLF_TIMES,
    REQUESTS,
    st.sampled_from(["200", "404", "-", "000", "99", "2000"]),
    NUMBERS,
    TEXTS,
    TEXTS,
    st.sampled_from(["", "", ' "10.0.0.9"', " 0.003", " ", '"', ' "a" "b', "x"]),
)


@settings(max_examples=200)
@given(
    st.lists(damaged(ACCESS), min_size=1, max_size=4), FIELDS, st.sampled_from(["common", "combined"]), st.booleans()
)
def test_access_logs(lines: list[bytes], fields: dict[str, Any], kind: str, at_start: bool) -> None:
    """Lines of servers, whole and damaged."""
    if kind == "common":
        lines = [b'"'.join(line.split(b'"')[:3]).rstrip() for line in lines]
    check(entry(parser=kind), fields, lines, 0 if at_start else 5)


VALUES = st.one_of(
    CLIENTS, CLF_TIMES, REQUESTS, NUMBERS, TEXTS,
    st.sampled_from(["1777629600.810", "1777629600", "TCP_MISS", "NONE", "0x1f", "ff", "1", "HTTP/1.1", "http/2",
                     "TLSv1.3", "none", "*Not IP address [0]*", "0.045", "2026-05-01", "10:00:00"]),
)  # fmt: skip
GOOD = {
    "cqtq": "1777629600.810", "cqts": "1777629600", "cqth": "69f47ae0", "cqtn": "01/May/2026:10:00:00 +0200",
    "cqtd": "2026-05-01", "cqtt": "10:00:00", "chi": "10.0.0.7", "ttms": "45", "pssc": "200", "cqtx": "GET / HTTP/1.1",
    "crc": "TCP_HIT", "cqssv": "TLSv1.3", "cqssl": "1", "tts": "1", "ttmsf": "0.045", "psch": "1f", "cqpv": "HTTP/1.1",
}  # fmt: skip
SYMBOLS = st.sampled_from([*GOOD, *ECS, *sorted(OTHERS)])
FIELD_NAMES = st.one_of(
    SYMBOLS,
    SYMBOLS,
    st.sampled_from(["{User-Agent}cqh", "{Referer}cqh", "{X-A}psh", "{TS_A-TS_B}msdms", "cqup[0:9]", "SUM(psql)"]),
).filter(lambda name: name not in HEADERS | MILESTONES)
LITERALS = st.sampled_from(
    [" ", " ", " ", '" "', '" ', ' "', "/", " - ", "] ", " [", "|", ",", "\t", "=", "ü", "\\", "0"]
)


@st.composite
def formats(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """A format string, and lines of it, whole and damaged."""
    names = draw(st.lists(FIELD_NAMES, min_size=1, max_size=6))
    literals = draw(st.lists(LITERALS, min_size=len(names) + 1, max_size=len(names) + 1))
    literals[0], literals[-1] = draw(st.sampled_from(["", '"', "[", "x="])), draw(st.sampled_from(["", '"', "]", " "]))
    text = literals[0] + "".join(f"%<{name}>{literal}" for name, literal in zip(names, literals[1:], strict=True))
    good = st.builds(
        lambda values: literals[0] + "".join(map("".join, zip(values, literals[1:], strict=True))),
        st.tuples(*[st.just(GOOD.get(name, "x")) | st.just("-") | VALUES for name in names]),
    )
    return text, draw(st.lists(damaged(good), min_size=1, max_size=4))


@settings(max_examples=300)
@given(formats(), FIELDS, st.sampled_from(["none", "json"]))
def test_formats_of_traffic_server(sample: tuple[str, list[bytes]], fields: dict[str, Any], escape: str) -> None:
    """Any format of any fields, with values that are theirs and values that are not."""
    text, lines = sample
    try:
        config = entry(parser="ats", format=text, escape=escape)
        parser(config)
    except ConfigError:
        return
    check(config, fields, lines)


STOCK_LINES = {
    "ats_squid": "{t} {n} {c} {x}/{n} {n} {m} {u} {a} {x}/{u} {a}",
    "ats_common": '{c} - {a} [{f}] "{r}" {n} {n}',
    "ats_extended": '{c} - {a} [{f}] "{r}" {n} {n} {n} {n} {n} {n} {n} {n} {n} {n} {s}',
    "ats_extended2": '{c} - {a} [{f}] "{r}" {n} {n} {n} {n} {n} {n} {n} {n} {n} {n} {s} {x} {x} {x} {x}',
}


@settings(max_examples=200)
@given(st.data(), st.sampled_from([*STOCK]), FIELDS)
def test_stock_formats_of_traffic_server(data: st.DataObject, kind: str, fields: dict[str, Any]) -> None:
    """The formats that Traffic Server comes with, of which most lines there are."""
    words = {
        "t": st.sampled_from(["1777629600.810", "1777629600.81", "1777629600", "-1.5", "-", "99999999999.000"]),
        "n": NUMBERS, "c": CLIENTS, "f": CLF_TIMES, "r": REQUESTS, "a": TEXTS,
        "s": st.sampled_from(["0", "1", "-", "0.5"]),
        "x": st.sampled_from(["TCP_MISS", "ERR_CLIENT_ABORT", "DIRECT", "NONE", "FIN", "-", "", "A B"]),
        "m": st.sampled_from(["GET", "PURGE", "-", ""]), "u": st.sampled_from(["http://x/a", "-", "h", "http://x/a b"]),
    }  # fmt: skip
    good = st.fixed_dictionaries(words).map(lambda values: STOCK_LINES[kind].format(**values))
    check(entry(parser=kind), fields, data.draw(st.lists(damaged(good), min_size=1, max_size=4)))


JSON_LINES = st.sampled_from(
    [
        '{"level":"info","time":"2026-05-01T10:00:00.123456Z","msg":"m","n":1.5,"ok":true,"none":null}',
        '{"time":"2026-05-01T10:00:00.123456Z","level":"info","message":"m","user":{"id":"u"},"list":[1,{"a":2}]}',
        '{"ts":1777629600.25,"severity":"WARN","msg":"m","error":"e","http.request.method":"GET"}',
        '{"@timestamp":"2026-05-01T10:00:00.123Z","log.level":"INFO","message":"m","labels":{"a.b":1}}',
        '{"time":"2026-05-01 10:00:00","a":1,"a":2,"level":30,"msg":"\\u00e9\\ud83d\\ude00"}',
        '{"n":18446744073709551616,"big":1e300,"deep":{"a":{"b":{"c":[[[]]]}}},"msg":"x","host":"y","event":{"a":1}}',
        "[1]", "{}", "null", '{"msg":NaN}', "{", "",
    ]
)  # fmt: skip


@settings(max_examples=200)
@given(
    st.lists(damaged(JSON_LINES), min_size=1, max_size=6),
    FIELDS,
    st.sampled_from(["UTC", "Europe/Berlin"]),
    st.booleans(),
)
def test_json(lines: list[bytes], fields: dict[str, Any], zone: str, at_start: bool) -> None:
    """Records in any order, each of which may teach a layout that the next one does not have."""
    check(entry(parser="json", time_zone=zone), fields, lines, 0 if at_start else 5)


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=12) | damaged(TEXTS), max_size=8), st.sampled_from([0, 1, 2**33]), FIELDS)
def test_plain_lines(lines: list[bytes], offset: int, fields: dict[str, Any]) -> None:
    """Lines with and without carriage returns, byte-order marks and invalid bytes, all in one chunk."""
    lines = [line.replace(b"\n", b"") for line in lines]
    check(entry(), fields, lines, offset)
    origin = Origin("0123456789abcdef", "/a", "web", "h", fields)
    one_by_one = PlainRenderer(origin)
    events, at = [], offset
    for number, line in enumerate(lines, start=3):
        events += one_by_one([line], at, number, AT)
        at += len(line) + 1
    assert PlainRenderer(origin)(lines, offset, 3, AT) == events


@pytest.mark.parametrize("kind", ["json", "common", "combined", *STOCK])
def test_a_mark_at_the_start_of_a_file_is_no_part_of_its_first_field(kind: str) -> None:
    """Where a byte-order mark may stand, the long way is taken, which drops it."""
    lines = {"json": b'{"msg":"m"}', "ats_squid": b"1777629600.810 45 h TCP_HIT/200 1 GET /a - NONE/- image/png"}
    ends = {"combined": b' "-" "curl"', "ats_extended": b" 1" * 9, "ats_extended2": b" 1" * 9 + b" A" * 4}
    start = b'h - - [01/May/2026:10:00:00 +0200] "GET /a HTTP/1.1" 200 1'
    check(entry(parser=kind), {}, [b"\xef\xbb\xbf" + lines.get(kind, start + ends.get(kind, b""))], 0)


@pytest.mark.parametrize("kind", ["json", "common", "combined", *STOCK])
def test_usual_lines_take_the_short_way(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the speed was measured with is not parsed the long way; or nothing here would test the short one."""
    lines = {
        "json": '{"time":"2026-05-01T10:00:00.123456Z","level":"info","msg":"m"}',
        "ats_squid": "1777629600.810 45 10.0.0.7 TCP_HIT/200 1 GET http://x/a - NONE/- image/png",
    }
    start = '10.0.0.7 - - [01/May/2026:10:00:00 +0200] "GET /a HTTP/1.1" 200 1'
    ends = {"combined": ' "-" "curl"', "ats_extended": " 1" * 9, "ats_extended2": " 1" * 9 + " A" * 4}
    monkeypatch.setattr("dataplane_tailer.render.parsed_renderer", lambda *_args, **_keys: None)
    render = renderer(Origin("0123456789abcdef", "/a", "web", "h"), entry(parser=kind))
    assert len(render([lines.get(kind, start + ends.get(kind, "")).encode()], 5, 1, AT)) == 1
