"""The tailer's account: what each source has accepted and what of it is acknowledged, published as ledgers.

Flows in: open and finished files. Flows out: messages on one ledger subject. Invariant: counts are derived
from positions, so they cannot drift from what was sent.
"""

import secrets
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from dataplane_common.bus import Publisher
from dataplane_common.event import timestamp
from dataplane_common.frame import MSG_ID
from dataplane_common.ledger import SourceAccount, encode_messages
from dataplane_common.taxonomy import ledger_subject
from dataplane_tailer import __version__
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.file import TailedFile
from dataplane_tailer.identity import digest
from dataplane_tailer.positions import Position
from dataplane_tailer.state import SourceRecord

_AGENT = "tailer"


@dataclass(slots=True, eq=False)
class Account:
    """Publishes the accounts that changed since they were last published."""

    config: TailerConfig
    publisher: Publisher
    _finished: list[SourceAccount] = field(default_factory=list)
    _published: dict[str, object] = field(default_factory=dict)
    finished_events: int = 0
    lost_bytes: Counter[str] = field(default_factory=Counter)

    def finish(self, file: TailedFile) -> None:
        """Take the last account of a source that is settled."""
        self._finished.append(self._account(file.record, file.position, file.positions.resolved, is_final=True))
        self.finished_events += file.positions.resolved.sequence
        self.lost_bytes.update(file.record.abandoned_bytes)

    def lose(self, record: SourceRecord) -> None:
        """Take the last account of a source whose file is gone."""
        last = Position(record.offset, record.sequence, record.dropped)
        self._finished.append(self._account(record, last, last, is_final=True))
        self.lost_bytes.update(record.abandoned_bytes)

    def account_of(self, file: TailedFile) -> SourceAccount:
        """Return a source's account now."""
        return self._account(file.record, file.position, file.positions.resolved)

    def _account(
        self, record: SourceRecord, read: Position, acknowledged: Position, *, is_final: bool = False
    ) -> SourceAccount:
        return SourceAccount(
            source=record.source,
            dataset=record.dataset,
            namespace=self.config.namespace,
            host=self.config.host,
            path=record.log_path,
            inode=record.inode,
            head_hash=digest(record.head) if record.head else None,
            accepted=read.sequence + read.dropped,
            acknowledged=acknowledged.sequence,
            in_flight=read.sequence - acknowledged.sequence,
            dropped={"filter": read.dropped} if read.dropped else {},
            abandoned_bytes=dict(record.abandoned_bytes),
            last_sequence=read.sequence,
            first_at=record.first_at,
            last_at=record.last_at,
            final=is_final,
        )

    async def publish(self, files: Iterable[TailedFile], streams: Iterable[SourceAccount] = ()) -> None:
        """Publish the accounts of all sources that changed."""
        changed = [self.account_of(file) for file in files if self._has_changed(file)]
        changed += streams
        changed += self._finished
        subject = ledger_subject(self.config.namespace, self.config.host, _AGENT)
        limit = self.publisher.connection.max_message_bytes // 2
        for payload in encode_messages(_AGENT, __version__, timestamp(time.time()), changed, limit):
            await self.publisher.publish(subject, payload, {MSG_ID: f"ledger-{secrets.token_hex(8)}"})
        for account in self._finished:
            self._published.pop(account.source, None)
        self._finished.clear()

    def _has_changed(self, file: TailedFile) -> bool:
        """Tell whether a file has moved since its account was published; with 10,000 files this has to be cheap."""
        now = (file.position, file.positions.resolved, file.record.log_path)
        if self._published.get(file.record.source) == now:
            return False
        self._published[file.record.source] = now
        return True
