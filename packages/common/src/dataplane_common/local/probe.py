"""Questions to a local server over HTTP, past any proxy, each with a deadline.

Flows in: a URL of a server's monitoring. Flows out: status and body, or `Transient` where nobody answers.
"""

import http.client
import urllib.parse
from typing import Any

import msgspec

from dataplane_common.errors import Transient

DEFAULT_TIMEOUT_S = 2.0
_OK = 200


def get(url: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> tuple[int, bytes]:
    """Return (status, body) of a GET.

    Raises:
        Transient: nobody answers there in time.
    """
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout_s)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path or "/")
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Transient(f"{url} does not answer: {error or type(error).__name__}") from error
    finally:
        connection.close()


def is_ok(url: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> bool:
    """Tell whether a GET is answered with 200."""
    try:
        return get(url, timeout_s)[0] == _OK
    except Transient:
        return False


def get_json(url: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> Any:
    """Return the JSON that a GET answers.

    Raises:
        Transient: nobody answers, the status is not 200, or the body is not JSON.
    """
    status, body = get(url, timeout_s)
    if status != _OK:
        raise Transient(f"{url} answers {status}")
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Transient(f"{url} does not answer JSON: {error}") from error
