"""`check`: whether the last lines of the files are what the configuration says that they are.

Flows in: the files that the inputs match now. Flows out: findings. Invariant: a sample of each input is read, nothing
is sent, and no line is called wrong that the tailer would understand.
"""

import os
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

import msgspec

from dataplane_tailer.config import InputConfig
from dataplane_tailer.content import is_compressed
from dataplane_tailer.discover import Found
from dataplane_tailer.encoding import newline_of, resolve, split_lines
from dataplane_tailer.finding import Finding
from dataplane_tailer.identity import FileKey
from dataplane_tailer.multiline import cutter
from dataplane_tailer.render import Origin, Tally, renderer

#: So many files of an input are looked at, and so much of the end of each.
_FILES = 5
_SAMPLE_BYTES = 64 * 1024
#: What an operator can take in of a line.
_SHOWN_CHARACTERS = 120
_AT = "2026-01-01T00:00:00.000000Z"


class Sample(NamedTuple):
    """Whole lines from the end of a file. `start` is 0 if they begin with its first one; `encoding` "" if unknown."""

    lines: list[bytes]
    start: int = 1
    encoding: str = ""


def check_lines(found: Mapping[FileKey, Found], inputs: Iterable[InputConfig]) -> list[Finding]:
    """Look at the last lines of the files that were written to last."""
    findings = []
    for entry in inputs:
        files = [file for file in found.values() if file.entry is entry and not is_compressed(file.path)]
        for file in sorted(files, key=_written_at, reverse=True)[:_FILES]:
            findings += judge_lines(file.path, entry, _sample_of(file.path, entry))
    return findings


def _written_at(file: Found) -> float:
    try:
        return os.stat(file.path).st_mtime  # noqa: PTH116
    except OSError:
        return 0.0


def _sample_of(path: str, entry: InputConfig) -> Sample:
    """Return the last whole lines of a file; none if it may not be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            encoding = resolve(entry.encoding, file.read(4))
            newline = newline_of(encoding)
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - _SAMPLE_BYTES)
            start -= start % len(newline)
            file.seek(start)
            lines = split_lines(file.read(_SAMPLE_BYTES + len(newline)), newline)
    except OSError:
        return Sample([])
    return Sample(lines[1:] if start else lines, start, encoding)


def judge_lines(path: str, entry: InputConfig, sample: Sample) -> list[Finding]:
    """Say how many of these lines are not what the input says, and why the first of them is not. Pure."""
    encoding, lines = sample.encoding or resolve(entry.encoding, b""), sample.lines
    if len(newline_of(encoding)) == 1 and any(b"\x00" in line for line in lines):
        text = "its lines hold NUL bytes: it is no text, or of another encoding; Traffic Server needs `mode: ascii`"
        return [Finding("warning", path, text)]
    tally = Tally()
    render = renderer(Origin("0" * 16, path, entry.dataset, "check"), entry, tally, encoding=encoding)
    events = render(_events(entry, lines, encoding), sample.start, 1, _AT)
    findings = []
    if tally.invalid:
        text = f"{tally.invalid:,} of its last {len(events):,} lines are not valid {encoding}; set encoding"
        findings.append(Finding("warning", path, text))
    if tally.unparsed:
        text = f"{tally.unparsed:,} of its last {len(events):,} lines are not what parser {entry.parser} expects"
        findings.append(Finding("warning", path, f"{text}: {_first_problem(events)}"))
    return findings


def _events(entry: InputConfig, lines: list[bytes], encoding: str) -> list[bytes]:
    """Join the lines of multi-line events, as the tailer would."""
    newline = newline_of(encoding)
    cut = cutter(entry, entry.multiline, encoding, newline_length=len(newline))
    if cut is None:
        return lines
    counts = cut(lines, True)  # noqa: FBT003 - the switch of `Cut`
    return [newline.join(lines[end - count : end]) for count, end in zip(counts, accumulate(counts), strict=True)]


def _first_problem(events: Iterable[bytes]) -> str:
    for event in events:
        for line in event.splitlines():
            document = msgspec.json.decode(line)
            if isinstance(error := document.get("error"), dict) and "message" in error:
                return f"{error['message']}: {document['message'][:_SHOWN_CHARACTERS]}"
    return ""
