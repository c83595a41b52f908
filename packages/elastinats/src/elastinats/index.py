"""Everything that speaks to Elasticsearch, and the only code that imports its client.

Flows in: bulk bodies and questions. Flows out: `Answer`s, documents, and `Transient` or `Permanent` for questions that
failed. Invariant: nothing is retried here, so that each failure is seen by the one who owns the events.
Source: Elasticsearch documentation, "Bulk API", "Multi get", "Resolve index", "Response filtering".
"""

import logging
import math
import time
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

import elastic_transport
import elasticsearch
import orjson

from dataplane_common.config import mask_url, read_secret
from dataplane_common.errors import ConfigError, Permanent, Transient
from elastinats.answer import FILTER, PLACED_FILTER, Answer, read_beyond, read_items
from elastinats.classify import explain
from elastinats.config import ElasticsearchConfig
from elastinats.lenient import load

#: Beside the bulks in flight, for look-ups and set-up.
_SPARE_CONNECTIONS = 4
#: A question that is not answered within this time is asked again; only bulks may take longer.
_QUESTION_TIMEOUT_S = 30.0
#: Retention deletes backing indices; what was in them is not there.
_INDEX_IS_GONE = "index_not_found_exception"
#: Of an answer that is none, a person wants to see the beginning.
_SHOWN_BYTES = 200
_TYPES = ("application/json", "application/vnd.elasticsearch+json")
_BODY_TYPES = ("application/x-ndjson", "application/vnd.elasticsearch+x-ndjson")
#: With any handler above it, the client's own log would decode each body for a line that nobody reads.
logging.getLogger("elastic_transport").propagate = False


class Forbidden(Permanent):
    """This user may not do that; what asks has to do without."""


class BackingIndex(NamedTuple):
    """One index of a data stream, and when it became the one that is written to (ms since the epoch)."""

    name: str
    created_ms: int


class _Answers(elastic_transport.Serializer):
    """Leaves the answers to bulk requests as bytes: nearly all say the same of each item."""

    mimetype = _TYPES[0]

    def loads(self, data: bytes) -> Any:
        value = data if data.startswith(b'{"errors":') else load(data)
        if value is None and data:  # a 413 has no body
            raise elastic_transport.SerializationError(f"an answer that is no JSON: {data[:_SHOWN_BYTES]!r}")
        return value

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else orjson.dumps(data)


class _Bodies(elastic_transport.Serializer):
    """Hands bulk bodies on without a copy."""

    mimetype = _BODY_TYPES[0]

    def dumps(self, data: Any) -> Any:
        return data


