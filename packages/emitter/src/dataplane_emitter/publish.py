"""Hands frames to the bus, acknowledged (JetStream) or fire and forget (core NATS).

Flows in: frames. Flows out: counts in the account. Invariant: each event of each frame is acknowledged or dropped with
a reason exactly once, or is still in flight.
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Protocol

from dataplane_common.bus import Connection, PubAck, Publisher
from dataplane_common.errors import Permanent, TooLarge, Transient
from dataplane_common.frame import Frame
from dataplane_common.lifecycle import cancel
from dataplane_emitter.account import Account
from dataplane_emitter.frames import Framer

#: A subject that the server forbids is tried again after this long: permissions change without a word.
_DENIED_FOR_S = 60.0
#: How long the server may take to answer the ping that confirms fire-and-forget messages.
_CONFIRM_TIMEOUT_S = 5.0
#: How often it is looked whether the session is still there that shall answer.
_LOOK_S = 0.1
_DENIAL = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)


class Counts(Protocol):
    """Who counts what becomes of events."""

    def acknowledge(self, count: int) -> None:
        """Count events that have arrived."""

    def drop(self, reason: str, count: int) -> None:
        """Count events that will never arrive."""


class Delivery(Protocol):
    """One way of handing frames to the bus."""

    async def start(self) -> None:
        """Get ready; call once, within the event loop."""

    async def send(self, frame: Frame, tally: "Counts | None" = None) -> None:
        """Hand over a frame, waiting while too much is unconfirmed; `tally` counts it instead of the account."""

    async def confirm(self) -> None:
        """Wait until everything sent so far is acknowledged or given up."""

    async def tell(self, subject: str, payload: bytes, *, wait: bool = False) -> None:
        """Send a message about ourselves, which is no event and not counted; `wait` until it has arrived."""

    def hear(self, report: str) -> None:
        """Learn from what the connection reports."""

    async def close(self) -> None:
        """Stop; what is unconfirmed stays so."""


class Denials:
    """Subjects that the server forbids us, as it says in its errors: it lower-cases them there."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def find(self, report: str) -> str | None:
        """Return the subject that a report says is denied, and remember it."""
        found = _DENIAL.search(report)
        if found is None:
            return None
        self._until[found[1]] = time.monotonic() + _DENIED_FOR_S
        return found[1]

    def __contains__(self, subject: str) -> bool:
        return bool(self._until) and self._until.get(subject.lower(), 0.0) > time.monotonic()


class JetStreamDelivery:
    """Acknowledged: a frame is sent again, the same bytes, until the server has stored it."""

    def __init__(
        self, connection: Connection, account: Account, framer: Framer, window: int, report: Callable[[str], None]
    ) -> None:
        self._publisher = Publisher(connection, window=window, report=report)
        self._account = account
        self._framer = framer
        self._denials = Denials()
        self._unsettled = 0
        self._settled_some = asyncio.Event()
        self._told: asyncio.Future[PubAck] | None = None
        self._cutting: set[asyncio.Task[None]] = set()
        self._sent: dict[asyncio.Future[PubAck], tuple[Frame, Counts]] = {}

    async def start(self) -> None:
        """See `Delivery`."""
        await self._publisher.start()

    async def send(self, frame: Frame, tally: Counts | None = None) -> None:
        """See `Delivery`."""
        counts = tally or self._account
        if frame.subject in self._denials:
            counts.drop("denied", frame.count)
            return
        self._unsettled += 1
        settled = await self._publisher.publish(frame.subject, frame.payload, frame.headers)
        self._sent[settled] = (frame, counts)
        settled.add_done_callback(self._settle)

    def take_back(self) -> list[tuple[Frame, Counts]]:
        """Give up what is not acknowledged yet, and return it with who counts it; nothing of it is counted here."""
        taken = {settled: sent for settled, sent in self._sent.items() if not settled.done()}
        for settled in taken:
            del self._sent[settled]
        for subject in {frame.subject for frame, _ in taken.values()}:
            self._publisher.give_up(subject, Permanent("the bus does not take it now"))
        return list(taken.values())

    async def confirm(self) -> None:
        """See `Delivery`."""
        while self._unsettled:
            self._settled_some.clear()
            await self._settled_some.wait()

    async def tell(self, subject: str, payload: bytes, *, wait: bool = False) -> None:
        """See `Delivery`. While one message is unconfirmed no other follows, unless it is waited for."""
        if subject in self._denials or not (wait or self._told is None or self._told.done()):
            return
        self._told = await self._publisher.publish(subject, payload, {})
        self._told.add_done_callback(_retrieve)
        if wait:
            await asyncio.wait([self._told])

    def hear(self, report: str) -> None:
        """See `Delivery`."""
        subject = self._denials.find(report)
        if subject is not None:
            self._publisher.give_up(subject, Permanent(report))

    async def close(self) -> None:
        """See `Delivery`."""
        await self._publisher.close()

    def _settle(self, settled: "asyncio.Future[PubAck]") -> None:
        error = None if settled.cancelled() else settled.exception()
        if settled not in self._sent:
            self._one_settled()
            return
        frame, counts = self._sent.pop(settled)
        if isinstance(error, TooLarge):
            task = asyncio.get_running_loop().create_task(self._send_smaller(frame, counts, error))
            self._cutting.add(task)
            task.add_done_callback(self._cutting.discard)
            return
        if error is not None:
            counts.drop("denied", frame.count)
        elif not settled.cancelled():
            counts.acknowledge(frame.count)
        self._one_settled()

    async def _send_smaller(self, frame: Frame, counts: Counts, error: TooLarge) -> None:
        """Replace a frame by its parts; it counts as unsettled until they do."""
        for part in _smaller(self._framer, counts, frame, replay=error.may_be_stored):
            await self.send(part, counts)
        self._one_settled()

    def _one_settled(self) -> None:
        self._unsettled -= 1
        self._settled_some.set()


