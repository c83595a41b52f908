"""Acknowledged publishing through a window, for JetStream.

Flows in: messages with a `Nats-Msg-Id`. Flows out: one future each, resolved by the server's acknowledgement.
Invariant: what is in flight is at most the window; a message is re-sent, the same bytes, until it is acknowledged
or refused for good; a repeat that the stream may not know for one any more says so (`Dp-Replay`).
Source: publish headers of JetStream (`Nats-Expected-Last-Msg-Id`).
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dataplane_common.bus.answer import PubAck, read_answer
from dataplane_common.bus.connection import Connection
from dataplane_common.bus.direct import Message
from dataplane_common.bus.limits import StreamLimits
from dataplane_common.errors import Permanent, TooLarge, Transient
from dataplane_common.frame import MSG_ID, REPLAY, size_on_wire
from dataplane_common.lifecycle import cancel
from dataplane_common.retry import Backoff

#: With this header a message is never stored, but one whose id the stream knows is answered as a duplicate.
_NEVER_STORED = {"Nats-Expected-Last-Msg-Id": "none"}
#: How often what is in flight is looked at for a missing acknowledgement.
_RESEND_TICK_S = 0.1
_BACKOFF = Backoff(initial_s=0.25, max_s=10.0)
#: So often it is asked in vain whether a message is stored: a cluster may never answer the second question about one.
_MOST_QUESTIONS = 3
#: A repeat is marked from this part of the duplicate window on: it may be on its way for the rest of it.
_SURE_SHARE = 0.5
#: Time that the machine was asleep counts as well: for the server it has passed.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(slots=True)
class _InFlight:
    subject: str
    payload: bytes
    headers: Mapping[str, str]
    settled: "asyncio.Future[PubAck]"
    attempt: int = 0
    due: float = 0.0
    sendings: int = 0
    first_sent: float = 0.0
    refusal: TooLarge | None = None
    questions: int = 0

    @property
    def size(self) -> int:
        return size_on_wire(self.payload, self.headers)


@dataclass(slots=True)
class PublisherCounts:
    """What a publisher has done, in messages; `payload_bytes` as sent, re-sends included."""

    sent: int = 0
    acknowledged: int = 0
    duplicates: int = 0
    resent: int = 0
    refused: int = 0
    payload_bytes: int = 0


@dataclass(slots=True, eq=False)
class Publisher:
    """Publishes to JetStream with at most `window` messages unacknowledged.

    `publish` waits while the window is full: that is the back-pressure. `report` hears one line about each problem.
    """

    connection: Connection
    window: int = 32
    ack_timeout_s: float = 10.0
    report: Callable[[str], None] = print
    counts: PublisherCounts = field(default_factory=PublisherCounts)
    _in_flight: dict[str, _InFlight] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(init=False)
    _busy: asyncio.Event = field(default_factory=asyncio.Event)
    last_problem: str = ""
    _is_behind: bool = False
    _next_token: int = 0
    _task: "asyncio.Task[None] | None" = None
    limits: StreamLimits = field(init=False)

    def __post_init__(self) -> None:
        self.limits = StreamLimits(self.connection)

    async def start(self) -> None:
        """Subscribe to the acknowledgements and begin to watch what is in flight."""
        self._slots = asyncio.Semaphore(self.window)
        await self.connection.subscribe(f"{self.connection.inbox}.pub.*", self._on_answer)
        self.connection.on_ready(self._send_all_again)
        self._task = asyncio.create_task(self._resend())

    @property
    def in_flight(self) -> int:
        """Messages sent and not yet settled."""
        return len(self._in_flight)

    def max_message_bytes(self, subject: str) -> int:
        """What headers and payload of a message may weigh together, for the server and, if it has told, the stream."""
        limit = self.connection.max_message_bytes
        of_stream = self.limits.max_message_bytes(subject)
        return limit if of_stream is None else min(limit, of_stream)

    async def publish(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str],
        settled: "asyncio.Future[PubAck] | None" = None,
    ) -> "asyncio.Future[PubAck]":
        """Send a message as soon as the window has room and return the future of its acknowledgement.

        The future raises `TooLarge` when the message can never be stored at its size; it stays pending while the bus
        is away. The caller may drop it; the message is re-sent all the same. A caller who cancels it, its own one also
        before it was sent, has the message sent no more.
        """
        await self._slots.acquire()
        settled = settled or asyncio.get_running_loop().create_future()
        token = f"{self._next_token:x}"
        self._next_token += 1
        entry = _InFlight(subject, payload, headers, settled)
        self._in_flight[token] = entry
        self._busy.set()
        if not self._is_behind:  # else it is sent in its turn, so that a reconnect does not change the order
            await self._send(token, entry)
        return settled

    async def drain(self, timeout_s: float) -> bool:
        """Wait until everything in flight is settled; return False if `timeout_s` passed first."""
        futures = [entry.settled for entry in self._in_flight.values()]
        if not futures:
            return True
        _, pending = await asyncio.wait(futures, timeout=timeout_s)
        return not pending

    def give_up(self, subject: str, why: Permanent) -> None:
        """Refuse what is in flight for a subject that the server forbids, compared without case as its error has it."""
        for token in [token for token, entry in self._in_flight.items() if entry.subject.lower() == subject.lower()]:
            self._refuse(token, why)

    async def close(self) -> None:
        """Stop re-sending; what is still in flight stays unsettled, its futures are cancelled."""
        if self._task is not None:
            await cancel(self._task)
        await self.limits.close()
        for entry in self._in_flight.values():
            entry.settled.cancel()
        self._in_flight.clear()

    async def _send(self, token: str, entry: _InFlight) -> bool:
        """Put a message on the wire, or refuse it; return False if there is no session to do it."""
        if entry.settled.cancelled():
            self._forget(token)
            return True
        limit = self.max_message_bytes(entry.subject)
        if entry.refusal is None and entry.size > limit:  # a mark takes from the headroom
            entry.refusal = TooLarge(f"a message of {entry.size} bytes is above what the server takes ({limit})")
        if entry.refusal is not None and not self._may_be_asked_for(entry):
            self._refuse(token, entry.refusal)
            return True
        entry.due = time.monotonic() + self.ack_timeout_s
        reply = f"{self.connection.inbox}.pub.{token}"
        payload, headers = self._form(entry)
        try:
            await self.connection.publish(entry.subject, payload, reply=reply, headers=headers)
        except TooLarge as error:
            self._refuse(token, error)
        except Transient:
            self._is_behind = True  # all of it is sent in its order when the next session starts
            return False
        else:
            if entry.refusal is None:
                entry.first_sent = entry.first_sent or time.clock_gettime(_CLOCK)
                entry.sendings += 1
                self.counts.sent += 1
                self.counts.payload_bytes += len(entry.payload)
        return True

    def _form(self, entry: _InFlight) -> tuple[bytes, Mapping[str, str]]:
        """Return what is sent now: the message, marked if need be, or the question what became of it."""
        if entry.refusal is not None:
            entry.questions += 1
            return b"", {MSG_ID: entry.headers[MSG_ID], **_NEVER_STORED}
        return entry.payload, {**entry.headers, REPLAY: "1"} if self._may_be_forgotten(entry) else entry.headers

    def _may_be_asked_for(self, entry: _InFlight) -> bool:
        return entry.sendings > 0 and MSG_ID in entry.headers and entry.questions < _MOST_QUESTIONS

    def _may_be_forgotten(self, entry: _InFlight) -> bool:
        """Tell whether the stream may have taken a message already, and not know its id any more."""
        age_s = time.clock_gettime(_CLOCK) - entry.first_sent
        is_old = entry.sendings > 0 and age_s >= self.limits.duplicate_window_s * _SURE_SHARE
        return is_old or REPLAY in entry.headers or entry.questions >= _MOST_QUESTIONS

    def _on_answer(self, message: Message) -> None:
        token = message.subject.rpartition(".")[2]
        entry = self._in_flight.get(token)
        if entry is None:
            return
        problem = read_answer(message.data, message.headers or {})
        if isinstance(problem, PubAck):
            self.limits.note_stream(entry.subject, problem.stream)
            self._settle(token, problem)
        elif isinstance(problem, TooLarge):
            if entry.refusal is None:
                self._refuse_unless_stored(token, entry, problem)
        elif isinstance(problem, Permanent):
            self._refuse(token, entry.refusal or problem)
        else:
            self._retry_later(entry, f"{entry.subject}: {problem}")

    def _refuse_unless_stored(self, token: str, entry: _InFlight, error: TooLarge) -> None:
        """Refuse what was sent once; of what was sent before that, ask whether it is stored."""
        if entry.sendings > 1:
            entry.refusal, entry.due = error, 0.0
        else:
            self._refuse(token, error)

    def _settle(self, token: str, ack: PubAck) -> None:
        self.counts.acknowledged += 1
        self.counts.duplicates += ack.duplicate
        settled = self._forget(token)
        if not settled.done():
            settled.set_result(ack)

    def _refuse(self, token: str, error: Permanent) -> None:
        self.counts.refused += 1
        if isinstance(error, TooLarge):
            entry = self._in_flight[token]
            error.may_be_stored = self._may_be_forgotten(entry)
            self.limits.note_refusal(entry.subject)
        settled = self._forget(token)
        if not settled.done():
            settled.set_exception(error)

    def _forget(self, token: str) -> "asyncio.Future[PubAck]":
        self._slots.release()
        settled = self._in_flight.pop(token).settled
        if not self._in_flight:
            self._busy.clear()
        return settled

    def _retry_later(self, entry: _InFlight, why: str) -> None:
        entry.due = time.monotonic() + _BACKOFF.delay_s(entry.attempt)
        entry.attempt += 1
        entry.questions = 0
        self.last_problem = why
        self.report(why)

    def _send_all_again(self) -> None:
        for entry in self._in_flight.values():
            entry.due = 0.0
        self._is_behind = bool(self._in_flight)

    async def _resend(self) -> None:
        while True:
            await self._busy.wait()
            await asyncio.sleep(_RESEND_TICK_S)
            if not self.connection.is_connected:
                continue
            if self._due():
                self._is_behind = True
                self._is_behind = not await self._send_due()

    async def _send_due(self) -> bool:
        """Send in their order what has to be sent, what comes meanwhile included; False if the session ended."""
        while due := self._due():
            for token, entry in due:
                if token in self._in_flight:
                    self.counts.resent += entry.sendings > 0
                    if not await self._send(token, entry):
                        return False
                    if entry.settled.done():
                        await asyncio.sleep(0)  # who hears of a refusal may withdraw what comes behind it
        return True

    def _due(self) -> list[tuple[str, _InFlight]]:
        now = time.monotonic()
        return [item for item in self._in_flight.items() if item[1].due <= now]
