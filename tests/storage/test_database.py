"""Transactions, their failures in our words, and migrations; on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, select, text, update

from storage import database as database_module
from storage.database import Database, migrate, open_database
from storage.errors import DatabaseBusy, DatabaseMisconfigured, DatabaseUnavailable
from storage.migration import revert
from storage.models import metadata, secrets
from tests.harness.servers import PostgresServer


async def put(database: Database, name: str, value: bytes) -> None:
    async with database.transaction() as connection:
        await connection.execute(database.insert(secrets).values(name=name, value=value, at=0.0))


async def names(database: Database) -> set[str]:
    async with database.reading() as connection:
        return set((await connection.execute(select(secrets.c.name))).scalars())


async def test_a_transaction_is_all_or_nothing_and_unseen_until_its_end(
    two_databases: tuple[Database, Database],
) -> None:
    """Rule D2."""
    async with two_databases[0].transaction() as connection:
        await connection.execute(two_databases[0].insert(secrets).values(name="a", value=b"", at=0.0))
        assert await names(two_databases[0]) == await names(two_databases[1]) == set()
    assert await names(two_databases[1]) == {"a"}
    with pytest.raises(ZeroDivisionError):
        await _fail_in_a_transaction(two_databases[0])
    if two_databases[0].dialect == "sqlite":
        with pytest.raises(ZeroDivisionError):
            await two_databases[0].write_sqlite(_fail_after_an_insert)
    assert await names(two_databases[1]) == {"a"}


async def _fail_in_a_transaction(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(database.insert(secrets).values(name="b", value=b"", at=0.0))
        raise ZeroDivisionError


def _fail_after_an_insert(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO secrets (name, value, at) VALUES ('c', x'', 0)")
    raise ZeroDivisionError


async def test_a_cancelled_transaction_leaves_nothing_and_blocks_nobody(database: Database) -> None:
    for pause in range(12):

        async def write(name: str = f"cancelled-{pause}") -> None:
            async with database.transaction() as connection:
                await connection.execute(database.insert(secrets).values(name=name, value=b"", at=0.0))
                await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(write())
        for _ in range(pause * 3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await put(database, "after", b"")
    assert await names(database) == {"after"}


async def test_many_writers_of_two_nodes_wait_for_each_other(two_databases: tuple[Database, Database]) -> None:
    """Read, add one, write: nobody's addition is lost."""
    await put(two_databases[0], "count", b"0")

    async def add(database: Database) -> None:
        async with database.transaction() as connection:
            value = (
                await connection.execute(select(secrets.c.value).where(secrets.c.name == "count").with_for_update())
            ).scalar_one()
            await connection.execute(
                update(secrets).where(secrets.c.name == "count").values(value=str(int(value) + 1).encode())
            )

    await asyncio.gather(*(two_databases[n % 2].retrying(lambda n=n: add(two_databases[n % 2])) for n in range(30)))  # type: ignore[misc]
    async with two_databases[0].reading() as connection:
        assert (await connection.execute(select(secrets.c.value))).scalar_one() == b"30"


async def test_a_lock_that_is_not_free_in_time_is_busy_and_worth_another_try(
    two_databases: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_databases
    await put(first, "held", b"")
    monkeypatch.setattr(database_module, "WRITE_LOCK_SECONDS", 0.05)
    tries = 0
    release = asyncio.Event()

    async def lock(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(select(secrets).where(secrets.c.name == "held").with_for_update())
            if database is first and not release.is_set():
                await release.wait()

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            release.set()
        # On SQLite the neighbour in the same process is who has to wait.
        await lock(second if first.dialect == "postgresql" else first)

    async with asyncio.TaskGroup() as group:
        group.create_task(lock(first))
        while not await _is_held(first, second):
            await asyncio.sleep(0)
        with pytest.raises(DatabaseBusy) as busy:
            await attempt()
        assert busy.value.retryable
        await first.retrying(attempt)
    assert tries >= 2


async def _is_held(first: Database, second: Database) -> bool:
    if first.dialect == "sqlite":
        return first._write_lock.locked()
    async with second.transaction() as connection:
        rows = await connection.execute(
            select(secrets).where(secrets.c.name == "held").with_for_update(skip_locked=True)
        )
        return rows.first() is None


async def test_reading_does_not_wait_for_writers(two_databases: tuple[Database, Database]) -> None:
    await put(two_databases[0], "before", b"")
    async with two_databases[0].transaction() as connection:
        await connection.execute(update(secrets).values(at=1.0))
        for database in two_databases:
            assert await names(database) == {"before"}
            await database.ping()


async def test_sqlite_loses_nothing_that_was_committed(sqlite_url: str) -> None:
    """Rule D2: both ways to write, each with its own connection."""

    def mode(connection: Connection) -> list[Any]:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.execute(text(f"PRAGMA {pragma}")).scalar_one() for pragma in pragmas]

    def driver_mode(connection: sqlite3.Connection) -> list[Any]:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas]

    async with open_database(sqlite_url) as database:
        assert await database.write_sqlite(driver_mode) == ["wal", 2, 1]
        async with database.transaction() as connection:
            assert await connection.run_sync(mode) == ["wal", 2, 1]
        assert database.fsync_mode == "sqlite wal synchronous=FULL"


async def test_postgres_without_durable_commits_is_refused(postgres: PostgresServer, postgres_url: str) -> None:
    """Rule D2."""
    name = postgres_url.rpartition("/")[2]
    postgres.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    with pytest.raises(DatabaseMisconfigured, match="synchronous_commit"):
        async with open_database(postgres_url):
            pass


async def test_a_database_that_is_not_there_is_unavailable(postgres: PostgresServer, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with open_database("postgresql://nobody@127.0.0.1:1/none"):
            pass
    with pytest.raises(DatabaseUnavailable):
        async with open_database(postgres.url("absent")):
            pass
    async with open_database(f"sqlite:///{tmp_path / 'no' / 'such' / 'directory.db'}") as database:
        with pytest.raises(DatabaseUnavailable):
            await database.ping()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://localhost/x", "sqlite://", "sqlite:///:memory:"])
async def test_an_address_that_cannot_be_used_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(DatabaseMisconfigured):
        await migrate(url)
    with pytest.raises(DatabaseMisconfigured):
        async with open_database(url):
            pass


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'luneo.db'}"
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.create_database()


async def test_the_migrations_make_the_tables_of_the_models_and_take_them_back(empty_url: str) -> None:
    await migrate(empty_url)
    await migrate(empty_url)
    async with open_database(empty_url) as database, database.reading() as connection:
        assert await connection.run_sync(_differences) == []
    await revert(empty_url)
    async with open_database(empty_url) as database, database.reading() as connection:
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == ["alembic_version"]
    await migrate(empty_url)


def _differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


async def test_nodes_that_start_at_once_migrate_once(empty_url: str) -> None:
    program = (
        "import asyncio, sys; from storage.database import migrate;"
        "print(flush=True); sys.stdin.readline(); asyncio.run(migrate(sys.argv[1]))"
    )
    pipe = asyncio.subprocess.PIPE
    nodes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty_url, stdin=pipe, stdout=pipe)
        for _ in range(2)
    ]
    for node in nodes:
        assert node.stdout is not None
        await node.stdout.readline()
    await asyncio.gather(*(node.communicate(b"go\n") for node in nodes), *(migrate(empty_url) for _ in range(3)))
    assert [node.returncode for node in nodes] == [0, 0]
    async with open_database(empty_url) as database, database.reading() as connection:
        assert await connection.run_sync(_differences) == []
