"""Two nodes on one database, which is what the rules of storage are about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from storage.database import Database, open_database
from storage.update_log import UpdateLog


@pytest.fixture
async def log(database: Database) -> AsyncIterator[UpdateLog]:
    async with UpdateLog(database) as log:
        yield log


@pytest.fixture
async def two_databases(database_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """The same database as two nodes see it."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_database(database_url))
        yield first, await stack.enter_async_context(open_database(database_url))


@pytest.fixture
async def two_logs(two_databases: tuple[Database, Database]) -> AsyncIterator[tuple[UpdateLog, UpdateLog]]:
    """The same log as two nodes write it."""
    async with UpdateLog(two_databases[0]) as first, UpdateLog(two_databases[1]) as second:
        yield first, second
