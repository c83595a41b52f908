"""Elasticsearch's place taken by nothing: 201 for each action of a bulk body, no index at all, else `{}`.

`.venv/bin/python bench/null_endpoint.py PORT`. It shows what a sink itself can do; `bench/sink.py` starts it.
"""

import asyncio
import sys

_OK = b'{"create":{"status":201}}'
_NO_INDEX = b'{"error":{"type":"index_not_found_exception","reason":"no such index"},"status":404}'
_HEAD = (
    b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nX-elastic-product: Elasticsearch\r\nContent-Length: %d\r\n\r\n"
)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection's requests until it ends."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(length(head))
            status, answer = answer_to(head, body)
            writer.write(_HEAD % (status, len(answer)) + answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def answer_to(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return status and body of the answer to a request."""
    if head.startswith(b"POST"):
        items = b",".join([_OK] * (body.count(b"\n") // 2))
        return b"200 OK", b'{"errors":false,"items":[' + items + b"]}"
    return (b"404 Not Found", _NO_INDEX) if b"/_settings/" in head else (b"200 OK", b"{}")


def length(head: bytes) -> int:
    """Return the length of a request's body."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def main(port: int) -> None:
    """Listen until ended."""
    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 24)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
