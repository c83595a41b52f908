"""Masks the secrets within a text: under the names of keys (`password=x`), and in forms that secrets have.

Pure. Flows in: a text of any length. Flows out: the same with its secrets masked. Invariant: what was not searched does
not pass; a text without any of the words that a rule needs is not searched by that rule.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from dataplane_emitter import redaction_rules as rules

#: So many finds of one rule in one text are looked at; what follows them is masked as a whole.
MOST_FINDS = 10_000
#: Characters of a name in a text that are compared with the exceptions.
_MAX_NAME = 64
_NAME = re.compile(r"\w+")
_NAME_END = re.compile(r"\w+\Z")

#: (find, text in which it was found) → what stands in its place.
_Mask = Callable[["re.Match[str]", str], str]


class TextMasker:
    """Masks by one configuration's keys, exceptions and patterns. Holds no state, so any thread may use it."""

    def __init__(
        self,
        keys: Sequence[str],
        kept: frozenset[str],
        patterns: Sequence["re.Pattern[str]"],
        mask: str,
        *,
        forms: bool,
    ) -> None:
        self._mask = mask
        self._kept = kept
        self._patterns = patterns
        self._forms = rules.BUILTIN_PATTERNS if forms else ()
        self._named = rules.key_in_text(keys)
        self._named_lowered = rules.key_in_lowered(keys)

    def __call__(self, text: str) -> str:
        """Return a text with its secrets masked."""
        for pattern in self._patterns:
            text = self._replace(pattern.finditer(text), text, self._masked)
        for words, pattern in self._forms:
            if any(word in text for word in words):
                text = self._replace(pattern.finditer(text), text, self._masked)
        if self._named is None:
            return text
        if self._named_lowered is not None and text.isascii():  # nothing moves then, and letters are compared at once
            return self._replace(self._named_lowered.finditer(text.lower()), text, self._masked_value)
        return self._replace(self._named.finditer(text), text, self._masked_value)

    def _replace(self, finds: Iterator["re.Match[str]"], text: str, masked: _Mask) -> str:
        parts, end = [], 0
        for number, found in enumerate(finds):
            parts.append(text[end : found.start()])
            if number == MOST_FINDS:
                return "".join((*parts, self._mask))
            parts.append(masked(found, text))
            end = found.end()
        return "".join((*parts, text[end:])) if parts else text

    def _masked(self, found: "re.Match[str]", text: str) -> str:
        """Mask what was found, or only its group `secret` where the pattern has one that took part."""
        if "secret" not in found.re.groupindex or found["secret"] is None:
            return self._mask
        return text[found.start() : found.start("secret")] + self._mask + text[found.end("secret") : found.end()]

    def _masked_value(self, found: "re.Match[str]", text: str) -> str:
        """Mask the value that stands in a text with its name, unless the name is an exception."""
        start, end = found.span()
        before = _NAME_END.search(text, max(0, start - _MAX_NAME), start)
        name = (before[0] if before else "") + (_NAME.match(text, start, end) or found)[0]
        return text[start:end] if name.lower() in self._kept else self._masked(found, text)
