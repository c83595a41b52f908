"""Rules of Apache Traffic Server's logs beyond their documented examples."""

from collections.abc import Callable

import pytest

from dataplane_common.errors import ConfigError
from dataplane_tailer.parse import Parsed, ParserConfig, check_parser, parser
from dataplane_tailer.parse.ats_fields import ECS, OTHERS, Kind

Parsing = Callable[..., Parsed]
AT = "2026-05-01T10:00:05.000000Z"


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


def test_literals_of_a_format_are_no_expressions() -> None:
    """What stands between the fields of a format is taken as it is written."""
    parse = parser(ParserConfig(parser="ats", format="a.b|%<pssc>(x)"))
    assert parse is not None
    assert not parse("a.b|200(x)", AT).problem
    assert parse("axb|200(x)", AT).problem


AGENTS = '"%<{User-Agent}cqh>" "%<{Referer}cqh>" %<pssc>'


@pytest.mark.parametrize(
    ("line", "agent", "referrer"),
    [
        ('"a"b" "-" 200', 'a"b', None),
        ('"-" "x" 5" 200', None, 'x" 5'),
        ('"a\\" "b\\" 200', "a\\", "b\\"),
        ('"" "" 200', None, None),
        ('"ü" "\\xff" 200', "ü", "\\xff"),
    ],
)
def test_headers_hold_anything(line: str, agent: str | None, referrer: str | None, parsed: Parsing) -> None:
    """Without `escape` Traffic Server writes headers as they came, quotes and backslashes too."""
    found = parsed(line, parser="ats", format=AGENTS).fields
    assert found.get("user_agent", {}).get("original") == agent
    assert found["http"].get("request", {}).get("referrer") == referrer
    assert found["http"]["response"] == {"status_code": 200}


def test_escaped_headers_are_read_back(parsed: Parsing) -> None:
    """`escape: json` escapes bytes, not characters: they are put together again, and stay visible if they are none."""
    line = r'"a\"b\\" "\/x\u00c3\u00a4 \u00ff\n" 200'
    found = parsed(line, parser="ats", format=AGENTS, escape="json").fields
    assert found["user_agent"] == {"original": 'a"b\\'}
    assert found["http"]["request"] == {"referrer": "/xä \\xff\n"}
    cut = parsed(r'"a\u00" "-" 200', parser="ats", format=AGENTS, escape="json").fields
    assert cut["user_agent"] == {"original": r"a\u00"}


def test_a_code_holds_no_blank(parsed: Parsing) -> None:
    """A line with one field more than its format is not read with all values one place further."""
    line = "1777629600.810 45 10.0.0.7 TCP_MISS/200 12979 GET http://x/a b - DIRECT/h text/html"
    assert parsed(line, parser="ats_squid").fields == {"message": line}


def test_times_and_defaults_of_headers_are_read_without_brackets(parsed: Parsing) -> None:
    """The blank inside a time ends no field; behind `??` stands what a missing header is replaced by."""
    found = parsed(
        "01/May/2026:12:00:00 +0200 x TCP_HIT", parser="ats", format='%<cqtn> %<{A}cqh??{B}cqh??"no"> %<crc>'
    )
    assert found.timestamp == "2026-05-01T10:00:00.000000Z"
    assert found.fields["ats"] == {"cqh": {"a": "x"}, "crc": "TCP_HIT"}


def test_the_proxys_url_is_the_url_where_there_is_no_other(parsed: Parsing) -> None:
    """The formats that come with Traffic Server name `pquc` or `pqu` alone; beside the client's it has its own name."""
    assert parsed("u 200", parser="ats", format="%<pquc> %<pssc>").fields["url"] == {"original": "u"}
    found = parsed("u v", parser="ats", format="%<pquc> %<cquc>").fields
    assert (found["url"], found["ats"]) == ({"original": "v"}, {"pquc": "u"})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"parser": "combined", "escape": "json"}, "escape: parser"),
        ({"parser": "ats", "format": "%<ttms??chi>"}, "behind headers only"),
        ({"parser": "ats", "format": "%<ttms>%<crc>"}, "nothing stands in front"),
    ],
)
def test_a_format_that_cannot_be_read_back_is_refused(keys: dict[str, str], words: str) -> None:
    """The message says what is wrong with it."""
    with pytest.raises(ConfigError, match=words.replace("??", r"\?\?")):
        check_parser(ParserConfig(**keys))  # type: ignore[arg-type]
