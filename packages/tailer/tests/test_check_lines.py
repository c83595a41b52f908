"""Rules of `check` about lines: what an input says of them is tried on those that are there."""

import gzip
import os
from typing import Any

import msgspec
import pytest

from dataplane_tailer.check import check_streams
from dataplane_tailer.check_lines import Sample, check_lines, judge_lines
from dataplane_tailer.check_rotation import judge_rules
from dataplane_tailer.config import InputConfig, TailerConfig
from dataplane_tailer.discover import find
from dataplane_tailer.logrotate import Options, Rule

ACCESS = b'10.0.0.7 - - [01/May/2026:10:00:00 +0200] "GET /a HTTP/1.1" 200 1 "-" "curl"'


def entry(**keys: Any) -> InputConfig:
    """An input with these keys."""
    return msgspec.convert({"paths": ["/a"], "dataset": "web", **keys}, InputConfig)


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ({}, [b"", b"anything", b"x" * 1000]),
        ({"parser": "combined"}, [ACCESS] * 3),
        ({"parser": "json"}, [b'{"a":1}']),
        ({"parser": "cri"}, [b"2026-05-01T10:00:00Z stdout P a", b"2026-05-01T10:00:00Z stdout F b"]),
        ({"encoding": "utf-16-le"}, ["ü".encode("utf-16-le")]),
        ({"encoding": "latin-1"}, [b"caf\xe9"]),
        ({"parser": "regex", "pattern": r"(?s)^(?P<a>\d+).*\n  ", "multiline": {"start": r"^\d"}}, [b"1 a", b"  b"]),
        ({"parser": "json", "filters": [{"drop": "^#"}]}, [b"# a comment", b'{"a":1}']),
    ],
)
def test_lines_that_are_understood_are_no_finding(keys: dict[str, Any], lines: list[bytes]) -> None:
    """Whatever the tailer would read without a problem is passed over in silence."""
    assert judge_lines("/a", entry(**keys), Sample(lines)) == []


@pytest.mark.parametrize(
    ("keys", "lines", "words"),
    [
        (
            {"parser": "combined"},
            [ACCESS, b"oops", ACCESS],
            "1 of its last 3 lines are not what parser combined expects",
        ),
        ({"parser": "json"}, [b"text"], "expects: not JSON"),
        ({"parser": "cri"}, [b"text"], "not CRI"),
        ({}, [b"caf\xe9", b"x"], "1 of its last 2 lines are not valid utf-8"),
        ({"parser": "ats_squid"}, [b"\xce\xfa\xce\xfa\x00\x00\x02"], "mode: ascii"),
    ],
)
def test_lines_that_are_not_understood_are_a_warning(keys: dict[str, Any], lines: list[bytes], words: str) -> None:
    """It says how many, what was expected, and shows one."""
    [finding] = judge_lines("/a", entry(**keys), Sample(lines))
    assert (finding.level, finding.about) == ("warning", "/a")
    assert words in finding.text


def test_the_end_of_each_file_is_looked_at(lab):
    """Not its old beginning, nor a line that is cut by the sample; compressed and empty files are passed over."""
    lab.append(b"old\n" * 50_000 + b"x" * 40_000 + b"\n" + ACCESS + b"\n")
    lab.append(b"", lab.folder / "app.log.empty")
    lab.append(gzip.compress(b"text\n"), lab.folder / "app.log.1.gz")
    config = lab.config(parser="combined")
    [finding] = check_lines(find(config.inputs), config.inputs)
    assert (finding.about, finding.level) == (str(lab.log), "warning")
    lab.append((ACCESS + b"\n") * 2_000)
    assert check_lines(find(config.inputs), config.inputs) == []


def test_the_files_that_were_written_to_last_are_looked_at(lab):
    """Some of each input are enough, and those of years ago say nothing about how the service logs now."""
    for number in range(7):
        path = lab.folder / f"app.log.{number}"
        lab.append("text\n", path)
        os.utime(path, (number * 86_400,) * 2)
    config = lab.config(parser="json")
    looked_at = [finding.about[-1] for finding in check_lines(find(config.inputs), config.inputs)]
    assert looked_at == ["6", "5", "4", "3", "2"]


def test_each_file_is_judged_by_its_own_input(lab):
    """A line that another input would not understand is none of its business."""
    lab.append("text\n")
    lab.append('{"a":1}\n', lab.folder / "b.json")
    inputs = [entry(paths=[str(lab.log)]), entry(paths=[f"{lab.folder}/*"], parser="json")]
    assert check_lines(find(inputs), inputs) == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_the_mark_of_a_file_decides_how_its_lines_are_judged(lab, encoding, order):
    """As in the tailer: the mark says in which order the bytes are, and is no part of the first line."""

    def write(*lines: str) -> None:
        lab.log.write_bytes("".join(["\ufeff", *(f"{line}\n" for line in lines)]).encode(f"{encoding}-{order}"))

    write('{"a":"ü"}', '{"a":2}')
    config = lab.config(parser="json", encoding=encoding)
    assert check_lines(find(config.inputs), config.inputs) == []
    write(*['{"a":1}'] * 20_000)
    assert check_lines(find(config.inputs), config.inputs) == []
    write(*["text"] * 20_000)
    lab.append(b"{")  # the first byte of a character that is being written
    assert len(check_lines(find(config.inputs), config.inputs)) == 1
    write('{"a":1}', "text", "\N{LATIN SMALL LETTER A WITH GRAVE}")
    [finding] = check_lines(find(config.inputs), config.inputs)
    assert "2 of its last 3 lines are not what parser json expects" in finding.text


def test_a_mark_that_utf8_does_not_need_is_no_part_of_the_first_line(lab):
    """Editors on Windows write one; the tailer drops it."""
    lab.append(b'\xef\xbb\xbf{"a":1}\n')
    config = lab.config(parser="json")
    assert check_lines(find(config.inputs), config.inputs) == []


def test_big_endian_lines_are_joined_as_events(lab):
    """Lines of one message are joined by a newline of the file's own encoding."""
    lab.log.write_bytes("\ufeff1 a\n  b\n2 a\n  b\n".encode("utf-16-be"))
    keys = {"parser": "regex", "pattern": r"(?s)^(?P<a>\d+).*\n  b$", "multiline": {"start": r"^\d"}}
    config = lab.config(encoding="utf-16", **keys)
    assert check_lines(find(config.inputs), config.inputs) == []


def test_what_is_no_file_is_checked_too(monkeypatch):
    """A journal needs journalctl; what a pipe cannot promise is said."""
    config = TailerConfig(inputs=(entry(type="journal", paths=()), entry(type="stdin", paths=())))
    monkeypatch.setattr("shutil.which", lambda _name: None)
    journal, stdin = check_streams(config)
    assert (journal.level, "no journalctl" in journal.text) == ("error", True)
    assert (stdin.level, "gives nothing twice" in stdin.text) == ("ok", True)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert [finding.level for finding in check_streams(config)] == ["ok", "ok"]


def test_a_rotation_that_keeps_nothing_is_a_warning():
    """`rotate 0` removes the file: only a tailer that runs still has it."""
    for rotate, count in ((0, 1), (1, 0)):
        rule = Rule(("/a",), Options(rotate=rotate), "/etc/logrotate.d/a:1")
        findings = judge_rules([rule], ["/a"], [entry()])
        assert [finding.level for finding in findings] == ["warning"] * count
