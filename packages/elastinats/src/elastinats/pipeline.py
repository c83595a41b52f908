"""The sink's flow on one screen: consume -> batch -> index -> settle.

Flows in: deliveries of one durable consumer. Flows out: bulks under way. Invariant: with as many bulks unfinished as
are allowed, nothing more is pulled; so what waits, waits in JetStream, and memory is bounded by configuration.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dataplane_common.bus import Delivery, PullConsumer
from dataplane_common.errors import Permanent, TooLarge
from dataplane_common.event import timestamp
from dataplane_common.frame import COUNT
from elastinats.batch import Batch
from elastinats.bulk import Bulks
from elastinats.dead_letter import DeadLetters, Letter, Reason, carrier
from elastinats.decode import ORIGIN, Limits, decode, origin
from elastinats.part import Claim, Part
from elastinats.routes import Feed, Place, Plan, place
from elastinats.settle import Settler

#: How long a step waits for messages when there is no batch to send; a stop is noticed within it.
_IDLE_S = 0.5
#: Subjects whose place is remembered; a host more or less than this many costs microseconds.
_REMEMBERED_PLACES = 10_000
#: A count that may be true: no message has a thousand million events.
_NUMBER = re.compile(r"[0-9]{1,9}")
#: A lane that has not pulled for this long is stalled: what arrived meanwhile has to be kept alive, too.
_STALLED_AFTER_S = 2.0


@dataclass(slots=True, eq=False)
class Lane:
    """The flow of one route in one stream. `step` is one iteration; `run` loops until told to stop."""

    consumer: PullConsumer
    plan: Plan
    batch: Batch
    bulks: Bulks
    settler: Settler
    dead_letters: DeadLetters
    limits: Limits
    slots: asyncio.Semaphore
    now: Callable[[], float]
    _held: list[Claim] = field(default_factory=list)
    _places: dict[str, Place] = field(default_factory=dict)
    _running: set["asyncio.Task[None]"] = field(default_factory=set)
    _pulled_at: float = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Step until `stop`, then send what is left and wait until all of it is done."""
        while not stop.is_set():
            await self.step(stop)
        await self._send()
        await asyncio.gather(*self._running)

    async def step(self, stop: asyncio.Event) -> None:
        """Consume what has arrived, and send the batch when it is full or old enough."""
        self._reap()
        claims = await self._consume()
        moment = timestamp(self.now())
        for number, claim in enumerate(claims):
            if stop.is_set():
                self._held += claims[number:]
                return
            if self.plan.drop:
                await self._drop(claim)
                continue
            try:
                parts = self._decode(claim, moment)
            except Permanent as error:
                await self._bury(claim, error, moment)
                continue
            for part in parts:
                if not self.batch.fits(part):
                    await self._send()
                self.batch.add(part, time.monotonic())
        if self.batch.due_in_s(time.monotonic()) == 0.0:
            await self._send()

    def reroute(self, feed: Feed) -> None:
        """Follow a changed route from the next message on."""
        self.plan = feed.plan
        self._places.clear()

    def hold(self, interval_s: float) -> None:
        """While the lane is stalled, take what arrived into its claims, so that it is kept alive; ask for no more.

        `interval_s` is how often signs of life are given.
        """
        if time.monotonic() - self._pulled_at > min(_STALLED_AFTER_S, interval_s):
            self.consumer.pause()
            self._held += self._claimed(self.consumer.unfetched())

    async def close(self) -> list[Delivery]:
        """Stop pulling and bulks; return what arrived and was never looked at."""
        await self.consumer.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        held, self._held = self._held, []
        return self.settler.release(held) + self.consumer.unfetched()

    async def _consume(self) -> list[Claim]:
        self._pulled_at = time.monotonic()
        if self._held:
            held, self._held = self._held, []
            return held
        self.consumer.resume()
        due = self.batch.due_in_s(time.monotonic())
        arrived = await self.consumer.fetch(_IDLE_S if due is None else min(due, _IDLE_S))
        return self._claimed(arrived)

    def _claimed(self, deliveries: Iterable[Delivery]) -> list[Claim]:
        return [self.settler.claim(delivery) for delivery in deliveries]

    def _decode(self, claim: Claim, moment: str) -> list[Part]:
        """Return a claim's parts.

        Raises:
            Permanent: nobody can read it.
        """
        plan = self.plan
        parts = decode(claim, self._place(claim.delivery.subject), moment, self.limits, plan.style, plan.rules)
        self.settler.decoded(claim, parts[0].count if len(parts) == 1 else sum(part.count for part in parts))
        return parts

    async def _drop(self, claim: Claim) -> None:
        count = _told(claim.delivery)
        self.settler.decoded(claim, count)
        await self.settler.dropped(claim, count)

    async def _bury(self, claim: Claim, error: Permanent, moment: str) -> None:
        delivery = claim.delivery
        count = _told(delivery)
        first = origin(delivery).event_id(0)
        reason = Reason.TOO_LARGE if isinstance(error, TooLarge) else Reason.UNDECODABLE
        headers = {**delivery.headers, ORIGIN: first}
        self.settler.decoded(claim, count)
        replay = carrier(delivery.headers)
        letter = Letter(delivery.subject, replay, delivery.data, headers, reason, str(error), first, count)
        await self.dead_letters.store(letter, moment)
        await self.settler.dead(claim, count, reason.value)

    def _place(self, subject: str) -> Place:
        found = self._places.get(subject)
        if found is None:
            if len(self._places) >= _REMEMBERED_PLACES:
                self._places.clear()
            found = self._places[subject] = place(subject, self.plan.target)
        return found

    async def _send(self) -> None:
        """Begin to finish the batch as soon as there is room for one more bulk."""
        parts = self.batch.take()
        if not parts:
            return
        await self.slots.acquire()
        task = asyncio.create_task(self.bulks.finish(parts))
        self._running.add(task)
        task.add_done_callback(lambda _task: self.slots.release())

    def _reap(self) -> None:
        """Forget the bulks that are finished; raise what one of them raised."""
        for task in [task for task in self._running if task.done()]:
            self._running.discard(task)
            task.result()


def _told(delivery: Delivery) -> int:
    """Return how many events a message says that it has."""
    told = delivery.headers.get(COUNT, "")
    return int(told) if _NUMBER.fullmatch(told) else 1
