"""Rules of syslog, access logs, Traffic Server and containers beyond their documented examples."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.parse import Parsed, ParserConfig, parser
from dataplane_tailer.parse.ats_fields import ECS, OTHERS, Kind
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


def test_all_documented_fields_of_traffic_server_are_read(parsed: Parsing) -> None:
    """Each field alone is accepted, and gives its ECS name or `ats.<field>`."""
    for symbol in OTHERS:
        if symbol in ("ms", "msdms", "cqtq", "cqts", "cqth", "cqtn", "cqtd", "cqtt"):
            continue
        is_text = (ECS[symbol][1] if symbol in ECS else OTHERS[symbol]) in (
            Kind.TEXT, Kind.ADDRESS, Kind.REQUEST, Kind.HTTP_VERSION, Kind.TLS_VERSION
        )  # fmt: skip
        fields = parsed(f"<{'x' if is_text else '7'}>", parser="ats", format=f"<%<{symbol}>>").fields
        assert len(fields) == 2, symbol
        assert ("ats" in fields) is (symbol not in ECS), symbol


def test_the_first_of_several_fields_has_the_ecs_name(parsed: Parsing) -> None:
    """The pristine URL is the original one; the others keep their own names, so nothing is lost."""
    found = parsed("u1 u2 u3 9 8", parser="ats", format="%<cqu> %<cquc> %<cquuc> %<tts> %<ttms>").fields
    assert found["url"] == {"original": "u3"}
    assert found["ats"] == {"cqu": "u1", "cquc": "u2", "tts": 9}
    assert found["event"] == {"duration": 8_000_000}


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("%<cqtq>", "1777629600.000"),
        ("%<cqts>", "1777629600"),
        ("%<cqth>", f"{1777629600:x}"),
        ("[%<cqtn>]", "[01/May/2026:12:00:00 +0200]"),
        ("%<cqtd> %<cqtt>", "2026-05-01 12:00:00"),
        ("%<LAST(cqts)> : %<COUNT(*)> : %<SUM(psql)>", "1777629600 : 3 : 99"),
    ],
)
def test_every_time_of_traffic_server_becomes_the_timestamp(form: str, line: str, parsed: Parsing) -> None:
    """Whichever time a format has is the event's."""
    found = parsed(line, parser="ats", format=form, time_zone="Europe/Berlin")
    assert (found.problem, found.timestamp) == ("", "2026-05-01T10:00:00.000000Z")


def test_headers_slices_and_odd_addresses_are_read(parsed: Parsing) -> None:
    """Names of headers become names of fields, slices are the field itself, what is no address is a text."""
    form = '%<chi> %<pqsi> "%<{Accept-Language}cqh[0:5]>" %<cqup[0:30]> %<{Referer}cqh>'
    found = parsed('10.0.0.1 *Not IP address [0]* "de-DE" a/b -', parser="ats", format=form).fields
    assert found["source"] == {"address": "10.0.0.1", "ip": "10.0.0.1"}
    assert found["ats"] == {"pqsi": "*Not IP address [0]*", "cqh": {"accept_language": "de-DE"}}
    assert found["url"] == {"path": "a/b"}


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


def test_content_is_parsed_and_its_own_time_comes_first(parsed: Parsing) -> None:
    """A service's log inside a container's gets its own parser; a member `stream` of its own is kept."""
    found = parsed(
        '2026-05-01T10:00:09Z stderr F {"time":"2026-05-01T10:00:08Z","msg":"m","stream":5}',
        parser="cri",
        content="json",
    )
    assert found.timestamp == "2026-05-01T10:00:08.000000Z"
    assert found.fields == {"message": "m", "stream": "stderr", "labels.stream": "5"}


def test_literals_of_a_format_are_no_expressions() -> None:
    """What stands between the fields of a format is taken as it is written."""
    parse = parser(ParserConfig(parser="ats", format="a.b|%<pssc>(x)"))
    assert parse is not None
    assert not parse("a.b|200(x)", AT).problem
    assert parse("axb|200(x)", AT).problem
