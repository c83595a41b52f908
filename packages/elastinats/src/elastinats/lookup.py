"""Finds out which events are there already: what `create` cannot know, because it only sees the newest backing index.

Flows in: events that may have been indexed before. Flows out: those that are nowhere; the others are settled.
Invariant: of each event one copy stays, the oldest. So older backing indices are searched before an event is sent
again, after every request has ended that could still write into them; and where it landed in an index that came
into being meanwhile, they are searched once more, and a second copy is taken back.
Source: Elasticsearch documentation, "Multi get", "Task management", "Data streams" (rollover).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from dataplane_common.errors import Permanent, Transient
from dataplane_common.frame import REPLAY
from dataplane_common.retry import Backoff
from elastinats.bury import Burials
from elastinats.confirm import is_same
from elastinats.counts import Counts
from elastinats.dead_letter import Reason
from elastinats.index import BackingIndex, Forbidden, Index
from elastinats.part import Claim, Event, Part, events, pick
from elastinats.settle import Settler

_BACKOFF = Backoff(initial_s=0.2, max_s=10.0)
#: Documents in one look-up: some hundred KB of answer.
_LOOK_UP = 500
#: The clocks of NATS and Elasticsearch, and of its nodes, may differ by so much.
_SKEW_MS = 600_000
_NODE_SKEW_MS = 1_000
#: How often it is asked whether requests from before a rollover still run.
_POLL_S = 0.1
_ValueT = TypeVar("_ValueT")

#: Data streams of events in doubt, and the backing indices that they were looked up in or that will refuse them.
Places = Mapping[str, list[BackingIndex]]


class Doubt(NamedTuple):
    """An event that may be there already, and the indices where it would be, oldest first."""

    part: Part
    position: int
    event: Event
    indices: tuple[str, ...]


class Outcome(Enum):
    """What the documents that are there mean for an event."""

    ABSENT = auto()
    CREATED = auto()
    DUPLICATE = auto()
    CONFLICT = auto()


class Finding(NamedTuple):
    """An outcome, and the indices whose copies are one too many."""

    outcome: Outcome
    extra: list[str]


@dataclass(slots=True, eq=False)
class LookUps:
    """Asks until it is answered; `on_failure` hears what a question met."""

    index: Index
    settler: Settler
    burials: Burials
    counts: Counts
    on_failure: Callable[[str], None]
    _may_see_tasks: bool = field(default=True, init=False)

    async def without_known(self, parts: Sequence[Part]) -> tuple[list[Part], Places]:
        """Settle those re-sent events that are there already; return the rest, and which backing indices count."""
        targets = {part.target for part in parts if part.resent}
        places = {target: await self._places(target) for target in targets}
        result: list[Part] = []
        doubts: list[Doubt] = []
        for part in parts:
            among = places[part.target] if part.resent else ()
            indices = _reachable(part, among) if len(among) > 1 else ()
            if len(indices) > 1:
                doubts += [Doubt(part, at, event, indices) for at, event in enumerate(events(part))]
            else:
                result.append(part)
        self.counts.looked_up += len(doubts)
        return result + await self.compare(doubts), places

    async def are_current(self, places: Places) -> bool:
        """Tell whether the backing indices are still those that were looked into; if nobody says so, they are not."""
        try:
            return all([await self.index.backing_indices(target) == indices for target, indices in places.items()])
        except (Transient, Permanent):
            return False

    async def settle_created(self, part: Part, beyond: Mapping[int, str]) -> None:
        """Settle re-sent events that were created in indices nobody knew of, unless an older one has a copy."""
        indices = _reachable(part, await self._places(part.target))
        if len(indices) <= 1:
            await self.settler.indexed(part.claim, len(beyond))
            return
        found = events(part)
        self.counts.looked_up += len(beyond)
        vanished = await self.compare([Doubt(part, at, found[at], indices) for at in beyond], ours=beyond)
        if vanished:
            await self.settler.indexed(part.claim, sum(each.count for each in vanished))

    async def compare(self, doubts: Iterable[Doubt], *, ours: Mapping[int, str] | None = None) -> list[Part]:
        """Compare what is stored with what was sent; return the events that are nowhere.

        `ours` says where events of the one part in question were just created: alone there, they are indexed.
        """
        absent: dict[Part, list[int]] = {}
        waiting = iter(doubts)
        while chunk := _chunk(waiting):
            copies = await self._copies(chunk)
            findings = [_judge(doubt, found, ours or {}) for doubt, found in zip(chunk, copies, strict=True)]
            pairs = list(zip(chunk, findings, strict=True))
            await self._take_back([(index, doubt.event.key) for doubt, finding in pairs for index in finding.extra])
            for doubt, finding in pairs:
                if finding.outcome is Outcome.ABSENT:
                    absent.setdefault(doubt.part, []).append(doubt.position)
                elif finding.outcome is Outcome.CONFLICT:
                    cause = f"{doubt.part.target} has another document with the id {doubt.event.key}"
                    await self.burials.bury(doubt.part, {doubt.position: (Reason.ID_CONFLICT, cause)})
            for claim, count in _counted(pairs, Outcome.DUPLICATE).items():
                await self.settler.duplicate(claim, count)
            for claim, count in _counted(pairs, Outcome.CREATED).items():
                await self.settler.indexed(claim, count)
        return [pick(part, positions) for part, positions in absent.items()]

    async def _take_back(self, copies: Sequence[tuple[str, str]]) -> None:
        """Delete later copies, by (index, id); without the right to do so they stay, counted."""
        if not copies:
            return
        try:
            await self._until_answered(lambda: self.index.delete(copies))
        except Forbidden as error:
            self.on_failure(str(error))
            self.counts.doubled += len(copies)
        else:
            self.counts.taken_back += len(copies)

    async def _places(self, target: str) -> list[BackingIndex]:
        """Return a data stream's indices once no request runs any more that began before the newest of them."""
        while True:
            found = await self._until_answered(lambda: self.index.backing_indices(target))
            if len(found) <= 1 or not self._may_see_tasks:
                return found
            try:
                oldest_ms = await self._until_answered(self.index.oldest_bulk_ms)
            except Forbidden:
                self._may_see_tasks = False
                return found
            if oldest_ms > found[-1].created_ms + _NODE_SKEW_MS:
                return found
            await asyncio.sleep(_POLL_S)

    async def _copies(self, doubts: Sequence[Doubt]) -> list[dict[str, dict[str, Any]]]:
        """Return for each doubt the documents that are there, by index, oldest first."""
        places = [(number, index) for number, doubt in enumerate(doubts) for index in doubt.indices]
        wanted = [(index, doubts[number].event.key) for number, index in places]
        found = await self._until_answered(lambda: self.index.find(wanted))
        result: list[dict[str, dict[str, Any]]] = [{} for _ in doubts]
        for (number, index), document in zip(places, found, strict=True):
            if document is not None:
                result[number][index] = document
        return result

    async def _until_answered(self, question: Callable[[], Awaitable[_ValueT]]) -> _ValueT:
        """Ask until there is an answer.

        Raises:
            Forbidden: there will be none, and there is a way without it.
        """
        attempt = 0
        while True:
            try:
                return await question()
            except Forbidden:
                raise
            except (Transient, Permanent) as error:
                self.on_failure(str(error))
            await asyncio.sleep(_BACKOFF.delay_s(attempt))
            attempt += 1


