"""Gives each delivery its one final answer, once all of its events are done.

Flows in: what became of events. Flows out: ack, term, nak, and signs of life for what takes long.
Invariant: no delivery is acknowledged while one of its events still waits for an answer of Elasticsearch or for the
acknowledgement of its dead letter.
"""

import math
import time
from collections import deque
from collections.abc import Sequence

from dataplane_common.bus import Delivery, ack_all
from dataplane_common.errors import Transient
from elastinats.counts import Counts
from elastinats.part import Claim, Part


class Settler:
    """Keeps the claims of what is being worked on.

    `hold_s` is how long after a sign of life a message is surely not given to another sink.
    """

    def __init__(self, counts: Counts, *, hold_s: float = math.inf) -> None:
        self._counts = counts
        self._hold_s = hold_s
        self._claims: dict[Claim, None] = {}
        self._unanswered: deque[Claim] = deque()

    @property
    def open_claims(self) -> int:
        """Deliveries that are being worked on."""
        return len(self._claims)

    def claim(self, delivery: Delivery) -> Claim:
        """Begin to work on a delivery: from now on it is kept alive."""
        claim = Claim(delivery, held_until_s=delivery.arrived_s + self._hold_s)
        self._claims[claim] = None
        return claim

    def release(self, claims: list[Claim]) -> list[Delivery]:
        """Give up claims that were never decoded, and return their deliveries, for the caller to hand back."""
        for claim in claims:
            self._claims.pop(claim, None)
        return [claim.delivery for claim in claims]

    def decoded(self, claim: Claim, events: int) -> None:
        """Say how many events the claim's delivery has."""
        claim.events = claim.waiting = events
        self._counts.messages += 1
        self._counts.payload_bytes += len(claim.delivery.data)
        self._counts.received += events

    async def indexed(self, claim: Claim, events: int) -> None:
        """Say that events became documents."""
        self._counts.indexed += events
        await self._done(claim, events)

    async def all_indexed(self, parts: Sequence[Part]) -> None:
        """Say that every event of the parts became a document; the messages that are done are answered at once."""
        done = []
        for part in parts:
            part.claim.waiting -= part.count
            self._counts.indexed += part.count
            if part.claim.waiting == 0:
                done.append(part.claim)
        try:
            await ack_all([claim.delivery for claim in done])
        except Transient:
            self._unanswered.extend(done)
            return
        for claim in done:
            self._claims.pop(claim, None)

    async def in_failure_store(self, claim: Claim, events: int) -> None:
        """Say that Elasticsearch keeps events in its failure store."""
        self._counts.failure_store += events
        await self._done(claim, events)

    async def duplicate(self, claim: Claim, events: int) -> None:
        """Say that events were there already."""
        self._counts.duplicate += events
        await self._done(claim, events)

    async def dropped(self, claim: Claim, events: int) -> None:
        """Say that events were left out, as the configuration wants."""
        self._counts.dropped += events
        await self._done(claim, events)

    async def dead(self, claim: Claim, events: int, reason: str) -> None:
        """Say that events became dead letters, which are stored."""
        self._counts.dead_lettered[reason] += events
        claim.dead += events
        await self._done(claim, events)

    async def keep_alive(self) -> None:
        """Restart the server's clock for every open claim; a bus that is away is no error."""
        try:
            for claim in [*self._claims]:
                await claim.delivery.in_progress()
                now_s = time.monotonic()
                if claim.is_held(now_s):
                    claim.held_until_s = now_s + self._hold_s
        except Transient:
            return

    def lose_hold(self) -> None:
        """Take note that the bus is a new session, which may give any message to anyone."""
        for claim in self._claims:
            claim.held_until_s = 0.0

    async def answer_late(self) -> None:
        """Give the answers that could not be given while the bus was away."""
        for _ in range(len(self._unanswered)):
            await self._answer(self._unanswered.popleft())

    async def give_back(self, unclaimed: list[Delivery]) -> int:
        """Hand everything open back to the stream, for anyone to take at once; return how many deliveries."""
        open_deliveries = [claim.delivery for claim in self._claims] + unclaimed
        self._counts.returned += sum(claim.waiting for claim in self._claims)
        self._claims.clear()
        try:
            for delivery in open_deliveries:
                await delivery.nak(0)
        except Transient:
            pass  # they come back by themselves after ack_wait
        return len(open_deliveries)

    async def _done(self, claim: Claim, events: int) -> None:
        claim.waiting -= events
        if claim.waiting == 0:
            await self._answer(claim)

    async def _answer(self, claim: Claim) -> None:
        """Acknowledge; a message all of whose events are dead letters is ended for good, so that the server tells."""
        try:
            await (claim.delivery.term() if claim.dead == claim.events else claim.delivery.ack())
        except Transient:
            self._unanswered.append(claim)
            return
        self._claims.pop(claim, None)
