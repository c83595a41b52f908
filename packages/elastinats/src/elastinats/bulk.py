"""The way of one bulk request: sent, read, confirmed, sent again in part, until every event of it is done.

Flows in: the parts of a batch. Flows out: every event indexed, found to be there, or stored as a dead letter, and
said so to the settler. Invariant: only what can succeed later is sent again; after an answer that leaves open what
happened, events are looked up before they are sent again, because a rollover may have come in between.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from dataplane_common.errors import ConfigError, Permanent, Transient
from dataplane_common.event import timestamp
from dataplane_common.retry import Backoff
from elastinats.classify import Item, RequestVerdict, Verdict, is_ambiguous, request_verdict, verdict
from elastinats.confirm import is_same
from elastinats.counts import Counts, Metrics
from elastinats.dead_letter import DeadLetters, Letter, Reason
from elastinats.decode import carrier, originals
from elastinats.health import Health
from elastinats.index import Answer, Index
from elastinats.limit import Limit
from elastinats.part import Claim, Event, Part, as_resent, events, halve, pick
from elastinats.settle import Settler

_BACKOFF = Backoff(initial_s=0.2, max_s=10.0)
#: Documents in one look-up: some hundred KB of answer.
_LOOK_UP = 500
_ELASTICSEARCH = "elasticsearch"
_ValueT = TypeVar("_ValueT")


#: Data streams of re-sent events and the backing indices that they were looked up in.
_Places = Mapping[str, list[str]]


class _Doubt(NamedTuple):
    """An event that may be there already, and the backing indices where it would be."""

    part: Part
    position: int
    event: Event
    indices: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Bulks:
    """Finishes batches; any number at a time, of which the limit lets some be on their way."""

    index: Index
    limit: Limit
    settler: Settler
    dead_letters: DeadLetters
    counts: Counts
    metrics: Metrics
    health: Health
    max_decoded_bytes: int
    now: Callable[[], float]

    async def finish(self, parts: Sequence[Part]) -> None:
        """Return when every event of the parts is done, however long that takes."""
        left, attempt = list(parts), 0
        while left:
            left, places = await self._without_known(left)
            answer = await self._send(left, places) if left else None
            if answer is None:
                continue
            wanted = request_verdict(answer.status)
            if wanted is RequestVerdict.SPLIT:
                await self._split(left, answer)
                return
            count = sum(part.count for part in left)
            if wanted is RequestVerdict.ITEMS:
                left = await self._read(left, answer)
            elif is_ambiguous(answer.status):
                left = [as_resent(part) for part in left]
            if left:
                remaining = sum(part.count for part in left)
                self.counts.retried += remaining
                attempt = attempt + 1 if remaining == count else 0
                await asyncio.sleep(_BACKOFF.delay_s(attempt))

    async def _send(self, parts: Sequence[Part], places: _Places) -> Answer | None:
        """Send when there is room; None if a rollover came in while this waited, so that nothing was sent."""
        body = b"".join([part.body for part in parts])
        async with self.limit:
            if not await self._are_current(places):
                return None
            answer = await self.index.bulk(body, sum(part.count for part in parts))
        self.counts.bulks[str(answer.status or "none")] += 1
        self.counts.bulk_bytes += len(body)
        self.metrics.bulk_seconds.observe(answer.took_s)
        self._learn(answer)
        return answer

    def _learn(self, answer: Answer) -> None:
        """Adapt the pace, the signature and the state of health to an answer."""
        match request_verdict(answer.status):
            case RequestVerdict.ITEMS:
                self.health.mended(_ELASTICSEARCH)
                self.limit.speed_up()
                return
            case RequestVerdict.SPLIT:
                return
            case RequestVerdict.SLOWER:
                self.limit.slow_down()
            case RequestVerdict.SIGN_ANEW:
                self._sign_anew()
        self.health.trouble(_ELASTICSEARCH, answer.reason)

    def _sign_anew(self) -> None:
        try:
            self.index.sign_anew()
        except ConfigError as error:
            self.health.trouble("secret", str(error))
        else:
            self.health.mended("secret")

    async def _read(self, parts: Sequence[Part], answer: Answer) -> list[Part]:
        """Settle what the answer decided and return what is to be sent again."""
        later: list[Part] = []
        doubts: list[_Doubt] = []
        for part, items in _by_part(parts, answer.items):
            sorted_out: dict[Verdict, list[int]] = {}
            for position, item in items.items():
                sorted_out.setdefault(verdict(item), []).append(position)
            await self._settle_stored(part, items, sorted_out)
            if positions := sorted_out.get(Verdict.REJECTED):
                await self._bury(part, {at: items[at].reason for at in positions}, _reason(items, positions))
            positions = sorted_out.get(Verdict.LATER, [])
            self._note_delay(part, [items[position] for position in positions])
            if positions:
                later.append(pick(part, positions))
            if positions := sorted_out.get(Verdict.CONFLICT):
                all_events = events(part)
                doubts += [_Doubt(part, at, all_events[at], (items[at].index,)) for at in positions]
        return later + await self._settle_known(doubts)

    async def _settle_stored(
        self, part: Part, items: Mapping[int, Item], sorted_out: Mapping[Verdict, list[int]]
    ) -> None:
        created = part.count - len(items) + len(sorted_out.get(Verdict.CREATED, ()))
        if created:
            await self.settler.indexed(part.claim, created)
        if kept := len(sorted_out.get(Verdict.FAILURE_STORE, ())):
            await self.settler.in_failure_store(part.claim, kept)

    def _note_delay(self, part: Part, items: Sequence[Item]) -> None:
        if not items:
            self.health.mended(part.target)
            return
        if any(item.status == HTTPStatus.TOO_MANY_REQUESTS for item in items):
            self.limit.slow_down()
        self.health.trouble(part.target, items[0].reason)

    async def _split(self, parts: Sequence[Part], answer: Answer) -> None:
        """Find the event that a request was refused for by halving; alone, it is a dead letter."""
        if sum(part.count for part in parts) > 1:
            for half in halve(parts):
                await self.finish(half)
            return
        reason = Reason.TOO_LARGE if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else Reason.REJECTED
        await self._bury(parts[0], {0: answer.reason}, {0: reason})

    async def _bury(self, part: Part, causes: Mapping[int, str], reasons: Mapping[int, Reason]) -> None:
        """Store some events of a part as dead letters, then settle them."""
        positions = sorted(causes)
        at = timestamp(self.now())
        delivery = part.claim.delivery
        found = originals(part, positions, self.max_decoded_bytes)
        letters = [
            Letter(
                delivery.subject, carrier(delivery), event.payload, event.headers, reasons[position], causes[position],
                event.event_id,
            )
            for position, event in zip(positions, found, strict=True)
        ]  # fmt: skip
        await asyncio.gather(*(self.dead_letters.store(letter, at) for letter in letters))
        for letter in letters:
            await self.settler.dead(part.claim, 1, letter.reason.value)

    async def _without_known(self, parts: Sequence[Part]) -> tuple[list[Part], _Places]:
        """Settle those re-sent events that are there already; return the rest, and which backing indices count."""
        if not any(part.resent for part in parts):
            return list(parts), {}
        result: list[Part] = []
        doubts: list[_Doubt] = []
        targets = {part.target for part in parts if part.resent}
        indices = {target: await self._backing_indices(target) for target in targets}
        for part in parts:
            if part.resent and len(indices[part.target]) > 1:
                places = tuple(indices[part.target])
                doubts += [_Doubt(part, at, event, places) for at, event in enumerate(events(part))]
            else:
                result.append(part)
        self.counts.looked_up += len(doubts)
        return result + await self._settle_known(doubts), indices

    async def _are_current(self, places: _Places) -> bool:
        """Tell whether the backing indices are still those that were looked into; if nobody says so, they are not."""
        try:
            return all([await self.index.backing_indices(target) == indices for target, indices in places.items()])
        except (Transient, Permanent):
            return False

    async def _backing_indices(self, target: str) -> list[str]:
        return await self._until_answered(lambda: self.index.backing_indices(target))

    async def _settle_known(self, doubts: Sequence[_Doubt]) -> list[Part]:
        """Compare what is stored with what was sent; return the events that are nowhere."""
        absent: dict[Part, list[int]] = {}
        waiting = iter(doubts)
        at_once = max(1, _LOOK_UP // max((len(doubt.indices) for doubt in doubts), default=1))
        while chunk := list(islice(waiting, at_once)):
            same: Counter[Claim] = Counter()
            for doubt, stored in zip(chunk, await self._stored(chunk), strict=True):
                if stored is None:
                    absent.setdefault(doubt.part, []).append(doubt.position)
                elif is_same(stored, doubt.event.document):
                    same[doubt.part.claim] += 1
                else:
                    cause = f"{doubt.part.target} has another document with the id {doubt.event.key}"
                    await self._bury(doubt.part, {doubt.position: cause}, {doubt.position: Reason.ID_CONFLICT})
            for claim, count in same.items():
                await self.settler.duplicate(claim, count)
        return [pick(part, positions) for part, positions in absent.items()]

    async def _stored(self, doubts: Sequence[_Doubt]) -> list[dict[str, Any] | None]:
        """Return for each doubt the document that is there, whichever of its indices has it."""
        places = [(number, index) for number, doubt in enumerate(doubts) for index in doubt.indices]
        wanted = [(index, doubts[number].event.key) for number, index in places]
        found = await self._until_answered(lambda: self.index.find(wanted))
        result: list[dict[str, Any] | None] = [None] * len(doubts)
        for (number, _), document in zip(places, found, strict=True):
            result[number] = document if result[number] is None else result[number]
        return result

    async def _until_answered(self, question: Callable[[], Awaitable[_ValueT]]) -> _ValueT:
        attempt = 0
        while True:
            try:
                return await question()
            except (Transient, Permanent) as error:
                self._sign_anew()
                self.health.trouble(_ELASTICSEARCH, str(error))
            await asyncio.sleep(_BACKOFF.delay_s(attempt))
            attempt += 1


def _reason(items: Mapping[int, Item], positions: Sequence[int]) -> dict[int, Reason]:
    too_large = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return {at: Reason.TOO_LARGE if items[at].status == too_large else Reason.REJECTED for at in positions}


def _by_part(parts: Sequence[Part], items: Mapping[int, Item]) -> Iterator[tuple[Part, dict[int, Item]]]:
    """Give each part its own items of an answer, by position within the part."""
    start = 0
    for part in parts:
        positions = range(start, start + part.count)
        yield part, ({at - start: items[at] for at in positions if at in items} if items else {})
        start += part.count
