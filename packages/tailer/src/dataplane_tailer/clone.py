"""A state folder that was copied to another host, in an image for example.

Flows in: a state. Flows out: the same, fit for this host. Invariant: two hosts never say the same event id, and each
counts its own.
"""

import msgspec

from dataplane_common.event import new_source
from dataplane_common.telemetry import Logger
from dataplane_tailer.state import STREAM, SourceRecord, State


def adopt_cloned_state(state: State, host: str, log: Logger) -> None:
    """Give every file and stream a new source, at its checkpoint, where the state was made on another host."""
    here = f"{_machine_id()} {host}".strip()  # images are cloned with the machine's id, too
    before = state.get("machine")
    fresh: dict[str, SourceRecord] = {}
    texts = {"machine": here}
    if before is not None and before != here:
        log.warning("state.adopted", made_on=before, host=here)
        for record in state.sources():
            fresh[record.source] = record
            record.source, record.sequence, record.dropped, record.sent_limit = new_source(), 0, 0, 0
            record.abandoned_bytes, record.resumes = {}, {}
        for key, text in state.texts(STREAM).items():
            texts[key] = msgspec.json.encode(
                {**msgspec.json.decode(text), "source": new_source(), "sequence": 0, "dropped": 0}
            ).decode()
    state.adopt(fresh, texts)


def _machine_id() -> str:
    try:
        with open("/etc/machine-id") as file:  # noqa: PTH123 - machine-id(5) has one place
            return file.read().strip()
    except OSError:
        return ""
