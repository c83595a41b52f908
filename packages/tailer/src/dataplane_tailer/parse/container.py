r"""Container logs: CRI (`time stdout P|F text`) and Docker's JSON files, their partial lines joined.

Flows in: the lines of a block in which no partial line stays open. Flows out: one record per whole line of a stream,
with the index of its first line. Invariant: the texts of a block's records are the texts of its lines, each once.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from dataplane_tailer.parse import times
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Parse, Parsed, unparsed
from dataplane_tailer.parse.record import as_text, check_renames, rename_fields

#: The tag of a CRI line that goes on in the stream's next one; others may follow behind a colon.
_CRI = re.compile(r"(\S+) (stdout|stderr) ([PF])(?::\S*)?(?: (.*))?", re.DOTALL)


class DockerLine(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One line of Docker's `json-file` driver; a line with more members is another format and stays whole."""

    log: str
    time: str
    stream: str = "stdout"
    attrs: dict[str, Any] | None = None


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one line of a file holds; `goes_on` if the stream's next line belongs to it."""

    stream: str
    text: str
    goes_on: bool
    timestamp: str | None
    problem: str = ""
    attrs: dict[str, Any] | None = None


ReadPart = Callable[[str], Part]
#: (lines of a block, time of arrival) → (index of the first line, text, parsed) of each record.
ReadBlock = Callable[[list[str], str], list[tuple[int, str, Parsed]]]

_decode_docker = msgspec.json.Decoder(DockerLine).decode


def read_cri(line: str) -> Part:
    """Read a line of the container runtime interface's log format (Kubernetes, containerd, CRI-O)."""
    found = _CRI.fullmatch(line)
    timestamp = times.iso(found[1]) if found else None
    if found is None or timestamp is None:
        return Part(
            "", line, goes_on=False, timestamp=None, problem="not CRI: expected <time> stdout|stderr P|F <text>"
        )
    return Part(found[2], found[4] or "", found[3] == "P", timestamp)


def read_docker(line: str) -> Part:
    """Read a line of Docker's JSON files; a text without its newline goes on."""
    try:
        record = _decode_docker(line)
    except (msgspec.DecodeError, RecursionError) as error:
        return _no_part(line, f"not a Docker JSON line: {error}")
    if (timestamp := times.iso(record.time)) is None:
        return Part(
            "", line, goes_on=False, timestamp=None, problem=f"not a Docker JSON line: no time is {record.time!r}"
        )
    text = record.log.removesuffix("\n").removesuffix("\r") if record.log.endswith("\n") else record.log
    return Part(record.stream, text, not record.log.endswith("\n"), timestamp, "", record.attrs)


def _no_part(line: str, problem: str) -> Part:
    return Part("", line, goes_on=False, timestamp=None, problem=problem)


READERS: dict[str, ReadPart] = {"cri": read_cri, "docker": read_docker}


def join_parts(parts: Iterable[Part]) -> list[tuple[int, Part]]:
    """Return (index of the first part, joined part) in the order of the first parts.

    Parts of different streams may lie between each other. A stream that is still open at the end gives what it has:
    whoever cuts blocks sees to it that this happens only where a limit or the end of the file decides it.
    """
    joined: list[tuple[int, Part]] = []
    pending: dict[str, tuple[int, list[Part]]] = {}
    for index, part in enumerate(parts):
        if part.problem:
            joined.append((index, part))
            continue
        first, found = pending.setdefault(part.stream, (index, []))
        found.append(part)
        if not part.goes_on:
            joined.append((first, _joined(pending.pop(part.stream)[1])))
    joined.extend((first, _joined(found)) for first, found in pending.values())
    return sorted(joined, key=lambda item: item[0])


def _joined(parts: list[Part]) -> Part:
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return first
    text = "".join(part.text for part in parts)
    return Part(first.stream, text, last.goes_on, first.timestamp, "", first.attrs)


def lift_part(part: Part, content: Parse | None, at: str) -> Parsed:
    """Return the fields of a joined part; `content` parses what the container wrote, the time of which comes first."""
    if part.problem:
        return unparsed(part.text, part.problem)
    inner = Parsed({"message": part.text}, is_vetted=True) if content is None else content(part.text, at)
    fields = inner.fields
    if "stream" in fields:
        fields["labels.stream"] = as_text(fields.pop("stream"))
    fields["stream"] = part.stream
    is_vetted = inner.is_vetted and not part.attrs and not part.goes_on
    if part.goes_on:  # and time or a limit has cut it
        fields["log.flags"] = ["partial"]
    if part.attrs:
        fields["docker.attrs"] = part.attrs
    return Parsed(fields, inner.timestamp or part.timestamp, inner.problem, is_vetted)


def container_parser(config: ParserConfig, content: Parse | None) -> Parse:
    """Return the parser of one line by itself; partial lines are joined by whoever has the block."""
    read_block = block_reader(config, content)
    return lambda line, at: read_block([line], at)[0][2]


def block_reader(config: ParserConfig, content: Parse | None) -> ReadBlock:
    """Return what reads the lines of a block: records in the order of their first lines.

    Raises:
        ConfigError: a rename cannot be used.
    """
    read, renames = READERS[config.parser], check_renames(config)

    def read_block(lines: list[str], at: str) -> list[tuple[int, str, Parsed]]:
        found = []
        for index, part in join_parts(map(read, lines)):
            parsed = lift_part(part, content, at)
            if renames and not parsed.problem:
                rename_fields(parsed.fields, renames)
                parsed = Parsed(parsed.fields, parsed.timestamp)
            found.append((index, part.text, parsed))
        return found

    return read_block
