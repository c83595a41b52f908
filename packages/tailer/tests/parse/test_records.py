"""Rules of JSON, logfmt and regular expressions."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.parse import Parsed, ParserConfig, parser

Parsing = Callable[..., Parsed]


def test_the_usual_names_become_ecs(parsed: Parsing) -> None:
    """Level, message and time are found under their common names, numbers of pino among them."""
    found = parsed('{"ts":1777629600.25,"severity":"notice","msg":"m"}', parser="json")
    assert found.fields == {"message": "m", "log": {"level": "notice"}}
    assert found.timestamp == "2026-05-01T10:00:00.250000Z"
    names = ["trace", "debug", "info", "warn", "error", "fatal"]
    levels = [parsed(f'{{"level":{number},"msg":"m"}}', parser="json").fields["log"] for number in range(10, 61, 10)]
    assert levels == [{"level": name} for name in names]
    assert parsed('{"level":7,"msg":"m"}', parser="json").fields == {"level": 7, "message": "m"}


def test_ecs_names_that_are_there_stay(parsed: Parsing) -> None:
    """A level or a message of ECS is not overwritten by one with a common name."""
    line = '{"log.level":"error","level":"x","message":"m","msg":"n","log":{"level":"y"}}'
    fields = parsed(line, parser="json").fields
    assert (fields["log.level"], fields["level"], fields["log"]) == ("error", "x", {"level": "y"})
    assert (fields["message"], fields["msg"]) == ("m", "n")
    fields = parsed('{"log":"x","level":"y","error":"e","error.message":"f","msg":"m"}', parser="json").fields
    assert fields == {"log": "x", "log.level": "y", "error": "e", "error.message": "f", "message": "m"}


def test_a_record_without_a_message_has_its_line(parsed: Parsing) -> None:
    """An event always has a text; a message of another kind stays as a label."""
    assert parsed('{"a":1}', parser="json").fields == {"a": 1, "message": '{"a":1}'}
    fields = parsed('{"message":{"a":1}}', parser="json").fields
    assert fields == {"labels.message": '{"a":1}', "message": '{"message":{"a":1}}'}


def test_single_values_move_into_the_objects_of_ecs(parsed: Parsing) -> None:
    """What would make Elasticsearch refuse the document gets a place inside the object; objects and nulls stay."""
    fields = parsed('{"msg":"m","error":"e","user":7,"url":null,"trace":{"id":"t"}}', parser="json").fields
    assert fields == {"message": "m", "error": {"message": "e"}, "user": {"name": 7}, "url": None, "trace": {"id": "t"}}


def test_an_unusable_timestamp_is_kept(parsed: Parsing) -> None:
    """`@timestamp` cannot be a field of another kind, so it becomes a label; other names stay."""
    found = parsed('{"@timestamp":"soon","time":"later","msg":"m"}', parser="json")
    assert found.timestamp is None
    assert found.fields == {"labels.timestamp": "soon", "time": "later", "message": "m"}


def test_a_named_time_that_is_none_is_said(parsed: Parsing) -> None:
    """The field stays, the event says why it has the time of arrival."""
    found = parsed('{"at":"soon","msg":"m"}', parser="json", time_field="at")
    assert found.fields == {"at": "soon", "message": "m"}
    assert found.problem.startswith("time_field: at")


def test_renames_move_members_and_lose_none(parsed: Parsing) -> None:
    """Dotted names lead into objects; a taken name is left alone; order counts."""
    rename = {"req.method": "http.request.method", "a": "b", "lvl": "level", "gone": "x"}
    found = parsed('{"req":{"method":"GET","n":1},"a":1,"b":2,"lvl":"info","msg":"m"}', parser="json", rename=rename)
    assert found.fields == {
        "req": {"n": 1}, "a": 1, "b": 2, "http.request.method": "GET", "log": {"level": "info"}, "message": "m"
    }  # fmt: skip


def test_a_time_of_a_record_is_in_the_zone_of_the_input(parsed: Parsing) -> None:
    """Also where the record says the time by itself, under a usual name, as a text or as a number in one."""
    for line, name in (('{"time":"2026-05-01 12:00:00","msg":"m"}', "json"), ('time="2026-05-01 12:00:00"', "logfmt")):
        assert parsed(line, parser=name, time_zone="Europe/Berlin").timestamp == "2026-05-01T10:00:00.000000Z"
    for line, name in (('{"ts":"1777629600.25","msg":"m"}', "json"), ("ts=1777629600250 a=b", "logfmt")):
        assert parsed(line, parser=name).timestamp == "2026-05-01T10:00:00.250000Z"


def test_logfmt_escapes_are_those_of_go_and_json(parsed: Parsing) -> None:
    """Pairs of surrogates are one character; what is no character stays as it is written."""
    found = parsed(r'msg="\ud83d\ude00 \U0001f600 \x41 \xff \ud83d \U00110000 \u12"', parser="logfmt")
    assert found.fields["message"] == "\U0001f600 \U0001f600 A \\xff \\ud83d \\U00110000 \\u12"


def test_logfmt_reads_pairs_quotes_and_flags(parsed: Parsing) -> None:
    """Quoted values are unescaped, a bare key is true, a repeated key has all its values."""
    found = parsed(r'level=info a="x \"y\"\n\u00e9\\" b= flag c=1 c=2 c="3"', parser="logfmt")
    assert {**found.fields, "message": ""} == {
        "log": {"level": "info"}, "a": 'x "y"\n\u00e9\\', "b": "", "flag": True, "c": ["1", "2", "3"], "message": ""
    }  # fmt: skip


def test_what_is_no_logfmt_keeps_its_line(parsed: Parsing) -> None:
    """A sentence, an open quote or an empty line is not taken apart."""
    for line in ("just words", 'a="open', 'a=b"c', "", "=x", 'a="b"c'):
        found = parsed(line, parser="logfmt")
        assert (found.fields, bool(found.problem)) == ({"message": line}, True)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=20), min_size=1, max_size=5))
def test_logfmt_gives_back_what_was_written(pairs: dict[str, str]) -> None:
    """Whatever is quoted as Go does it is read back exactly."""
    parse = parser(ParserConfig(parser="logfmt", time_field="none"))
    assert parse is not None
    quoted = {key: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, value in pairs.items()}
    line = " ".join(f'{key}="{value}"' for key, value in quoted.items())
    fields = {**parse(line, "").fields}
    for key, value in pairs.items():
        if key not in ("msg", "message", "level", "severity", *_OBJECT_NAMES):
            assert fields[key] == value


_OBJECT_NAMES = (
    "agent",
    "client",
    "error",
    "file",
    "process",
    "server",
    "source",
    "span",
    "trace",
    "url",
    "user",
    "log",
)


def test_groups_become_fields(parsed: Parsing) -> None:
    """Names of groups may stand for dotted names; a group that took no part is absent; the line is the message."""
    keys: dict[str, Any] = {
        "parser": "regex",
        "pattern": r"(?P<http__request__method>\w+) (?P<path>/\S*)(?: (?P<x>\d+))?",
    }
    assert parsed("- GET /a", **keys).fields == {"http.request.method": "GET", "path": "/a", "message": "- GET /a"}
    assert parsed("nothing", **keys).problem == "does not match the pattern"
    assert parsed("nothing", **keys).fields == {"message": "nothing"}


@given(st.text(max_size=60), st.sampled_from(["json", "logfmt", "syslog", "combined", "ats_squid", "cri", "docker"]))
def test_no_text_breaks_a_parser(line: str, name: str) -> None:
    """Any text gives fields; where it is not understood, the text itself is the message."""
    parse = parser(ParserConfig(parser=name))
    assert parse is not None
    found = parse(line, "2026-05-01T10:00:05.000000Z")
    assert isinstance(found.fields["message"], str)
    assert not found.problem or found.fields == {"message": line}
