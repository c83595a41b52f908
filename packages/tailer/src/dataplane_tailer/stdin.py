"""Standard input as a source: `some_program | dataplane-tailer run - --dataset x`.

Flows in: bytes of a pipe, a terminal or a file. Flows out: batches of lines; the last one needs no newline. What was
read and not yet acknowledged when the process is killed is lost: a pipe gives nothing twice.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass

from dataplane_tailer.batch import Batch, batches_of
from dataplane_tailer.linger import CHUNK_BYTES, lingering


@dataclass(slots=True, eq=False)
class StandardInput:
    """Reads a descriptor to its end; lines above `limit_bytes` come in pieces."""

    limit_bytes: int
    linger_s: float
    descriptor: int = 0
    name: str = "-"
    is_repeatable: bool = False

    async def batches(self, cursor: str = "") -> AsyncIterator[Batch]:
        """Yield lines as they come, those of a linger together."""
        del cursor
        async for batch in batches_of(self._chunks(), self.limit_bytes):
            yield batch

    async def _chunks(self) -> AsyncIterator[bytes]:
        mode = os.fstat(self.descriptor).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(self.descriptor)):
            while data := os.read(self.descriptor, CHUNK_BYTES):
                yield data
            return
        reader = asyncio.StreamReader(limit=CHUNK_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        pipe = os.fdopen(os.dup(self.descriptor), "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
        try:
            async for data in lingering(reader, self.linger_s):
                yield data
        finally:
            transport.close()
            os.set_blocking(self.descriptor, True)  # a terminal is shared with whoever started this
