"""The frame: one NATS message that carries 1..N events of one source on one subject.

Flows in: the events' lines. Flows out: payload and headers, and back. Invariant: `Nats-Msg-Id` names the very bytes
that were framed, so the server drops only exact repeats; `Dp-Count` is the number of lines.
Sources: NATS ADR-4 (headers), RFC 8878 (zstd), RFC 1952 (gzip), NDJSON.
"""

import gzip
import io
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import zstandard

from dataplane_common.errors import Permanent, TooLarge

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:  # no wheel for this machine
    from zlib import crc32

MSG_ID = "Nats-Msg-Id"
VERSION = "Dp-Version"
COUNT = "Dp-Count"
SEQUENCE = "Dp-Seq"
REPLAY = "Dp-Replay"
ENCODING = "Content-Encoding"

#: Bytes of events in a full frame before compression: large enough that per-message costs vanish.
TARGET_BYTES = 256 * 1024
#: Payloads below this stay plain, so that quiet subjects can be read by any client.
COMPRESS_FROM_BYTES = 16 * 1024
#: What stays free of the server's `max_payload`, which counts headers, the client does not.
HEADROOM_BYTES = 4 * 1024
#: A payload that decompresses to more than this is refused (zip bomb).
MAX_DECODED_BYTES = 64 * 1024 * 1024
#: zstd's fastest ordinary level: 13 times less on the wire for access logs, faster end to end than none.
_LEVEL = 1
_SUPPORTED_VERSION = "1"
#: A slice of zstd may grow to 128 KiB per four bytes; this bounds what one step can bring to 32 MiB.
_SLICE_BYTES = 1024


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A message ready to publish.

    `first` and `end` are positions in the source (end exclusive), `raw_bytes` the size before compression.
    """

    subject: str
    payload: bytes
    headers: dict[str, str]
    source: str
    first: int
    end: int
    count: int
    raw_bytes: int


@dataclass(slots=True)
class FrameEncoder:
    """Turns lines into frames for one process. Not safe for use by two threads at once.

    `run` is random per process, so that a tap tells a loss from a restart.
    """

    compress: bool = True
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    _sent: dict[tuple[str, str], int] = field(default_factory=dict)
    _compressor: zstandard.ZstdCompressor = field(default_factory=lambda: zstandard.ZstdCompressor(level=_LEVEL))

    def encode(
        self,
        subject: str,
        source: str,
        lines: bytes,
        *,
        first: int,
        end: int,
        count: int,
        replay: bool = False,
    ) -> Frame:
        """Build one frame out of `count` complete lines."""
        number = self._sent.get((source, subject), 0) + 1
        self._sent[source, subject] = number
        headers = {
            MSG_ID: f"{source}-{first:x}-{end:x}-{crc32(lines):08x}",
            COUNT: str(count),
            SEQUENCE: f"{self.run}.{number}",
        }
        if replay:
            headers[REPLAY] = "1"
        payload = lines
        if self.compress and len(lines) >= COMPRESS_FROM_BYTES:
            payload = self._compressor.compress(lines)
            headers[ENCODING] = "zstd"
        return Frame(subject, payload, headers, source, first, end, count, len(lines))

    def forget(self, source: str) -> None:
        """Drop the counters of a source that is finished."""
        for key in [key for key in self._sent if key[0] == source]:
            del self._sent[key]


def size_on_wire(payload: bytes, headers: Mapping[str, str]) -> int:
    """Return the bytes that the server counts against `max_payload`: header block and payload."""
    lines = sum(_bytes(key) + _bytes(value) + len(": \r\n") for key, value in headers.items())
    return len(payload) + lines + len("NATS/1.0\r\n\r\n")


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def decode_payload(payload: bytes, headers: Mapping[str, str], max_bytes: int = MAX_DECODED_BYTES) -> bytes:
    """Return a message's payload, decompressed.

    Raises:
        Permanent: an unknown frame version or encoding, or bytes that are not what the header says.
        TooLarge: it would be larger than `max_bytes`.
    """
    version = headers.get(VERSION, _SUPPORTED_VERSION)
    if version != _SUPPORTED_VERSION:
        raise Permanent(
            f"frame version {version!r} is not known here (known: {_SUPPORTED_VERSION}); upgrade this reader"
        )
    match headers.get(ENCODING, "").lower():
        case "" | "identity":
            return payload
        case "zstd":
            return _decode_zstd(payload, max_bytes)
        case "gzip":
            return _inflate(payload, max_bytes)
        case other:
            raise Permanent(f"Content-Encoding {other!r} is not known here (known: zstd, gzip)")


def _decode_zstd(payload: bytes, max_bytes: int) -> bytes:
    try:
        declared = zstandard.frame_content_size(payload)
        if declared > max_bytes:
            raise TooLarge(f"zstd payload declares {declared} bytes, above the limit of {max_bytes}")
        if declared >= 0:
            return zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False)
        return _decode_zstd_stream(payload, max_bytes)
    except zstandard.ZstdError as error:
        raise Permanent(f"zstd payload cannot be decompressed: {error}") from error


def _decode_zstd_stream(payload: bytes, max_bytes: int) -> bytes:
    """Decompress a frame that does not say its size, in slices, so that growth is seen before it fills the memory."""
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    parts, size = [], 0
    for start in range(0, len(payload), _SLICE_BYTES):
        parts.append(decompressor.decompress(payload[start : start + _SLICE_BYTES]))
        size += len(parts[-1])
        if size > max_bytes:
            raise TooLarge(f"zstd payload decompresses to more than {max_bytes} bytes")
    if not decompressor.eof or decompressor.unused_data:
        raise Permanent("zstd payload is cut off, or more than one frame")
    return b"".join(parts)


def _inflate(payload: bytes, max_bytes: int) -> bytes:
    try:
        decoded = gzip.GzipFile(fileobj=io.BytesIO(payload)).read(max_bytes + 1)  # members may follow each other
    except EOFError as error:
        raise Permanent("gzip payload is cut off") from error
    except (OSError, zlib.error) as error:
        raise Permanent(f"gzip payload cannot be decompressed: {error}") from error
    if len(decoded) > max_bytes:
        raise TooLarge(f"gzip payload decompresses to more than {max_bytes} bytes")
    return decoded
