"""Puts index templates on Elasticsearch, streams and consumers on NATS.

Flows in: the templates beside this module. Flows out: what was created, changed, left alone, left out, as lines.
Invariant: doing it twice changes nothing, and a template that somebody else made is never touched.
Source: Elasticsearch documentation, "Index templates", "Data stream lifecycle".
"""

import hashlib
import json
import re
from enum import StrEnum
from importlib import resources
from typing import Any, NamedTuple

from dataplane_common.bus import Connection, ConsumerConfig, ensure_streams, load_streams
from dataplane_common.bus.consumer import consumer_info, create_consumer
from dataplane_common.bus.streams import stream_info
from dataplane_common.errors import Permanent
from elastinats.config import SinkConfig
from elastinats.difference import difference
from elastinats.index import Index
from elastinats.routes import Feed, feeds

_MADE_BY = "elastinats"
_LIFECYCLE = "lifecycle"
#: Where a server keeps documents by index lifecycle management only.
_POLICY = "dataplane"
#: Field types that a smaller distribution lacks, and what serves instead.
_SIMPLER_TYPES = {"match_only_text": "text", "wildcard": "keyword", "constant_keyword": "keyword"}
_PATHS = {"component": "/_component_template", "index": "/_index_template"}
_LISTS = {"component": ("component_templates", "component_template"), "index": ("index_templates", "index_template")}

#: Covers what the bulks in flight hold as single messages, and what waits in the consumer's two requests.
_MAX_ACK_PENDING = 100_000