class CoreDelivery:
    """Fire and forget: what a lost session may have swallowed is counted as dropped, so never more than arrived."""

    def __init__(self, connection: Connection, account: Account, framer: Framer) -> None:
        self._connection = connection
        self._account = account
        self._framer = framer
        self._denials = Denials()
        self._unconfirmed = 0
        self._session = 0

    async def start(self) -> None:
        """See `Delivery`."""

    async def send(self, frame: Frame, _tally: Counts | None = None) -> None:
        """See `Delivery`. There is no spool here, so nobody else counts."""
        if frame.subject in self._denials:
            self._account.drop("denied", frame.count)
            return
        if self._session != self._connection.sessions:
            self._lose()
        try:
            await self._connection.publish(frame.subject, frame.payload, headers=frame.headers)
        except TooLarge:
            for part in _smaller(self._framer, self._account, frame):
                await self.send(part)
        except Transient:
            self._account.drop("bus_lost", frame.count)
        else:
            self._unconfirmed += frame.count

    async def confirm(self) -> None:
        """See `Delivery`."""
        if not self._unconfirmed:
            return
        if self._session != self._connection.sessions:
            self._lose()
            return
        count = self._unconfirmed
        if await self._has_read_all():
            self._unconfirmed -= count
            self._account.acknowledge(count)
        else:
            self._lose()

    async def tell(self, subject: str, payload: bytes, *, wait: bool = False) -> None:
        """See `Delivery`."""
        try:
            await self._connection.publish(subject, payload)
            if wait:
                await self._connection.flush(_CONFIRM_TIMEOUT_S)
        except (Transient, Permanent):
            return

    def hear(self, report: str) -> None:
        """See `Delivery`."""
        self._denials.find(report)

    async def close(self) -> None:
        """See `Delivery`."""

    async def _has_read_all(self) -> bool:
        """Ask the server whether it has read everything; a session that ends meanwhile never answers."""
        asking = asyncio.create_task(self._connection.flush(_CONFIRM_TIMEOUT_S))
        try:
            while not asking.done() and self._connection.is_connected and self._session == self._connection.sessions:
                await asyncio.wait([asking], timeout=_LOOK_S)
            return asking.done() and asking.exception() is None
        finally:
            await cancel(asking)

    def _lose(self) -> None:
        if self._unconfirmed:
            self._account.drop("bus_lost", self._unconfirmed)
        self._unconfirmed = 0
        self._session = self._connection.sessions


def _smaller(framer: Framer, account: Counts, frame: Frame, *, replay: bool = False) -> list[Frame]:
    """Return the parts of a frame that was too large; if there are none its events are counted as dropped."""
    parts = framer.smaller(frame, replay=replay)
    if not parts:
        account.drop("too_large", frame.count)
    return parts


def _retrieve(settled: "asyncio.Future[PubAck]") -> None:
    """Look at a result that nobody waits for, so that asyncio does not complain about it."""
    if not settled.cancelled():
        settled.exception()
