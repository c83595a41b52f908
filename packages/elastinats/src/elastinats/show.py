"""How the commands print: tables for people, JSON for programs, plain text in a pipe.

Flows in: what a command found. Flows out: standard output.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dataplane_common.config import shown
from elastinats.check import Finding
from elastinats.config import SinkConfig
from elastinats.status import Status


def console() -> Console:
    """Return standard output, as wide as it takes where it is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=10_000, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON value."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are."""
    out = console()
    for line in lines:
        out.print(line, markup=False, highlight=False)


def print_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a table with a row per mapping."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(row.get(column, ""))) for column in columns))
    console().print(table)


def print_config(config: SinkConfig) -> None:
    """Print the effective configuration as TOML, secrets in addresses masked."""
    print_lines(toml_lines(shown(config)))


def _key(name: str) -> str:
    """Return a name as a TOML key: bare where it can be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def print_change(kind: str, name: str, difference: Sequence[str]) -> None:
    """Print what putting a template would change; nothing where nothing would."""
    if difference:
        print_lines([f"{kind} template {name}:", *(f"  {line}" for line in difference)])


def toml_lines(table: Mapping[str, Any], path: str = "") -> list[str]:
    """Return plain values as TOML: JSON's texts, numbers and lists are TOML's, too."""
    lines = [f"{_key(key)} = {json.dumps(value)}" for key, value in table.items() if not _is_table(value)]
    for key, value in table.items():
        if _is_table(value):
            name = f"{path}{key}"
            heads = [(f"[[{name}]]", entry) for entry in value] if isinstance(value, list) else [(f"[{name}]", value)]
            for head, entry in heads:
                lines += ["", head, *toml_lines(entry, f"{name}.")]
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def print_findings(findings: Iterable[Finding]) -> None:
    """Print one line per finding."""
    out = console()
    for finding in findings:
        well = Text("warn", "yellow") if finding.is_warning else Text("ok  ", "green")
        mark = well if finding.is_well else Text("FAIL", "bold red")
        out.print(Text.assemble(mark, " ", (finding.what, "bold"), f": {finding.text}"))


def print_status(status: Status) -> None:
    """Print the consumers and both ends."""
    columns = ("route", "stream", "consumer", "waiting", "in_flight", "redelivered", "expired", "problem")
    print_rows(columns, ({column: getattr(feed, column) for column in columns} for feed in status.feeds))
    print_lines([f"dead letters: {status.dead_letters}", f"elasticsearch: {status.elasticsearch}"])
