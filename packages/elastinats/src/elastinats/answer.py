"""The answer to a bulk request, read.

Pure. Flows in: the server's bytes. Flows out: an `Answer`, with only the items that need to be looked at.
Invariant: an answer that does not fit the request is none, so no event is settled by it.
Source: Elasticsearch documentation, "Bulk API", "Response filtering".
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from elastinats.classify import Item

#: What an answer has to tell of each action, and what else where it has to tell in which index the document is.
FILTER = "errors,items.*.status,items.*.error,items.*.failure_store"
PLACED_FILTER = f"{FILTER},items.*._index"
_ALL_WELL = b'{"errors":false,"items":['
_CREATED = b'"status":201'


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a bulk request; status 0 means that none came.

    `items` has every action that was not simply created, by its position; `beyond` the index of each document that was
    created in another one than the request knew of.
    """

    status: int
    items: Mapping[int, Item] = field(default_factory=dict)
    beyond: Mapping[int, str] = field(default_factory=dict)
    reason: str = ""
    took_s: float = 0.0


def read_items(answer: bytes, count: int) -> dict[int, Item] | None:
    """Return the items of a bulk answer that were not simply created, by position; None if it does not fit.

    Where all is well, and that is the rule, nothing is parsed.
    """
    if answer.startswith(_ALL_WELL) and answer.count(_CREATED) == count and b"failure_store" not in answer:
        return {}
    try:
        items = orjson.loads(answer)["items"]
        if len(items) != count:
            return None
        read = [_item(entry) for entry in items]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return {number: item for number, item in enumerate(read) if item.status != HTTPStatus.CREATED or item.failure_store}


def read_beyond(answer: bytes, count: int, known: Collection[str]) -> dict[int, str]:
    """Return the index of each document that an answer, which fits, says was created in none of the known ones.

    Where there is none, and that is the rule, nothing is parsed; a server that does not tell has none.
    """
    if sum(answer.count(b'"_index":"%b"' % name.encode()) for name in known) == count or b'"_index":' not in answer:
        return {}
    results = (next(iter(entry.values())) for entry in orjson.loads(answer)["items"])
    return {
        number: str(result["_index"])
        for number, result in enumerate(results)
        if result.get("status") == HTTPStatus.CREATED and result.get("_index", "") not in {"", *known}
    }


def _item(entry: dict[str, dict[str, Any]]) -> Item:
    (result,) = entry.values()
    error = result.get("error", {})
    return Item(
        int(result["status"]),
        error if isinstance(error, dict) else {"reason": str(error)},
        str(result.get("failure_store", "")),
    )
