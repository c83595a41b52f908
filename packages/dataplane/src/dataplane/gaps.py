"""What a live reader missed: gaps in the numbers that each source gives its frames.

Pure. Flows in: headers of frames, as they come. Flows out: how many frames are missing. Invariant: only a gap within
one run of one source and subject counts; a restart, a repeat, or a frame that comes late does not.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from dataplane_common.frame import MSG_ID, SEQUENCE

#: Sources followed at once; beyond it the one that was silent for longest is forgotten.
_MAX_FOLLOWED = 50_000
#: Missing numbers remembered for each source, so that a late frame is taken off; older ones are lost for good.
_MAX_MISSING = 1_000


@dataclass(slots=True)
class _Followed:
    run: str
    last: int
    missing: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Gaps:
    """Counts missing frames; a reader that begins in the middle of a run has missed nothing."""

    missing: int = 0
    _followed: "OrderedDict[tuple[str, str], _Followed]" = field(default_factory=OrderedDict)

    def see(self, subject: str, headers: Mapping[str, str]) -> int:
        """Take note of a frame; return how many frames before it are newly missing (negative: one came late)."""
        run, _, number = headers.get(SEQUENCE, "").partition(".")
        if not (number.isascii() and number.isdigit()):
            return 0
        key = (subject, headers.get(MSG_ID, "").rsplit("-", 3)[0])
        change = self._change(key, run, int(number))
        self.missing += change
        return change

    def _change(self, key: tuple[str, str], run: str, number: int) -> int:
        known = self._followed.get(key)
        if known is None or known.run != run:
            self._follow(key, _Followed(run, number))
            return 0
        self._followed.move_to_end(key)
        if number <= known.last:
            if number not in known.missing:
                return 0
            known.missing.remove(number)
            return -1
        lost = number - known.last - 1
        known.missing.update(range(max(known.last + 1, number - _MAX_MISSING), number))
        if len(known.missing) > _MAX_MISSING:
            known.missing = set(sorted(known.missing)[-_MAX_MISSING:])
        known.last = number
        return lost

    def _follow(self, key: tuple[str, str], followed: _Followed) -> None:
        self._followed[key] = followed
        self._followed.move_to_end(key)
        if len(self._followed) > _MAX_FOLLOWED:
            self._followed.popitem(last=False)