class Outcome(StrEnum):
    """What set-up did about one thing."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FOREIGN = "left alone: somebody else made it"


class Template(NamedTuple):
    """A template as data: `kind` is component or index."""

    kind: str
    name: str
    body: dict[str, Any]

    @property
    def path(self) -> str:
        """Where the server keeps it."""
        return f"{_PATHS[self.kind]}/{self.name}"


class Change(NamedTuple):
    """What is to be done about a template, and what that would change."""

    template: Template
    outcome: Outcome
    difference: list[str]


def templates(*, single_node: bool) -> list[Template]:
    """Return the templates in the order in which they are put; `single_node` makes indices without replicas."""
    found = []
    for file in sorted(resources.files(__package__).joinpath("templates").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".json"):
            kind, _, name = file.name.removesuffix(".json").partition("-")
            body = json.loads(file.read_text())
            if single_node and kind == "component":
                body["template"].setdefault("settings", {})["index.number_of_replicas"] = 0
            found.append(Template(kind, name, body))
    return found


async def planned_templates(index: Index, *, single_node: bool) -> list[Change]:
    """Say what is to be done about each template; nothing is changed.

    Raises:
        Transient: the server does not answer, or refuses this user.
    """
    return [await _plan(index, template) for template in templates(single_node=single_node)]


async def put_templates(index: Index, *, single_node: bool) -> list[str]:
    """Create or update our templates and say what was done about each.

    Raises:
        Transient: the server does not answer, or refuses this user.
        Permanent: it refuses a template.
    """
    lines = []
    for template, outcome, _ in await planned_templates(index, single_node=single_node):
        left_out = await _put(index, template) if outcome in {Outcome.CREATED, Outcome.UPDATED} else []
        lines.append(f"{template.kind} template {template.name}: {outcome}{_listed(left_out)}")
    return lines


async def put_missing_templates(index: Index, *, single_node: bool) -> list[str]:
    """Put all templates if one of them is not there; an existing set stays as it is, whatever its version."""
    for template in templates(single_node=single_node):
        if await index.ask("GET", template.path) is None:
            return await put_templates(index, single_node=single_node)
    return []


async def planned_on_the_bus(connection: Connection, config: SinkConfig) -> list[str]:
    """Say which streams and consumers are to be created; nothing is changed.

    Raises:
        Transient: the server does not answer.
    """
    streams = [
        f"+ stream {stream.name}: {', '.join(stream.subjects)}"
        for stream in load_streams()
        if await stream_info(connection, stream.name) is None
    ]
    consumers = [
        f"+ consumer {feed.stream}/{feed.durable}: {', '.join(feed.filter_subjects) or 'everything'}"
        for feed in feeds(config)
        if await consumer_info(connection, feed.stream, feed.durable) is None
    ]
    return streams + consumers


async def create_streams_and_consumers(connection: Connection, config: SinkConfig) -> list[str]:
    """Create the streams and the durable consumers of all routes and say what was done.

    Raises:
        Transient: the server does not answer, or a route's stream is not there.
        Fatal: the server refuses a stream.
    """
    lines = [f"stream {name}: created" for name in await ensure_streams(connection)] or ["streams: unchanged"]
    for feed in feeds(config):
        wanted = consumer_config(config, feed)
        present = await consumer_info(connection, feed.stream, feed.durable)
        if present is not None and not str(present["config"].get("description", "")).startswith(_MADE_BY):
            lines.append(f"consumer {feed.stream}/{feed.durable}: {Outcome.FOREIGN}")
            continue
        await create_consumer(connection, wanted)
        lines.append(f"consumer {feed.stream}/{feed.durable}: {'ready' if present else Outcome.CREATED}")
    return lines


def consumer_config(config: SinkConfig, feed: Feed) -> ConsumerConfig:
    """Return the durable consumer of a feed."""
    return ConsumerConfig(
        stream=feed.stream,
        durable=feed.durable,
        filter_subjects=feed.filter_subjects,
        ack_wait_s=config.ack_wait_s,
        max_ack_pending=_MAX_ACK_PENDING,
        description=f"{_MADE_BY}, route {feed.route}",
    )


async def _plan(index: Index, template: Template) -> Change:
    present = await _present(index, template)
    if present is None:
        return Change(template, Outcome.CREATED, difference(None, template.body))
    meta = present.get("_meta") or {}
    if meta.get("made_by") != _MADE_BY:
        return Change(template, Outcome.FOREIGN, [])
    if meta.get("fingerprint") == _fingerprint(template.body):
        return Change(template, Outcome.UNCHANGED, [])
    return Change(template, Outcome.UPDATED, difference(present, template.body))


async def _put(index: Index, template: Template) -> list[str]:
    """Put one template in the richest form that the server takes; return what had to be left out."""
    left_out: list[str] = []
    body = {**template.body, "_meta": {"made_by": _MADE_BY, "fingerprint": _fingerprint(template.body)}}
    while True:
        try:
            await index.ask("PUT", template.path, body)
        except Permanent as error:
            lacking = _lacking(str(error), body)
            if lacking is None:
                raise
            body = _simplified(body, lacking)
            if lacking == _LIFECYCLE and await _has_policy(index, template.body["template"][_LIFECYCLE]):
                body["template"].setdefault("settings", {})["index.lifecycle.name"] = _POLICY
                lacking = f"{_LIFECYCLE} of data streams, the ILM policy {_POLICY} instead"
            left_out.append(lacking)
        else:
            return left_out


async def _has_policy(index: Index, lifecycle: dict[str, Any]) -> bool:
    """Put a policy of index lifecycle management that deletes as the lifecycle would; false where there is none."""
    path = f"/_ilm/policy/{_POLICY}"
    phases = {
        "hot": {"actions": {"rollover": {"max_age": "1d", "max_primary_shard_size": "50gb"}}},
        "delete": {"min_age": lifecycle["data_retention"], "actions": {"delete": {}}},
    }
    body = {"policy": {"phases": phases, "_meta": {"made_by": _MADE_BY}}}
    try:
        return await index.ask("GET", path) is not None or await index.ask("PUT", path, body) is not None
    except Permanent:
        return False


async def _present(index: Index, template: Template) -> dict[str, Any] | None:
    answer = await index.ask("GET", template.path)
    outer, inner = _LISTS[template.kind]
    found = [entry[inner] for entry in (answer or {}).get(outer, ()) if entry["name"] == template.name]
    return found[0] if found else None


def _lacking(error: str, body: dict[str, Any]) -> str | None:
    """Return what the server says it lacks, if there is something simpler."""
    match = re.search(r"No (?:mapper found|handler) for type \[(\w+)\]", error)
    if match and match.group(1) in _SIMPLER_TYPES:
        return match.group(1)
    if _LIFECYCLE in error and _LIFECYCLE in body.get("template", {}):
        return _LIFECYCLE
    return None


def _simplified(body: dict[str, Any], lacking: str) -> dict[str, Any]:
    if lacking == _LIFECYCLE:
        template = {key: value for key, value in body["template"].items() if key != _LIFECYCLE}
        return {**body, "template": template}
    text = json.dumps(body).replace(f'"type": "{lacking}"', f'"type": "{_SIMPLER_TYPES[lacking]}"')
    simpler: dict[str, Any] = json.loads(text)
    return simpler


def _listed(left_out: list[str]) -> str:
    return f" (without {', '.join(left_out)}, which this server lacks)" if left_out else ""


def _fingerprint(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
