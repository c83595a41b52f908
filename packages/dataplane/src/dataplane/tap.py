"""The live stream, read as anyone may: frames of a subject, decoded, one line for each event.

Flows in: messages of a core subscription. Flows out: lines. Invariant: a tap slows nobody; what it missed is counted
and shown.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dataplane.gaps import Gaps
from dataplane_common import lifecycle
from dataplane_common.bus import Connection, Message
from dataplane_common.config import NatsConfig
from dataplane_common.errors import ConfigError, ExitCode, Permanent
from dataplane_common.frame import decode_payload

#: Frames that may wait in the client before further ones are dropped: 64 MiB of full frames.
_MAX_PENDING = 256
_CONNECT_TIMEOUT_S = 5.0

Show = Callable[[dict[str, Any], bytes], None]


@dataclass(slots=True)
class Tap:
    """Takes messages, shows events, counts; `limit` 0 means until it is stopped."""

    show: Show
    report: Callable[[str], None]
    limit: int = 0
    events: int = 0
    messages: int = 0
    gaps: Gaps = field(default_factory=Gaps)

    def take(self, subject: str, payload: bytes, headers: dict[str, str]) -> bool:
        """Show a message's events; return False when the limit is reached."""
        self.messages += 1
        if (lost := self.gaps.see(subject, headers)) > 0:
            self.report(f"{lost} frames of {subject} are missing here")
        try:
            lines = decode_payload(payload, headers)
        except Permanent as error:
            self.report(f"{subject}: {error}")
            return True
        for document, line in _documents(lines):
            self.show(document, line)
            self.events += 1
            if self.limit and self.events >= self.limit:
                return False
        return True

    def summary(self) -> str:
        """Return what was seen, and what was not."""
        return f"{self.events} events in {self.messages} messages, {self.gaps.missing} frames missing"


def run(config: NatsConfig, subject: str, tap: Tap) -> int:
    """Show what is published on a subject until a signal or the tap's limit ends it; return the exit code.

    Raises:
        ConfigError: the subject cannot exist.
    """
    check_subject(subject)

    async def service(stop: asyncio.Event) -> int:
        connection = Connection(config, name="dataplane tap", report=unrepeated(tap.report))
        connection.start()

        def handle(message: Message) -> None:
            if not stop.is_set() and not tap.take(message.subject, message.data, dict(message.headers or {})):
                stop.set()

        try:
            await connection.wait_ready(_CONNECT_TIMEOUT_S)
            await connection.subscribe(subject, handle, max_pending=_MAX_PENDING)
            await stop.wait()
        finally:
            await connection.close()
        return int(ExitCode.CLEAN)

    return lifecycle.run_service(service)


def unrepeated(report: Callable[[str], None]) -> Callable[[str], None]:
    """Return a report that passes the same text over while it comes again and again."""
    last = ""

    def once(text: str) -> None:
        nonlocal last
        if text != last:
            report(text)
        last = text

    return once


def check_subject(subject: str) -> None:
    """Check a subject with wildcards.

    Raises:
        ConfigError: it has empty tokens, spaces, or a `>` that is not last.
    """
    tokens = subject.split(".")
    wrong = any(not token or token.split() != [token] for token in tokens) or ">" in tokens[:-1]
    if wrong:
        raise ConfigError(f'subject "{subject}": expected tokens with dots between, like logs.prod.> or logs.*.nginx.*')


def write_json(_document: dict[str, Any], line: bytes) -> None:
    """Write an event as it travelled: one line of JSON."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()


def _documents(lines: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield each line with its document; what is no JSON object, anyone's message, becomes one."""
    for line in lines.splitlines():
        if not line.strip():
            continue
        try:
            decoded = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            decoded = line.decode(errors="replace")
        if isinstance(decoded, dict):
            yield decoded, line
        else:
            document = {"message": decoded if isinstance(decoded, str) else line.decode(errors="replace")}
            yield document, msgspec.json.encode(document)
