"""What `up` says at its end: what was seen, where everything is, what to try next.

Flows in: the proof. Flows out: lines that can be copied and run.
"""

import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from dataplane.proof import Proof
from dataplane.servers import Servers
from dataplane.show import event_line


def show(console: Console, chosen: Servers, proof: Proof, elapsed_s: float) -> None:
    """Print the proof, the addresses and the next commands."""
    _lines(console, "", Text("documents per data stream", "bold"))
    _lines(console, *(f"  {count:>9,}  {name}" for name, count in proof.counts.items()))
    own = own_command()
    _lines(console, "", Text(f"newest of {own} search '{proof.sample_query}'", "bold"))
    _lines(console, *(Text.assemble("  ", event_line(document)) for document in proof.samples))
    _lines(
        console,
        "",
        f"NATS           {chosen.nats.url}  (monitoring {chosen.nats.monitor_url})",
        f"Elasticsearch  {chosen.elasticsearch.url}",
        f"A line written to a file was searchable {proof.latency_s:.2f} s later.",
        f"Everything took {elapsed_s:.1f} s.",
        "",
        Text("try next", "bold"),
        f"  {own} search 'error OR warn' --since 1h",
        f"  {own} tap 'logs.>'",
        f"  {own} status",
    )


def own_command() -> str:
    """Return what a user types in this folder to run this command again."""
    path = Path(sys.executable).with_name("dataplane")
    if (found := shutil.which("dataplane")) and Path(found) == path:
        return "dataplane"
    return short(path)


def short(path: Path) -> str:
    """Return a path relative to this folder where it lies within."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _lines(console: Console, *lines: str | Text) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
