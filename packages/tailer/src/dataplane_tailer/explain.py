"""`explain FILE`: why a file is or is not read, and what its next check would do. Pure.

Flows in: evidence. Flows out: a verdict and a short paragraph. Invariant: the same rules as those that open files
(`opening`), in the same order: pattern, permission, inode, content, new.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dataplane_tailer.evidence import Evidence, Kin, Match
from dataplane_tailer.identity import digest
from dataplane_tailer.lineage import is_surely_copy

_HELD_BRIEFLY = "after hold_copy_ms it counts as a log of its own, and is read from byte 0"
Verdict = Literal["read", "will be read", "held back", "finished", "not read"]

_NO_FILE = {
    "folder": "it is a folder; name files, for example {path}/*.log",
    "missing": "there is no such file now",
    "hidden": "its folder may not be searched by this user; give the tailer's user execute permission on its folders",
    "dangling": "it is a symbolic link that leads nowhere",
    "loop": "its symbolic links lead in a circle",
    "special": "it is no regular file but a pipe, socket or device; ship what a pipe brings through standard input",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer; `lines` are sentences for a person."""

    verdict: Verdict
    lines: tuple[str, ...]


def explain(evidence: Evidence) -> Explanation:
    """Say why a file is or is not read, who it is, what is known of it, and what its next check would do."""
    verdict, reason = _judge(evidence)
    lines = [reason, *_inputs(evidence), *_names(evidence), *_identity(evidence), *_known(evidence)]
    return Explanation(verdict, tuple(lines))


def _judge(evidence: Evidence) -> tuple[Verdict, str]:
    if evidence.kind != "file":
        return "not read", _no_file(evidence)
    if evidence.matches is not None and evidence.found_as is None:
        return _judge_unmatched(evidence)
    if evidence.refused:
        return "not read", _refused(evidence)
    if evidence.problem:
        return "not read", _problem(evidence)
    return _judge_content(evidence)


def _no_file(evidence: Evidence) -> str:
    text = _NO_FILE[evidence.kind].format(path=evidence.path)
    if evidence.kind == "missing" and evidence.entry is not None:
        return f"{text}; it is shipped once it appears"
    return text


def _refused(evidence: Evidence) -> str:
    return (
        f"the running tailer (pid {evidence.holder}) says: {evidence.refused} (mode {evidence.mode:04o}, "
        f"{evidence.owner}); what is not acknowledged of it waits until that is mended"
    )


def _problem(evidence: Evidence) -> str:
    if evidence.is_compressed:
        return f"its compressed form cannot be unpacked (yet): {evidence.problem}"
    return (
        f"it may not be read: {evidence.problem} (mode {evidence.mode:04o}, {evidence.owner}); "
        "let the tailer's user read it, by a group such as adm or an ACL"
    )


def _judge_unmatched(evidence: Evidence) -> tuple[Verdict, str]:
    """A file outside the inputs is read only as the rest of one that was inside."""
    for kin in evidence.kin:
        if kin.is_whole and not kin.record.is_final and (kin.by_inode or not kin.is_copy):
            rest = f"it is what became of {kin.record.log_path}: followed to its end, and closed when it rests"
            return ("read" if evidence.holder else "will be read"), rest
    stopped = next((match for match in evidence.matches or () if match.exclude), None)
    if stopped is not None:
        return "not read", f'exclude "{stopped.exclude}" of input {stopped.dataset} stops it'
    return "not read", "no input's paths match it; add it to one, or check the spelling"


def _judge_content(evidence: Evidence) -> tuple[Verdict, str]:
    same = [kin for kin in evidence.kin if kin.by_inode and (kin.is_whole or not kin.record.is_final)]
    for kin in sorted(same, key=lambda kin: kin.record.is_final):
        return _judge_known(evidence, kin)
    for kin in evidence.kin:
        if kin.is_copy and not kin.record.is_final:
            is_sure = is_surely_copy(evidence.path, evidence.size, kin.record.log_path)
            rest = "it is read only if it grows beyond that" if is_sure else _HELD_BRIEFLY
            return "held back", (
                f"its content repeats {kin.record.path}, which is still there (source {kin.record.source}); {rest}"
            )
        if kin.is_whole and not kin.by_inode:
            return _soon(evidence), (
                f"its content is that of source {kin.record.source} ({kin.record.path}); the next check goes on there "
                f"at byte {kin.record.offset:,}"
            )
    return _judge_new(evidence)


