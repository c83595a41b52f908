"""Waits a little for more of what comes through a pipe: lines that come together are sent together.

Flows in: a pipe's reader. Flows out: chunks. Invariant: the first bytes after a rest are given on at once, and no chunk
that is full, or the last one, waits for anything.
"""

import asyncio
from collections.abc import AsyncIterator

#: A chunk of this size is full; a reader for it needs this as its limit.
CHUNK_BYTES = 128 * 1024


async def lingering(reader: asyncio.StreamReader, linger_s: float) -> AsyncIterator[bytes]:
    """Yield what comes to the end; behind each chunk, more is collected for at most `linger_s`."""
    data = await reader.read(CHUNK_BYTES)
    while data:
        yield data
        data = await _collect(reader, linger_s) or await reader.read(CHUNK_BYTES)


async def _collect(reader: asyncio.StreamReader, linger_s: float) -> bytes:
    parts, missing = [], CHUNK_BYTES
    try:
        async with asyncio.timeout(linger_s):
            while missing and (part := await reader.read(missing)):
                parts.append(part)
                missing -= len(part)
    except TimeoutError:
        pass
    return b"".join(parts)
