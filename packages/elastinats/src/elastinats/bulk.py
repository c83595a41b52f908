"""The way of one bulk request: sent, read, confirmed, sent again in part, until every event of it is done.

Flows in: the parts of a batch. Flows out: every event indexed, found to be there, or stored as a dead letter, and
said so to the settler. Invariant: only what can succeed later is sent again; what may be there already, after an
answer that leaves open what happened or because another sink may have it, is looked up before it is sent.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from dataplane_common.errors import ConfigError
from dataplane_common.retry import Backoff
from elastinats.answer import Answer
from elastinats.bury import Burials
from elastinats.classify import Item, RequestVerdict, Verdict, conflicting_field, is_ambiguous, request_verdict, verdict
from elastinats.counts import Counts, Metrics
from elastinats.dead_letter import Reason
from elastinats.health import Health
from elastinats.index import Index
from elastinats.limit import Limit
from elastinats.lookup import Doubt, LookUps, Places
from elastinats.part import Part, as_resent, events, halve, pick
from elastinats.settle import Settler

_BACKOFF = Backoff(initial_s=0.2, max_s=10.0)
_ELASTICSEARCH = "elasticsearch"


@dataclass(slots=True, eq=False)
class Bulks:
    """Finishes batches; any number at a time, of which the limit lets some be on their way."""

    index: Index
    limit: Limit
    settler: Settler
    burials: Burials
    counts: Counts
    metrics: Metrics
    health: Health
    _look_ups: LookUps = field(init=False)

    def __post_init__(self) -> None:
        """Look up with what we have."""
        self._look_ups = LookUps(self.index, self.settler, self.burials, self.counts, self._note_failure)

    async def finish(self, parts: Sequence[Part]) -> None:
        """Return when every event of the parts is done, however long that takes."""
        left, attempt = list(parts), 0
        while left:
            left, places = await self._look_ups.without_known(_with_doubts(left))
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

    async def _send(self, parts: Sequence[Part], places: Places) -> Answer | None:
        """Send when there is room; None if what was found out is outdated by then, so that nothing was sent."""
        body = b"".join([part.wire for part in parts])
        to_data_stream = parts[0].style.op == "create"
        async with self.limit:
            if _with_doubts(parts) != parts or not await self._look_ups.are_current(places):
                return None
            known = {index.name for indices in places.values() for index in indices} if places else None
            answer = await self.index.bulk(
                body, sum(part.count for part in parts), known=known, to_data_stream=to_data_stream
            )
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

    def _note_failure(self, reason: str) -> None:
        """Take a look-up that failed for a sign that secrets were rotated."""
        self._sign_anew()
        self.health.trouble(_ELASTICSEARCH, reason)

    def _sign_anew(self) -> None:
        try:
            self.index.sign_anew()
        except ConfigError as error:
            self.health.trouble("secret", str(error))
        else:
            self.health.mended("secret")

    async def _read(self, parts: Sequence[Part], answer: Answer) -> list[Part]:
        """Settle what the answer decided and return what is to be sent again."""
        if not answer.items and not answer.beyond:
            for target in {part.target for part in parts}:
                self.health.mended(target)
            await self.settler.all_indexed(parts)
            return []
        later: list[Part] = []
        doubts: list[Doubt] = []
        start = 0
        for part, items in _by_part(parts, answer.items):
            sorted_out: dict[Verdict, list[int]] = {}
            for position, item in items.items():
                sorted_out.setdefault(verdict(item), []).append(position)
            await self._settle_stored(part, sorted_out, items, _beyond(part, start, answer))
            if positions := sorted_out.get(Verdict.REJECTED):
                for field_name in filter(None, (conflicting_field(items[at].error) for at in positions)):
                    self.counts.conflict(field_name)
                await self.burials.bury(part, {at: (_reason(items[at].status), items[at].reason) for at in positions})
            later += self._again(part, {at: items[at] for at in sorted_out.get(Verdict.LATER, ())})
            if positions := sorted_out.get(Verdict.CONFLICT):
                all_events = events(part)
                doubts += [Doubt(part, at, all_events[at], (items[at].index,)) for at in positions]
            start += part.count
        return later + await self._look_ups.compare(doubts)

    async def _settle_stored(
        self,
        part: Part,
        sorted_out: Mapping[Verdict, list[int]],
        items: Mapping[int, Item],
        beyond: Mapping[int, str],
    ) -> None:
        created = part.count - len(items) + len(sorted_out.get(Verdict.CREATED, ())) - len(beyond)
        if beyond:
            await self._look_ups.settle_created(part, beyond)
        if created:
            await self.settler.indexed(part.claim, created)
        if kept := len(sorted_out.get(Verdict.FAILURE_STORE, ())):
            await self.settler.in_failure_store(part.claim, kept)

    def _again(self, part: Part, items: Mapping[int, Item]) -> list[Part]:
        """Return what is to be sent again, in doubt where an answer leaves open what happened."""
        if not items:
            self.health.mended(part.target)
            return []
        if any(item.status == HTTPStatus.TOO_MANY_REQUESTS for item in items.values()):
            self.limit.slow_down()
        self.health.trouble(part.target, next(iter(items.values())).reason)
        open_ones = any(is_ambiguous(item.status) for item in items.values())
        left = pick(part, [*items])
        return [as_resent(left) if open_ones else left]

    async def _split(self, parts: Sequence[Part], answer: Answer) -> None:
        """Find the event that a request was refused for by halving; alone, it is a dead letter."""
        if sum(part.count for part in parts) > 1:
            for half in halve(parts):
                await self.finish(half)
            return
        await self.burials.bury(parts[0], {0: (_reason(answer.status), answer.reason)})


def _with_doubts(parts: Sequence[Part]) -> list[Part]:
    """Return the parts, those marked as re-sent whose message another sink may have been given by now."""
    now_s = time.monotonic()
    return [part if part.resent or now_s < part.claim.held_until_s else as_resent(part) for part in parts]


def _reason(status: int) -> Reason:
    return Reason.TOO_LARGE if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else Reason.REJECTED


def _beyond(part: Part, start: int, answer: Answer) -> dict[int, str]:
    """Return which of a re-sent part's events are in an index that was not known, by position within the part."""
    if not part.resent or not answer.beyond:
        return {}
    return {at: answer.beyond[start + at] for at in range(part.count) if start + at in answer.beyond}


def _by_part(parts: Sequence[Part], items: Mapping[int, Item]) -> Iterator[tuple[Part, dict[int, Item]]]:
    """Give each part its own items of an answer, by position within the part."""
    start = 0
    for part in parts:
        positions = range(start, start + part.count)
        yield part, ({at - start: items[at] for at in positions if at in items} if items else {})
        start += part.count
