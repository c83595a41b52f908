"""`status` as a command: looks once or each second, and shows a table or JSON.

Flows in: options. Flows out: a table on a terminal, lines in a pipe. Invariant: the tailer that is looked at does not
notice.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dataplane_tailer.config import DeliveryConfig
from dataplane_tailer.discover import find
from dataplane_tailer.health import Health, ask
from dataplane_tailer.screen import plural, screen
from dataplane_tailer.sight import look
from dataplane_tailer.snapshot import read_snapshot
from dataplane_tailer.status import Row, View, rows, update
from dataplane_tailer.target import Target
from dataplane_tailer.trend import Trend

_REFRESH_S = 1.0
#: Rates need two looks; a running tailer writes its checkpoints each second.
_SECOND_LOOK_S = 1.1
_COLOURS = {
    "following": "green",
    "idle": "dim",
    "finished": "dim",
    "rotated": "cyan",
    "new": "cyan",
    "stopped": "yellow",
    "truncated": "yellow",
    "deleted-held": "yellow",
    "refused": "red",
    "lost": "red",
}
_COLUMNS = (
    "file",
    "source",
    "state",
    "events",
    "offset",
    "size",
    "lag",
    "lag time",
    "time to loss",
    "abandoned",
    "last error",
)


class Watcher:
    """Looks at one tailer, again and again; what it remembers of earlier looks gives the rates."""

    def __init__(self, target: Target, *, show_all: bool = False) -> None:
        self._target = target
        self._show_all = show_all
        self._trends: dict[str, Trend] = {}
        self.health = Health()
        self.holder: int | None = None
        self.rows: list[Row] = []

    def look(self) -> None:
        """Look once.

        Raises:
            Fatal: there is no state, or it cannot be read.
        """
        config = self._target.config
        snapshot = read_snapshot(self._target.state_dir)
        self.health = ask(config.telemetry.listen if config and snapshot.holder else None)
        self.holder = snapshot.holder
        found = find(config.inputs).values() if config else ()
        view = View(time.time(), snapshot, look(snapshot.records, snapshot.holder), found, self.health.refused)
        update(self._trends, view)
        self.rows = rows(view, self._trends, config.delivery if config else DeliveryConfig())

    def look_twice(self) -> None:
        """Look, and again a moment later if there is anything whose rates are worth to know."""
        self.look()
        if any(row.lag_bytes for row in self.rows if row.state != "new"):
            time.sleep(_SECOND_LOOK_S)
            self.look()

    @property
    def shown(self) -> list[Row]:
        """The rows to show: finished sources only if asked for, or if bytes of them were lost."""
        return [row for row in self.rows if self._show_all or row.state != "finished" or row.abandoned_bytes]

    def as_dict(self) -> dict[str, Any]:
        """Return all that is shown as plain values."""
        return {
            "running": self.holder is not None,
            "pid": self.holder,
            "state_dir": str(self._target.state_dir),
            "answers": self.health.answers,
            "troubles": list(self.health.troubles),
            "files": [asdict(row) for row in self.shown],
            "states": dict(Counter(row.state for row in self.rows)),
            "lag_bytes": sum(row.lag_bytes for row in self.rows),
            "abandoned_bytes": sum(sum(row.abandoned_bytes.values()) for row in self.rows),
        }

    def as_screen(self) -> Group:
        """Return all that is shown as a table with a line about the tailer above it."""
        return Group(*self._about(), table_of(self.shown), Text(self._totals()))

    def _about(self) -> list[Text]:
        if self.holder is None:
            text = Text(f"no tailer runs on {self._target.state_dir}", style="bold yellow")
        else:
            text = Text(f"tailer with pid {self.holder} runs on {self._target.state_dir}", style="bold green")
        return [text, *(Text(trouble, style="red") for trouble in self.health.troubles)]

    def _totals(self) -> str:
        counts = Counter(row.state for row in self.rows)
        states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        lag = sum(row.lag_bytes for row in self.rows)
        return f"{plural(len(self.rows), 'source')} ({states}), {lag:,} bytes not acknowledged"


def table_of(shown: list[Row]) -> Table:
    """Return the table of these rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        is_text = name in ("file", "source", "state", "last error")
        table.add_column(name, justify="left" if is_text else "right", overflow="fold")
    for row in shown:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> tuple[str, ...]:
    return (
        escape(row.file),
        row.source or "-",
        f"[{_COLOURS[row.state]}]{row.state}[/]",
        f"{row.sequence:,}",
        f"{row.offset:,}",
        f"{row.size:,}",
        f"{row.lag_bytes:,}",
        _lag_time(row),
        duration(row.time_to_loss_s),
        f"{sum(row.abandoned_bytes.values()):,}",
        escape(row.last_error or "-"),
    )


def _lag_time(row: Row) -> str:
    if row.lag_bytes == 0:
        return "-"
    return f"{row.lag_s:.1f} s" if row.lag_s < 10 else duration(row.lag_s)  # noqa: PLR2004 - tenths matter below it


def duration(seconds: float | None) -> str:
    """Return a time as a person reads it: `-`, `now`, `12 s`, `5 min`, `3.2 h`, `2.1 d`. Pure."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return "now"
    for unit, length, until in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < until:
            return f"{seconds / length:.{0 if unit != 'h' else 1}f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def show_status(target: Target, *, watch: bool, as_json: bool, show_all: bool) -> None:
    """Show the status once, or each second until interrupted.

    Raises:
        Fatal: there is no state, or it cannot be read.
    """
    watcher = Watcher(target, show_all=show_all)
    console = screen()
    if not watch:
        watcher.look_twice()
        _write_json(watcher) if as_json else console.print(watcher.as_screen())
    elif as_json or not sys.stdout.isatty():
        write = _write_json if as_json else lambda watcher: console.print(watcher.as_screen())
        _each_second(watcher, write)
    else:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            _each_second(watcher, lambda watcher: live.update(watcher.as_screen(), refresh=True))


def _each_second(watcher: Watcher, show: Callable[[Watcher], None]) -> None:
    try:
        while True:
            watcher.look()
            show(watcher)
            sys.stdout.flush()
            time.sleep(_REFRESH_S)
    except KeyboardInterrupt:
        return


def _write_json(watcher: Watcher) -> None:
    sys.stdout.write(json.dumps(watcher.as_dict()) + "\n")
