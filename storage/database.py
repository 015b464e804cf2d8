"""Database: transactions, reads, and what their failures mean; the same for SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import fcntl
import queue
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Table, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import engines
from storage.errors import DatabaseBusy, DatabaseMisconfigured
from storage.failures import translated
from storage.migration import migrate as migrate

WRITE_LOCK_SECONDS = 10.0
"""How long a SQLite transaction waits for the other ones of this process; after that the database is busy."""
MAX_ATTEMPTS = 6
"""How often `retrying` runs what found the database busy."""
RETRY_SECONDS = 0.02
"""The first pause between two attempts; each further one is twice as long, and all are jittered."""
PING_SECONDS = 2.0

T = TypeVar("T")

Transaction: TypeAlias = AsyncConnection
"""What the caller's transaction is handed over as; those above storage need no other word of SQLAlchemy's."""


class Database:
    """Connections of one node to one database; made by `open_database` only."""

    dialect: engines.Dialect
    fsync_mode: str
    """How durable a commit is, for the lines of a benchmark: `sqlite wal synchronous=FULL`."""

    def __init__(
        self,
        dialect: engines.Dialect,
        fsync_mode: str,
        writes: AsyncEngine,
        reads: AsyncEngine,
        connect: Callable[[], sqlite3.Connection] | None = None,
    ) -> None:
        self.dialect = dialect
        self.fsync_mode = fsync_mode
        self._writes = writes
        self._reads = reads
        self._sqlite = _SqliteThread(connect) if connect is not None else None
        self._write_lock = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One write transaction: committed at the end of the block, rolled back by any exception.

        SQLite has the write lock from the first statement on; PostgreSQL runs READ COMMITTED, where what is read in
        order to be written must be locked by the one who reads it.

        Raises:
            DatabaseBusy: a lock or a connection was not free in time; nothing was changed.
            DatabaseUnavailable: no answer; a commit that was under way may have happened.
            InvalidValue: the database cannot hold a value; nothing was changed.

        Source: docs/protocol.md, D2.
        """
        async with self._turn():
            with translated():
                async with self._writes.begin() as connection:
                    yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reads: each statement sees what is committed when it starts; raises as `transaction`."""
        with translated():
            async with self._reads.connect() as connection:
                yield connection

    async def write_sqlite(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run *work* in one write transaction of SQLite, in a thread of its own; raises as `transaction`.

        For the log: through SQLAlchemy a commit costs three times as much. *work* must touch nothing but its arguments.
        A cancelled caller does not end it: it may be committed all the same.
        """
        assert self._sqlite is not None
        if self._write_lock.locked():
            await self._wait_for_lock()
        else:
            await self._write_lock.acquire()
        try:
            return await self._sqlite.run(work)
        finally:
            self._write_lock.release()

    @asynccontextmanager
    async def joining(self, connection: AsyncConnection | None) -> AsyncIterator[AsyncConnection]:
        """The caller's transaction where there is one, else one of its own."""
        if connection is not None:
            yield connection
        else:
            async with self.transaction() as own:
                yield own

    async def retrying(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run *work*, which makes its own transaction, again while the database is busy, `MAX_ATTEMPTS` times at most.

        Raises whatever the last attempt raised. Other failures are not repeated: they may have been committed.
        """
        pause = RETRY_SECONDS
        for _ in range(MAX_ATTEMPTS - 1):
            try:
                return await work()
            except DatabaseBusy:
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause *= 2
        return await work()

    async def ping(self) -> None:
        """Ask the database for a sign of life, for `PING_SECONDS` at most.

        Raises:
            DatabaseBusy, DatabaseUnavailable: it gave none.
        """
        with translated():
            async with asyncio.timeout(PING_SECONDS), self._reads.connect() as connection:
                await connection.execute(text("SELECT 1"))

    def insert(self, table: Table) -> Any:
        """An INSERT with this dialect's ON CONFLICT clauses."""
        # The two constructs have the same methods and no common type.
        return postgresql.insert(table) if self.dialect == "postgresql" else sqlite.insert(table)

    async def _close(self) -> None:
        if self._sqlite is not None:
            await self._sqlite.close()
        await self._reads.dispose()
        await self._writes.dispose()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """SQLite has one writer: those of this process wait here, where they can be cancelled, not in a thread."""
        if self.dialect == "postgresql":
            yield
            return
        await self._wait_for_lock()
        try:
            yield
        finally:
            self._write_lock.release()

    async def _wait_for_lock(self) -> None:
        try:
            async with asyncio.timeout(WRITE_LOCK_SECONDS):
                await self._write_lock.acquire()
        except TimeoutError:
            raise DatabaseBusy("Too many changes are being written. Try again in a moment.") from None


class _SqliteThread:
    """One connection of the driver, in a thread of its own; an executor's hop costs half as much as a commit."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="luneo-sqlite", daemon=True)
            self._thread.start()

        def job() -> None:
            try:
                result = self._transact(work)
            except BaseException as error:
                loop.call_soon_threadsafe(_fail, answer, error)
            else:
                loop.call_soon_threadsafe(_settle, answer, result)

        self._jobs.put(job)
        return await answer

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        if self._connection is not None:
            self._connection.close()

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with translated():
            if self._connection is None:
                self._connection = self._connect()
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE")
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

    async def close(self) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)


def _settle(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[T], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


@contextmanager
def sole_node(url: str) -> Iterator[None]:
    """Keep other nodes from a SQLite database while the block runs; ends with the process, however that ends.

    For nodes that hear of no others: two of them on one file would each miss what the other one writes.

    Raises:
        DatabaseMisconfigured: another node has it.
    """
    path = engines.sqlite_path(engines.parse_url(url))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.node", "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatabaseMisconfigured(
                f"Another node serves {path}. Stop it, or choose another directory;"
                " several nodes need PostgreSQL and Redis."
            ) from None
        yield


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """Connect to a database that `migrate` has prepared; closed at the end of the block.

    Raises:
        DatabaseMisconfigured: an address that cannot be used, or a server whose commits are not durable.
        DatabaseUnavailable: nothing answers there.
    """
    address = engines.parse_url(url)
    if engines.dialect_of(address) == "sqlite":
        database = Database(
            "sqlite",
            "sqlite wal synchronous=FULL",
            engines.sqlite_writer(address),
            engines.sqlite_reader(address),
            partial(engines.sqlite_connection, address),
        )
    else:
        database = Database(
            "postgresql",
            "",
            engines.postgres_engine(address, connections=engines.POSTGRES_WRITERS, autocommit=False),
            engines.postgres_engine(address, connections=engines.POSTGRES_READERS, autocommit=True),
        )
    try:
        if database.dialect == "postgresql":
            database.fsync_mode = await _durability(database)
        yield database
    finally:
        await database._close()


async def _durability(database: Database) -> str:
    async with database.reading() as connection:
        fsync = (await connection.execute(text("SHOW fsync"))).scalar_one()
        commit = (await connection.execute(text("SHOW synchronous_commit"))).scalar_one()
    if commit == "off":
        raise DatabaseMisconfigured(
            "PostgreSQL has synchronous_commit=off: what was acknowledged could be lost. Set it to on here."
        )
    return f"postgresql fsync={fsync} synchronous_commit={commit}"
