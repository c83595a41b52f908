"""A client that no message's headers can end: what it cannot read it takes for none.

Flows in: header blocks as anybody wrote them, for servers pass them on unread. Flows out: headers, or None.
Invariant: the session, and with it all other messages, goes on.
Source: NATS ADR-4 (headers).
"""

from nats.aio.client import Client


class TolerantClient(Client):
    """The library's client, whose reading of a session ends where a header block is shorter than its first line."""

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (IndexError, ValueError):
            return None
