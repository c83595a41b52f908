"""The emitter's flow on one screen: intake -> queue -> frames -> delivery.

Everything here belongs to one process: a forked child gets a pipeline of its own, with a source of its own and nothing
of its parent's. Invariant: `step` moves the oldest events one stage on; `worker` only repeats it.
"""

import asyncio
import os
from collections import deque
from typing import Any

from dataplane_common import ledger, taxonomy
from dataplane_common.frame import TARGET_BYTES, Frame, FrameEncoder
from dataplane_common.ledger import SourceAccount
from dataplane_emitter import encode, level, moment
from dataplane_emitter.account import Account
from dataplane_emitter.envelope import Envelope
from dataplane_emitter.frames import Framer, lines
from dataplane_emitter.intake import Intake
from dataplane_emitter.notice import Notices, say_nothing, write_line
from dataplane_emitter.publish import Delivery
from dataplane_emitter.queue import BoundedQueue, Entry
from dataplane_emitter.registry import Registry
from dataplane_emitter.rules import Rules
from dataplane_emitter.settings import EmitterConfig
from dataplane_emitter.spool import Spool
from dataplane_emitter.version import VERSION

#: Events of one step: framing them holds the interpreter for about a millisecond, not more.
MAX_STEP_EVENTS = 500


class Pipeline:
    """All stages of one process, and the account of what passes through them.

    `ready` are the frames of one step that have yet to be handed over, `held` those that came back from the bus and
    found no room on disk: they are the next to be sent.
    """

    def __init__(self, config: EmitterConfig, registry: Registry) -> None:
        self.config = config
        self.registry = registry
        self.pid = os.getpid()
        self.is_paused = False
        self.envelope = Envelope(config)
        self.queue = BoundedQueue(config.queue)
        self.rules = Rules(config, self.envelope)
        self.intake = Intake(self.envelope, self.rules, self.queue, config.max_event_bytes, self.pid)
        self.account = Account(config, self.queue)
        self.framer = Framer(self.account, FrameEncoder(compress=config.compression == "zstd"))
        self.notices = Notices(config.service, write_line if config.stderr else say_nothing)
        self.spool_framer = Framer(self.account, FrameEncoder(compress=config.compression == "zstd"))
        self.spool = Spool(config.spool, self.account.source, self.notices.report) if config.spool.dir else None
        self.ready: deque[Frame] = deque()
        self.held: deque[Frame] = deque()

    @property
    def is_frame_full(self) -> bool:
        """Whether there is enough in the queue for a full frame, so that waiting makes none better."""
        return self.queue.queued_bytes >= TARGET_BYTES or len(self.queue) >= MAX_STEP_EVENTS

    async def step(self, delivery: Delivery, max_message_bytes: int) -> int:
        """Hand the oldest events to the bus, about a frame of them; return how many."""
        while self.held:
            self.ready.append(self.framer.again(self.held.popleft(), replay=True))
        entries = self.take(MAX_STEP_EVENTS, TARGET_BYTES)
        self.ready.extend(self.framer.frames(entries, max_message_bytes))
        while self.ready:
            frame = self.ready.popleft()
            try:
                await delivery.send(frame)
            except asyncio.CancelledError:
                self.ready.appendleft(frame)
                raise
        return len(entries)

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """Take the oldest events out of the queue, with their secrets masked."""
        entries = self.queue.take(max_events, max_bytes)
        redactor = self.envelope.redactor
        for entry in entries:
            if entry.route.is_suspect:
                if redactor.examines_all and entry.log:
                    entry.body = b"%b%b%b}" % (entry.body[:-1], entry.log, entry.process)
                    entry.log = entry.process = b""
                entry.body = redactor.body(entry.body)
        return entries

    def tell_suppressed(self) -> None:
        """Queue an event for each kind of events that was held back and of which none has passed since."""
        for limit in self.rules.limits:
            for (logger, level_name, message), count in limit[1].pending():
                found = level.from_name(level_name or "info")
                route = self.rules.of(logger).routes.merged
                document: dict[str, Any] = {
                    "@timestamp": moment.now(),
                    "message": f"{count} events held back{': ' if message else ''}{message}",
                    "log": {"level": found.name, **({"logger": logger} if logger else {})},
                }
                merged = self.envelope.merge({"event.suppressed": count}, document, route)
                self.queue.put(Entry.of(found.rank, route, encode.encode(merged)))

    def collect(self) -> None:
        """Turn what the metrics have counted into events."""
        if self.is_paused:
            return
        self.registry.collect(self.envelope, self.queue)

    async def tell(self, delivery: Delivery, max_message_bytes: int, *, final: bool = False) -> None:
        """Publish the account if it changed, or if it is the final one."""
        if not (final or self.account.has_news()):
            return
        await self.tell_account(self.account.ledger(final=final), delivery, max_message_bytes, wait=final)

    async def tell_account(
        self, account: SourceAccount, delivery: Delivery, max_message_bytes: int, *, wait: bool
    ) -> None:
        """Publish one source's account; `wait` until it has arrived."""
        subject = taxonomy.ledger_subject(account.namespace, account.host, account.service)
        for message in ledger.encode_messages(account.service, VERSION, moment.now(), [account], max_message_bytes):
            await delivery.tell(subject, message, wait=wait)

    def lines(self) -> list[tuple[str, bytes]]:
        """Take everything out of the queue as (subject, finished line), for tests without a bus."""
        entries = self.take(len(self.queue), self.config.queue.max_bytes)
        first = self.account.next_sequences(len(entries))
        finished = lines(self.account.source, first, entries)
        return [(entry.route.subject, line) for entry, line in zip(entries, finished, strict=True)]
