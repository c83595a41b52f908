"""`check`: what would happen with this configuration, found out without reading or sending anything.

Flows in: a configuration. Flows out: findings, one line each, and an exit code.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

from dataplane_common.config import shown
from dataplane_common.errors import ExitCode
from dataplane_tailer.check_bus import check_bus
from dataplane_tailer.check_host import check_host
from dataplane_tailer.check_lines import check_lines
from dataplane_tailer.check_patterns import check_patterns
from dataplane_tailer.check_rotation import check_rotation
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.discover import Found, find
from dataplane_tailer.finding import Finding
from dataplane_tailer.identity import FileKey
from dataplane_tailer.screen import plural, screen

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


async def check_all(config: TailerConfig, *, as_json: bool, root: Path = Path("/")) -> int:
    """Print the effective configuration and all findings; return 1 if any is an error.

    `root` is where the host's `etc` lies: elsewhere than `/` where the tailer runs in a container.
    """
    found = find(config.inputs)
    findings = [
        *check_files(config, found),
        *check_streams(config),
        *check_lines(found, config.inputs),
        *check_patterns(config.inputs),
        *check_rotation(found, config.inputs, root),
        *check_host(config, len(found)),
        *await check_bus(config),
    ]
    if as_json:
        sys.stdout.write(json.dumps({"config": shown(config), "findings": [asdict(f) for f in findings]}) + "\n")
    else:
        _print(config, findings)
    failed = any(finding.level == "error" for finding in findings)
    return ExitCode.FATAL if failed else ExitCode.CLEAN


def check_files(config: TailerConfig, found: Mapping[FileKey, Found]) -> list[Finding]:
    """Look at what each input matches now."""
    findings = []
    for entry in [entry for entry in config.inputs if entry.type == "file"]:
        files = [file for file in found.values() if file.entry is entry]
        about = f"{entry.dataset} ({', '.join(entry.paths)})"
        if files:
            total = sum(file.size for file in files)
            findings.append(Finding("ok", about, f"{plural(len(files), 'file')}, {total:,} bytes"))
        else:
            findings.append(Finding("warning", about, _nothing_matches(config, entry.paths)))
    findings += [
        Finding("error", file.path, "forbidden; run as a user who may read it, or change its mode")
        for file in found.values()
        if not os.access(file.path, os.R_OK)
    ]
    return findings


def check_streams(config: TailerConfig) -> list[Finding]:
    """Look at the inputs that are no files."""
    findings = []
    for entry in [entry for entry in config.inputs if entry.type != "file"]:
        about = f"{entry.dataset} ({' '.join((entry.type, *entry.units))})"
        if entry.type == "journal" and shutil.which("journalctl") is None:
            findings.append(Finding("error", about, "there is no journalctl here; install systemd's, or remove it"))
        elif entry.type == "journal":
            findings.append(Finding("ok", about, "is read through journalctl, behind a saved cursor after a restart"))
        else:
            text = "what was read and not acknowledged is lost by a SIGKILL: a pipe gives nothing twice"
            findings.append(Finding("ok", about, text))
    return findings


def _nothing_matches(config: TailerConfig, paths: tuple[str, ...]) -> str:
    others = [entry for entry in config.inputs if entry.paths != paths]
    mine = [entry for entry in config.inputs if entry.paths == paths]
    if others and find(mine):
        return "an earlier input has all files that it matches; the first input that matches a file ships it"
    return "no file matches now; files that appear later are shipped"


def _print(config: TailerConfig, findings: list[Finding]) -> None:
    console = screen()
    console.print_json(data=shown(config))
    for finding in findings:
        level = f"[{_COLOURS[finding.level]}]{finding.level}[/]"
        console.print(f"{level} {escape(finding.about)}: {escape(finding.text)}", soft_wrap=True)
