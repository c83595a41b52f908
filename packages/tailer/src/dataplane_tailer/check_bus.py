"""`check`: whether the bus takes what would be sent, and how long it keeps it.

Flows in: a configuration. Flows out: findings. Invariant: nothing is published and no stream is changed.
"""

from collections.abc import Mapping
from typing import Any

from dataplane_common.bus import Connection, stream_for
from dataplane_common.bus.streams import stream_info
from dataplane_common.errors import DataPlaneError
from dataplane_common.frame import HEADROOM_BYTES, TARGET_BYTES
from dataplane_common.taxonomy import Signal, ledger_subject, subject_for
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.finding import Finding, Level

_NS = 1_000_000_000
#: A consumer that is away over a weekend should not lose anything.
_SHORT_AGE_S = 86_400
#: A stream this full of bytes or messages drops its oldest soon.
_NEARLY_FULL = 0.9
#: The tailer may send a frame again this long after the first time.
_DUPLICATE_WINDOW_S = 30


async def check_bus(config: TailerConfig) -> list[Finding]:
    """Connect, and ask which stream takes what would be sent, and what it does with it."""
    connection = Connection(config.nats, name="dataplane-tailer check")
    connection.start()
    try:
        await connection.wait_ready(config.nats.connect_timeout_s)
        findings = judge_max_payload(connection.max_message_bytes + HEADROOM_BYTES)
        datasets = sorted({entry.dataset for entry in config.inputs})
        subjects = [str(subject_for(Signal.LOGS, config.namespace, dataset, config.host)) for dataset in datasets]
        streams: set[str] = set()
        for subject in (*subjects, ledger_subject(config.namespace, config.host, "tailer")):
            findings += await _check_subject(connection, subject, streams)
    except DataPlaneError as error:
        return [Finding("error", "bus", str(error))]
    finally:
        await connection.close()
    return findings


async def _check_subject(connection: Connection, subject: str, streams: set[str]) -> list[Finding]:
    """Look for the subject's stream, and at the stream if it was not looked at before."""
    stream = await stream_for(connection, subject)
    if stream is None:
        return [Finding("error", subject, "no stream takes it; create the streams: elastinats setup")]
    findings = [Finding("ok", subject, f"is stored in stream {stream}")]
    if stream not in streams:
        streams.add(stream)
        info = await stream_info(connection, stream)
        findings += judge_stream(info) if info is not None else []
    return findings


def judge_max_payload(max_payload: int) -> list[Finding]:
    """Compare the server's limit with the size of frames. Pure."""
    if max_payload < TARGET_BYTES:
        text = (
            f"connected; max_payload is {max_payload:,} bytes, below the {TARGET_BYTES:,} of a full frame: frames are "
            "cut smaller and long lines are split; raise max_payload in the server's configuration"
        )
        return [Finding("warning", "bus", text)]
    return [Finding("ok", "bus", f"connected; messages may have {max_payload:,} bytes")]


def judge_stream(info: Mapping[str, Any]) -> list[Finding]:
    """Say how long a stream keeps what it takes, and what in its configuration loses it earlier. Pure."""
    config, state = info.get("config", {}), info.get("state", {})
    about = f"stream {config.get('name', '')}"
    findings = [Finding("ok", about, _kept(config, state))]
    findings += [Finding(level, about, text) for level, text in (*_losses(config), *_fullness(config, state))]
    return findings


def _kept(config: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    age_s, most = config.get("max_age", 0) / _NS, config.get("max_bytes", -1)
    age = f"{age_s / 3600:,.0f} hours" if age_s else "any age"
    size = f"{most:,} bytes" if most > 0 else "any size"
    return f"keeps {age} and {size}; holds {state.get('messages', 0):,} messages, {state.get('bytes', 0):,} bytes"


def _losses(config: Mapping[str, Any]) -> list[tuple[Level, str]]:
    """Return what of a stream's configuration loses messages, or never says that it has them."""
    problems: list[tuple[Level, str]] = []
    age_s = config.get("max_age", 0) / _NS
    if config.get("no_ack"):
        problems.append(
            ("error", "it acknowledges nothing (no_ack): nothing would ever be checkpointed; switch it off")
        )
    if config.get("sealed"):
        problems.append(("error", "it is sealed and takes nothing; create another for these subjects"))
    if config.get("retention", "limits") != "limits":
        text = f"its retention is {config['retention']}: messages leave before every reader has them; use limits"
        problems.append(("warning", text))
    if 0 < age_s < _SHORT_AGE_S:
        text = (
            f"it keeps messages for {age_s / 3600:.1f} hours only: a sink that is away longer loses them; raise max_age"
        )
        problems.append(("warning", text))
    if config.get("storage") == "memory":
        problems.append(("warning", "it is in memory: a restart of the server loses it; use file storage"))
    if 0 < config.get("max_msg_size", -1) < TARGET_BYTES:
        text = f"it takes messages up to {config['max_msg_size']:,} bytes, below the {TARGET_BYTES:,} of a full frame"
        problems.append(("warning", f"{text}: frames are refused and cut smaller; remove max_msg_size"))
    if config.get("max_msgs_per_subject", -1) > 0:
        text = f"it keeps {config['max_msgs_per_subject']:,} messages per subject only; remove max_msgs_per_subject"
        problems.append(("warning", text))
    if 0 < config.get("duplicate_window", 0) / _NS < _DUPLICATE_WINDOW_S:
        text = f"it knows duplicates for {config['duplicate_window'] / _NS:g} s only: repeats would be stored twice"
        problems.append(("warning", f"{text}; raise duplicate_window to 2 minutes"))
    return problems


def _fullness(config: Mapping[str, Any], state: Mapping[str, Any]) -> list[tuple[Level, str]]:
    most, held = config.get("max_bytes", -1), state.get("bytes", 0)
    if most <= 0 or held < _NEARLY_FULL * most:
        return []
    share = f"{held / most:.0%} full"
    if config.get("discard") == "new":
        return [("warning", f"it is {share} and refuses what comes then; raise max_bytes")]
    return [("warning", f"it is {share}: its oldest messages leave before their age; raise max_bytes")]
