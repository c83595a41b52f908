"""The tables of `status`.

Pure but for printing. Flows in: a report. Flows out: tables that fit a terminal and can be cut in a pipe.
"""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dataplane.backlog import Stream
from dataplane.status import Component, Report

_KIB = 1024


def show(console: Console, report: Report) -> None:
    """Print a report."""
    console.print(f"stack in {report.stack} ({report.kind})", soft_wrap=True, markup=False)
    console.print(_components(report.components))
    if report.streams:
        console.print(_streams(report.streams))
    if report.documents:
        console.print(_documents(report.documents))


def size(number: int) -> str:
    """Return bytes as a person reads them: `1.4 MiB`."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _KIB:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _KIB
    return f"{amount:.1f} TiB"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in {"pid", "messages", "waiting", "in flight", "documents", "size"}
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _components(components: list[Component]) -> Table:
    table = _table("", "component", "state", "health", "version", "pid", "url")
    for each in components:
        mark = Text(each.health or "-", "green" if each.is_well else "red")
        table.add_row(each.name, each.state, mark, each.version or "-", str(each.pid or "-"), each.url or "-")
    return table


def _streams(streams: list[Stream]) -> Table:
    table = _table("\nbacklog", "stream", "messages", "size", "consumer", "waiting", "in flight")
    for stream in streams:
        held = (stream.name, f"{stream.messages:,}", size(stream.bytes))
        if not stream.consumers:
            table.add_row(*held, "-", "-", "-")
        for consumer in stream.consumers:
            table.add_row(*held, consumer.name, f"{consumer.pending:,}", f"{consumer.in_flight:,}")
    return table


def _documents(documents: dict[str, int]) -> Table:
    table = _table("\ndocuments", "data stream", "documents")
    for name, count in documents.items():
        table.add_row(name, f"{count:,}")
    return table
