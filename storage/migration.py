"""Brings a database to the newest schema, or back; one at a time, however many nodes start at once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError

from storage import engines
from storage.errors import DatabaseMisconfigured
from storage.failures import translated

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK_SECONDS = 60.0
"""How long a node waits for another one that is migrating the same database."""
MIGRATION_SECONDS = 600.0
"""How long one statement of a migration may take on PostgreSQL, its wait for the lock included."""
_ADVISORY_LOCK = 0x6C756E656F
"""PostgreSQL's advisory lock for migrations; the number is arbitrary and must not change."""
_one_at_a_time = threading.Lock()  # Alembic's `op` is one per process


async def migrate(url: str, revision: str = "head") -> None:
    """Bring the database at *url* up to *revision*, creating a SQLite file where there is none.

    All steps are one transaction: after a failure nothing has changed.

    Raises:
        DatabaseMisconfigured: an address that cannot be used, or a SQLite file that is damaged.
        DatabaseBusy: another node has been migrating for `MIGRATION_LOCK_SECONDS`.
        DatabaseUnavailable: the database does not answer, or cannot do a step.
    """
    await asyncio.to_thread(_run, engines.parse_url(url), revision, upwards=True)


async def revert(url: str, revision: str = "base") -> None:
    """Take the schema back down to *revision*; `base` drops every table, with all that is in them."""
    await asyncio.to_thread(_run, engines.parse_url(url), revision, upwards=False)


def _run(url: URL, revision: str, *, upwards: bool) -> None:
    with _one_at_a_time, translated():
        if engines.dialect_of(url) == "sqlite":
            _run_sqlite(url, revision, upwards=upwards)
        else:
            asyncio.run(_run_postgres(url, revision, upwards=upwards))


def _run_sqlite(url: URL, revision: str, *, upwards: bool) -> None:
    engines.sqlite_path(url).parent.mkdir(parents=True, exist_ok=True)
    engine = engines.sqlite_thread_writer(url, busy_seconds=MIGRATION_LOCK_SECONDS)
    try:
        with engine.begin() as connection:  # BEGIN IMMEDIATE is the lock
            _steps(connection, revision, upwards=upwards)
    except DatabaseError as error:
        if getattr(error.orig, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            raise DatabaseMisconfigured(
                f"{engines.sqlite_path(url)} is damaged, or is no SQLite database ({error.orig})."
                " Put a backup in its place, or choose another directory."
            ) from error
        raise
    finally:
        engine.dispose()


async def _run_postgres(url: URL, revision: str, *, upwards: bool) -> None:
    engine = engines.postgres_engine(url, connections=1, autocommit=False, statement_seconds=MIGRATION_SECONDS)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = {int(MIGRATION_LOCK_SECONDS * 1000)}"))
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
            await connection.run_sync(lambda sync: _steps(sync, revision, upwards=upwards))
    finally:
        await engine.dispose()


def _steps(connection: Connection, revision: str, *, upwards: bool) -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))

    def steps(current: Any, _context: MigrationContext) -> Any:
        if upwards:
            return scripts._upgrade_revs(revision, current)
        return scripts._downgrade_revs(revision, current)

    context = MigrationContext.configure(connection, opts={"fn": steps, "transactional_ddl": True})
    with Operations.context(context):
        context.run_migrations()
