"""The lock between processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from dataplane_common.errors import Fatal
from dataplane_common.local.locked import locked

HOLD = """
import sys
from pathlib import Path
from dataplane_common.local.locked import locked
with locked(Path(sys.argv[1]), timeout_s=5, what="x"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_that_is_held_elsewhere_is_an_error_after_the_deadline(tmp_path: Path) -> None:
    """Who waits in vain is told what the other process does; when that one is killed, the lock is free."""
    lock = tmp_path / "lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Fatal, match="another one works"), locked(lock, timeout_s=0.1, what="another one works"):
            pass
        other.kill()
    with locked(lock, timeout_s=5, what="another one works"):
        assert lock.exists()
