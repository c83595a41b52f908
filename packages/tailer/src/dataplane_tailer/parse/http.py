r"""What the access logs of web servers have in common: requests, addresses, escapes. Pure.

Flows in: parts of a line. Flows out: ECS objects. Invariant: a request that is none stays visible as it was sent.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Any

import msgspec

#: Distinct addresses that are remembered.
_ADDRESSES_KEPT = 4096
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_is_ipv4 = re.compile(rf"(?:{_BYTE}\.){{3}}{_BYTE}", re.ASCII).fullmatch
_OCTETS = frozenset(b"%d" % number for number in range(256))
#: The target of a request may have blanks only where the version ends it: clients send such, and servers log them.
_METHOD = r"([A-Za-z][\w.!#$%&'*+^`|~-]*)"
_REQUEST = re.compile(rf"{_METHOD} (?:(\S+)|(.+) HTTP/(\d(?:\.\d)?))", re.ASCII | re.DOTALL)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"v": b"\v", b"f": b"\f"}


def is_ip(text: str) -> bool:
    """Tell whether a text is an IPv4 or IPv6 address, which is what Elasticsearch's type `ip` takes."""
    return _is_ipv4(text) is not None or (":" in text and _is_ipv6(text))


@lru_cache(maxsize=_ADDRESSES_KEPT)
def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def endpoint(address: str) -> dict[str, Any]:
    """Return the ECS fields of one end of a connection: `address`, and `ip` where it is one."""
    return {"address": address, "ip": address} if is_ip(address) else {"address": address}


def endpoint_members(address: bytes) -> bytes:
    """Return the members of `endpoint` as JSON; on a public site many lines have an address of their own."""
    parts = address.split(b".")
    if len(parts) == 4 and _OCTETS.issuperset(parts):  # noqa: PLR2004 - an IPv4 address
        return b'"address":"%b","ip":"%b"' % (address, address)
    return _other_members(address)


@lru_cache(maxsize=_ADDRESSES_KEPT)
def _other_members(address: bytes) -> bytes:
    return msgspec.json.encode(endpoint(address.decode()))[1:-1]


def split_request(request: str) -> tuple[str | None, str, str | None]:
    """Return (method, target, HTTP version) of a request line (RFC 9112); one that is none is all target."""
    found = _REQUEST.fullmatch(request)
    return (found[1], found[2] or found[3], found[4]) if found else (None, request, None)


def unescaped(text: str) -> str:
    r"""Return a text without the escapes of Apache and nginx: `\"`, `\\`, `\n`, `\x22`.

    Escaped bytes that are no UTF-8 stay visible as `\xff`.
    """
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_unescape, text.encode()).decode(errors="backslashreplace")


def _unescape(found: re.Match[bytes]) -> bytes:
    what = found[1]
    return bytes.fromhex(what[1:].decode()) if len(what) > 1 else _ESCAPED.get(what, what)