class Index:
    """One client for all hosts: a host that fails is left out for a while, the next request goes to another one."""

    def __init__(self, config: ElasticsearchConfig, *, in_flight: int = 1) -> None:
        self._config = config
        self._require_data_stream = True
        self._unsigned = elasticsearch.AsyncElasticsearch(**_options(config, in_flight))
        self._client = self._unsigned
        self.sign_anew()

    @property
    def shown_hosts(self) -> str:
        """The hosts, for a person."""
        return ", ".join(mask_url(host) for host in self._config.hosts)

    def sign_anew(self) -> None:
        """Read the secrets again, for the next requests.

        Raises:
            ConfigError: a secret's file cannot be read.
        """
        self._client = self._unsigned.options(**_credentials(self._config))

    async def close(self) -> None:
        """Close all connections."""
        await self._unsigned.close()

    async def bulk(
        self, body: bytes, count: int, *, known: Collection[str] | None = None, to_data_stream: bool = True
    ) -> Answer:
        """Send `count` actions once and say what came of it; raises nothing for what servers and networks do.

        An answer with another number of items, or one that cannot be read, counts as none. With `known` indices, the
        answer tells which documents are in none of them; `to_data_stream` lets nothing create an index instead.
        """
        started = time.perf_counter()
        status, content = await self._send_bulk(
            body, FILTER if known is None else PLACED_FILTER, to_data_stream=to_data_stream
        )
        took_s = time.perf_counter() - started
        if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            return Answer(status, reason=self._named(content), took_s=took_s)
        items = read_items(content, count) if isinstance(content, bytes) else None
        if items is None:
            return Answer(0, reason=self._named(f"an answer that does not fit {count} actions"), took_s=took_s)
        beyond = read_beyond(content, count, known) if known is not None else {}
        return Answer(status, items, beyond, took_s=took_s)

    async def find(self, wanted: Sequence[tuple[str, str]]) -> list[dict[str, Any] | None]:
        """Return the documents of (index, id) pairs as they are now, refreshed or not; None where there is none.

        Raises:
            Transient, Permanent: the question failed.
        """
        docs = [{"_index": index, "_id": identity} for index, identity in wanted]
        answer = await self.ask("POST", "/_mget", {"docs": docs})
        found = (answer or {}).get("docs", ())
        if len(found) != len(docs):
            raise Transient(self._named("an answer that does not fit the question"))
        for doc in found:
            error = doc.get("error") or {}
            if error and error.get("type") != _INDEX_IS_GONE:
                raise Transient(self._named(explain(error)))  # not known is not the same as not there
        return [doc.get("_source") if doc.get("found") else None for doc in found]

    async def backing_indices(self, target: str) -> list[BackingIndex]:
        """Return the backing indices of a data stream, oldest first; an empty list where there is none yet.

        Raises:
            Transient, Permanent: the question failed.
        """
        answer = await self.ask("GET", f"/{quote(target)}/_settings/index.creation_date?flat_settings=true")
        if answer == {}:
            raise Transient(self._named("an answer without indices"))
        found = [(name, entry["settings"]) for name, entry in _tables(answer) if "settings" in entry]
        return sorted((BackingIndex(name, int(settings["index.creation_date"])) for name, settings in found), key=_age)

    async def oldest_bulk_ms(self) -> float:
        """Return when the oldest of all bulk requests that run now began (ms since the epoch); infinite if none runs.

        Raises:
            Transient, Permanent: the question failed; `Forbidden` without the cluster privilege `monitor`.
        """
        path = "/_tasks?actions=indices:data/write/bulk&filter_path=**.start_time_in_millis"
        answer = await self.ask("GET", path, is_optional=True)
        nodes = [node for name, found in _tables(answer) if name == "nodes" for _, node in _tables(found)]
        begun = [float(task["start_time_in_millis"]) for node in nodes for _, task in _tables(node.get("tasks"))]
        return min(begun, default=math.inf)

    async def delete(self, documents: Sequence[tuple[str, str]]) -> None:
        """Delete documents by (index, id); what is not there is deleted already.

        Raises:
            Transient: not all of them could be deleted; `Forbidden` without the privilege `delete`.
        """
        actions = [orjson.dumps({"delete": {"_index": index, "_id": identity}}) for index, identity in documents]
        status, content = await self._send("POST", f"/_bulk?filter_path={FILTER}", b"\n".join([*actions, b""]))
        items = read_items(content, len(documents)) if status == HTTPStatus.OK and isinstance(content, bytes) else None
        if items is None:
            raise Transient(self._named(content))
        for item in items.values():
            if item.status == HTTPStatus.FORBIDDEN and item.type == "security_exception":
                raise Forbidden(self._named(item.reason))
            if item.status not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
                raise Transient(self._named(item.reason))

    async def ask(self, method: str, path: str, body: Any = None, *, is_optional: bool = False) -> Any:
        """Ask anything else and return the answer; None where the server knows no such thing.

        Raises:
            Transient: no answer, or one that time or an operator can change.
            Forbidden: this user may not, and `is_optional`: there is a way without it.
            Permanent: the server refuses what was asked.
        """
        status, content = await self._send(method, path, body)
        if status in {HTTPStatus.OK, HTTPStatus.CREATED} and isinstance(content, dict):
            return content
        if is_optional and status == HTTPStatus.FORBIDDEN:
            raise Forbidden(self._named(f"{method} {path}: {content}"))
        if status == HTTPStatus.NOT_FOUND:
            return None
        text = self._named(f"{method} {path}: {content}")
        if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.CONFLICT}:
            raise Permanent(text)
        raise Transient(text)

    async def _send_bulk(self, body: bytes, wanted: str, *, to_data_stream: bool) -> tuple[int, Any]:
        params = {"filter_path": wanted}
        if self._require_data_stream and to_data_stream:
            params["require_data_stream"] = "true"
        path = "/_bulk?" + "&".join(f"{key}={quote(value)}" for key, value in params.items())
        status, content = await self._send("POST", path, body, timeout_s=self._config.request_timeout_s)
        if status == HTTPStatus.BAD_REQUEST and "require_data_stream" in str(content):
            self._require_data_stream = False  # servers before 8.13 do not know it
            return 0, content
        return status, content

    async def _send(
        self, method: str, path: str, body: Any, *, timeout_s: float = _QUESTION_TIMEOUT_S
    ) -> tuple[int, Any]:
        """Return (status, content), or (status, text of the error), 0 for no answer: here exceptions are translated."""
        headers = {"accept": _TYPES[0]}
        if body is not None:
            headers["content-type"] = _BODY_TYPES[0] if isinstance(body, bytes) else _TYPES[0]
        client = self._client.options(request_timeout=timeout_s)
        try:
            response = await client.perform_request(method, path, headers=headers, body=body)
        except elasticsearch.ApiError as error:
            return error.meta.status if _is_its_own(error) else 0, _text(error)
        except elasticsearch.UnsupportedProductError:
            return 0, "what answers there is not Elasticsearch; check the address"
        except elasticsearch.ConnectionTimeout:
            return 0, f"no answer within {timeout_s:g} s"
        except elasticsearch.TransportError as error:
            return 0, " ".join(str(error.message).replace(" ssl:default", "").split()) or type(error).__name__
        return response.meta.status, response.body

    def _named(self, text: Any) -> str:
        return f"Elasticsearch at {self.shown_hosts}: {text}"


