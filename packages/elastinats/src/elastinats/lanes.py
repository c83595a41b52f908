"""The lanes that run: one for each feed, begun, changed and ended while the sink goes on.

Flows in: feeds. Flows out: running lanes, and the first error of one. Invariant: a feed that stays keeps its consumer
and what it holds; one that goes finishes what it holds.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from dataplane_common.bus import Delivery
from dataplane_common.bus.consumer import create_consumer
from dataplane_common.errors import Transient
from dataplane_common.lifecycle import cancel
from elastinats.pipeline import Lane
from elastinats.routes import Feed


class _Running(NamedTuple):
    """A lane, its loop, and the event that ends it."""

    lane: Lane
    task: "asyncio.Task[None]"
    stop: asyncio.Event


class Lanes:
    """Begins, changes and ends lanes; `make` returns one that does not run yet."""

    def __init__(self, make: Callable[[Feed], Lane]) -> None:
        self._make = make
        self._running: dict[tuple[str, str], _Running] = {}
        self._ended: list[_Running] = []

    def __iter__(self) -> Iterator[Lane]:
        """Return all lanes, those that end among them."""
        return iter([running.lane for running in self._all()])

    async def apply(self, feeds: Iterable[Feed]) -> None:
        """Make the lanes those of the feeds."""
        wanted = {(feed.stream, feed.durable): feed for feed in feeds}
        for key in self._running.keys() - wanted.keys():
            self._running[key].stop.set()
            self._ended.append(self._running.pop(key))
        for key, feed in wanted.items():
            if key in self._running:
                await self._change(self._running[key].lane, feed)
            else:
                await self._begin(key, feed)

    async def until_stopped(self, stop: asyncio.Event) -> None:
        """Return when asked to stop; a lane that fails ends the process with its error."""
        waiter = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                tasks = [running.task for running in self._all()]
                done, _ = await asyncio.wait([waiter, *tasks], timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {waiter}:
                    task.result()
                await self._bury_ended()
        finally:
            await cancel(waiter)

    async def drain(self, grace_s: float) -> bool:
        """Let all lanes finish what they hold; return whether the time was enough."""
        for running in self._all():
            running.stop.set()
        tasks = [running.task for running in self._all()]
        if not tasks:
            return True
        done, pending = await asyncio.wait(tasks, timeout=grace_s)
        for task in done:
            task.result()
        return not pending

    async def close(self) -> list[Delivery]:
        """End all lanes; return what arrived and was never looked at."""
        await cancel(*(running.task for running in self._all()))
        return [delivery for running in self._all() for delivery in await running.lane.close()]

    def _all(self) -> list[_Running]:
        return [*self._running.values(), *self._ended]

    async def _begin(self, key: tuple[str, str], feed: Feed) -> None:
        lane, stop = self._make(feed), asyncio.Event()
        await lane.consumer.start()
        self._running[key] = _Running(lane, asyncio.create_task(lane.run(stop)), stop)

    async def _change(self, lane: Lane, feed: Feed) -> None:
        fresh = self._make(feed)
        lane.reroute(feed)
        if fresh.consumer.config != lane.consumer.config:
            lane.consumer.config = fresh.consumer.config
            with suppress(Transient):  # a bus that is away gets it when it is back
                await create_consumer(lane.consumer.connection, lane.consumer.config)

    async def _bury_ended(self) -> None:
        """Give back what arrived for a lane that has ended."""
        for running in [running for running in self._ended if running.task.done()]:
            self._ended.remove(running)
            with suppress(Transient):  # it comes back by itself
                for delivery in await running.lane.close():
                    await delivery.nak(0)
