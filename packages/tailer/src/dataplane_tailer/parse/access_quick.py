"""The short way of access logs: what repeats in them (seconds, clients, methods with their answers) is remembered.

Flows in: a line as it is in the file. Flows out: bytes of JSON, or None for the long way. Invariant: what it gives is
what `access_parser` gives; a line with a backslash, a control character, a user or no agent goes the long way.
"""

import re
from functools import lru_cache

import orjson

from dataplane_tailer.parse import times
from dataplane_tailer.parse.http import endpoint_members
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Quick
from dataplane_tailer.parse.time_field import zone_of

#: Distinct seconds and answers that are remembered.
_KEPT = 4096
_ABSENT = (b"-", b"")
#: The client is printable ASCII without a comma, which stands in lists of clients.
_COMMON = (
    rb"([!-+\--~]++) - - \[([^\]]++)\] "
    rb'"([A-Za-z]++) ([^ "]++) HTTP/(\d(?:\.\d)?)" ([1-9]\d\d) (0|[1-9]\d{0,17}|-)'
)
_PATTERNS = {
    "common": re.compile(_COMMON + rb"()()(?: (.*))?", re.DOTALL),
    "combined": re.compile(_COMMON + rb' "([^"]*+)" "([^"]*+)"(?: (.*))?', re.DOTALL),
}
_QUOTES = {"common": 2, "combined": 6}
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
    match, zone = _PATTERNS[config.parser].fullmatch, zone_of(config.time_zone)
    quotes, dumps = 2 + _QUOTES[config.parser], orjson.dumps

    @lru_cache(maxsize=_KEPT)
    def time_of(text: bytes) -> bytes:
        return (times.common(text.decode(), zone) or "").encode()

    def quick(line: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
        if (found := match(line)) is None:
            return None
        try:
            message = dumps(line.decode())
        except UnicodeDecodeError:
            return None
        client, time, method, url, version, status, size, referrer, agent, rest = found.groups()
        # Nothing but quotes is escaped, so all texts are JSON as they are.
        escapes = quotes if not rest else quotes + rest.count(b'"')
        if len(message) != len(line) + escapes or not (when := time_of(time)):
            return None
        source, http = endpoint_members(client), _http(method, version, status)
        has_referrer, has_agent = referrer not in _ABSENT, agent not in _ABSENT
        if rest or size == b"-" or (has_referrer and not has_agent):
            body = _BODY % (message, source, url, *_rare(http, size, referrer, agent, rest))
        elif has_referrer:
            body = _BODY_OF_BOTH % (message, source, url, referrer, http, size, agent)
        elif has_agent:
            body = _BODY_OF_AGENT % (message, source, url, http, size, agent)
        else:
            body = _BODY_OF_NONE % (message, source, url, http, size)
        return when, b"", b"", body

    return quick


def _rare(http: bytes, size: bytes, referrer: bytes, agent: bytes, rest: bytes | None) -> tuple[bytes, bytes, bytes]:
    """Return the rest of the request, the answer, and what else there is."""
    if referrer not in _ABSENT:
        http = b'"referrer":"%b",%b' % (referrer, http)
    body = b"" if size == b"-" else b',"body":{"bytes":%b}' % size
    more = b"" if agent in _ABSENT else b',"user_agent":{"original":"%b"}' % agent
    if rest:
        more += b',"labels":{"rest":"%b"}' % rest.replace(b'"', b'\\"')
    return http, body, more


@lru_cache(maxsize=_KEPT)
def _http(method: bytes, version: bytes, status: bytes) -> bytes:
    return b'"method":"%b"},"version":"%b","response":{"status_code":%b' % (method, version, status)
