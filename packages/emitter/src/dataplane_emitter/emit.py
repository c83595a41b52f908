"""What `dataplane-emit` does with what it was given.

Flows in: words, lines, metrics. Flows out: events of an emitter, an exit code and one line about a problem. Invariant:
lines are read only as fast as the bus, or the spool, takes them, so that nothing is dropped for want of room.
"""

import re
import time
from collections.abc import Sequence
from typing import Any, BinaryIO

import msgspec

from dataplane_common.errors import ConfigError, ExitCode
from dataplane_emitter.emitter import Emitter
from dataplane_emitter.limit import INTENDED

KINDS = ("counter", "gauge", "histogram", "timer")
_FIELD = re.compile(r"([A-Za-z_@][\w.@-]*)=(.*)", re.DOTALL)
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_LITERALS = {"true": True, "false": False, "null": None}
#: Bytes of one line; what is longer becomes several events.
_MAX_LINE = 128 * 1024
#: How often, in lines, the queue is looked at.
_LOOK_EVERY = 256
_POLL_S = 0.005
#: What closing may take, with a spool to write.
_CLOSE_S = 5.0
_REMEDY = "start the server, or name another one (--nats, DATAPLANE_NATS__SERVERS)"


def split_words(words: Sequence[str], message: str | None) -> tuple[str | None, dict[str, Any]]:
    """Return the message, if there is one, and the fields.

    Raises:
        ConfigError: there are two messages.
    """
    fields: dict[str, Any] = {}
    for word in words:
        found = _FIELD.fullmatch(word)
        if found:
            fields[found[1]] = read_value(found[2])
        elif message is not None:
            raise ConfigError(f'"{word}": there is a message already; quote the message, and give fields as KEY=VALUE')
        else:
            message = word
    return message, fields


def read_value(text: str) -> Any:
    """Return a number, yes, no or nothing where a text is one, as JSON has it; quoted texts without their quotes."""
    if text in _LITERALS:
        return _LITERALS[text]
    if _NUMBER.fullmatch(text) or (len(text) > 1 and text[0] == text[-1] == '"'):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text


def read_points(given: Sequence[str], kind: str) -> dict[str, float]:
    """Return metrics given as NAME=NUMBER.

    Raises:
        ConfigError: one is not, or the kind is unknown.
    """
    if kind not in KINDS:
        raise ConfigError(f'--type: "{kind}" is no type of metric; give {", ".join(KINDS)}')
    points = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        value = read_value(number)
        if not equals or not name or isinstance(value, bool | str) or value is None:
            raise ConfigError(f'--metric: "{text}" is no metric; give NAME=NUMBER')
        points[name] = value
    return points


class Sender:
    """Sends, and knows whether all of it arrived."""

    def __init__(self, emitter: Emitter, timeout_s: float) -> None:
        self._emitter = emitter
        self._timeout_s = timeout_s
        self._log = emitter.processor()
        self._is_late = False

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        """Log a message."""
        self._log(None, level, {**fields, "event": message})

    def lines(self, stream: BinaryIO, level: str, fields: dict[str, Any]) -> None:
        """Log each line, blank ones left out; stop when the bus has taken nothing for the time-out."""
        number = 0
        while not self._is_late and (line := stream.readline(_MAX_LINE)):
            text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
            if text.strip():
                self.log(level, text, fields)
            number += 1
            if number % _LOOK_EVERY == 0:
                self._wait_for_room()

    def points(self, points: dict[str, float], kind: str, unit: str, labels: dict[str, Any]) -> None:
        """Count metrics."""
        for name, value in points.items():
            match kind:
                case "gauge":
                    self._emitter.gauge(name, unit, labels).set(value)
                case "histogram":
                    self._emitter.histogram(name, unit, labels).observe(value)
                case "timer":
                    self._emitter.timer(name, labels).observe(value)
                case _:
                    self._emitter.counter(name, unit, labels).inc(value)

    def finish(self) -> tuple[int, str]:
        """Wait for the acknowledgements; return the exit code, and the problem in one line, if any."""
        flushed = not self._is_late and self._emitter.flush(self._timeout_s)
        if flushed:
            self._wait_for_spool()
        self._emitter.pipeline.is_paused = flushed  # a gauge is not repeated at the end
        self._emitter.close(_CLOSE_S if flushed or self._emitter.config.spool.dir else 0.0)
        stats = self._emitter.stats()
        lost = {reason: count for reason, count in stats.dropped.items() if reason not in (*INTENDED, "exit")}
        why = stats.last_problem or "no answer"
        if lost:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(lost.items()))
            return ExitCode.FATAL, f"{sum(lost.values())} of {stats.accepted} events were refused: {reasons}; {why}"
        if stats.spooled:
            where = f"{stats.spooled} of {stats.accepted} events wait in {self._emitter.config.spool.dir}"
            return ExitCode.GRACE_EXCEEDED, f"{where}, not acknowledged: {why}; the next start sends them"
        if not flushed or stats.dropped.get("exit") or stats.in_flight:
            missing = stats.in_flight + stats.dropped.get("exit", 0)
            told = f"{missing} of {stats.accepted} events were not acknowledged within {self._timeout_s:g} s: {why}"
            return ExitCode.GRACE_EXCEEDED, f"{told}; {_REMEDY}"
        return ExitCode.CLEAN, ""

    def _wait_for_spool(self) -> None:
        """Wait until what earlier calls have left on disk is sent, while the bus takes it."""
        spool = self._emitter.pipeline.spool
        used, since = -1, time.monotonic()
        while spool is not None and not spool.is_drained and time.monotonic() - since < self._timeout_s:
            if (now := spool.used_bytes()) == 0:
                return
            if now != used:
                used, since = now, time.monotonic()
            time.sleep(_POLL_S)

    def _wait_for_room(self) -> None:
        """Wait while the queue is half full, as long as the bus or the disk takes something."""
        config = self._emitter.config.queue
        taken, since = -1, time.monotonic()
        while True:
            stats = self._emitter.stats()
            if stats.queued * 2 < config.max_events and stats.queued_bytes * 2 < config.max_bytes:
                return
            if stats.acknowledged + stats.spooled != taken:
                taken, since = stats.acknowledged + stats.spooled, time.monotonic()
            if time.monotonic() - since > self._timeout_s:
                self._is_late = True
                return
            time.sleep(_POLL_S)
