"""Makes dead letters of events: their own bytes and headers, the reason, the cause.

Flows in: events of a part that can never be indexed. Flows out: stored letters, said so to the settler.
Invariant: an event counts as dead only after its letter is acknowledged.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dataplane_common.event import timestamp
from elastinats.dead_letter import DeadLetters, Letter, Reason, carrier
from elastinats.decode import originals
from elastinats.part import Part
from elastinats.settle import Settler


@dataclass(frozen=True, slots=True)
class Burials:
    """Where events go that no mapping takes; `now` is seconds since the epoch."""

    dead_letters: DeadLetters
    settler: Settler
    max_decoded_bytes: int
    now: Callable[[], float]

    async def bury(self, part: Part, causes: Mapping[int, tuple[Reason, str]]) -> None:
        """Store events of a part, by position, as dead letters; then settle them."""
        positions = sorted(causes)
        at = timestamp(self.now())
        delivery = part.claim.delivery
        found = originals(part, positions, self.max_decoded_bytes)
        letters = [
            Letter(
                delivery.subject,
                carrier(delivery.headers),
                event.payload,
                event.headers,
                *causes[position],
                event.event_id,
            )
            for position, event in zip(positions, found, strict=True)
        ]
        await asyncio.gather(*(self.dead_letters.store(letter, at) for letter in letters))
        for letter in letters:
            await self.settler.dead(part.claim, 1, letter.reason.value)
