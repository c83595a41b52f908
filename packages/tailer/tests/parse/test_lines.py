"""Rules of syslog, access logs and containers beyond their documented examples."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.parse import Parsed, ParserConfig, parser
from dataplane_tailer.parse.container import Part, join_parts
from dataplane_tailer.parse.http import is_ip, unescaped

Parsing = Callable[..., Parsed]
AT = "2026-05-01T10:00:05.000000Z"


def test_a_priority_gives_facility_severity_and_level(parsed: Parsing) -> None:
    """All 192 priorities of RFC 5424 are known; a higher one is no syslog."""
    for priority in range(192):
        fields = parsed(f"<{priority}>May  1 10:00:00 h p: m", parser="syslog").fields
        assert fields["log"]["syslog"]["facility"]["code"] * 8 + fields["log"]["syslog"]["severity"]["code"] == priority
    assert parsed("<192>May  1 10:00:00 h p: m", parser="syslog").problem
    assert parsed("<27>1 - - - - - -", parser="syslog").fields["log"]["level"] == "error"


def test_structured_data_is_read_with_its_escapes(parsed: Parsing) -> None:
    """Several elements, repeated names, escaped quotes and brackets (RFC 5424, 6.3); names with dots are kept."""
    line = r'<14>1 2026-05-01T10:00:00Z h app 7 ID [a@1 x="1" x="\]\"\\" y.z="é"][b] ' + "\ufeffmessage"
    found = parsed(line, parser="syslog_rfc5424")
    assert found.fields["log"]["syslog"]["structured_data"] == {"a@1": {"x": ["1", ']"\\'], "y.z": "é"}, "b": {}}
    assert found.fields["message"] == "message"
    assert found.fields["process"] == {"name": "app", "pid": 7}


def test_each_syslog_parser_takes_its_own_lines_only(parsed: Parsing) -> None:
    """A line of the other RFC is not guessed at by the strict parsers."""
    old, new = "<34>Oct 11 22:14:15 h su: m", "<34>1 2026-05-01T10:00:00Z h su - - - m"
    assert not parsed(old, parser="syslog").problem
    assert not parsed(new, parser="syslog").problem
    assert parsed(old, parser="syslog_rfc5424").problem
    assert parsed(new, parser="syslog_rfc3164").problem


def test_syslog_times_are_in_the_zone_of_the_input(parsed: Parsing) -> None:
    """RFC 3164 has no zone, so the input says it."""
    found = parsed("May  1 12:00:00 h p: m", parser="syslog", time_zone="Europe/Berlin")
    assert found.timestamp == "2026-05-01T10:00:00.000000Z"


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("May  1 09:00:00 su: x", {"message": "x", "process": {"name": "su"}, "log": {"syslog": {"appname": "su"}}}),
        ("May  1 09:00:00 h http://x/: y", {"message": "http://x/: y", "log": {"syslog": {"hostname": "h"}}}),
        ("May  1 09:00:00 fe80::1 a/b[x]:y", {
            "message": "y",
            "process": {"name": "a/b"},
            "log": {"syslog": {"hostname": "fe80::1", "appname": "a/b", "procid": "x"}},
        }),
    ],
)  # fmt: skip
def test_hosts_and_programs_are_told_apart(line: str, fields: dict[str, Any], parsed: Parsing) -> None:
    """A program's name has a colon behind it, so a line of a local sender has no host; a URL is no program."""
    found = parsed(line, parser="syslog")
    assert (found.fields, found.timestamp) == (fields, "2026-05-01T09:00:00.000000Z")


@pytest.mark.parametrize(
    ("time", "timestamp"),
    [
        ("Dec 31 23:59:60", "2025-12-31T22:59:59.999999Z"),
        ("Feb 29 12:00:00", "2024-02-29T11:00:00.000000Z"),
        ("Oct 11 2019 12:00:00", "2019-10-11T10:00:00.000000Z"),
        ("2026-01-11 12:00:00,5", "2026-01-11T11:00:00.500000Z"),
        ("2026-01-11T12:00:00.123456+0530", "2026-01-11T06:30:00.123456Z"),
    ],
)
def test_every_time_of_a_syslog_line_is_read(time: str, timestamp: str, parsed: Parsing) -> None:
    """With a year behind the day, as ISO 8601 with or without a zone, on a leap day, in a leap second."""
    found = parsed(f"{time} h p: m", parser="syslog", time_zone="Europe/Berlin")
    assert (found.problem, found.timestamp) == ("", timestamp)


def test_structured_data_need_not_be_as_strict_as_its_rfc(parsed: Parsing) -> None:
    """Brackets that a sender did not escape, and more blanks than one, lose nothing."""
    found = parsed('<14>1 - h a - - [x@1 k="a]b"  l="c" ][y] m', parser="syslog").fields
    assert found["log"]["syslog"]["structured_data"] == {"x@1": {"k": "a]b", "l": "c"}, "y": {}}
    assert found["message"] == "m"


