"""`explain FILE` as a command: gathers the evidence and prints the answer.

Flows in: a file, options. Flows out: a short paragraph, or JSON.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from dataplane_tailer.evidence import Evidence, gather
from dataplane_tailer.explain import Explanation, explain
from dataplane_tailer.health import ask
from dataplane_tailer.screen import screen
from dataplane_tailer.snapshot import has_state, read_snapshot
from dataplane_tailer.target import Target

_COLOURS = {
    "read": "green",
    "will be read": "green",
    "finished": "green",
    "held back": "yellow",
    "not read": "red",
}


def show_explanation(file: str, target: Target, *, as_json: bool) -> None:
    """Print why a file is or is not read.

    Raises:
        Fatal: the state is there and cannot be read.
    """
    path = str(Path(file).absolute())
    snapshot = read_snapshot(target.state_dir) if has_state(target.state_dir) else None
    evidence = _with_word_of_tailer(gather(path, target.config, snapshot), target)
    explanation = explain(evidence)
    if as_json:
        sys.stdout.write(json.dumps(_as_dict(evidence, explanation)) + "\n")
        return
    console = screen()
    console.print(Text.assemble(path, ": ", (explanation.verdict, f"bold {_COLOURS[explanation.verdict]}")))
    for line in explanation.lines:
        console.print(Text(f"  {line}"))


def _with_word_of_tailer(evidence: Evidence, target: Target) -> Evidence:
    """Add what a running tailer says of the file: it may be another user's, and see another thing than we do."""
    if evidence.holder is None or target.config is None:
        return evidence
    refused = ask(target.config.telemetry.listen).refused
    return replace(evidence, refused=refused.get(evidence.found_as or evidence.path, ""))


def _as_dict(evidence: Evidence, explanation: Explanation) -> dict[str, Any]:
    known = msgspec.to_builtins(evidence)
    entry = known.pop("entry")
    return {
        "verdict": explanation.verdict,
        "lines": list(explanation.lines),
        **known,
        "input": entry["dataset"] if entry else None,
    }
