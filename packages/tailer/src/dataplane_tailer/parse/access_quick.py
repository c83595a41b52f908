"""The short way of access logs: their quotes cut them, and what repeats (seconds, clients, answers) is remembered.

Flows in: a line as it is in the file. Flows out: bytes of JSON, or None for the long way. Invariant: what it gives is
what `access_parser` gives; a line with a backslash, a control character, a user or no agent goes the long way.
"""

import re
from functools import lru_cache

import orjson

from dataplane_tailer.parse import times
from dataplane_tailer.parse.http import endpoint_members
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Quick, Row
from dataplane_tailer.parse.time_field import zone_of

#: Distinct seconds, clients and answers that are remembered.
_KEPT = 4096
_ABSENT = (b"-", b"")
#: Printable ASCII without a comma, which stands in lists of clients.
_is_client = re.compile(rb"[!-+\--~]+").fullmatch
_is_method = re.compile(rb"[A-Za-z]+").fullmatch
_is_version = re.compile(rb"HTTP/(\d(?:\.\d)?)").fullmatch
_is_status = re.compile(rb"[1-9]\d\d").fullmatch
_ZERO, _MOST_DIGITS = ord("0"), 18
#: What may follow the format: nothing, or a blank and the rest.
_ENDS = (b"", b" ")
_FRONT = b'"message":%b,"source":{%b},"url":{"original":"%b"},"http":{"request":{'
_BODY = _FRONT + b"%b%b}}%b"
#: The usual ones: with both, with an agent only (who types an address), with none (the common format).
_BODY_OF_BOTH = _FRONT + b'"referrer":"%b",%b,"body":{"bytes":%b}}},"user_agent":{"original":"%b"}'
_BODY_OF_AGENT = _FRONT + b'%b,"body":{"bytes":%b}}},"user_agent":{"original":"%b"}'
_BODY_OF_NONE = _FRONT + b'%b,"body":{"bytes":%b}}}'
#: The names at the top of what the short way gives.
_TOPS = frozenset({"message", "source", "http", "url", "user_agent", "labels"})


def quick_access(config: ParserConfig, taken: frozenset[str]) -> Quick | None:
    """Return the short way for lines without anything unusual; `taken` are names that are not free."""
    if config.rename or not taken.isdisjoint(_TOPS):
        return None
    is_combined = config.parser == "combined"
    escapes = 2 + (6 if is_combined else 2)
    zone, dumps, source_of, answer_of = zone_of(config.time_zone), orjson.dumps, _source, _http

    @lru_cache(maxsize=_KEPT)
    def time_of(text: bytes) -> bytes:
        """Return the timestamp of a time and the bracket and blank behind it; nothing if it is none."""
        found = times.common(text[:-2].decode(), zone) if text.endswith(b"] ") else None
        return (found or "").encode()

    def quick(line: bytes) -> Row | None:
        try:
            parts = line.split(b'"', 6) if is_combined else _common(line)
            head, request, answer, referrer, blank, agent, rest = parts
            client, _, time = head.partition(b" - - [")
            method, url, version = request.split(b" ")
            before, status, size, behind = answer.split(b" ")
            message = dumps(line.decode())
        except ValueError:
            return None
        source, http, when = source_of(client), answer_of(method, version, status), time_of(time)
        if not (url and source and http and when and blank == b" ") or before or behind or rest[:1] not in _ENDS:
            return None
        # Nothing but quotes is escaped, so all texts are JSON as they are.
        if len(message) != len(line) + escapes + rest.count(b'"') or not (size == b"-" or _is_integer(size)):
            return None
        has_referrer, has_agent = referrer not in _ABSENT, agent not in _ABSENT
        if rest or size == b"-" or (has_referrer and not has_agent):
            body = _BODY % (message, source, url, *_rare(http, size, referrer, agent, rest[1:]))
        elif has_referrer:
            body = _BODY_OF_BOTH % (message, source, url, referrer, http, size, agent)
        elif has_agent:
            body = _BODY_OF_AGENT % (message, source, url, http, size, agent)
        else:
            body = _BODY_OF_NONE % (message, source, url, http, size)
        return when, b"", b"", body

    return quick


def _rare(http: bytes, size: bytes, referrer: bytes, agent: bytes, rest: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the rest of the request, the answer, and what else there is."""
    if referrer not in _ABSENT:
        http = b'"referrer":"%b",%b' % (referrer, http)
    body = b"" if size == b"-" else b',"body":{"bytes":%b}' % size
    more = b"" if agent in _ABSENT else b',"user_agent":{"original":"%b"}' % agent
    if rest:
        more += b',"labels":{"rest":"%b"}' % rest.replace(b'"', b'\\"')
    return http, body, more


@lru_cache(maxsize=_KEPT)
def _source(client: bytes) -> bytes:
    return endpoint_members(client) if _is_client(client) else b""


@lru_cache(maxsize=_KEPT)
def _http(method: bytes, version: bytes, status: bytes) -> bytes:
    """Return what a request and its answer have in common with many others; nothing if a part is unusual."""
    found = _is_version(version)
    if not (found and _is_method(method) and _is_status(status)):
        return b""
    return b'"method":"%b"},"version":"%b","response":{"status_code":%b' % (method, found[1], status)


def _is_integer(text: bytes) -> bool:
    """Tell whether a text is an integer in JSON, and not too large for any reader."""
    return text.isdigit() and len(text) <= _MOST_DIGITS and (text[0] != _ZERO or len(text) == 1)


def _common(line: bytes) -> list[bytes]:
    """Cut a line of the common format as one of the combined format without referrer and agent."""
    head, request, answer = line.split(b'"', 2)
    end = answer.find(b" ", answer.find(b" ", 1) + 1)  # behind blank, status, blank, size
    rest = b"" if end < 0 else answer[end:]
    return [head, request, answer.removesuffix(rest) + b" ", b"-", b" ", b"-", rest]
