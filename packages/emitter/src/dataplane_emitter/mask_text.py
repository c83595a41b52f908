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

_Span = tuple[int, int]
#: (start and end of a find, text) → whether it stays.
_Kept = Callable[[int, int, str], bool]


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
        """Return a text with its secrets masked; each rule searches all of it, so none hides what another finds."""
        parts: list[str] = []
        end = 0
        for start, stop in sorted({*self._spans(text)}):
            if start >= end:  # else it begins within what is masked already
                parts += text[end:start], self._mask
            end = max(end, stop)
        return "".join((*parts, text[end:])) if parts else text

    def _spans(self, text: str) -> Iterator[_Span]:
        for pattern in self._patterns:
            yield from _found(pattern.finditer(text), text)
        for words, pattern in self._forms:
            if any(word in text for word in words):
                yield from _found(pattern.finditer(text), text)
        if self._named is None:
            return
        if self._named_lowered is not None and text.isascii():  # nothing moves then, and letters are compared at once
            yield from _found(self._named_lowered.finditer(text.lower()), text, self._is_kept)
        else:
            yield from _found(self._named.finditer(text), text, self._is_kept)

    def _is_kept(self, start: int, end: int, text: str) -> bool:
        """Tell whether the name with which a find begins, or in which it begins, is an exception."""
        before = _NAME_END.search(text, max(0, start - _MAX_NAME), start)
        name = _NAME.match(text, start, end)
        return ((before[0] if before else "") + (name[0] if name else text[start:end])).lower() in self._kept


def _keep_none(_start: int, _end: int, _text: str) -> bool:
    return False


def _found(finds: Iterator["re.Match[str]"], text: str, is_kept: _Kept = _keep_none) -> Iterator[_Span]:
    """Yield what to mask: what was found, or only its group `secret` where the pattern has one that took part."""
    for number, found in enumerate(finds):
        if number == MOST_FINDS:
            yield found.start(), len(text)
            return
        if not is_kept(*found.span(), text):
            has_part = "secret" in found.re.groupindex and found["secret"] is not None
            yield found.span("secret" if has_part else 0)
