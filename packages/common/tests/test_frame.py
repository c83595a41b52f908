"""Rules of the frame."""

import gzip
import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.errors import Permanent, TooLarge
from dataplane_common.frame import FrameEncoder, decode_payload, size_on_wire


@given(
    st.lists(st.binary(max_size=2000).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=60), st.booleans()
)
def test_what_is_framed_comes_back(lines: list[bytes], compress: bool) -> None:
    """Payload and headers give back the very bytes, compressed or not, and the count."""
    frame = FrameEncoder(compress=compress).encode("s", "src", b"".join(lines), first=1, end=2, count=len(lines))
    assert decode_payload(frame.payload, frame.headers) == b"".join(lines)
    assert frame.headers["Dp-Count"] == str(len(lines))


def test_only_the_same_bytes_have_the_same_message_id() -> None:
    """The server may drop exact repeats, and nothing else."""
    encoder = FrameEncoder()
    one, again, other = (
        encoder.encode("s", "src", lines, first=1, end=9, count=1).headers["Nats-Msg-Id"]
        for lines in (b"a\n", b"a\n", b"b\n")
    )
    assert one == again != other


def test_numbers_are_contiguous_per_source_and_subject() -> None:
    """A gap within a run is a loss; another process is another run."""
    encoder = FrameEncoder()

    def number(subject: str, source: str) -> str:
        return encoder.encode(subject, source, b"x\n", first=0, end=1, count=1).headers["Dp-Seq"]

    run = encoder.run
    numbers = [number("a", "1"), number("a", "1"), number("b", "1"), number("a", "2"), number("a", "1")]
    assert numbers == [f"{run}.1", f"{run}.2", f"{run}.1", f"{run}.1", f"{run}.3"]
    assert FrameEncoder().run != run


def test_small_frames_stay_plain_and_replays_are_marked() -> None:
    """Quiet subjects can be read by any client; a re-send says that it is one."""
    encoder = FrameEncoder()
    small = encoder.encode("s", "src", b"x\n", first=0, end=1, count=1, replay=True)
    large = encoder.encode("s", "src", b"x" * 20_000 + b"\n", first=0, end=1, count=1)
    assert "Content-Encoding" not in small.headers
    assert small.headers["Dp-Replay"] == "1"
    assert large.headers["Content-Encoding"] == "zstd"
    assert "Dp-Replay" not in large.headers


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    """What would grow beyond the limit is never built in memory, whether it says its size or not."""
    bomb = bytes(80_000_000)
    streamed = zstandard.ZstdCompressor(write_content_size=False).compress(bomb)
    for payload, encoding in ((zstandard.compress(bomb), "zstd"), (streamed, "zstd"), (gzip.compress(bomb), "gzip")):
        tracemalloc.start()
        with pytest.raises(TooLarge):
            decode_payload(payload, {"Content-Encoding": encoding}, max_bytes=1_000_000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < len(bomb) / 2


@pytest.mark.parametrize("headers", [{"Content-Encoding": "zstd"}, {"Content-Encoding": "gzip"}])
def test_damaged_payloads_are_refused(headers: dict[str, str]) -> None:
    """Bytes that are not what the header says are a permanent error of this message."""
    with pytest.raises(Permanent):
        decode_payload(b"not compressed at all", headers)


def test_a_truncated_payload_is_refused() -> None:
    """Half a compressed payload is no payload."""
    for encoding, whole in (("zstd", zstandard.compress(os.urandom(5000))), ("gzip", gzip.compress(os.urandom(5000)))):
        with pytest.raises(Permanent):
            decode_payload(whole[:2000], {"Content-Encoding": encoding})


def test_packed_pieces_one_after_the_other_are_all_read() -> None:
    """Members of gzip may follow each other (RFC 1952), within one limit; what else follows is no part of it."""
    two = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    assert decode_payload(two, {"Content-Encoding": "gzip"}) == b"one\ntwo\n"
    with pytest.raises(TooLarge):
        decode_payload(two, {"Content-Encoding": "gzip"}, 7)
    with pytest.raises(Permanent):
        decode_payload(two + b"three", {"Content-Encoding": "gzip"})


@pytest.mark.parametrize("says_its_size", [True, False])
def test_what_follows_a_zstd_frame_is_not_passed_over(says_its_size: bool) -> None:
    """The whole payload is one frame: what comes behind it makes the payload unreadable, so that nothing is lost."""
    one = zstandard.ZstdCompressor(write_content_size=says_its_size).compress(b"one\n" * 1000)
    for more in (one, b"more", b"more" * 1000):
        with pytest.raises(Permanent):
            decode_payload(one + more, {"Content-Encoding": "zstd"})


def test_unknown_versions_and_encodings_are_refused() -> None:
    """A reader that does not know the form must not guess."""
    for headers in ({"Dp-Version": "2"}, {"Content-Encoding": "br"}):
        with pytest.raises(Permanent, match="not known"):
            decode_payload(b"x", headers)


def test_the_size_counts_headers_as_the_server_does() -> None:
    """`NATS/1.0`, each `key: value` line and the blank line count against max_payload."""
    assert size_on_wire(b"12345", {"A": "b"}) == len("NATS/1.0\r\nA: b\r\n\r\n") + 5
