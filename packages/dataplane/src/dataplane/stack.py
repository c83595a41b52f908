"""The local stack from end to end: what `up`, `down` and `clean` do, step by step.

Flows in: the stack's folder. Flows out: running servers and services, and the proof that they work together.
Invariant: each step may be repeated; what already runs and answers is left alone.
"""

import shutil
from contextlib import suppress
from functools import partial

from rich.console import Console

from dataplane import agents, servers, settings, summary
from dataplane.elastic import Elastic
from dataplane.folder import StackFile, current
from dataplane.proof import prove
from dataplane.screen import Screen
from dataplane.servers import NativeElasticsearch, Server, Servers
from dataplane_common import config


def up(wish: str, console: Console) -> None:
    """Start the whole stack and prove that it works; `wish` is `auto`, `native` or `docker`.

    Raises:
        Fatal: a step failed; what was started before it goes on, and a second `up` begins where this one ended.
    """
    folder = current()
    with folder.locked(), Screen(console, folder.log) as screen:
        chosen = servers.choose(wish, folder)
        screen.note(f"stack in {summary.short(folder.root)}, {chosen.kind}")
        screen.together(
            partial(_start_server, screen, "NATS", chosen.nats),
            partial(_start_server, screen, "Elasticsearch", chosen.elasticsearch),
        )
        folder.write(_addresses(chosen))
        with screen.step("streams, templates") as step:
            step.say(agents.set_up(folder, chosen))
        screen.together(
            partial(_start_agent, screen, agents.elastinats(folder, chosen)),
            partial(_start_agent, screen, agents.tailer(folder, chosen)),
        )
        elastic = Elastic(settings.ElasticsearchConfig(hosts=(chosen.elasticsearch.url,)))
        with screen.step("proof") as step:
            proof = prove(elastic, screen.log)
            step.say(f"a line written to a file was found by a search {proof.latency_s:.2f} s later")
    summary.show(console, chosen, proof, screen.elapsed_s)


def down(console: Console) -> None:
    """Stop everything that runs, ours first, so that nothing is lost on the way; the data stays.

    Raises:
        Fatal: a process lives on.
    """
    folder = current()
    if not folder.root.exists():
        console.print(f"no stack in {summary.short(folder.root)}")
        return
    with folder.locked(), Screen(console, folder.log) as screen:
        chosen = servers.existing(folder) or servers.native(folder)
        screen.together(
            partial(_stop, screen, "dataplane-tailer", agents.tailer(folder, chosen)),
            partial(_stop, screen, "elastinats", agents.elastinats(folder, chosen)),
        )
        screen.together(
            partial(_stop, screen, "Elasticsearch", chosen.elasticsearch),
            partial(_stop, screen, "NATS", chosen.nats),
        )


def clean(console: Console, *, with_cache: bool) -> None:
    """Stop the stack and remove its data; with `with_cache` also what was downloaded.

    Raises:
        Fatal: a process lives on; nothing was removed then.
    """
    folder = current()
    if folder.root.exists():
        down(console)
        NativeElasticsearch(folder.part("elasticsearch")).clear()  # its data may lie outside the folder
        folder.clear()
    console.print(f"removed {summary.short(folder.root)}", soft_wrap=True)
    if with_cache:
        cache = config.cache_root()
        for part in (*cache.glob("elasticsearch-*"), *cache.glob(".d*-*")):
            shutil.rmtree(part, ignore_errors=True)
        (cache / "lock").unlink(missing_ok=True)
        with suppress(OSError):
            cache.rmdir()
        console.print(f"removed what was downloaded to {cache}", soft_wrap=True)


def _start_server(screen: Screen, name: str, server: Server) -> None:
    with screen.step(name) as step:
        if isinstance(server, NativeElasticsearch):
            server.measured = step.measured
        step.say("starting")
        started = server.start()
        step.say(_outcome(started, server.url) + _moves(server))


def _start_agent(screen: Screen, agent: agents.Agent) -> None:
    with screen.step(agent.name) as step:
        step.say("starting")
        started = agent.start()
        step.say(_outcome(started, f"{agent.telemetry_url}/metrics") + _moves(agent))


def _stop(screen: Screen, name: str, server: Server | agents.Agent) -> None:
    with screen.step(name) as step:
        step.say("stopping")
        step.say("stopped" if server.stop() else "did not run")


def _outcome(started: bool, where: str) -> str:  # noqa: FBT001 - what `start` answers
    return f"{'started' if started else 'already runs'}, {where}"


def _moves(server: Server | agents.Agent) -> str:
    return "".join(f" (port {port.wished} is taken by another program: {port.number} instead)" for port in server.moved)


def _addresses(chosen: Servers) -> StackFile:
    return StackFile(
        kind=chosen.kind,
        nats_url=chosen.nats.url,
        nats_monitor=chosen.nats.monitor_url,
        elasticsearch_url=chosen.elasticsearch.url,
    )
