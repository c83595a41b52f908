"""Set-up on servers that lack something, or where somebody was first."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from scripted import Scripted, served

from elastinats.config import ElasticsearchConfig
from elastinats.index import Index
from elastinats.setup import planned_templates, put_templates

_LISTS = {"_component_template": ("component_templates", "component_template"),
          "_index_template": ("index_templates", "index_template")}  # fmt: skip


@dataclass
class Templates(Scripted):
    """Keeps templates and policies; refuses what `lacks` says."""

    kept: dict[str, Any] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()

    def answer(self, path: str, body: bytes, authorization: str) -> tuple[int, Any]:
        """Take a PUT, which has a body, and answer a GET."""
        assert authorization == ""
        kind, name = path.removeprefix("/").rsplit("/", 1)
        missing = [word for word in self.lacks if word in path or f'"{word}"'.encode() in body]
        if missing:
            return 400, {"error": {"type": "x_content_parse_exception", "reason": f"unknown field [{missing[0]}]"}}
        if body:
            self.kept[path] = json.loads(body)
            return 200, {"acknowledged": True}
        if path not in self.kept:
            return 404, {}
        if kind not in _LISTS:
            return 200, self.kept[path]
        outer, inner = _LISTS[kind]
        return 200, {outer: [{"name": name, inner: self.kept[path]}]}


def ask(script: Templates, question) -> Any:
    async def scenario() -> Any:
        index = Index(ElasticsearchConfig(hosts=(script.url,)))
        try:
            return await question(index, single_node=True)
        finally:
            await index.close()

    return asyncio.run(scenario())


@pytest.fixture
def server():
    """Return a function that makes a server which lacks some words."""
    with served(Templates()) as script:
        yield script


def test_the_plan_changes_nothing(server):
    """What would come is told; nothing is put."""
    changes = ask(server, planned_templates)
    assert {str(change.outcome) for change in changes} == {"created"}
    assert all(change.difference for change in changes)
    assert server.kept == {}


def test_twice_is_once(server):
    """The second time nothing is left to do."""
    ask(server, put_templates)
    before = dict(server.kept)
    assert all(line.endswith(": unchanged") for line in ask(server, put_templates))
    assert server.kept == before


def test_what_somebody_else_made_is_left_alone(server):
    """A template of our name without our mark stays as it is."""
    theirs = {"index_patterns": ["logs-*-*"], "_meta": {"made_by": "them"}}
    server.kept["/_index_template/dataplane-logs"] = theirs
    lines = ask(server, put_templates)
    assert [line for line in lines if "somebody else" in line] == [
        "index template dataplane-logs: left alone: somebody else made it"
    ]
    assert server.kept["/_index_template/dataplane-logs"] is theirs


def test_an_older_template_of_ours_is_updated_and_the_change_is_told(server):
    """By the paths that differ."""
    ask(server, put_templates)
    old = server.kept["/_index_template/dataplane-logs"]
    old["priority"], old["_meta"]["fingerprint"] = 140, "old"
    (change,) = [change for change in ask(server, planned_templates) if change.difference]
    assert change.difference == ["- priority: 140", "+ priority: 150"]
    assert "index template dataplane-logs: updated" in ask(server, put_templates)


def test_where_there_is_only_index_lifecycle_management_a_policy_deletes(server):
    """A server without data stream lifecycles keeps documents as long, by a policy; it is said."""
    server.lacks = ("lifecycle",)
    lines = ask(server, put_templates)
    phases = server.kept["/_ilm/policy/dataplane"]["policy"]["phases"]
    assert phases["delete"]["min_age"] == "30d"
    logs = server.kept["/_index_template/dataplane-logs"]["template"]
    assert logs["settings"]["index.lifecycle.name"] == "dataplane"
    assert any("the ILM policy dataplane instead" in line for line in lines)


def test_where_nothing_deletes_it_is_said(server):
    """Neither lifecycles nor policies: the template goes without."""
    server.lacks = ("lifecycle", "_ilm")
    lines = ask(server, put_templates)
    assert any("without lifecycle, which this server lacks" in line for line in lines)
    assert "index.lifecycle.name" not in json.dumps(server.kept)
