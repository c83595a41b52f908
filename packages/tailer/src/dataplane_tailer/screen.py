"""How tables are put out: as wide as the terminal is, or in a pipe as wide as they are, without colour.

Flows in: nothing. Flows out: a console.
"""

import sys

from rich.console import Console

#: Wider than any table; a line in a pipe is never folded.
_UNFOLDED = 10_000


def screen() -> Console:
    """Return a console on standard output."""
    is_terminal = sys.stdout.isatty()
    return Console(width=None if is_terminal else _UNFOLDED, highlight=False, no_color=not is_terminal)


def plural(count: int, thing: str) -> str:
    """Return `1 file`, `2 files`. Pure."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