@pytest.mark.parametrize(
    ("front", "fields"),
    [
        ("www.example.net:443 1.2.3.4 - -", {"destination": {"domain": "www.example.net", "port": 443}}),
        ("1.2.3.4, 10.0.0.9 - -", {"labels": {"clients": "1.2.3.4, 10.0.0.9"}}),
        ("1.2.3.4,10.0.0.9 - -", {"labels": {"clients": "1.2.3.4,10.0.0.9"}}),
        ('1.2.3.4 - ""', {}),
        ("1.2.3.4 - bob [the] builder", {"user": {"name": "bob [the] builder"}}),
    ],
)
def test_what_servers_write_in_front_is_told_apart(front: str, fields: dict[str, Any], parsed: Parsing) -> None:
    """Virtual hosts, lists of proxies, names with blanks and brackets; the client is the first address."""
    line = f'{front} [01/May/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 1'
    found = parsed(line, parser="common").fields
    assert found.pop("source") == {"address": "1.2.3.4", "ip": "1.2.3.4"}
    assert {name: found[name] for name in found if name not in ("message", "http", "url")} == fields


@pytest.mark.parametrize(
    ("time", "timestamp"),
    [
        ("01/May/2026:10:00:00.25 +0200", "2026-05-01T08:00:00.250000Z"),
        ("31/Dec/2016:23:59:60 +0000", "2016-12-31T23:59:59.999999Z"),
        ("2026-05-01T10:00:00+02:00", "2026-05-01T08:00:00.000000Z"),
    ],
)
def test_every_time_of_an_access_log_is_read(time: str, timestamp: str, parsed: Parsing) -> None:
    """With a fraction, in a leap second, and as nginx's `$time_iso8601`."""
    found = parsed(f'h - - [{time}] "GET / HTTP/1.1" 200 1', parser="common")
    assert (found.problem, found.timestamp) == ("", timestamp)


@pytest.mark.parametrize(
    ("request_line", "method", "target", "version"),
    [
        ("GET /a b/c HTTP/1.1", "GET", "/a b/c", "1.1"),
        ("GET /old", "GET", "/old", None),
        ("PRI * HTTP/2.0", "PRI", "*", "2.0"),
        ("M-SEARCH * HTTP/1.1", "M-SEARCH", "*", "1.1"),
        (r"GET /\x22\" HTTP/1.1", "GET", '/""', "1.1"),
        (r"\x16\x03\x01\xfc", None, "\x16\x03\x01\\xfc", None),
        ("one two three", None, "one two three", None),
    ],
)
def test_requests_are_read_as_far_as_they_are_some(
    request_line: str, method: str | None, target: str, version: str | None, parsed: Parsing
) -> None:
    """Blanks in a target, versions that are missing, bytes of TLS: what was sent is in `url.original` at least."""
    found = parsed(f'h - - [01/May/2026:10:00:00 +0000] "{request_line}" 400 1', parser="common").fields
    assert found["url"] == {"original": target}
    assert (found["http"].get("request", {}).get("method"), found["http"].get("version")) == (method, version)


def test_a_number_beyond_what_an_index_takes_is_no_number(parsed: Parsing) -> None:
    """Elasticsearch would refuse the event; as an unparsed line it is stored."""
    line = 'h - - [01/May/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 '
    assert parsed(line + "9" * 18, parser="common").fields["http"]["response"]["body"] == {"bytes": int("9" * 18)}
    assert parsed(line + "9" * 30, parser="common").problem


def test_absent_parts_of_an_access_log_are_absent(parsed: Parsing) -> None:
    """`-` gives no field; a request that is none stays as it was sent."""
    found = parsed('h - - [01/May/2026:10:00:00 +0000] "-" 408 - "-" "-"', parser="combined").fields
    assert {key: found[key] for key in found if key != "message"} == {
        "source": {"address": "h"}, "http": {"response": {"status_code": 408}}
    }  # fmt: skip
    line = r'1.2.3.4 id - [01/May/2026:10:00:00 +0000] "\x16\x03\x01\xff" 400 0'
    found = parsed(line, parser="common").fields
    assert found["url"] == {"original": "\x16\x03\x01\\xff"}
    assert found["labels"] == {"ident": "id"}


