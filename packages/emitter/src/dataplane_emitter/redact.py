"""Takes secrets out of events before anything leaves the process.

Flows in: an event's body, or the arguments of a log call. Flows out: the same with secrets masked: values under names
that say so, the same names within texts (`password=x`), texts that match a pattern, what the application's own
redactors replace. Invariant: it fails closed: what cannot be examined is masked, never passed on.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dataplane_common.lifecycle import pass_on_if_from_signal
from dataplane_emitter import redaction_rules as rules
from dataplane_emitter.mask_text import TextMasker
from dataplane_emitter.settings import RedactConfig

Redact = Callable[[str, Any], Any]
#: What the plane itself reads; a pattern that happens to fit a time must not make the event unreadable.
_PROTECTED = frozenset({
    "@timestamp", "log.level", "event.dataset", "event.suppressed", "event.original_size", "trace.id", "span.id",
    *(f"metric.{name}" for name in ("name", "type", "unit", "interval_ms", "value", "count", "sum", "min", "max",
                                    "buckets")),
})  # fmt: skip
#: Names that a pattern never changes.
_ENVELOPE = _PROTECTED | {"message", "log", "process", "error", "labels", "service", "host", "ecs", "event", "trace",
                          "span", "metric"}  # fmt: skip
#: What is left of an event that could not be examined.
_KEPT = {"log": "level", "service": "name", "host": "name", "ecs": "version", "event": "dataset"}
#: Objects within objects that are examined; what is deeper is masked. A body has at most 12 levels of its own.
_MAX_DEPTH = 40
#: Levels of an argument beyond which it is taken for endless, and masked whole.
_MAX_ARGUMENT_DEPTH = 100
#: Values within one argument that are looked at; what is beyond is masked.
_MAX_VALUES = 10_000


class Redactor:
    """Masks by the rules of one configuration. Holds no state, so any thread may use it."""

    def __init__(self, config: RedactConfig) -> None:
        keys = [*(rules.KEYS if config.defaults else ()), *config.keys]
        self._mask = config.mask
        self._key = rules.key_pattern(keys)
        self._kept = frozenset(name.lower() for name in (*(rules.KEEP if config.defaults else ()), *config.keep))
        self._patterns = [re.compile(pattern) for pattern in config.patterns]
        self._text = TextMasker(keys, self._kept, self._patterns, config.mask, forms=config.defaults)
        self._redactors: tuple[Redact, ...] = config.redactors
        self._words = rules.words(keys, rules.BUILTIN_WORDS if config.defaults else ())
        self.is_active = bool(keys or config.defaults)
        self.examines_all = bool(self._patterns or self._redactors)

    def is_secret_name(self, name: str) -> bool:
        """Tell whether what has this name is masked."""
        return self._key is not None and self._key.search(name) is not None and name.lower() not in self._kept

    def body(self, body: bytes) -> bytes:
        """Return a JSON object with its secrets masked; the same bytes where there is nothing to mask.

        Most events are passed by a search for a few words; only those with one of them are taken apart.
        """
        if not self.examines_all:
            lowered = body.decode("latin-1").lower()  # `in` is three times as fast in a text as in bytes
            for word in self._words:
                if word in lowered:
                    break
            else:
                return body
        try:
            document = msgspec.json.decode(body)
            return msgspec.json.encode(self._members("", document, 0))
        except Exception:  # noqa: BLE001 - fails closed
            return self._remains(body)

    def value(self, name: str, value: Any) -> Any:
        """Return a plain value, known by this name, with its secrets masked."""
        try:
            return self._member(name, name, value, 1)
        except Exception as error:  # noqa: BLE001 - fails closed
            pass_on_if_from_signal(error)
            return self._mask

    def arguments(self, arguments: Any) -> Any:
        """Return a message's arguments with what mappings among them hold under secret names masked, in copies."""
        try:
            if type(arguments) is tuple:
                return tuple(self._argument(argument, [_MAX_VALUES], 0) for argument in arguments)
            return self._argument(arguments, [_MAX_VALUES], 0)
        except Exception as error:  # noqa: BLE001 - fails closed
            pass_on_if_from_signal(error)
            return tuple(self._mask for _ in arguments) if isinstance(arguments, tuple) else (self._mask,)

    def _argument(self, value: Any, room: list[int], depth: int) -> Any:
        """Return a copy; what is beyond the room is masked, because nobody has looked at it."""
        if depth > _MAX_ARGUMENT_DEPTH:
            raise RecursionError("nobody could read it either")
        is_mapping = isinstance(value, Mapping)
        if not is_mapping and type(value) not in (list, tuple):
            return value
        copied: dict[Any, Any] = {}
        for name, item in value.items() if is_mapping else enumerate(value):
            if room[0] <= 0:
                copied["…"] = self._mask
                break
            room[0] -= 1
            is_secret = is_mapping and self._is_secret(name, item)
            copied[name] = self._mask if is_secret else self._argument(item, room, depth + 1)
        return copied if is_mapping else type(value)(copied.values())

    def _member(self, name: str, path: str, value: Any, depth: int) -> Any:
        """Return the value of one member of an object, masked where it has to be."""
        if path in _PROTECTED:
            return value
        if self._is_secret(name, value) or depth > _MAX_DEPTH:
            return self._mask
        if isinstance(value, dict):
            return self._members(path, value, depth)
        if isinstance(value, list):
            return [self._member("", path, item, depth + 1) for item in value]
        return self._leaf(path, value)

    def _members(self, path: str, members: dict[str, Any], depth: int) -> dict[str, Any]:
        redacted: dict[str, Any] = {}
        for name, item in members.items():
            where = f"{path}.{name}" if path else name
            shown = self._text(name) if self._patterns and where not in _ENVELOPE else name
            while shown in redacted:
                shown += "_"
            redacted[shown] = self._member(name, where, item, depth + 1)
        return redacted

    def _is_secret(self, name: Any, value: Any) -> bool:
        """Tell whether a name says that its value is a secret; yes, no and nothing are none."""
        if value is None or isinstance(value, bool) or not isinstance(name, str):
            return False
        return self.is_secret_name(name)

    def _leaf(self, path: str, value: Any) -> Any:
        try:
            for redact in self._redactors:
                value = msgspec.to_builtins(redact(path, value))
            if isinstance(value, str):
                return self._text(value)
            if self._patterns and isinstance(value, int | float) and not isinstance(value, bool):
                return None if any(pattern.search(str(value)) for pattern in self._patterns) else value
        except BaseException as error:  # noqa: BLE001 - the application's own code, mostly on our thread; fails closed
            pass_on_if_from_signal(error)
            return self._mask
        return value

    def _remains(self, body: bytes) -> bytes:
        """Return what is left of an event that could not be examined: when, how bad, where it belongs."""
        document = msgspec.json.decode(body)
        kept = {"@timestamp": document.get("@timestamp"), "message": self._mask}
        if isinstance(metric := document.get("metric"), dict):
            kept["metric"] = {name: value for name, value in metric.items() if f"metric.{name}" in _PROTECTED}
        kept |= {name: {key: document[name].get(key)} for name, key in _KEPT.items() if name in document}
        return msgspec.json.encode(kept)


def is_suspect(text: str) -> bool:
    """Tell whether a text has any of the signs without which there is nothing to mask by default."""
    return "=" in text or ":" in text or "eyJ" in text or "-----" in text or "earer" in text or "asic" in text
