"""Tests the configuration and both ends, and says what would happen.

Flows in: a checked configuration. Flows out: findings, one line each, and whether all is well. It changes nothing.
"""

from typing import NamedTuple

from dataplane_common.bus.streams import stream_info
from dataplane_common.errors import DataPlaneError, Permanent, Transient
from elastinats import session
from elastinats.config import SinkConfig
from elastinats.index import Index
from elastinats.routes import feeds, index_patterns
from elastinats.setup import templates


class Finding(NamedTuple):
    """One thing that was looked at; a warning is well, and not as good as it could be."""

    what: str
    is_well: bool
    text: str
    is_warning: bool = False


#: Privileges that the sink can do without, and what is lost then; see docs/adr/0009.
_WITHOUT_MONITOR = "a request that was given up, still runs and meets a rollover can double its events"
_WITHOUT_DELETE = "second copies of events across a rollover stay, counted in elastinats_doubled_events_total"


async def check(config: SinkConfig) -> list[Finding]:
    """Look at NATS, its streams, Elasticsearch and its templates; an absent server is a finding, not an error."""
    return [*await _check_bus(config), *await _check_index(config)]


async def _check_bus(config: SinkConfig) -> list[Finding]:
    findings = []
    try:
        async with session.bus(config) as connection:
            findings.append(Finding("nats", is_well=True, text="connected"))
            names = [*dict.fromkeys([*(feed.stream for feed in feeds(config)), "DLQ"])]
            for name in names:
                there = await stream_info(connection, name) is not None
                text = "there" if there else "missing; `elastinats setup` and `elastinats run` create it"
                findings.append(Finding(f"stream {name}", is_well=True, text=text))
    except DataPlaneError as error:
        findings.append(Finding("nats", is_well=False, text=str(error)))
    return findings


async def _check_index(config: SinkConfig) -> list[Finding]:
    findings = []
    try:
        async with session.index(config.elasticsearch) as client:
            health = await session.cluster_health(client)
            text = (
                f"cluster {health.get('cluster_name')}, {health.get('number_of_nodes')} node(s), {health.get('status')}"
            )
            findings.append(Finding("elasticsearch", is_well=True, text=text))
            findings += await _check_templates(config, client)
            findings += await _check_privileges(config, client)
    except DataPlaneError as error:
        findings.append(Finding("elasticsearch", is_well=False, text=str(error)))
    return findings


async def _check_templates(config: SinkConfig, client: Index) -> list[Finding]:
    missing = []
    for template in templates(single_node=config.elasticsearch.single_node):
        try:
            if await client.ask("GET", template.path) is None:
                missing.append(template.name)
        except (Transient, Permanent) as error:
            return [Finding("templates", is_well=True, text=f"cannot be read: {error}")]
    text = f"missing: {', '.join(missing)}; run `elastinats setup`" if missing else "there"
    return [Finding("templates", is_well=True, text=text)]


async def _check_privileges(config: SinkConfig, client: Index) -> list[Finding]:
    """Name the optional privileges that this user lacks; a server without security has none to give."""
    patterns = index_patterns(config)
    wanted = {"cluster": ["monitor"], "index": [{"names": patterns, "privileges": ["delete"]}]}
    try:
        answer = await client.ask("POST", "/_security/user/_has_privileges", wanted)
    except (Transient, Permanent):
        return []
    told = answer if isinstance(answer, dict) else {}
    lacking = [pattern for pattern, given in told.get("index", {}).items() if not given.get("delete")]
    findings = []
    if not told.get("cluster", {}).get("monitor", True):
        findings.append(_warning("privilege monitor", f"missing on the cluster; {_WITHOUT_MONITOR}"))
    if lacking:
        findings.append(_warning("privilege delete", f"missing on {', '.join(lacking)}; {_WITHOUT_DELETE}"))
    return findings


def _warning(what: str, text: str) -> Finding:
    return Finding(what, is_well=True, text=text, is_warning=True)
