"""What an operator must be able to trust at night: the commands agree with the tailer that runs."""

from dataclasses import replace

from dataplane_tailer.config import DeliveryConfig
from dataplane_tailer.evidence import Evidence
from dataplane_tailer.explain import explain
from dataplane_tailer.sight import Sight
from dataplane_tailer.snapshot import Snapshot
from dataplane_tailer.state import SourceRecord
from dataplane_tailer.status import View, rows

NOW = 1_000_000.0
PATH = "/var/log/a.log"


def test_bytes_of_a_truncated_file_are_counted_once(tmp_path):
    """What it holds now belongs to the new source, and until there is one it is what the next check will read."""
    old = SourceRecord("0" * 15 + "1", PATH, PATH, "d", 1, 2, offset=100, size_seen=100)
    new = SourceRecord("0" * 15 + "2", PATH, PATH, "d", 1, 2, offset=4, size_seen=10)
    sight = Sight(PATH, 10, written_at=NOW)

    def lags(*records: SourceRecord) -> list[int]:
        snapshot = Snapshot(tmp_path, list(records), holder=7)
        view = View(NOW, snapshot, {record.source: sight for record in records})
        return [row.lag_bytes for row in rows(view, {}, DeliveryConfig())]

    assert lags(old) == [10]
    assert sorted(lags(old, new)) == [0, 6]


def test_what_the_tailer_may_not_read_is_not_called_read():
    """Whoever asks may see more than the tailer does: its own word counts."""
    seen = Evidence(PATH, "file", size=5, mode=0o600, owner="root:root", matches=(), found_as=PATH, holder=7)
    explanation = explain(replace(seen, refused="Permission denied"))
    assert explanation.verdict == "not read"
    assert "the running tailer (pid 7) says: Permission denied (mode 0600, root:root)" in explanation.lines[0]
    assert explain(seen).verdict == "will be read"