def _judge(doubt: Doubt, copies: Mapping[str, Mapping[str, Any]], ours: Mapping[int, str]) -> Finding:
    """Say what the stored documents, oldest first, mean for an event; the first that says the same is to stay."""
    is_known = bool(doubt.part.style.pipeline)  # a pipeline may have changed anything but the id
    same = [index for index, stored in copies.items() if is_known or is_same(stored, doubt.event.document)]
    mine = ours.get(doubt.position)
    if not copies:
        return Finding(Outcome.ABSENT, [])
    if not same or (mine is not None and next(iter(copies)) not in same):
        return Finding(Outcome.CONFLICT, [mine] if mine is not None and mine in same else [])
    return Finding(Outcome.CREATED if same[0] == mine else Outcome.DUPLICATE, same[1:])


def _counted(pairs: Iterable[tuple[Doubt, Finding]], outcome: Outcome) -> Counter[Claim]:
    return Counter(doubt.part.claim for doubt, finding in pairs if finding.outcome is outcome)


def _reachable(part: Part, indices: Sequence[BackingIndex]) -> tuple[str, ...]:
    """Return the indices that may hold an event of a part: those that were written to after its message was stored.

    A replay brings what an older message brought before.
    """
    delivery = part.claim.delivery
    if REPLAY in delivery.headers:
        return tuple(index.name for index in indices)
    since_ms = delivery.metadata.stored_at_ns / 1e6 - _SKEW_MS
    closed = [index.created_ms for index in indices[1:]]
    return tuple(
        index.name for number, index in enumerate(indices) if number == len(closed) or closed[number] >= since_ms
    )


def _chunk(doubts: Iterator[Doubt]) -> list[Doubt]:
    """Take some doubts, of as many look-ups in all as are good for one question."""
    first = next(doubts, None)
    return [] if first is None else [first, *islice(doubts, max(0, _LOOK_UP // len(first.indices) - 1))]
