"""A search as the on-call engineer types it: newest first, one line each.

Flows in: a query, limits. Flows out: documents. Invariant: the same order as everywhere, `@timestamp`, `dp.source`,
`event.sequence`; and a query is never refused for its spelling.
Source: Elasticsearch 8 reference, "Query string query", "Simple query string query", "Date math".
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dataplane.elastic import Elastic
from dataplane_common.errors import ConfigError, Permanent
from dataplane_common.event import parse_timestamp
from dataplane_common.taxonomy import Signal, check_token

_AGE = re.compile(r"(\d+)(s|m|h|d|w)")
_ORDER = (("@timestamp", "date"), ("dp.source", "keyword"), ("event.sequence", "long"))
_POLL_S = 0.25
_SYNTAX_ERRORS = ("cannot parse", "failed to parse query", "encountered")


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked for; `dataset` and `namespace` None mean all, `since` is an age or a time."""

    query: str
    signal: Signal = Signal.LOGS
    dataset: str | None = None
    namespace: str | None = None
    since: str | None = None
    limit: int = 50

    @property
    def target(self) -> str:
        """The data streams to search.

        Raises:
            ConfigError: the dataset or namespace cannot exist.
        """
        dataset = check_token("--dataset", self.dataset) if self.dataset else "*"
        namespace = check_token("--namespace", self.namespace) if self.namespace else "*"
        return f"{self.signal}-{dataset}-{namespace}"

    def body(self, *, plain_words: bool = False) -> dict[str, Any]:
        """Return the request; `plain_words` takes the query as words and phrases, whatever characters it has.

        Raises:
            ConfigError: `since` is neither an age nor a time.
        """
        kind = "simple_query_string" if plain_words else "query_string"
        asked = {kind: {"query": self.query or "*", "default_operator": "AND", "lenient": True}}
        newest = [{name: {"order": "desc", "unmapped_type": kind}} for name, kind in _ORDER]
        lower = [{"range": {"@timestamp": {"gte": oldest(self.since)}}}] if self.since else []
        return {"query": {"bool": {"must": [asked], "filter": lower}}, "sort": newest, "size": self.limit}


def oldest(since: str) -> str:
    """Return Elasticsearch's spelling of an age (`10m`) or a time (`2026-11-22T10:00`).

    Raises:
        ConfigError: it is neither.
    """
    if _AGE.fullmatch(since):
        return f"now-{since}"
    if at := parse_timestamp(since):
        return at
    raise ConfigError(f'--since: "{since}" is no age (30s, 10m, 2h, 7d, 1w) and no time (2026-11-22T10:15:00Z)')


def find(elastic: Elastic, search: Search, report: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return the documents that match, newest first, each with its `_id` and `_index`.

    A query that is no valid query syntax is searched as plain words; `report` is told so, and of shards that did
    not answer.

    Raises:
        DataPlaneError: as `Elastic.search`.
    """
    try:
        answer = elastic.search(search.target, search.body())
    except Permanent as error:
        if not any(sign in str(error).lower() for sign in _SYNTAX_ERRORS):
            raise
        report(f"not valid as query syntax ({error}); searched as plain words")
        answer = elastic.search(search.target, search.body(plain_words=True))
    if missing := incomplete(answer):
        report(missing)
    return [{"_id": hit["_id"], "_index": hit["_index"], **hit["_source"]} for hit in answer["hits"]["hits"]]


def wait_for_first(look: Callable[[], list[dict[str, Any]]], wait_s: float) -> list[dict[str, Any]]:
    """Return what a look finds; where that is nothing, look again until something is there or `wait_s` have passed."""
    deadline_s = time.monotonic() + wait_s
    while not (found := look()) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    return found


def incomplete(answer: dict[str, Any]) -> str:
    """Return what a search could not see, or nothing where it saw all."""
    shards = answer.get("_shards", {})
    failed, total = shards.get("failed", 0), shards.get("total", 0)
    if failed:
        return f"incomplete: {failed} of {total} shards did not answer"
    return "incomplete: the search ran out of time" if answer.get("timed_out") else ""
