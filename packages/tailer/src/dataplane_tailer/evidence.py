"""What can be found out about one file: its names, who may read it, its identity, what the state knows of it.

Flows in: a path, a configuration, a snapshot. Flows out: `Evidence`, from which `explain` decides. Invariant: nothing
is changed, and a file that is no regular one is never opened.
"""

import errno
import grp
import os
import pwd
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from dataplane_common.errors import Transient
from dataplane_tailer.config import InputConfig, TailerConfig
from dataplane_tailer.content import is_compressed, open_content
from dataplane_tailer.discover import entry_for, find
from dataplane_tailer.file import is_same
from dataplane_tailer.identity import FileKey, head_of, key_of
from dataplane_tailer.lineage import Lineage, continues, is_copy
from dataplane_tailer.snapshot import Snapshot
from dataplane_tailer.state import SourceRecord

Kind = Literal["file", "folder", "missing", "hidden", "dangling", "loop", "special"]
#: A larger compressed file is not unpacked to be looked at.
_UNPACK_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Match:
    """What one input says to the path: the pattern that matches, the exclude that stops it."""

    dataset: str
    patterns: tuple[str, ...]
    pattern: str | None
    exclude: str | None = None


@dataclass(frozen=True, slots=True)
class Kin:
    """A known source that this file may be: by its inode, or by its content.

    `is_whole` if what was read of the source is still there in this file; `is_copy` if the source's own file is there
    as well, and this one repeats it.
    """

    record: SourceRecord
    by_inode: bool
    is_whole: bool
    is_copy: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that bears on whether and how a file is read; `matches` is None without a configuration.

    `problem` is what keeps whoever asks from reading it, `refused` what keeps the running tailer, by its own word.
    """

    path: str
    kind: Kind
    links: tuple[str, ...] = ()
    size: int = 0
    rested_s: float = 0.0
    mode: int = 0
    owner: str = ""
    key: FileKey | None = None
    problem: str = ""
    refused: str = ""
    head: bytes = b""
    is_compressed: bool = False
    matches: tuple[Match, ...] | None = None
    found_as: str | None = None
    entry: InputConfig | None = None
    is_first_start: bool = True
    kin: tuple[Kin, ...] = ()
    holder: int | None = None


def gather(path: str, config: TailerConfig | None, snapshot: Snapshot | None) -> Evidence:
    """Find out all about a file; what cannot be found out stays empty."""
    matches = tuple(_match(path, entry) for entry in config.inputs) if config else None
    evidence = Evidence(
        path,
        _kind(path),
        tuple(_links(path)),
        matches=matches,
        entry=entry_for(path, config.inputs) if config else None,
        holder=snapshot.holder if snapshot else None,
    )
    if evidence.kind != "file":
        return evidence
    return _with_content(_with_place(evidence, config, snapshot), snapshot)


def _kind(path: str) -> Kind:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - strings stay strings on this path
    except OSError as error:
        return _kind_of_error(path, error.errno)
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "special"


def _kind_of_error(path: str, number: int | None) -> Kind:
    if number == errno.ELOOP:
        return "loop"
    if number == errno.EACCES:
        return "hidden"
    return "dangling" if os.path.islink(path) else "missing"  # noqa: PTH114


def _links(path: str) -> Iterator[str]:
    """Yield the places that a chain of symbolic links leads through, its end included."""
    seen = {path}
    while os.path.islink(path):  # noqa: PTH114
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))  # noqa: PTH115, PTH118, PTH120
        yield path
        if path in seen:
            return
        seen.add(path)


def _match(path: str, entry: InputConfig) -> Match:
    """Say which pattern of an input matches, and which exclude stops it, by asking with one at a time. Pure."""
    for pattern in entry.paths:
        alone = msgspec.structs.replace(entry, paths=(pattern,), exclude=())
        if entry_for(path, [alone]) is not None:
            excludes = (msgspec.structs.replace(alone, exclude=(name,)) for name in entry.exclude)
            stops = (only.exclude[0] for only in excludes if entry_for(path, [only]) is None)
            return Match(entry.dataset, entry.paths, pattern, next(stops, None))
    return Match(entry.dataset, entry.paths, None)


def _with_place(evidence: Evidence, config: TailerConfig | None, snapshot: Snapshot | None) -> Evidence:
    seen = os.stat(evidence.path)  # noqa: PTH116
    found = find(config.inputs).get(key_of(seen)) if config else None
    entry = found.entry if found else evidence.entry
    texts = snapshot.texts if snapshot else {}
    return replace(
        evidence,
        size=seen.st_size,
        rested_s=time.time() - seen.st_mtime,
        mode=stat.S_IMODE(seen.st_mode),
        owner=_owner(seen),
        key=key_of(seen),
        found_as=found.path if found else None,
        entry=entry,
        is_first_start=not any(key.startswith(f"input {entry.dataset} ") for key in texts) if entry else True,
    )


def _owner(seen: os.stat_result) -> str:
    try:
        user = pwd.getpwuid(seen.st_uid).pw_name
    except KeyError:
        user = str(seen.st_uid)
    try:
        return f"{user}:{grp.getgrgid(seen.st_gid).gr_name}"
    except KeyError:
        return f"{user}:{seen.st_gid}"


def _with_content(evidence: Evidence, snapshot: Snapshot | None) -> Evidence:
    is_packed = is_compressed(evidence.path)
    if is_packed and evidence.size > _UNPACK_LIMIT_BYTES:
        return replace(evidence, is_compressed=True, kin=tuple(_by_inode(None, evidence, snapshot)))
    try:
        descriptor = open_content(evidence.path, Path(tempfile.gettempdir()))
    except OSError as error:
        return replace(evidence, problem=error.strerror or str(error), kin=tuple(_by_inode(None, evidence, snapshot)))
    except Transient as error:
        return replace(evidence, problem=str(error), is_compressed=True)
    try:
        kin = (*_by_inode(descriptor, evidence, snapshot), *_by_content(descriptor, evidence, snapshot))
        return replace(evidence, head=head_of(descriptor), is_compressed=is_packed, kin=kin)
    finally:
        os.close(descriptor)


def _by_inode(descriptor: int | None, evidence: Evidence, snapshot: Snapshot | None) -> Iterator[Kin]:
    for record in snapshot.records if snapshot else ():
        if (record.device, record.inode) == evidence.key:
            yield Kin(record, by_inode=True, is_whole=descriptor is None or is_same(descriptor, record))


def _by_content(descriptor: int, evidence: Evidence, snapshot: Snapshot | None) -> Iterator[Kin]:
    lineage = Lineage()
    for record in snapshot.records if snapshot else ():
        if (record.device, record.inode) != evidence.key:
            lineage.add(record)
    for record in lineage.candidates(head_of(descriptor)):
        is_whole = continues(descriptor, record.offset, bytes.fromhex(record.guard))
        yield Kin(record, by_inode=False, is_whole=is_whole, is_copy=_repeats(descriptor, record))


def _repeats(descriptor: int, record: SourceRecord) -> bool:
    """Tell whether a source's own file is still there, and an open file repeats it."""
    try:
        original = os.open(record.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return key_of(os.fstat(original)) == (record.device, record.inode) and is_copy(descriptor, original)
    finally:
        os.close(original)
