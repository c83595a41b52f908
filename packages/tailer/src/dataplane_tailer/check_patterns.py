"""`check`: whether a regular expression of the user's can take so long that it is given up.

Flows in: the patterns of the inputs. Flows out: findings. Invariant: each trial ends soon, for it begins with texts on
which even the worst pattern does. Python's `re` tries all ways to match before it gives up: a pattern with two
repeats that can share a text takes exponential time on some line, an unanchored one quadratic time.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from dataplane_tailer.config import InputConfig
from dataplane_tailer.finding import Finding
from dataplane_tailer.parse.bounded import LIMIT_S

#: What lines repeat: words, digits, blanks, what separates them; most patterns that are slow are slow on one of these.
_PUMPS = ("a", "0", " ", "a ", "a.", "a=", "a,", "/a", "aA0_", '"', "a:", "- ", "\t", "[a] ")
#: No pattern matches a text that ends so, unless it takes anything at all.
_END = "\x00\n\x00"
#: An exponential pattern takes two to the power of this many steps, some ten milliseconds; others some microseconds.
_SHORT = 20
#: Where the time grows with the third power of the length, this takes as long; with the second, it does not.
_MIDDLE = 250
_SLOW_S = 0.005
#: And this shows the second power.
_LONG = 2_000
_LONGEST_LINE = 128 * 1024
_LONGEST_LIMIT_S = 2.0


def check_patterns(inputs: Iterable[InputConfig]) -> list[Finding]:
    """Try all patterns of all inputs on texts that are hard for many."""
    findings = []
    for number, entry in enumerate(inputs):
        for key, pattern in _patterns(entry):
            if problem := judge_pattern(pattern):
                findings.append(Finding("warning", f"inputs.{number}.{key}", f"'{pattern}' {problem}"))
    return findings


def _patterns(entry: InputConfig) -> Iterator[tuple[str, str]]:
    if entry.pattern:
        yield "pattern", entry.pattern
    for number, rule in enumerate(entry.filters):
        yield f"filters.{number}", rule.drop or rule.keep
    for name in ("start", "continuation"):
        if entry.multiline is not None and getattr(entry.multiline, name):
            yield f"multiline.{name}", getattr(entry.multiline, name)


def judge_pattern(pattern: str) -> str:
    """Return what is wrong with the time that a pattern takes, nothing if that is in proportion to the line."""
    search = re.compile(pattern).search
    for pump in _PUMPS:
        if _seconds(search, pump, _SHORT) > _SLOW_S:
            return (
                f"takes exponential time on a text such as {_shown(pump)}, and is given up after {LIMIT_S} s; "
                "where a repeat stands within a repeat, have the inner one give nothing back: (\\w++\\s*+)+"
            )
    for length in (_MIDDLE, _LONG):
        for pump in _PUMPS:
            longest_s = _seconds(search, pump, length) * (_LONGEST_LINE / length) ** 2
            if longest_s > (_LONGEST_LIMIT_S if length == _LONG else _SLOW_S * (_LONGEST_LINE / length) ** 2):
                return (
                    f"may take {longest_s:,.0f} s and more on a line of 128 KiB such as {_shown(pump)}, and is given "
                    f"up after {LIMIT_S} s; begin it with ^, or have its repeats give nothing back: \\S++"
                )
    return ""


def _seconds(search: Callable[[str], object], pump: str, length: int) -> float:
    """Return the CPU time of one search, the best of three: other processes disturb the first."""
    text = (pump * length)[:length] + _END
    best = float("inf")
    with suppress(RecursionError, MemoryError):
        for _ in range(3):
            started = time.process_time()
            search(text)
            best = min(best, time.process_time() - started)
    return best


def _shown(pump: str) -> str:
    return repr(pump * 3 + "…")
