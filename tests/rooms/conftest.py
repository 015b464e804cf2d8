"""What the tests of rooms share: workers with the test's table of tasks, and real yjs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from rooms.workers import Workers
from tests.rooms.oracle import Yjs

TEST_TASKS = "tests.rooms.worker_tasks:TASKS"


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    """Two workers with the tasks of `worker_tasks.py`."""
    async with Workers(2, tasks=TEST_TASKS, memory_bytes=512 * 1024 * 1024) as opened:
        yield opened


@pytest.fixture
def yjs() -> Iterator[Yjs]:
    """Real yjs."""
    with Yjs() as opened:
        yield opened
