"""What `check` has to say about one thing.

Flows in: what was looked at. Flows out: a level, what it is about, and a text that ends with the remedy.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    about: str
    text: str
