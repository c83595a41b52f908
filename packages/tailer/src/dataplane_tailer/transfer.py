"""A state as lines of JSON: what `state export` writes and `state import` takes. Pure.

Flows in: a snapshot, or lines. Flows out: lines, or a checked import. Invariant: a line that is wrong in any way stops
the import before anything is written.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from dataplane_common.errors import Fatal
from dataplane_tailer.snapshot import VERSION, Snapshot, streams_of
from dataplane_tailer.state import STREAM, Boundary, SourceRecord

_SOURCE = re.compile(r"[0-9a-f]{16}")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_COUNTS = ("device", "inode", "offset", "sequence", "sent_limit", "size_seen", "packed_size")
#: What a state remembers besides the sources of files, and moves with it: inputs that have been looked at, streams.
_MOVED = ("input ", STREAM)


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line: the state's version, the machine that it was made on, and what it remembers besides files."""

    tailer_state: int
    machine: str = ""
    texts: dict[str, str] = {}


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Each further line: a source with its boundaries."""

    source: SourceRecord
    boundaries: tuple[Boundary, ...] = ()


@dataclass(frozen=True, slots=True)
class Import:
    """What a checked import holds."""

    header: Header
    entries: list[Entry]


def export_lines(snapshot: Snapshot) -> Iterator[bytes]:
    """Yield the lines of an export, each with its newline."""
    texts = {key: text for key, text in snapshot.texts.items() if key.startswith(_MOVED)}
    yield _line(Header(VERSION, snapshot.texts.get("machine", ""), texts))
    for record in snapshot.records:
        yield _line(Entry(record, tuple(snapshot.boundaries.get(record.source, ()))))


def _line(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def parse_import(lines: Iterable[bytes]) -> Import:
    """Return what an export's lines say.

    Raises:
        Fatal: there is nothing, or a line is wrong; the text has its number, what is wrong, and what was expected.
    """
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise Fatal("nothing to import; give the output of `dataplane-tailer state export` on standard input")
    header = _parse_header(*numbered[0])
    entries: dict[str, Entry] = {}
    for number, line in numbered[1:]:
        entry = _parse_entry(number, line)
        if entry.source.source in entries:
            raise Fatal(f"line {number}: source {entry.source.source} comes twice; nothing was imported")
        entries[entry.source.source] = entry
    return Import(header, [*entries.values()])


def _parse_header(number: int, line: bytes) -> Header:
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise Fatal(
            f"line {number}: not the first line of an export ({error}); nothing was imported, "
            "write one with `dataplane-tailer state export`"
        ) from None
    if not 1 <= header.tailer_state <= VERSION:
        raise Fatal(f"line {number}: version {header.tailer_state} of the state; this command knows {VERSION}")
    if strange := [key for key in header.texts if not key.startswith(_MOVED)]:
        raise Fatal(f'line {number}: texts: "{strange[0]}" is no input and no stream; nothing was imported')
    try:
        streams_of(header.texts)
    except msgspec.MsgspecError as error:
        raise Fatal(f"line {number}: texts: {error}; nothing was imported") from None
    return header


def _parse_entry(number: int, line: bytes) -> Entry:
    try:
        entry = msgspec.json.decode(line, type=Entry)
    except msgspec.MsgspecError as error:
        raise Fatal(f"line {number}: {error}; nothing was imported") from None
    if problem := _wrong(entry.source) or _wrong_boundary(entry.boundaries):
        raise Fatal(f"line {number}: {problem}; nothing was imported")
    return entry


def _wrong(record: SourceRecord) -> str:
    """Return what of a source cannot be, an empty text if all can."""
    if not _SOURCE.fullmatch(record.source):
        return f'source: "{record.source}": expected 16 hexadecimal digits'
    for key in ("path", "log_path"):
        if not getattr(record, key).startswith("/"):
            return f'{key}: "{getattr(record, key)}": expected a path from the root'
    for key in _COUNTS:
        if not 0 <= getattr(record, key) < 2**64:
            return f"{key}: {getattr(record, key)}: expected 0 or more"
    if not _HEX.fullmatch(record.guard):
        return f'guard: "{record.guard}": expected hexadecimal digits'
    return ""


def _wrong_boundary(boundaries: Iterable[Boundary]) -> str:
    for boundary in boundaries:
        if not 0 <= boundary.line_start <= boundary.start < boundary.end or boundary.piece < 0:
            return f"boundaries: {boundary.start} to {boundary.end} cannot be"
    return ""
