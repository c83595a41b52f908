r"""Access logs of Apache and nginx: the common and the combined format.

Flows in: a line. Flows out: ECS fields of the request, the line itself as `message`. Invariant: `-` is absent; what a
server adds behind the format is kept in `labels.rest`.
"""

import re
from functools import lru_cache
from typing import Any

import msgspec

from dataplane_tailer.parse import times
from dataplane_tailer.parse.http import endpoint, split_request, unescaped
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Parse, Parsed, Quick, unparsed
from dataplane_tailer.parse.time_field import zone_of

#: Distinct seconds, and distinct clients, that are remembered per file.
_SECONDS_KEPT = 4096
_ABSENT = (b"-", b"")
_QUOTED = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
#: Apache's `vhost_combined` has `name:port` in front; behind a proxy the client may be a list of addresses.
_CLIENT = r"(?:([^\s:]++:\d{1,5}) (?!- ))?((?:\S+, )*+\S+) (\S+)"
_COMMON = (
    _CLIENT + r" (.{1,200}?) \[([^\[\]]{1,40})\] "
    r'"(?:([A-Za-z]++) ([^\s"\\]++) HTTP/(\d(?:\.\d)?)"|(' + _QUOTED + r')") (\d{3}|-) (\d{1,18}|-)'
)
_FORMATS = {
    "common": re.compile(_COMMON + r"()()(?: (.*))?", re.DOTALL | re.ASCII),
    "combined": re.compile(_COMMON + f' "({_QUOTED})" "({_QUOTED})"' + r"(?: (.*))?", re.DOTALL | re.ASCII),
}
#: What Apache writes for a user whose name is empty.
_NO_USER = ("-", '""')

#: The usual line: printable ASCII without a backslash, so that its texts are JSON as they are.
_TEXT = rb"[ !#-\[\]-~]*+"
_QUICK_COMMON = (
    rb"([!-~]++) - - \[([ !#-Z^-~]++)\] "
    rb'"([A-Z]++) ([!#-\[\]-~]++) HTTP/(\d(?:\.\d)?)" ([1-9]\d\d) (0|[1-9]\d{0,17})'
)
_QUICK = {
    "common": re.compile(_QUICK_COMMON),
    "combined": re.compile(_QUICK_COMMON + rb' "(' + _TEXT + rb')" "(' + _TEXT + rb')"'),
}
_BODY = (
    b'"message":"%b","source":%b,"http":{"response":{"status_code":%b,"body":{"bytes":%b}},'
    b'"request":{"method":"%b"%b},"version":"%b"},"url":{"original":"%b"}%b'
)
#: The names at the top of what the short way gives.
_TOPS = frozenset({"message", "source", "http", "url", "user_agent"})


def access_parser(config: ParserConfig) -> Parse:
    """Return the parser `common` or `combined`: `host ident user [time] "request" status bytes "referrer" "agent"`.

    Raises:
        ConfigError: `time_zone` is unknown.
    """
    match, zone = _FORMATS[config.parser].fullmatch, zone_of(config.time_zone)
    expected = f"not the {config.parser} log format"
    common, iso = times.common, times.iso

    def parse(line: str, _at: str) -> Parsed:
        if (found := match(line)) is None:
            return unparsed(line, expected)
        server, client, ident, user, time, method, url, version, request, status, size, referrer, agent, rest = (
            found.groups()
        )
        if (timestamp := common(time, zone) or iso(time, zone)) is None:
            return unparsed(line, f"{expected}: no time is [{time}]")
        if request is not None:
            method, url, version = _request(request)
        http = _http(method, version, status, size)
        fields: dict[str, Any] = {"message": line, "source": endpoint(client.partition(",")[0]), "http": http}
        if url is not None:
            fields["url"] = {"original": url}
        if agent and agent != "-":
            fields["user_agent"] = {"original": unescaped(agent)}
        if referrer and referrer != "-":
            http.setdefault("request", {})["referrer"] = unescaped(referrer)
        if user != "-" or ident != "-" or rest or server or "," in client:
            _add_rare(fields, user, server, {"ident": ident, "rest": rest, "clients": client})
        return Parsed(fields, timestamp, "", True)  # noqa: FBT003 - a keyword costs time here

    return parse


def _request(request: str) -> tuple[str | None, str | None, str | None]:
    return (None, None, None) if request in ("-", "") else split_request(unescaped(request))


def _http(method: str | None, version: str | None, status: str, size: str) -> dict[str, Any]:
    response: dict[str, Any] = {}
    if status != "-":
        response["status_code"] = int(status)
    if size != "-":
        response["body"] = {"bytes": int(size)}
    http: dict[str, Any] = {"response": response}
    if method is not None:
        http["request"] = {"method": method}
    if version is not None:
        http["version"] = version
    return http


def _add_rare(fields: dict[str, Any], user: str, server: str | None, labels: dict[str, str]) -> None:
    if user not in _NO_USER:
        fields["user"] = {"name": unescaped(user)}
    if server:
        domain, _, port = server.partition(":")
        fields["destination"] = {"domain": domain, "port": int(port)}
    if "," not in labels["clients"]:
        del labels["clients"]
    found = {name: text for name, text in labels.items() if text and text != "-"}
    if found:
        fields["labels"] = found


def quick_access(config: ParserConfig, taken: frozenset[str]) -> Quick | None:
    """Return the short way for lines without anything unusual; `taken` are names that are not free."""
    if config.rename or not taken.isdisjoint(_TOPS):
        return None
    match, zone, is_combined = _QUICK[config.parser].fullmatch, zone_of(config.time_zone), config.parser == "combined"

    @lru_cache(maxsize=_SECONDS_KEPT)
    def time_of(text: bytes) -> bytes:
        return (times.common(text.decode(), zone) or "").encode()

    def quick(line: bytes) -> tuple[bytes, bytes, bytes] | None:
        if (found := match(line)) is None:
            return None
        groups = found.groups()
        host, time, method, url, version, status, size = groups[:7]
        if not (when := time_of(time)):
            return None
        referrer = agent = b""
        if is_combined:
            if (text := groups[7]) not in _ABSENT:
                referrer = b',"referrer":"%b"' % text
            if (text := groups[8]) not in _ABSENT:
                agent = b',"user_agent":{"original":"%b"}' % text
        message = line.replace(b'"', b'\\"')
        source = _source(host)
        return when, b"", _BODY % (message, source, status, size, method, referrer, version, url, agent)

    return quick


@lru_cache(maxsize=_SECONDS_KEPT)
def _source(host: bytes) -> bytes:
    return msgspec.json.encode(endpoint(host.decode()))