@given(st.text(max_size=30))
def test_escapes_of_a_server_are_undone(text: str) -> None:
    """What nginx and Apache escape is read back; invalid bytes stay visible."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\x{byte:02x}" for byte in text.encode()
    )
    assert unescaped(escaped) == text
    assert unescaped(r"a\"b\\c\n\xff") == 'a"b\\c\n\\xff'


@pytest.mark.parametrize("text", ["1.2.3.4", "255.255.255.255", "::1", "2001:db8::7", "::ffff:1.2.3.4"])
def test_addresses_are_told_from_names(text: str) -> None:
    """Only what Elasticsearch takes as an address becomes `source.ip`."""
    assert is_ip(text)
    assert not any(map(is_ip, (f"{text}0.0", "256.1.1.1", "01.2.3.4", "host", "", "fe80::1%eth0", "1.2.3")))


def test_a_line_that_never_matches_costs_no_more_than_its_length() -> None:
    """Formats are matched in linear time, so that no line can stop the tailer."""
    lines: dict[str, tuple[dict[str, Any], str]] = {
        "ats_extended2": ({}, '1 - x [01/May/2026:10:00:00 -0000] "' + "a " * 40_000),
        "combined": ({}, '1 - - [01/May/2026:10:00:00 +0000] "' + '\\"' * 40_000),
        "syslog": ({}, '<14>1 - - - - - [a x="' + '\\"' * 40_000),
        "logfmt": ({}, 'a="' + "\\\\" * 40_000),
        "ats": ({"format": '"%<{A}cqh>" "%<{B}cqh>" "%<{C}cqh>" %<pssc>'}, '"' + '\\"' * 40_000),
    }
    for name, (keys, line) in lines.items():
        parse = parser(ParserConfig(parser=name, **keys))
        assert parse is not None
        started = time.process_time()
        assert parse(line, AT).problem
        assert time.process_time() - started < 1.0, name


PARTS = st.lists(
    st.builds(
        Part, st.sampled_from(["stdout", "stderr"]), st.text(max_size=5), st.booleans(), st.just(None),
        st.sampled_from(["", "", "", "bad"]),
    ),
    max_size=12,
)  # fmt: skip


@given(PARTS)
def test_joined_parts_hold_every_text_once_in_the_order_of_their_stream(parts: list[Part]) -> None:
    """Joining loses nothing and mixes nothing, however the streams alternate."""
    joined = join_parts(parts)
    assert [index for index, _ in joined] == sorted({index for index, _ in joined})
    for stream in ("stdout", "stderr"):
        written = "".join(part.text for part in parts if part.stream == stream and not part.problem)
        assert "".join(part.text for _, part in joined if part.stream == stream and not part.problem) == written
    assert [part.text for _, part in joined if part.problem] == [part.text for part in parts if part.problem]


def test_an_unknown_docker_member_keeps_the_line(parsed: Parsing) -> None:
    """What another driver may have added is not lost."""
    line = '{"log":"x\\n","stream":"stdout","time":"2026-05-01T10:00:00Z","more":1}'
    assert parsed(line, parser="docker").fields == {"message": line}
    attrs = parsed(line.replace('"more":1', '"attrs":{"com.docker.x":"y"}'), parser="docker").fields
    assert attrs == {"message": "x", "stream": "stdout", "docker.attrs": {"com.docker.x": "y"}}


def test_a_cri_tag_is_a_tag_only_where_a_blank_ends_it(parsed: Parsing) -> None:
    """What only begins like a tag is not taken apart, or a text would lose its first letters."""
    for text in ("FF x", "F\tx", "Px", "stdout"):
        line = f"2026-05-01T10:00:00Z stdout {text}"
        assert parsed(line, parser="cri").fields == {"message": line}
    for no_time in ("2026-13-45T10:00:00Z", "10:00:00Z"):
        assert parsed(f"{no_time} stdout F x", parser="cri").fields == {"message": f"{no_time} stdout F x"}
    for tag, text in (("F", ""), ("F ", ""), ("F  x", " x"), ("P:a:b x", "x")):
        assert parsed(f"2026-05-01T10:00:00Z stdout {tag}", parser="cri").fields["message"] == text


def test_a_line_that_was_cut_before_its_end_says_so(parsed: Parsing) -> None:
    """A partial line that nothing completed is an event all the same, and nobody takes it for a whole one."""
    for line, keys in (
        ("2026-05-01T10:00:00Z stdout P half", {"parser": "cri"}),
        ('{"log":"half","stream":"stdout","time":"2026-05-01T10:00:00Z"}', {"parser": "docker"}),
    ):
        found = parsed(line, **keys)
        assert found.fields == {"message": "half", "stream": "stdout", "log.flags": ["partial"]}
        assert not found.problem


def test_content_is_parsed_and_its_own_time_comes_first(parsed: Parsing) -> None:
    """A service's log inside a container's gets its own parser; a member `stream` of its own is kept."""
    found = parsed(
        '2026-05-01T10:00:09Z stderr F {"time":"2026-05-01T10:00:08Z","msg":"m","stream":5}',
        parser="cri",
        content="json",
    )
    assert found.timestamp == "2026-05-01T10:00:08.000000Z"
    assert found.fields == {"message": "m", "stream": "stderr", "labels.stream": "5"}
