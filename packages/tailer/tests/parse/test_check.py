"""Rules of refusing a parser's configuration at start: one clear text that begins with the key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataplane_common.errors import ConfigError
from dataplane_tailer import config
from dataplane_tailer.parse import ParserConfig, check_parser

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"parser": "jsn"}, "parser: ", 'did you mean "json"'),
    ({"parser": "regex"}, "pattern: ", "empty"),
    ({"parser": "regex", "pattern": "(?P<a>"}, "pattern: ", "no regular expression"),
    ({"parser": "regex", "pattern": r"(\w+)"}, "pattern: ", "no named group"),
    ({"parser": "json", "pattern": "x"}, "pattern: ", "does not use it"),
    ({"parser": "combined", "time_field": "x"}, "time_field: ", "does not use it"),
    ({"parser": "json", "time_format": "clf"}, "time_field: ", "missing"),
    ({"parser": "json", "time_field": "t", "time_format": "%Q"}, "time_format: ", "strptime"),
    ({"parser": "json", "time_field": "t", "time_format": "clock"}, "time_format: ", "directive"),
    ({"parser": "json", "time_field": "t", "time_zone": "Europe/Berln"}, "time_zone: ", 'try "Europe/Berlin"'),
    ({"parser": "syslog", "time_zone": "../../etc/passwd"}, "time_zone: ", "not known"),
    ({"parser": "ats"}, "format: ", "missing"),
    ({"parser": "ats", "format": "nothing"}, "format: ", "no field"),
    ({"parser": "ats", "format": "%<cqtq> %<ttmz>"}, "format: ", "did you mean ttms"),
    ({"parser": "ats", "format": "%<cqtq>%<ttms>"}, "format: ", "%<ttms>"),
    ({"parser": "ats", "format": "%<cqh>"}, "format: ", "needs a name"),
    ({"parser": "plain", "rename": {"a": "b"}}, "rename: ", "no fields"),
    ({"parser": "json", "rename": {"a": "_id"}}, "rename: ", "belongs to the event"),
    ({"parser": "json", "rename": {"a": "@timestamp"}}, "rename: ", "time_field"),
    ({"parser": "json", "rename": {"a": "b..c"}}, "rename: ", "empty"),
    ({"parser": "combined", "rename": {"message": "raw"}}, "rename: ", "message"),
    ({"parser": "json", "content": "json"}, "content: ", "cri and docker"),
    ({"parser": "cri", "content": "docker"}, "content: ", "not known"),
    ({"parser": "cri", "content": "regex", "pattern": "("}, "pattern: ", "no regular expression"),
]


@pytest.mark.parametrize(("keys", "begin", "part"), REFUSED)
def test_a_bad_key_is_refused_with_its_name_and_a_remedy(
    keys: dict[str, Any], begin: str, part: str, configured: Callable[..., ParserConfig]
) -> None:
    """One line: the key, what is wrong with it, what to write instead."""
    with pytest.raises(ConfigError) as caught:
        check_parser(configured(**keys))
    assert str(caught.value).startswith(begin)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "begin"),
    [
        ({"parser": "regex", "pattern": "("}, "inputs.0.pattern: "),
        ({"encoding": "klingon"}, "inputs.0.encoding: "),
        ({"encoding": "base64"}, "inputs.0.encoding: "),
        ({"filters": [{"drop": "("}]}, "inputs.0.filters.0.drop: "),
        ({"filters": [{"drop": "a", "keep": "b"}]}, "inputs.0.filters.0: "),
        ({"multiline": {"preset": "java", "start": "x"}}, "inputs.0.multiline: "),
        ({"multiline": {"start": "("}}, "inputs.0.multiline.start: "),
        ({"multiline": {"start": "x", "max_lines": 0}}, "inputs.0.multiline.max_lines: "),
        ({"parser": "cri", "multiline": {"start": "x"}}, "inputs.0.multiline: "),
        ({"multiline": {"start": "x", "timeout_ms": 0}}, "inputs.0.multiline.timeout_ms: "),
        ({"paths": ["/var/{message.x}/{host.name}/a"]}, "inputs.0.paths: "),
        ({"paths": ["/var/{dp.x}/a"]}, "inputs.0.paths: "),
        ({"paths": ["/var/{x}{y}/a"]}, "inputs.0.paths: "),
        ({"fields": {"message": "x"}}, "inputs.0.fields.message: "),
    ],
)
def test_the_file_says_which_input_is_wrong(keys: dict[str, Any], begin: str, tmp_path: Path) -> None:
    """Loaded as a whole, the text names file, input and key."""
    entry = {"paths": ["/var/log/a.log"], "dataset": "web", **keys}
    with pytest.raises(ConfigError) as caught:
        config.load(None, {"inputs": [entry], "state_dir": str(tmp_path)})
    assert begin in str(caught.value)


def test_all_keys_together_are_accepted(tmp_path: Path) -> None:
    """A configuration that uses what there is starts."""
    entry = {
        "paths": ["/var/log/{service}/*.log"],
        "dataset": "web",
        "parser": "regex",
        "pattern": r"(?P<at>\S+) (?P<rest>.*)",
        "time_field": "at",
        "time_format": "%F %T.%f",
        "time_zone": "local",
        "rename": {"rest": "labels.rest"},
        "encoding": "utf-16",
        "filters": [{"drop": "a"}, {"keep": "b"}],
        "multiline": {"preset": "go"},
    }
    loaded = config.load(None, {"inputs": [entry], "state_dir": str(tmp_path)})
    assert loaded.inputs[0].parser == "regex"
