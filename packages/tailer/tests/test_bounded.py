"""What the tailer promises about patterns that take too long: a bounded delay, and a line that is kept."""

import subprocess
import sys
import threading

import msgspec
import pytest

from dataplane_common.errors import Overrun
from dataplane_tailer.config import InputConfig
from dataplane_tailer.filters import FilterConfig, decider
from dataplane_tailer.multiline import MultilineConfig, cutter
from dataplane_tailer.parse import parser
from dataplane_tailer.parse.bounded import OVERRUNS, Breaker, compile_pattern

#: On the hostile text this takes longer than the world is old; on others it is as good as any.
PATTERN = r"^(?P<words>(?:\w+\s?)+)$"
HOSTILE = "a" * 200 + "!"


def test_a_search_ends_and_a_pattern_that_overruns_rests():
    """Each overrun is counted; after some the file's pattern rests for a while, and no line behind them waits."""
    pattern, of_another_file = compile_pattern("pattern", PATTERN), compile_pattern("pattern", PATTERN)
    before = OVERRUNS[PATTERN]
    assert pattern.search("some words") is not None
    for _ in range(4):
        with pytest.raises(Overrun, match="takes longer"):
            pattern.search(HOSTILE)
    assert OVERRUNS[PATTERN] == before + 4
    with pytest.raises(Overrun, match="rests"):
        pattern.search("some words")
    assert of_another_file.search("some words") is not None
    pattern._own.rests_until = 0.1  # long ago
    assert pattern.search("some words") is not None


def test_many_hostile_files_do_not_add_up():
    """What the files of one pattern may take together is bounded as well: then it rests for all of them."""
    breaker = Breaker(3)
    for strikes in range(3):
        assert not breaker.is_open, strikes
        breaker.strike()
    assert breaker.is_open
    pattern = compile_pattern("pattern", r"^(?:(\w+)\s?)+$")
    for _ in range(20):
        pattern._shared.strike()
    with pytest.raises(Overrun, match="rests"):
        compile_pattern("pattern", r"^(?:(\w+)\s?)+$").search("some words")


def test_a_line_on_which_the_pattern_overruns_is_kept():
    """It becomes the message, and says why; the line behind it is parsed."""
    entry = InputConfig(paths=("x",), dataset="d", parser="regex", pattern=PATTERN)
    parse = parser(entry)
    assert parse is not None
    hostile, usual = parse(HOSTILE, ""), parse("some words", "")
    assert (hostile.fields["message"], "takes longer" in hostile.problem) == (HOSTILE, True)
    assert (usual.fields["words"], usual.problem) == ("some words", "")


@pytest.mark.parametrize("rule", [FilterConfig(drop=PATTERN), FilterConfig(keep=PATTERN)])
def test_a_filter_that_overruns_drops_nothing(rule):
    """Rather one line too many."""
    decide = decider([rule])
    assert decide is not None
    assert decide(HOSTILE) is None


@pytest.mark.parametrize(("key", "counts"), [("start", [2]), ("continuation", [1, 1])])
def test_a_line_on_which_a_multi_line_pattern_overruns_does_not_match(key, counts):
    """It begins no event by `start`, and goes on with none by `continuation`."""
    multiline = msgspec.convert({key: PATTERN}, MultilineConfig)
    cut = cutter(InputConfig(paths=("x",), dataset="d"), multiline)
    assert cut is not None
    assert cut([b"some words!", HOSTILE.encode()], True) == counts


def test_off_the_main_thread_patterns_work():
    """There is nobody to end a search there, and none of the main thread's is ended for it."""
    found: list[object] = []

    def work() -> None:
        found.append(compile_pattern("pattern", PATTERN).search("some words"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0] is not None


def test_the_process_ends_as_it_would_without():
    """The timer ends before its handler does: a process that works up to its last moment is not killed by it."""
    code = """
import sys
from dataplane_tailer.parse.bounded import compile_pattern
class Late:
    def __del__(self):
        for _ in range(5_000_000):
            pass
compile_pattern("pattern", "x")
sys.late = Late()
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_hostile_line_holds_up_nothing(lab, run):
    """It is shipped unparsed, the lines behind it and the other file's as usual."""
    lines = ["one two", HOSTILE, "three four"]

    async def work():
        lab.append("".join(f"{line}\n" for line in lines))
        lab.append("five six\n", lab.folder / "app.log.other")
        async with lab.tailer(lab.config(parser="regex", pattern=PATTERN)) as tailer:
            events = await lab.events(4)
            assert sum(file.tally.unparsed for file in tailer.tracker.files.values()) == 1
        assert sorted(event["message"] for event in events) == sorted([*lines, "five six"])
        assert {event.get("words") for event in events} == {"one two", None, "three four", "five six"}

    run(work())
