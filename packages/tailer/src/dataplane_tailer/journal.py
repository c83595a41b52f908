"""The systemd journal as a source, through `journalctl -o json`.

Flows in: a cursor. Flows out: batches of entries with the cursor behind them. Invariant: entries behind a cursor come
again in the same order, so a restart repeats ids with the same content, and nothing is lost that the journal keeps.
Source: systemd Journal Export Formats (JSON), systemd.journal-fields(7).
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from dataplane_common.errors import Fatal
from dataplane_common.event import timestamp
from dataplane_tailer.parse import Parsed
from dataplane_tailer.stream import Batch

#: The longest entry that is read; journald's own limit for a field is lower by default.
_LONGEST_ENTRY_BYTES = 16 * 1024 * 1024
_MOST_ENTRIES = 1_000
_CURSOR = re.compile(rb'"__CURSOR"\s*:\s*"([^"]+)"')
#: syslog priorities (RFC 5424, 6.2.1) as log levels.
_LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
_FIELDS = {
    "_PID": "process.pid",
    "SYSLOG_IDENTIFIER": "process.name",
    "_EXE": "process.executable",
    "_CMDLINE": "process.command_line",
    "_UID": "user.id",
    "_SYSTEMD_UNIT": "systemd.unit",
    "_TRANSPORT": "systemd.transport",
    "_BOOT_ID": "host.boot.id",
    "CODE_FILE": "log.origin.file.name",
    "CODE_FUNC": "log.origin.function",
}


@dataclass(slots=True, eq=False)
class Journal:
    """Follows the journal of this machine, of some units only if any are named."""

    units: tuple[str, ...]
    start_at: str
    linger_s: float
    command: str = "journalctl"
    is_repeatable: bool = True

    @property
    def name(self) -> str:
        """What the account calls this source."""
        return "journal" + "".join(f" {unit}" for unit in self.units)

    async def batches(self, cursor: str) -> AsyncIterator[Batch]:
        """Yield entries behind `cursor`; without one from where `start_at` says.

        Raises:
            Fatal: there is no journalctl, or it ended by itself.
        """
        where = ["--after-cursor", cursor] if cursor else ["--lines", "all" if self.start_at == "beginning" else "0"]
        units = [word for unit in self.units for word in ("--unit", unit)]
        try:
            process = await asyncio.create_subprocess_exec(
                *(self.command, "--output", "json", "--all", "--follow", *where, *units),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                limit=_LONGEST_ENTRY_BYTES,
            )
        except OSError as error:
            raise Fatal(f"{self.command}: {error.strerror}; install systemd's journalctl on this host") from error
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            async for batch in _read(process.stdout, self.linger_s):
                yield batch
            raise Fatal(f"{self.command} ended with {await process.wait()}; look at what it says on stderr")
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _read(output: asyncio.StreamReader, linger_s: float) -> AsyncIterator[Batch]:
    lines: list[bytes] = []
    while line := await _next_line(output, linger_s if lines else None):
        if line != b"\n":
            lines.append(line.rstrip(b"\n"))
        if lines and (line == b"\n" or len(lines) >= _MOST_ENTRIES):
            found = _CURSOR.search(lines[-1])
            yield Batch(lines, found[1].decode() if found else "")
            lines = []


async def _next_line(output: asyncio.StreamReader, timeout_s: float | None) -> bytes:
    """Return a line; a blank one if none came in time; nothing at the end."""
    try:
        return await asyncio.wait_for(output.readline(), timeout_s)
    except TimeoutError:
        return b"\n"


def parse_entry(line: str, _at: str) -> Parsed:
    """Return a journal entry's fields in ECS; those without a name there are under `journal`."""
    try:
        entry: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Parsed({"message": line}, problem=f"not JSON: {error}")
    fields: dict[str, Any] = {"message": _text(entry.pop("MESSAGE", ""))}
    for name, field in _FIELDS.items():
        if name in entry:
            fields[field] = _text(entry.pop(name))
    if str(priority := entry.pop("PRIORITY", "")).isdigit() and int(priority) < len(_LEVELS):
        fields["log.level"] = _LEVELS[int(priority)]
    moment = str(entry.pop("_SOURCE_REALTIME_TIMESTAMP", "") or entry.get("__REALTIME_TIMESTAMP", ""))
    rest = {name.strip("_").lower(): _text(value) for name, value in entry.items() if not name.startswith("__")}
    if rest:
        fields["journal"] = rest
    return Parsed(fields, timestamp(int(moment) / 1e6) if moment.isdigit() else None)


def _text(value: Any) -> str:
    """A value that is no UTF-8 comes as a list of bytes, one that came twice as a list of values."""
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return bytes(value).decode(errors="backslashreplace")
    return value if isinstance(value, str) else orjson.dumps(value).decode()
