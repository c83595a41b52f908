r"""Access logs of Apache and nginx: the common and the combined format.

Flows in: a line. Flows out: ECS fields of the request, the line itself as `message`. Invariant: `-` is absent; what a
server adds behind the format is kept in `labels.rest`.
"""

import re
from typing import Any

from dataplane_tailer.parse import times
from dataplane_tailer.parse.http import endpoint, split_request, unescaped
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Parse, Parsed, unparsed
from dataplane_tailer.parse.time_field import zone_of

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
