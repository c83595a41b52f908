"""Servers' URLs: what the client can connect to.

Pure. Flows in: texts of a configuration. Flows out: the same with their scheme. Invariant: a text that no server can be
reached by is refused, and no part of a password is in the refusal.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from dataplane_common.errors import ConfigError

_WEB = ("ws", "wss")
_SCHEMES = ("nats", "tls", *_WEB)
_REMEDY = "give nats://HOST:PORT"
_SECRETS = "; a password that has one of /?#, goes into nats.password_file"
_NO_PORT = "the port is no number from 1 to 65535"


def complete(servers: Sequence[str]) -> tuple[str, ...]:
    """Return the URLs with the scheme that the client assumes, `nats://`, where none is written.

    Raises:
        ConfigError: one of them is none, or there is none; begins with the key.
    """
    if not servers:
        raise ConfigError(f"nats.servers: there is none; {_REMEDY}")
    # a comma in a password has cut it in two where several servers are one text: with one "@", any part may be secret
    is_secret = any("@" in url for url in servers)
    urls = []
    for number, url in enumerate(servers):
        given, colon, rest = url.partition("://")
        scheme, rest = (given.lower(), rest) if colon else ("nats", url)
        if wrong := _find_wrong(scheme, rest):
            shown, where = ("this", _SECRETS) if is_secret else (f'"{url}"', "")
            raise ConfigError(f"nats.servers.{number}: {shown} is no server's URL: {wrong}; {_REMEDY}{where}")
        urls.append(f"{scheme}://{rest}")
    if len({url.partition("://")[0] in _WEB for url in urls}) > 1:
        raise ConfigError("nats.servers: ws:// and nats:// do not mix; name servers of one kind")
    return tuple(urls)


def _find_wrong(scheme: str, rest: str) -> str | None:
    """Return what is wrong with a URL, without a word of it."""
    if scheme not in _SCHEMES:
        return f"NATS has the schemes {', '.join(_SCHEMES)}"
    if any(sign.isspace() or not sign.isprintable() for sign in rest):
        return "there is a space in it"
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host = parts.hostname
    except ValueError:  # a bracket without the other
        host = None
    if not host:
        return "there is no host"
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return "something follows the host"
    try:
        return None if parts.port != 0 else _NO_PORT
    except ValueError:
        return _NO_PORT
