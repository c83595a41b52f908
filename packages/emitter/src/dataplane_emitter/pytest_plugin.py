"""A pytest fixture; use it with `pytest_plugins = ["dataplane_emitter.pytest_plugin"]` in a `conftest.py`.

Flows in: a test. Flows out: what the application under test would have sent while it ran.
"""

from collections.abc import Iterator

import pytest

from dataplane_emitter.testing import Captured, capture_events


@pytest.fixture
def captured_events() -> Iterator[Captured]:
    """Capture what all emitters send during a test; see `dataplane_emitter.testing.Captured`."""
    with capture_events() as captured:
        yield captured
