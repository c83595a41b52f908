"""What each answer of Elasticsearch means for an event: the two tables of the sink.

Pure. Flows in: a status and an error as the server gave them. Flows out: a verdict.
Invariant: only an answer that blames the event itself rejects it; whatever an operator or time can mend is tried again.
Source: Elasticsearch documentation, "Bulk API"; its exception types as answered by 8.19.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from typing import Any


class Verdict(Enum):
    """What is to be done about one event."""

    CREATED = auto()
    CONFLICT = auto()
    FAILURE_STORE = auto()
    REJECTED = auto()
    LATER = auto()


class RequestVerdict(Enum):
    """What is to be done about a whole request: read its items, try it again, slower, signed anew, or in halves."""

    ITEMS = auto()
    LATER = auto()
    SLOWER = auto()
    SIGN_ANEW = auto()
    SPLIT = auto()


@dataclass(frozen=True, slots=True)
class Item:
    """The answer to one action. Status 0 means that there was none."""

    status: int
    error: Mapping[str, Any] = field(default_factory=dict)
    failure_store: str = ""

    @property
    def type(self) -> str:
        """The server's name of the error, or ""."""
        return str(self.error.get("type") or "")

    @property
    def index(self) -> str:
        """The backing index that the error names, or ""."""
        return str(self.error.get("index") or "")

    @property
    def reason(self) -> str:
        """The error and its causes as one line."""
        return explain(self.error) or f"status {self.status}"


#: Errors that blame the cluster or its settings, though their status blames the event; mending those lets it in.
_NOT_THE_EVENTS_FAULT = frozenset(
    {
        "index_closed_exception",
        "validation_exception",  # too many shards in the cluster: a data stream could not be created
    }
)
_TYPE_CONFLICT = re.compile(
    r"(?:failed to parse field|object mapping for|mapper) "
    r"\[([^\]]+)\] (?:of type|tried to parse field|cannot be changed from type)"
)
_PIPELINE_MISSING = "pipeline with id ["
_CREATED = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})
_AGAIN = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_CONFLICT = "version_conflict_engine_exception"


def verdict(item: Item) -> Verdict:
    """Say what the answer to one `create` action means."""
    if item.status in _CREATED:
        return Verdict.FAILURE_STORE if item.failure_store == "used" else Verdict.CREATED
    if item.status == HTTPStatus.CONFLICT:
        return Verdict.CONFLICT if item.type == _CONFLICT and item.index else Verdict.LATER
    if item.type in _NOT_THE_EVENTS_FAULT or item.status in _AGAIN:
        return Verdict.LATER
    if _PIPELINE_MISSING in str(item.error.get("reason", "")):
        return Verdict.LATER
    is_refusal = HTTPStatus.BAD_REQUEST <= item.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return Verdict.REJECTED if is_refusal else Verdict.LATER


def request_verdict(status: int) -> RequestVerdict:
    """Say what the answer to a whole bulk request means; status 0 means that there was none."""
    match status:
        case HTTPStatus.OK | HTTPStatus.CREATED:
            return RequestVerdict.ITEMS
        case HTTPStatus.BAD_REQUEST | HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return RequestVerdict.SPLIT
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return RequestVerdict.SIGN_ANEW
        case HTTPStatus.TOO_MANY_REQUESTS:
            return RequestVerdict.SLOWER
    return RequestVerdict.LATER


def is_ambiguous(status: int) -> bool:
    """Tell whether a request that failed so may have been carried out all the same, wholly or in part."""
    return status == 0 or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT


def conflicting_field(error: Any) -> str:
    """Return the name of the field whose type a document contradicts, or ""."""
    while isinstance(error, Mapping):
        if match := _TYPE_CONFLICT.search(str(error.get("reason", ""))):
            return match[1]
        error = error.get("caused_by")
    return ""


def explain(error: Any) -> str:
    """Return an error of the server and its causes as one line."""
    texts: list[str] = []
    while isinstance(error, Mapping):
        text = ": ".join(str(error[key]) for key in ("type", "reason") if error.get(key))
        if text:
            texts.append(" ".join(text.split()))
        error = error.get("caused_by")
    return "; caused by ".join(texts) or (str(error) if error else "")
