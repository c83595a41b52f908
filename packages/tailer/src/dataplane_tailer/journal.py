"""The systemd journal as a source, through `journalctl -o json`.

Flows in: a cursor. Flows out: batches of entries with the cursor behind them. Invariant: entries behind a cursor come
again in the same order, so a restart repeats ids with the same content, and nothing is lost that the journal keeps.
Source: systemd Journal Export Formats (JSON), systemd.journal-fields(7).
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from dataplane_common.errors import Fatal, Transient
from dataplane_tailer.batch import Batch, batches_of
from dataplane_tailer.linger import CHUNK_BYTES, lingering
from dataplane_tailer.parse import Parsed, times
from dataplane_tailer.parse.parsed import unparsed

#: A longer entry comes in pieces; journald's own limit for a field is lower by default.
_LONGEST_ENTRY_BYTES = 16 * 1024 * 1024
_CURSOR = re.compile(rb'"__CURSOR"\s*:\s*"([^"]+)"')
#: syslog priorities (RFC 5424, 6.2.1) as log levels.
_NAMES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
_LEVELS = {str(priority): name for priority, name in enumerate(_NAMES)}
#: Digits of a number that is one for Elasticsearch, too.
_LONGEST_NUMBER = 19
_MICROSECONDS = 1_000_000
_NUMBERS = {"_PID": "process.pid", "CODE_LINE": "log.origin.file.line"}
_FIELDS = {
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
    _began_at: float = 0.0

    @property
    def name(self) -> str:
        """What the account calls this source."""
        return "journal" + "".join(f" {unit}" for unit in self.units)

    async def batches(self, cursor: str) -> AsyncIterator[Batch]:
        """Yield entries behind `cursor`; without one from where `start_at` says.

        Raises:
            Fatal: there is no journalctl when the tailer starts.
            Transient: it ended, or cannot be started any more.
        """
        where, is_first = self._where(cursor), self._began_at == 0.0
        self._began_at = self._began_at or time.time()
        units = [word for unit in self.units for word in ("--unit", unit)]
        try:
            process = await asyncio.create_subprocess_exec(
                *(self.command, "--output", "json", "--all", "--follow", *where, *units),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                limit=CHUNK_BYTES,
            )
        except OSError as error:
            problem = f"{self.command}: {error.strerror}; install systemd's journalctl on this host"
            raise (Fatal(problem) if is_first else Transient(problem)) from error
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            async for batch in batches_of(lingering(process.stdout, self.linger_s), _LONGEST_ENTRY_BYTES, ended=False):
                whole = min(batch.going_on, default=len(batch.lines))
                yield batch._replace(cursor=_cursor_behind(batch.lines[:whole]))
            raise Transient(f"{self.command} ended with {await process.wait()}; look at what it says on stderr")
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    def _where(self, cursor: str) -> list[str]:
        """Return from where to read; one that is started again goes on, or tells what came since the first start."""
        if cursor:
            return ["--after-cursor", cursor]
        if self.start_at == "beginning":
            return ["--lines", "all"]
        return ["--since", f"@{int(self._began_at)}"] if self._began_at else ["--lines", "0"]


def _cursor_behind(entries: list[bytes]) -> str:
    """Return the cursor of the last entry that has one, for an entry's last piece may have none."""
    return next((found[1].decode() for entry in reversed(entries) if (found := _CURSOR.search(entry))), "")


def parse_entry(line: str, _at: str) -> Parsed:
    """Return a journal entry's fields in ECS; those without a name there are under `journal`."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return unparsed(line, f"not JSON: {error}")
    if not isinstance(entry, dict):
        return unparsed(line, "not a journal entry")
    message = entry.pop("MESSAGE", "")
    fields: dict[str, Any] = {"message": _text(message)}
    for name, field in _FIELDS.items():
        if entry.get(name) is not None:
            fields[field] = _text(entry.pop(name))
    for name, field in _NUMBERS.items():
        if (text := str(entry.get(name))).isdecimal() and len(text) < _LONGEST_NUMBER:
            fields[field] = int(entry.pop(name))
    if (priority := str(entry.get("PRIORITY"))) in _LEVELS:
        fields["log.level"] = _LEVELS[priority]
        del entry["PRIORITY"]
    moment = str(entry.pop("_SOURCE_REALTIME_TIMESTAMP", "") or entry.get("__REALTIME_TIMESTAMP", ""))
    if rest := _rest(entry):
        fields["journal"] = rest
    problem = "MESSAGE: left out by journalctl, for its size" if message is None else ""
    return Parsed(fields, times.epoch_in(moment, _MICROSECONDS), problem)


def _rest(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the other fields under shorter names; a sender's own that is called like a trusted one keeps its place.

    Addresses (`__CURSOR` …) are no content. A field that journalctl left out for its size is null and says so.
    """
    rest: dict[str, Any] = {}
    for name in sorted(entry, key=lambda name: not name.startswith("_")):  # the trusted ones first
        if not name.startswith("__"):
            short = name.strip("_").lower() or name
            rest[f"{short}_" if short in rest else short] = "(left out)" if entry[name] is None else _text(entry[name])
    return rest


def _text(value: Any) -> str:
    """Return a value as text: bytes that are no UTF-8 come as a list of numbers, a field given twice as a list."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return "" if value is None else orjson.dumps(value).decode()
    if all(type(item) is int and 0 <= item <= 0xFF for item in value):  # noqa: PLR2004 - a byte
        return bytes(value).decode(errors="backslashreplace")
    return "\n".join(map(_text, value))
