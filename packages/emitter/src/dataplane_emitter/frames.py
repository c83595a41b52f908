"""Cuts events into frames.

Flows in: entries of the queue. Flows out: frames, each of one subject. Invariant: an event has one identity from the
moment it is framed: a frame that has to be cut again carries the same lines, or the same events shortened.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter

from dataplane_common.frame import REPLAY, TARGET_BYTES, Frame, FrameEncoder, decode_payload
from dataplane_emitter.account import Account
from dataplane_emitter.queue import Entry
from dataplane_emitter.shrink import shrink

#: What the headers of a frame take: names and values of at most four headers.
_HEADER_BYTES = 512
#: An event that is refused at this size is not refused for its size.
_MIN_LINE_BYTES = 2_048
_route = attrgetter("route")


class Framer:
    """Gives events their sequence and puts them into frames of at most `TARGET_BYTES` before compression."""

    def __init__(self, account: Account, encoder: FrameEncoder) -> None:
        self._account = account
        self._encoder = encoder

    def frames(self, entries: Iterable[Entry], max_message_bytes: int) -> Iterator[Frame]:
        """Yield the entries as frames, subject by subject; the first event of each frame always fits."""
        by_subject: dict[str, list[Entry]] = {}
        for route, run in groupby(entries, _route):
            by_subject.setdefault(route.subject, []).extend(run)
        for subject, group in by_subject.items():
            yield from self._cut(subject, self._lines(group, max_message_bytes), max_message_bytes)

    def smaller(self, frame: Frame, *, replay: bool = False) -> list[Frame]:
        """Return the events of a frame that was too large in smaller frames; none if it cannot get smaller.

        `replay` marks them as re-sends.
        """
        replay = replay or REPLAY in frame.headers
        lines = decode_payload(frame.payload, frame.headers).splitlines(keepends=True)
        if len(lines) > 1:
            middle = frame.first + len(lines) // 2
            halves = ((frame.first, lines[: len(lines) // 2]), (middle, lines[len(lines) // 2 :]))
            return [self._part(frame, part, first, replay=replay) for first, part in halves]
        if len(lines[0]) <= _MIN_LINE_BYTES:
            return []
        return [self._part(frame, [shrink(lines[0], len(lines[0]) // 2)], frame.first, replay=replay)]

    def again(self, frame: Frame, *, replay: bool = False) -> Frame:
        """Return a frame with the same events under headers of this process; `replay` marks it as a re-send."""
        lines = decode_payload(frame.payload, frame.headers)
        return self._encoder.encode(
            frame.subject, frame.source, lines, first=frame.first, end=frame.end, count=frame.count, replay=replay
        )

    def _lines(self, group: list[Entry], max_message_bytes: int) -> list[bytes]:
        limit = max_message_bytes - _HEADER_BYTES
        found = lines(self._account.source, self._account.next_sequences(len(group)), group)
        if max(map(len, found)) <= limit:
            return found
        return [line if len(line) <= limit else shrink(line, limit) for line in found]

    def _cut(self, subject: str, lines: list[bytes], max_message_bytes: int) -> Iterator[Frame]:
        limit = min(TARGET_BYTES, max_message_bytes - _HEADER_BYTES)
        position = self._account.last_sequence - len(lines) + 1
        if sum(map(len, lines)) <= limit:
            yield self._encode(subject, lines, position)
            return
        begin = size = 0
        for index, line in enumerate(lines):
            if index > begin and size + len(line) > limit:
                yield self._encode(subject, lines[begin:index], position + begin)
                begin, size = index, 0
            size += len(line)
        yield self._encode(subject, lines[begin:], position + begin)

    def _part(self, frame: Frame, lines: list[bytes], first: int, *, replay: bool) -> Frame:
        return self._encoder.encode(
            frame.subject,
            frame.source,
            b"".join(lines),
            first=first,
            end=first + len(lines),
            count=len(lines),
            replay=replay,
        )

    def _encode(self, subject: str, lines: list[bytes], first: int) -> Frame:
        count = len(lines)
        payload = b"".join(lines)
        return self._encoder.encode(subject, self._account.source, payload, first=first, end=first + count, count=count)


def lines(source: str, first: int, entries: Iterable[Entry]) -> list[bytes]:
    """Return the finished lines of events, numbered from `first` on.

    The identity is written as `dataplane_common.event.event_id` writes it.
    """
    head = b'{"_id":"%b-' % source.encode()
    finished: list[bytes] = []
    for route, run in groupby(entries, _route):
        begun, ending, end = route.begun, route.ending(source.encode()), route.body_end
        finished += [
            b'%b%x",%b%b%b%b%d%b' % (head, number, one.body[1:end], one.log, one.process, begun, number, ending)
            for number, one in enumerate(run, first + len(finished))
        ]
    return finished