def _judge_known(evidence: Evidence, kin: Kin) -> tuple[Verdict, str]:
    record = kin.record
    if not kin.is_whole:
        lost = max(0, record.size_seen - record.offset)
        return _soon(evidence), (
            f"it is no longer what was read of it up to byte {record.offset:,}: truncated or written anew; the next "
            f"check reads it from byte 0 as a new source; {lost:,} bytes of the old one are lost unless a copy has them"
        )
    unread = record.size_seen - record.offset if evidence.is_compressed else evidence.size - record.offset
    if record.is_final and (evidence.is_compressed or unread <= 0):
        return "finished", f"all of its {record.offset:,} bytes were acknowledged; it is read again only if it grows"
    if unread <= 0:
        return _soon(evidence, now="read"), f"all of its {record.offset:,} bytes are acknowledged; {_when(evidence)}"
    return _soon(evidence, now="read"), (
        f"it goes on at byte {record.offset:,}; {unread:,} bytes are not acknowledged yet; {_when(evidence)}"
    )


def _judge_new(evidence: Evidence) -> tuple[Verdict, str]:
    if evidence.size == 0:
        return _soon(evidence), f"it is empty: a source is made, and there is nothing to send yet; {_when(evidence)}"
    limit_s = evidence.entry.ignore_older_s if evidence.entry else 0
    if 0 < limit_s < evidence.rested_s:
        return "not read", (
            f"nobody has written to it for {evidence.rested_s:,.0f} s, and ignore_older_s = {limit_s} leaves such "
            "files alone; it is read from byte 0 as soon as somebody writes to it"
        )
    from_end = evidence.entry is not None and evidence.entry.start_at == "end" and evidence.is_first_start
    place = 'its end (start_at = "end", first start)' if from_end else "byte 0"
    return _soon(evidence), f"it is not known yet: the next check makes a new source and reads from {place}"


def _soon(evidence: Evidence, now: Verdict = "will be read") -> Verdict:
    return now if evidence.holder is not None else "will be read"


def _when(evidence: Evidence) -> str:
    if evidence.holder is None:
        return "no tailer runs now, so its next check is at the next start"
    return "its next check comes with its next change, or with the next rescan"


def _inputs(evidence: Evidence) -> Iterator[str]:
    if evidence.matches is None:
        yield "no configuration was given (--config), so what its inputs say is not known"
        return
    for match in evidence.matches:
        yield f"input {match.dataset}: {_match_text(match)}"
    if evidence.found_as is not None and evidence.found_as != evidence.path:
        yield f"its content is read once, under the name {evidence.found_as}"


def _match_text(match: Match) -> str:
    if match.pattern is None:
        return f"no pattern matches ({', '.join(match.patterns)})"
    if match.exclude is not None:
        return f'"{match.pattern}" matches, exclude "{match.exclude}" stops it'
    return f'"{match.pattern}" matches'


def _names(evidence: Evidence) -> Iterator[str]:
    if evidence.links:
        yield f"symbolic link: {' → '.join((evidence.path, *evidence.links))}"


def _identity(evidence: Evidence) -> Iterator[str]:
    if evidence.key is None:
        return
    device, inode = evidence.key
    head = f", head {digest(evidence.head)} over {len(evidence.head)} bytes" if evidence.head else ""
    packed = ", compressed" if evidence.is_compressed else ""
    owner = f"mode {evidence.mode:04o}, {evidence.owner}"
    yield f"identity: device {device}, inode {inode}, {evidence.size:,} bytes{packed}, {owner}{head}"


def _known(evidence: Evidence) -> Iterator[str]:
    for kin in evidence.kin:
        record = kin.record
        how = "by its inode" if kin.by_inode else "by its content"
        final = ", final" if record.is_final else ""
        at = f", last at {record.last_at}" if record.last_at else ""
        yield (
            f"known {how}: source {record.source} ({record.dataset}, found as {record.log_path}), "
            f"checkpoint byte {record.offset:,}, sequence {record.sequence:,}{at}{final}"
        )
    if evidence.kind == "file" and not evidence.kin:
        yield "known: no; no source has its inode or its content"
