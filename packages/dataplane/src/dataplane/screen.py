"""What a person sees of the work: one line per step with its time, spinners and bars on a terminal.

Flows in: steps, some at the same time. Flows out: lines on stdout, and the same as JSON lines in the stack's own log.
Invariant: in a pipe there are plain lines only, each written when it is true.
"""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.text import Text

from dataplane_common.errors import DataPlaneError
from dataplane_common.event import timestamp

#: Columns that a table may take where there is no terminal to ask; `less -S` and files do not mind.
_PIPE_WIDTH = 200
_NAME_WIDTH = 18


def make_console(*, stderr: bool = False) -> Console:
    """Return a console: colours on a terminal, plain and wide in a pipe."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)


class _BarOfKnownLength(BarColumn):
    """A bar only where the end is known; the spinner says enough of the rest."""

    def render(self, task: Task) -> ProgressBar:
        """Return the bar, without width where there is nothing to show."""
        bar = super().render(task)
        bar.width = self.bar_width if task.total is not None else 0
        return bar


class Step:
    """One piece of work while it goes on; `said` becomes its line's text."""

    def __init__(self, name: str, progress: Progress, task: TaskID) -> None:
        self.name = name
        self.said = "done"
        self._progress = progress
        self._task = task

    def say(self, text: str) -> None:
        """Say what came of it; shown when the step ends, and beside the spinner until then."""
        self.said = text
        self._progress.update(self._task, doing=text)

    @contextmanager
    def measured(self, doing: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar on a terminal, a line in a pipe; yields a function that takes each advance."""
        doing = f"{doing} ({total / 2**20:.0f} MiB)"
        if not self._progress.console.is_terminal:
            self._progress.console.print(f"  ..           {self.name:<{_NAME_WIDTH}} {doing}", soft_wrap=True)
        self._progress.update(self._task, doing=doing, total=total, completed=0)
        yield lambda amount: self._progress.update(self._task, advance=amount)
        self._progress.update(self._task, total=None, doing="unpacking")


class Screen:
    """Shows steps; use it as a context manager, so that the terminal is left clean."""

    def __init__(self, console: Console, log: Path) -> None:
        self.console = console
        self._log = log
        self._begun_s = time.monotonic()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn(f"{{task.description:<{_NAME_WIDTH}}} {{task.fields[doing]}}"),
            _BarOfKnownLength(bar_width=30),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the screen was made."""
        return time.monotonic() - self._begun_s

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show one step; its line says how long it took, and whether it failed."""
        begun_s = time.monotonic()
        task = self._progress.add_task(name, total=None, doing="")
        step = Step(name, self._progress, task)
        try:
            yield step
        except DataPlaneError as error:
            self._line("FAIL", "bold red", begun_s, name, "see below")
            self.log(f"{name}: {error}")
            raise
        finally:
            with suppress(KeyError):
                self._progress.remove_task(task)
        self._line("ok", "green", begun_s, name, step.said)

    def together(self, *works: Callable[[], None]) -> None:
        """Do several pieces of work at once and wait for all of them; the first error is raised then."""
        with ThreadPoolExecutor(max_workers=len(works)) as pool:
            waiting = [pool.submit(work) for work in works]
        for future in waiting:
            future.result()

    def note(self, text: str) -> None:
        """Show a remark between the steps."""
        self.console.print(f"              {text}", soft_wrap=True)

    def log(self, message: str) -> None:
        """Write one line to the stack's own log, without showing it."""
        line = {"@timestamp": timestamp(time.time()), "log": {"level": "info"}, "message": message}
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a") as log:
            log.write(json.dumps(line) + "\n")

    def _line(self, mark: str, style: str, begun_s: float, name: str, text: str) -> None:
        took_s = time.monotonic() - begun_s
        line = Text.assemble((f"{mark:>4}", style), (f" {took_s:6.1f} s ", "dim"), f" {name:<{_NAME_WIDTH}} {text}")
        self.console.print(line, soft_wrap=True)
        self.log(f"{name}: {text} ({took_s:.1f} s)")