def _tables(answer: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the members of an answer that are objects; whatever else may stand there."""
    found = answer.items() if isinstance(answer, dict) else ()
    return [(name, value) for name, value in found if isinstance(value, dict)]


def _age(index: BackingIndex) -> tuple[int, str]:
    return index.created_ms, index.name


def _is_its_own(error: elasticsearch.ApiError) -> bool:
    """Tell whether an answer that blames the question is Elasticsearch's: proxies say 400 and 404, too."""
    if error.meta.status not in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
        return True
    return "x-elastic-product" in error.meta.headers or (isinstance(error.body, dict) and "error" in error.body)


def _text(error: elasticsearch.ApiError) -> str:
    body = error.body
    if isinstance(body, dict):
        return f"{error.meta.status}: {explain(body.get('error')) or error.message}"
    return f"{error.meta.status}: {' '.join(str(error.message).split())[:300]}"


def _options(config: ElasticsearchConfig, in_flight: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "hosts": [_with_port(host) for host in config.hosts],
        "max_retries": 0,
        "retry_on_timeout": False,
        "connections_per_node": in_flight + _SPARE_CONNECTIONS,
        "http_compress": config.compress,
        "serializers": {
            **{kind: _Answers() for kind in _TYPES},
            **{kind: _Bodies() for kind in _BODY_TYPES},
        },
    }
    if any(host.startswith("https") for host in config.hosts):
        files = {"ca_certs": config.ca_file, "client_cert": config.cert_file, "client_key": config.key_file}
        options.update({name: str(file) for name, file in files.items() if file is not None})
        for file in files.values():
            if file is not None and not file.is_file():
                raise ConfigError(f"elasticsearch: {file}: no such certificate or key file")
        if config.fingerprint is not None:
            options["ssl_assert_fingerprint"] = config.fingerprint
    return options


def _with_port(host: str) -> str:
    """The client insists on a port."""
    scheme, _, rest = host.partition("://")
    name, slash, path = rest.partition("/")
    has_port = name.rpartition(":")[2].isdigit() and not name.endswith("]")
    return host if has_port else f"{scheme}://{name}:{443 if scheme == 'https' else 80}{slash}{path}"


def _credentials(config: ElasticsearchConfig) -> dict[str, Any]:
    if config.api_key_file is not None:
        return {"api_key": read_secret(config.api_key_file)}
    if config.bearer_token_file is not None:
        return {"bearer_auth": read_secret(config.bearer_token_file)}
    if config.username is not None and config.password_file is not None:
        return {"basic_auth": (config.username, read_secret(config.password_file))}
    return {}
