"""The ledger: an agent's running account of its sources, from which an audit proves that nothing is missing.

Flows in: counts per source. Flows out: messages for `ledger.<namespace>.<host>.<agent>`, cumulative, each listing the
sources that changed since the last one. Invariant: accepted = acknowledged + in_flight + spooled + dropped.
"""

from collections.abc import Iterable, Iterator

import msgspec


class SourceAccount(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One source's cumulative counts of events; times are RFC 3339. `last_sequence` is the highest given out.

    `abandoned_bytes` are bytes of a file that were gone before they could be read, so nobody knows how many events.
    """

    source: str
    dataset: str
    namespace: str
    host: str
    service: str = ""
    path: str | None = None
    inode: int | None = None
    head_hash: str | None = None
    accepted: int = 0
    acknowledged: int = 0
    in_flight: int = 0
    spooled: int = 0
    dropped: dict[str, int] = {}
    abandoned_bytes: dict[str, int] = {}
    last_sequence: int = 0
    first_at: str = ""
    last_at: str = ""
    final: bool = False


class LedgerMessage(msgspec.Struct, kw_only=True):
    """What is published: who says it, when, and the accounts that changed."""

    agent: str
    version: str
    at: str
    sources: list[SourceAccount]


def encode_messages(
    agent: str, version: str, at: str, accounts: Iterable[SourceAccount], max_bytes: int
) -> Iterator[bytes]:
    """Yield as many messages as needed so that none passes `max_bytes`; the first account of each always fits."""
    group: list[SourceAccount] = []
    size = 0
    for account in accounts:
        length = len(msgspec.json.encode(account)) + 1
        if group and size + length > max_bytes:
            yield _encode(agent, version, at, group)
            group, size = [], 0
        group.append(account)
        size += length
    if group:
        yield _encode(agent, version, at, group)


def _encode(agent: str, version: str, at: str, group: list[SourceAccount]) -> bytes:
    return msgspec.json.encode(LedgerMessage(agent=agent, version=version, at=at, sources=group))


def decode_message(payload: bytes) -> LedgerMessage:
    """Parse a ledger message; unknown keys of newer agents are passed over.

    Raises:
        msgspec.MsgspecError: the payload is no ledger message.
    """
    return msgspec.json.decode(payload, type=LedgerMessage)
