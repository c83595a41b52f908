"""Questions to Elasticsearch, and what its answers mean.

Flows in: `[elasticsearch]` and a question. Flows out: decoded answers, or one of our errors with what to do.
Invariant: nothing here writes.
Source: Elasticsearch 8 reference, "Search API", "Cluster health API", "Data streams" (names of backing indices).
"""

import http.client
import re
import urllib.parse
from collections import Counter
from typing import Any

import msgspec

from dataplane.elastic_request import Request
from dataplane.settings import ElasticsearchConfig
from dataplane_common.config import mask_url
from dataplane_common.errors import ConfigError, Fatal, Permanent, Transient

_TIMEOUT_S = 15.0
_OURS = "logs-*,metrics-*"
_BACKING_INDEX = re.compile(r"\.ds-(?P<stream>.+)-\d{4}\.\d{2}\.\d{2}-\d{6}")
#: More data streams than one cluster holds well.
_MAX_STREAMS = 5_000


class Elastic:
    """Reads from the first host that answers."""

    def __init__(self, config: ElasticsearchConfig, timeout_s: float = _TIMEOUT_S) -> None:
        self._config = config
        self._timeout_s = timeout_s
        self.shown_hosts = ", ".join(mask_url(host) for host in config.hosts)

    def search(self, target: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of a search; what `target` names need not exist.

        Raises:
            Permanent: the query was refused; the text is Elasticsearch's reason.
            Transient: no host answers, or shards are not available now.
            ConfigError: the credentials were refused, or cannot be read.
        """
        path = f"/{urllib.parse.quote(target, safe='*,-')}/_search?ignore_unavailable=true"
        answer: dict[str, Any] = self._ask("POST", path, body)
        return answer

    def counts(self) -> dict[str, int]:
        """Return the documents of each data stream of ours, by name.

        Raises:
            DataPlaneError: as `search`.
        """
        by_index = {"terms": {"field": "_index", "size": _MAX_STREAMS}}
        answer = self.search(_OURS, {"size": 0, "aggs": {"by_index": by_index}})
        buckets = answer.get("aggregations", {}).get("by_index", {}).get("buckets", [])
        counted: Counter[str] = Counter()
        for bucket in buckets:
            counted[data_stream_of(bucket["key"])] += bucket["doc_count"]
        return dict(sorted(counted.items()))

    def health(self) -> tuple[str, str]:
        """Return (version, cluster status); the version is empty where we may not ask for it.

        Raises:
            DataPlaneError: as `search`.
        """
        status = str(self._ask("GET", "/_cluster/health?filter_path=status")["status"])
        try:
            nodes = self._ask("GET", "/_nodes/_local?filter_path=nodes.*.version").get("nodes", {})
        except (ConfigError, Permanent):
            nodes = {}
        return next((node["version"] for node in nodes.values()), ""), status

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        payload = msgspec.json.encode(body) if body is not None else None
        request = Request(self._config, self._timeout_s)
        reasons = []
        for host in self._config.hosts:
            try:
                status, answer = request.send(host, method, path, payload)
            except (OSError, http.client.HTTPException) as error:
                reasons.append(f"{mask_url(host)}: {error or type(error).__name__}")
                continue
            return _judged(status, answer, mask_url(host))
        raise Transient(
            f"Elasticsearch cannot be reached ({'; '.join(reasons)}): start it (`dataplane up` for a local stack), "
            "or name another one (DATAPLANE_ELASTICSEARCH__HOSTS)"
        )


def data_stream_of(index: str) -> str:
    """Return the data stream that a backing index belongs to; another index is its own."""
    match = _BACKING_INDEX.fullmatch(index)
    return match["stream"] if match else index


def _judged(status: int, answer: bytes, host: str) -> Any:
    """Return the decoded answer of a request that succeeded, else raise what its status means."""
    try:
        decoded = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        raise Fatal(f"{host} answers {status} and no JSON: is this an Elasticsearch?") from None
    match status:
        case 200:
            return decoded
        case 401 | 403:
            raise ConfigError(
                f"{host} refuses us ({status}): {_reason(decoded)}; "
                "check [elasticsearch] username, password_file or api_key_file"
            )
        case 400 | 404:
            raise Permanent(_reason(decoded))
    raise Transient(f"{host} answers {status}: {_reason(decoded)}; try again")


def _reason(decoded: Any) -> str:
    """Return the most telling line of an error: the innermost cause."""
    error = decoded.get("error", decoded) if isinstance(decoded, dict) else decoded
    if not isinstance(error, dict):
        return str(error)[:300]
    failed = error.get("failed_shards") or [{}]
    cause = failed[0].get("reason") or (error.get("root_cause") or [error])[0]
    while isinstance(cause.get("caused_by"), dict):
        cause = cause["caused_by"]
    return str(cause.get("reason") or error.get("type") or error).partition("\n")[0]
