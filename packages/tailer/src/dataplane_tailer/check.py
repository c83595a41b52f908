"""`check`: what would happen with this configuration, found out without reading or sending anything.

Flows in: a configuration. Flows out: findings, one line each, and an exit code.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console

from dataplane_common.bus import Connection, stream_for
from dataplane_common.config import shown
from dataplane_common.errors import DataPlaneError, ExitCode
from dataplane_common.taxonomy import Signal, subject_for
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.discover import find

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Literal["ok", "warning", "error"]
    about: str
    text: str


async def check_all(config: TailerConfig, *, as_json: bool) -> int:
    """Print the effective configuration and all findings; return 1 if any is an error."""
    findings = [*check_files(config), *await check_bus(config)]
    if as_json:
        sys.stdout.write(json.dumps({"config": shown(config), "findings": [asdict(f) for f in findings]}) + "\n")
    else:
        console = Console(soft_wrap=True, highlight=False)
        console.print_json(data=shown(config))
        for finding in findings:
            console.print(f"[{_COLOURS[finding.level]}]{finding.level}[/] {finding.about}: {finding.text}", markup=True)
    failed = any(finding.level == "error" for finding in findings)
    return ExitCode.FATAL if failed else ExitCode.CLEAN


def check_files(config: TailerConfig) -> list[Finding]:
    """Look at what each input matches now."""
    findings = []
    for entry in config.inputs:
        found = find([entry])
        about = f"{entry.dataset} ({', '.join(entry.paths)})"
        if not found:
            findings.append(Finding("warning", about, "no file matches now; files that appear later are shipped"))
        else:
            total = sum(file.size for file in found.values())
            findings.append(Finding("ok", about, f"{len(found)} files, {total:,} bytes"))
        findings += [
            Finding("error", file.path, "forbidden; run as a user who may read it, or change its mode")
            for file in found.values()
            if not os.access(file.path, os.R_OK)
        ]
    return findings


async def check_bus(config: TailerConfig) -> list[Finding]:
    """Connect, and ask whether a stream takes what would be sent."""
    connection = Connection(config.nats, name="dataplane-tailer check")
    connection.start()
    try:
        await connection.wait_ready(config.nats.connect_timeout_s)
        findings = [Finding("ok", "bus", f"connected; messages may have {connection.max_message_bytes:,} bytes")]
        for dataset in sorted({entry.dataset for entry in config.inputs}):
            subject = str(subject_for(Signal.LOGS, config.namespace, dataset, config.host))
            stream = await stream_for(connection, subject)
            if stream is None:
                findings.append(Finding("error", subject, "no stream takes it; create the streams: elastinats setup"))
            else:
                findings.append(Finding("ok", subject, f"is stored in stream {stream}"))
    except DataPlaneError as error:
        return [Finding("error", "bus", str(error))]
    finally:
        await connection.close()
    return findings
