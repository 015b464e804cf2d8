"""Addresses and engines: how each dialect is spoken to, and every bound of it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import aiosqlite
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from storage.errors import DatabaseMisconfigured

Dialect: TypeAlias = Literal["sqlite", "postgresql"]

SQLITE_BUSY_SECONDS = 5.0
"""How long a statement waits for another process's write lock; within one process an asyncio lock comes first."""
SQLITE_READERS = 4
THREAD_END_SECONDS = 1.0
"""How long a connection that could not be opened is waited for."""
POSTGRES_WRITERS = 8
POSTGRES_READERS = 8
POOL_WAIT_SECONDS = 5.0
"""How long a caller waits for a free connection of a pool; after that the database is busy."""
CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 10.0
LOCK_TIMEOUT_MS = 1000
"""How long PostgreSQL waits for a row lock. A commit holds one for milliseconds; this is for the node that hangs."""
IDLE_IN_TRANSACTION_MS = 10_000
"""After this PostgreSQL ends a session that holds locks and says nothing: a node that lost its power."""

_WRITER_PRAGMAS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON")


def parse_url(text: str) -> URL:
    """The address with the driver that we use: `sqlite:///file` or `postgresql://…`, asynchronous drivers named or not.

    Raises:
        DatabaseMisconfigured: not an address, another database, or a SQLite database without a file.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise DatabaseMisconfigured("The database address is not a URL: sqlite:///file or postgresql://…") from None
    match url.get_backend_name():
        case "sqlite":
            if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
                raise DatabaseMisconfigured("SQLite needs a file: sqlite:////absolute/path or sqlite:///relative/path.")
            return url.set(drivername="sqlite+aiosqlite")
        case "postgresql":
            return url.set(drivername="postgresql+asyncpg")
        case other:
            raise DatabaseMisconfigured(f"There is no support for {other}; use sqlite or postgresql.")


def dialect_of(url: URL) -> Dialect:
    return "sqlite" if url.get_backend_name() == "sqlite" else "postgresql"


def sqlite_path(url: URL) -> Path:
    assert url.database is not None
    return Path(url.database)


def sqlite_writer(url: URL) -> AsyncEngine:
    """One connection; every transaction takes the write lock at its begin, or two of them fail each other later."""
    engine = create_async_engine(
        url,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=POOL_WAIT_SECONDS,
        async_creator=_sqlite_opener(url, _WRITER_PRAGMAS),
    )
    _begin_immediately(engine.sync_engine)
    return engine


def sqlite_thread_writer(url: URL, *, busy_seconds: float = SQLITE_BUSY_SECONDS) -> Engine:
    """The same without asyncio, for one thread."""
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=POOL_WAIT_SECONDS,
        connect_args=_sqlite_arguments(busy_seconds),
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        for pragma in _WRITER_PRAGMAS:
            _execute(connection, pragma)

    _begin_immediately(engine)
    return engine


def sqlite_connection(url: URL) -> sqlite3.Connection:
    """A connection of the driver itself that writes, for the thread that opens it; it begins no transactions."""
    connection: sqlite3.Connection = sqlite3.connect(sqlite_path(url), **_sqlite_arguments())
    for pragma in _WRITER_PRAGMAS:
        _execute(connection, pragma)
    return connection


def sqlite_reader(url: URL) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=SQLITE_READERS,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=POOL_WAIT_SECONDS,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        async_creator=_sqlite_opener(url, ("PRAGMA query_only=ON",)),
    )


def postgres_engine(
    url: URL, *, connections: int, autocommit: bool, statement_seconds: float = STATEMENT_SECONDS
) -> AsyncEngine:
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True} if autocommit else {}
    return create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=POOL_WAIT_SECONDS,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": statement_seconds,
            "server_settings": {
                "application_name": "luneo",
                "lock_timeout": str(LOCK_TIMEOUT_MS),
                "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
                # asyncpg's look-ups of types are large plans, run once: compiling them takes longer than running them.
                "jit": "off",
            },
        },
        **options,
    )


def _sqlite_arguments(busy_seconds: float = SQLITE_BUSY_SECONDS) -> dict[str, Any]:
    # No isolation level: the sqlite3 module begins no transactions of its own, the "begin" event does.
    return {"timeout": busy_seconds, "isolation_level": None}


def _sqlite_opener(url: URL, pragmas: Sequence[str]) -> Callable[[], Awaitable[aiosqlite.Connection]]:
    """What opens a connection whole or not at all.

    Whoever is cancelled while a pool connects leaves a connection that nobody closes, with its thread: SQLAlchemy does
    not know of it yet.
    """

    async def open_whole() -> aiosqlite.Connection:
        opening = aiosqlite.connect(sqlite_path(url), **_sqlite_arguments())
        opening._thread.daemon = True  # as SQLAlchemy has it: a thread that hangs does not keep the process
        try:
            connection = await opening
        except BaseException:
            # Its thread has one more word for the loop, which may be closed by then.
            await asyncio.to_thread(opening._thread.join, THREAD_END_SECONDS)
            raise
        for pragma in pragmas:
            await connection.execute(pragma)
        return connection

    async def open_or_close() -> aiosqlite.Connection:
        opening = asyncio.ensure_future(open_whole())
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with contextlib.suppress(sqlite3.Error):
                await (await opening).close()
            raise

    return open_or_close


def _begin_immediately(engine: Engine) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _execute(dbapi_connection: Any, statement: str) -> None:
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute(statement)
    finally:
        cursor.close()
