"""Rules of `check` about the time that patterns take."""

from typing import Any

import msgspec
import pytest

from dataplane_tailer.check_patterns import check_patterns, judge_pattern
from dataplane_tailer.config import InputConfig


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(?P<at>\S+ \S+) (?P<level>[A-Z]+) \[(?P<thread>[^\]]+)\] (?P<message>.*)",
        r"GET /healthz",
        r"^\d{4}-\d\d-\d\d",
        r"^\s",
        r"^(?:\w++\s*+)+$",
        r"^(\w+\.)+\w+$",
        "ERROR|WARN",
    ],
)
def test_a_pattern_in_proportion_to_the_line_is_passed_over(pattern: str) -> None:
    """What most people write is fine."""
    assert judge_pattern(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"^(\w+\s*)+$", "exponential"),
        (r"(a|a)*b$", "exponential"),
        (r"^(\S*\s*)*x", "exponential"),
        (r"^.*.*.*x$", "128 KiB"),
        (r"(?P<key>\w+)=(?P<value>\w+);", "128 KiB"),
    ],
)
def test_a_pattern_that_can_hold_up_the_tailer_is_warned_of(pattern: str, words: str) -> None:
    """Two repeats that share a text; an unanchored repeat on a long word."""
    assert words in judge_pattern(pattern)


@pytest.mark.parametrize(
    ("keys", "about"),
    [
        ({"parser": "regex", "pattern": r"^(?P<a>\w+\s*)+$"}, "inputs.1.pattern"),
        ({"filters": [{"drop": "x"}, {"keep": r"^(\w+\s*)+$"}]}, "inputs.1.filters.1"),
        ({"multiline": {"start": r"^(\w+\s*)+$"}}, "inputs.1.multiline.start"),
        ({"multiline": {"continuation": r"^(\w+\s*)+$"}}, "inputs.1.multiline.continuation"),
    ],
)
def test_each_pattern_of_an_input_is_tried(keys: dict[str, Any], about: str) -> None:
    """The finding names the key."""
    plain = {"paths": ["/a"], "dataset": "web"}
    inputs = [msgspec.convert(entry, InputConfig) for entry in (plain, {**plain, **keys})]
    [finding] = check_patterns(inputs)
    assert (finding.level, finding.about) == ("warning", about)
