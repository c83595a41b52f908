"""What is remembered about a started process, in one small JSON file beside its log.

Flows in: a process that was just started. Flows out: the same process, or None once it has ended.
Invariant: a number that the kernel gave to another process in the meantime is never taken for ours.
"""

import os
from pathlib import Path

import msgspec

from dataplane_common.local import process_table


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One started process; `start` is the kernel's word for when, `ports` the ones it was given, by purpose."""

    pid: int
    start: str
    command: list[str]
    ports: dict[str, int] = {}

    @property
    def is_alive(self) -> bool:
        """Whether this very process lives; a zombie does not."""
        entry = process_table.find(self.pid)
        return entry is not None and entry.start == self.start

    def survivors(self) -> list[int]:
        """Return the living processes of its group, its children included, that can be ours.

        A leader's number is not given away while its group has members; so a leader with another start time means
        that the whole group has ended long ago.
        """
        leader = process_table.find(self.pid)
        if leader is not None and leader.start != self.start:
            return []
        return [entry.pid for entry in process_table.living_in_group(self.pid)]


def load(file: Path) -> ProcessRecord | None:
    """Return the record in a file, or None where there is none or it is torn."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=ProcessRecord)
    except (OSError, msgspec.MsgspecError):
        return None


def save(file: Path, record: ProcessRecord) -> None:
    """Write a record so that a reader sees the old one or the new one, never a part.

    Raises:
        OSError: the folder cannot be written.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    draft.replace(file)
