"""UpdateLog: what was changed in every document, in an order that never changes; one commit for all rooms of a node.

A document's rows have positions 1, 2, 3 … without gaps, whichever node appends (rule D3), because its head row is
locked from reading the last position until the commit. Rows are never changed and never deleted here (rule D4).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TypeAlias, TypeVar

from sqlalchemy import bindparam, func, insert, select, tuple_, update
from sqlalchemy.engine import Connection

from storage.database import Database
from storage.errors import AppendFailed, AppendTooLarge, InvalidValue, LogClosed, LogFull, StorageError
from storage.keys import DocumentKey, Epoch, Position
from storage.models import AnyRow, AnySelect, document_heads, updates

MAX_WAITING_APPENDS = 4096
"""Appends that have no answer yet, over all rooms; beyond it, and beyond the bytes below, `append` waits."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
MAX_QUEUE_SECONDS = 10.0
"""How long `append` waits for a place in the queue; after that it raises LogFull."""
MAX_BATCH_APPENDS = 256
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A batch is full with the append that passes this; an append larger than it is a batch of its own."""
MIN_COMMIT_SECONDS = 0.003
"""From the beginning of one commit to the next: after a pause a change is committed at once; under load many go
together, since a commit costs the same for one row and for ten."""
COMMIT_SECONDS_PER_ROOM = 0.001
MAX_PAUSE_SECONDS = 0.008
"""When many rooms are busy, the next commit begins so much later for each that the last one had, up to this."""
MAX_APART = 4
"""Rooms committed alone at the same time, after a batch with them has failed."""
MAX_COMMIT_SECONDS = 10.0
"""After this a commit is given up and counts as failed."""
MAX_ANSWER_SECONDS = 30.0
"""How long `append` waits for its commit, once it has a place in the queue."""
CLOSE_SECONDS = 10.0
"""How long closing waits for what is in the queue to be committed."""
MAX_READ_ROWS = 1000
MAX_READ_BYTES = 4 * 1024 * 1024
MAX_KEYS_PER_STATEMENT = 512

_STOPPING = "The server is stopping. Send it again in a moment."
_TOO_LATE = "The change could not be written in time. Send it again in a moment."
_HEAD_TRIES = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One change and who made it.

    `connection` is the node's own name for the connection, at most 255 characters; `client` the Yjs client id where one
    is bound; `origin` a short noun for what caused it (`user`, `repair`, `image`), at most 64 characters.
    """

    update: bytes
    user_id: str
    connection: str = ""
    client: int | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Appended:
    """Where the entries of one append are: `first` to `last`, inclusive."""

    epoch: Epoch
    first: Position
    last: Position


@dataclass(frozen=True, slots=True)
class Head:
    """The last position of a document, and the epoch it was written in; `EMPTY` before the first row."""

    epoch: Epoch
    position: Position


EMPTY = Head(Epoch(1), Position(0))


@dataclass(frozen=True, slots=True)
class LoggedUpdate:
    """One row of the log; `at` in seconds since the epoch."""

    epoch: Epoch
    position: Position
    update: bytes
    user_id: str
    connection: str
    client: int | None
    origin: str
    at: float


@dataclass(slots=True, eq=False)
class _Waiting:
    """An append that has no answer yet."""

    key: DocumentKey
    entries: tuple[Entry, ...]
    size_bytes: int
    answer: asyncio.Future[Appended]
    deadline: float = 0.0
    """Of the loop's clock, once it has a place."""


class UpdateLog:
    """The log of all documents, as one node writes it; an async context manager, closed before its database.

    What rooms append while a commit is under way waits, and goes with the next one. A batch that fails is tried again
    room by room, beside the batches of the others, so that one document's failure is its own (rule D7).
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: deque[_Waiting] = deque()
        self._apart: dict[DocumentKey, deque[_Waiting]] = {}
        self._unanswered: deque[_Waiting] = deque()
        """As they came; those in front have no answer yet."""
        self._late: asyncio.TimerHandle | None = None
        self._waiting_appends = 0
        self._waiting_bytes = 0
        self._door = asyncio.Lock()  # those who wait for a place come in as they came
        self._place_free = asyncio.Event()
        self._work = asyncio.Event()
        self._closing = False
        self._group = asyncio.TaskGroup()
        self._apart_turns = asyncio.Semaphore(MAX_APART)

    async def __aenter__(self) -> UpdateLog:
        await self._group.__aenter__()
        self._group.create_task(self._run(), name="update log")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what waits, for `CLOSE_SECONDS` at most, and fail the rest."""
        self._closing = True
        self._work.set()
        if self._late is not None:
            self._late.cancel()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._group.__aexit__(None, None, None)
        except TimeoutError:
            log.error("update log closed over waiting appends", extra={"appends": self._waiting_appends})
        finally:
            for waiting in [*self._queue, *(left for apart in self._apart.values() for left in apart)]:
                _fail(waiting, LogClosed(_STOPPING))

    async def append(self, key: DocumentKey, entries: Iterable[Entry]) -> Appended:
        """Write *entries* at the end of a log, in this order and next to each other; return after the commit.

        Two appends to one document from one task after another keep their order. A cancelled caller loses only its
        answer: what is already being committed stays in the log, what still waits does not get there.

        Args:
            key: any document; whether it exists as a design is not asked here.
            entries: one or more, at most `MAX_WAITING_BYTES` together.

        Raises:
            LogFull: no place in the queue within `MAX_QUEUE_SECONDS`; nothing was logged.
            LogClosed: the log is closing; nothing was logged.
            AppendTooLarge: over the bound; nothing was logged.
            InvalidValue: the database cannot hold an entry; nothing of this append was logged.
            AppendFailed: it failed with the others and alone, or was not answered within `MAX_ANSWER_SECONDS`. If the
                connection broke, the entries may be in the log all the same, so whoever sends them again may write
                them twice: updates must bear that.

        Source: docs/protocol.md, D2, D3, D7.
        """
        rows = tuple(entries)
        if not rows:
            raise ValueError("an append needs at least one entry")
        size_bytes = sum(len(row.update) for row in rows)
        if size_bytes > MAX_WAITING_BYTES:
            raise AppendTooLarge(f"At most {MAX_WAITING_BYTES} bytes go into the log at once.")
        waiting = _Waiting(key, rows, size_bytes, asyncio.get_running_loop().create_future())
        if self._closing or self._door.locked() or self._is_full(waiting):
            await self._enter(waiting)
        else:
            self._place(waiting)
        try:
            return await waiting.answer
        finally:
            self._leave(waiting)

    async def read(
        self,
        key: DocumentKey,
        after: Position,
        limit_rows: int = MAX_READ_ROWS,
        limit_bytes: int = MAX_READ_BYTES,
    ) -> list[LoggedUpdate]:
        """The rows after a position, in order, as many as fit both limits and at least one; empty at the head.

        The limits are lowered to `MAX_READ_ROWS` and `MAX_READ_BYTES`; only a first row may be larger than the bytes.
        """
        wanted = {
            "brand": key.brand,
            "document": key.id,
            "after": after,
            "rows": min(limit_rows, MAX_READ_ROWS),
            "bytes": min(limit_bytes, MAX_READ_BYTES),
        }
        async with self._database.reading() as connection:
            return [_logged(row) for row in await connection.execute(_READ, wanted)]

    async def head(self, key: DocumentKey) -> Head:
        """The end of a document's log; `EMPTY` for one that has no rows, and for one that does not exist."""
        return (await self.heads([key]))[key]

    async def heads(self, keys: Collection[DocumentKey]) -> dict[DocumentKey, Head]:
        """The ends of many logs at once, one for each of *keys*."""
        found: dict[DocumentKey, Head] = {}
        wanted = list(dict.fromkeys(keys))
        async with self._database.reading() as connection:
            for start in range(0, len(wanted), MAX_KEYS_PER_STATEMENT):
                some = wanted[start : start + MAX_KEYS_PER_STATEMENT]
                for row in await connection.execute(_HEADS, {"keys": _padded(some)}):
                    found[DocumentKey(row.brand, row.document)] = Head(Epoch(row.epoch), Position(row.position))
        return {key: found.get(key, EMPTY) for key in wanted}

    async def raise_epoch(self, key: DocumentKey) -> Head:
        """Begin a new epoch after the present head: positions go on, and clients of the old one start anew.

        For whoever cuts a document's history; raises as `Database.transaction`.
        """
        heads = await self._database.retrying(lambda: self._write_locked([key], _raise_epochs))
        return heads[key]

    async def _enter(self, waiting: _Waiting) -> None:
        try:
            async with asyncio.timeout(MAX_QUEUE_SECONDS), self._door:
                while self._is_full(waiting):
                    self._place_free.clear()
                    await self._place_free.wait()
        except TimeoutError:
            raise LogFull("Too many changes wait to be written. Try again in a moment.") from None
        if self._closing:
            raise LogClosed(_STOPPING)
        self._place(waiting)

    def _place(self, waiting: _Waiting) -> None:
        self._waiting_appends += 1
        self._waiting_bytes += waiting.size_bytes
        waiting.deadline = asyncio.get_running_loop().time() + MAX_ANSWER_SECONDS
        self._unanswered.append(waiting)
        if self._late is None:
            self._watch_deadline()
        # Behind its own room's trouble, or with all others: one document's appends are never in two places.
        self._apart.get(waiting.key, self._queue).append(waiting)
        self._work.set()

    def _watch_deadline(self) -> None:
        """Fail what waits too long: one timer for all, since an append of its own would cost more than the append."""
        loop = asyncio.get_running_loop()
        while self._unanswered:
            oldest = self._unanswered[0]
            if not oldest.answer.done():
                left = oldest.deadline - loop.time()
                if left > 0:
                    self._late = loop.call_later(left, self._watch_deadline)
                    return
                _fail(oldest, AppendFailed(_TOO_LATE))
            self._unanswered.popleft()
        self._late = None

    def _is_full(self, waiting: _Waiting) -> bool:
        return not self._closing and (
            self._waiting_appends >= MAX_WAITING_APPENDS or self._waiting_bytes + waiting.size_bytes > MAX_WAITING_BYTES
        )

    def _leave(self, waiting: _Waiting) -> None:
        self._waiting_appends -= 1
        self._waiting_bytes -= waiting.size_bytes
        self._place_free.set()
        waiting.entries = ()  # it may stand behind one that waits on
        while self._unanswered and self._unanswered[0].answer.done():
            self._unanswered.popleft()

    async def _run(self) -> None:
        """Commit batch after batch until closed and empty."""
        began = 0.0
        gap = MIN_COMMIT_SECONDS
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._work.clear()
                await self._work.wait()
                continue
            pause = began + gap - time.perf_counter()
            if pause > 0 and not self._closing and len(self._queue) < MAX_BATCH_APPENDS:
                await asyncio.sleep(pause)
            batch = _take(self._queue)
            if not batch:
                continue
            began = time.perf_counter()
            gap = min(max(MIN_COMMIT_SECONDS, len(batch) * COMMIT_SECONDS_PER_ROOM), MAX_PAUSE_SECONDS)
            try:
                placed = await self._commit(batch)
            except asyncio.CancelledError:
                for waiting in batch:
                    _fail(waiting, LogClosed(_STOPPING))
                raise
            except Exception as error:
                log.warning("batch failed, trying its rooms one by one", extra={"appends": len(batch)}, exc_info=error)
                self._separate(batch)
            else:
                _answer(batch, placed)

    def _separate(self, batch: Sequence[_Waiting]) -> None:
        """Take the rooms of a failed batch, with what they have in the queue, and commit each alone."""
        for waiting in batch:
            self._apart.setdefault(waiting.key, deque()).append(waiting)
        rest = [waiting for waiting in self._queue if waiting.key not in self._apart]
        for waiting in self._queue:
            if waiting.key in self._apart:
                self._apart[waiting.key].append(waiting)
        self._queue = deque(rest)
        for key in dict.fromkeys(waiting.key for waiting in batch):
            self._group.create_task(self._run_apart(key), name="update log, one room")

    async def _run_apart(self, key: DocumentKey) -> None:
        """Commit one room's appends, one by one, until none is left; then the room goes with the others again."""
        apart = self._apart[key]
        while apart:
            waiting = apart.popleft()
            if waiting.answer.done():
                continue
            try:
                async with self._apart_turns:
                    placed = await self._commit([waiting])
            except asyncio.CancelledError:
                _fail(waiting, LogClosed(_STOPPING))
                raise
            except Exception as error:
                log.error("append failed", extra={"brand": key.brand, "document": key.id}, exc_info=error)
                _fail(waiting, _sentence(error))
            else:
                _answer([waiting], placed)
        del self._apart[key]

    async def _commit(self, batch: Sequence[_Waiting]) -> list[Appended]:
        appends = [(waiting.key, waiting.entries) for waiting in batch]
        async with asyncio.timeout(MAX_COMMIT_SECONDS):
            if self._database.dialect == "sqlite":
                return await self._database.write_sqlite(partial(_append_sqlite, appends))
            keys = sorted({key for key, _ in appends}, key=lambda key: (key.brand, key.id))
            return await self._write_locked(keys, partial(_append, appends))

    async def _write_locked(self, keys: Sequence[DocumentKey], work: Callable[[Connection, Heads], T]) -> T:
        """Run *work* in a transaction that holds the heads of *keys* (each once), made where they were missing."""
        for _ in range(_HEAD_TRIES):
            try:
                async with self._database.transaction() as connection:
                    return await connection.run_sync(partial(self._locked, keys, work))
            except _HeadsMissing as missing:
                async with self._database.transaction() as connection:
                    await connection.run_sync(partial(self._make_heads, missing.keys))
        raise AppendFailed("The heads of the documents could not be made. Send it again in a moment.")

    def _locked(self, keys: Sequence[DocumentKey], work: Callable[[Connection, Heads], T], connection: Connection) -> T:
        heads = _lock(connection, keys)
        missing = [key for key in keys if key not in heads]
        if missing and len(keys) > 1 and self._database.dialect == "postgresql":
            # Whoever holds a head and waits for somebody's new one can be waited for in turn: they are made without
            # holding any, in a transaction of their own.
            raise _HeadsMissing(missing)
        if missing:
            self._make_heads(missing, connection)
            heads = _lock(connection, keys)
        return work(connection, heads)

    def _make_heads(self, keys: Sequence[DocumentKey], connection: Connection) -> None:
        connection.execute(
            self._database.insert(document_heads).on_conflict_do_nothing(),
            [
                {"brand": key.brand, "document": key.id, "epoch": EMPTY.epoch, "position": EMPTY.position}
                for key in keys
            ],
        )


T = TypeVar("T")
Heads: TypeAlias = dict[DocumentKey, Head]
_Append: TypeAlias = tuple[DocumentKey, tuple[Entry, ...]]

_LOGGED = (
    updates.c.epoch,
    updates.c.position,
    updates.c.data,
    updates.c.user_id,
    updates.c.connection,
    updates.c.client,
    updates.c.origin,
    updates.c.at,
)


def _read() -> AnySelect:
    here = (
        (updates.c.brand == bindparam("brand"))
        & (updates.c.document == bindparam("document"))
        & (updates.c.position > bindparam("after"))
    )
    # Sizes are known without reading the bytes; the outer statement then reads only those rows that fit.
    nearest = (
        select(updates.c.position, func.length(updates.c.data).label("size"))
        .where(here)
        .order_by(updates.c.position)
        .limit(bindparam("rows"))
        .subquery()
    )
    running = select(
        nearest.c.position,
        nearest.c.size,
        func.sum(nearest.c.size).over(order_by=nearest.c.position).label("total"),
    ).subquery()
    last = (
        select(func.max(running.c.position))
        .where((running.c.total <= bindparam("bytes")) | (running.c.total == running.c.size))
        .scalar_subquery()
    )
    return select(*_LOGGED).where(here, updates.c.position <= last).order_by(updates.c.position)


# Built once: to build them costs more than to run them.
_READ = _read()
_HEADS = select(document_heads).where(
    tuple_(document_heads.c.brand, document_heads.c.document).in_(bindparam("keys", expanding=True))
)
_LOCK = _HEADS.order_by(document_heads.c.brand, document_heads.c.document).with_for_update()
_INSERT = insert(updates)
_ROW = ("brand", "document", "position", "epoch", "data", "user_id", "connection", "client", "origin", "at")
"""The columns of a row, as `_place` fills them."""
# On SQLite the same as text for the driver: through SQLAlchemy a commit takes three times the processor time.
_SQLITE_INSERT = f"INSERT INTO updates ({', '.join(_ROW)}) VALUES ({', '.join('?' * len(_ROW))})"
_SQLITE_HEAD = "SELECT epoch, position FROM document_heads WHERE brand = ? AND document = ?"
_SQLITE_MOVE = (
    "INSERT INTO document_heads (epoch, position, brand, document) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (brand, document) DO UPDATE SET epoch = excluded.epoch, position = excluded.position"
)
_MOVE = (
    update(document_heads)
    .where(document_heads.c.brand == bindparam("of_brand"), document_heads.c.document == bindparam("of_document"))
    .values(epoch=bindparam("to_epoch"), position=bindparam("to_position"))
)


class _HeadsMissing(Exception):
    def __init__(self, keys: list[DocumentKey]) -> None:
        super().__init__(keys)
        self.keys = keys


def _lock(connection: Connection, keys: Sequence[DocumentKey]) -> Heads:
    """The heads of *keys* that there are, locked until the end of the transaction, always in the same order.

    The order is the database's, by ORDER BY below FOR UPDATE: `UPDATE … IN` locks as it finds, and deadlocks.
    """
    found: Heads = {}
    for start in range(0, len(keys), MAX_KEYS_PER_STATEMENT):
        for row in connection.execute(_LOCK, {"keys": _padded(keys[start : start + MAX_KEYS_PER_STATEMENT])}):
            found[DocumentKey(row.brand, row.document)] = Head(Epoch(row.epoch), Position(row.position))
    return found


def _padded(keys: Sequence[DocumentKey]) -> list[tuple[str, str]]:
    """The keys as values, filled up to a power of two: else each count were a statement to prepare."""
    pairs: list[tuple[str, str]] = [(key.brand, key.id) for key in keys]
    size = 1 << (len(pairs) - 1).bit_length()
    return pairs + pairs[-1:] * (size - len(pairs))


def _append(appends: Sequence[_Append], connection: Connection, heads: Heads) -> list[Appended]:
    rows, placed = _place(appends, heads)
    connection.execute(_INSERT, [dict(zip(_ROW, row, strict=True)) for row in rows])
    _move(connection, heads)
    return placed


def _append_sqlite(appends: Sequence[_Append], connection: sqlite3.Connection) -> list[Appended]:
    """The same with the driver; the whole file is locked, so a head needs no lock and may be missing."""
    heads: Heads = {}
    for key, _ in appends:
        if key not in heads:
            row = connection.execute(_SQLITE_HEAD, (key.brand, key.id)).fetchone()
            heads[key] = EMPTY if row is None else Head(Epoch(row[0]), Position(row[1]))
    rows, placed = _place(appends, heads)
    connection.executemany(_SQLITE_INSERT, rows)
    connection.executemany(
        _SQLITE_MOVE, [(head.epoch, head.position, key.brand, key.id) for key, head in heads.items()]
    )
    return placed


def _place(appends: Sequence[_Append], heads: Heads) -> tuple[list[tuple[object, ...]], list[Appended]]:
    """The rows of *appends* as `_ROW` has them, and where each append is; *heads* are moved behind them."""
    at = time.time()
    rows: list[tuple[object, ...]] = []
    placed: list[Appended] = []
    for key, entries in appends:
        head = heads[key]
        for position, entry in enumerate(entries, start=head.position + 1):
            rows.append(
                (
                    key.brand,
                    key.id,
                    position,
                    head.epoch,
                    entry.update,
                    entry.user_id,
                    entry.connection,
                    entry.client,
                    entry.origin,
                    at,
                )
            )
        last = Position(head.position + len(entries))
        placed.append(Appended(head.epoch, Position(head.position + 1), last))
        heads[key] = Head(head.epoch, last)
    return rows, placed


def _raise_epochs(connection: Connection, heads: Heads) -> Heads:
    raised = {key: Head(Epoch(head.epoch + 1), head.position) for key, head in heads.items()}
    _move(connection, raised)
    return raised


def _move(connection: Connection, heads: Heads) -> None:
    connection.execute(
        _MOVE,
        [
            {"of_brand": key.brand, "of_document": key.id, "to_epoch": head.epoch, "to_position": head.position}
            for key, head in heads.items()
        ],
    )


def _logged(row: AnyRow) -> LoggedUpdate:
    return LoggedUpdate(
        epoch=Epoch(row.epoch),
        position=Position(row.position),
        update=row.data,
        user_id=row.user_id,
        connection=row.connection,
        client=row.client,
        origin=row.origin,
        at=row.at,
    )


def _take(queue: deque[_Waiting]) -> list[_Waiting]:
    """The next batch, in the order of waiting, without those whose caller has gone."""
    batch: list[_Waiting] = []
    size_bytes = 0
    while queue and len(batch) < MAX_BATCH_APPENDS and size_bytes < MAX_BATCH_BYTES:
        waiting = queue.popleft()
        if not waiting.answer.done():
            batch.append(waiting)
            size_bytes += waiting.size_bytes
    return batch


def _answer(batch: Sequence[_Waiting], placed: Sequence[Appended]) -> None:
    for waiting, appended in zip(batch, placed, strict=True):
        if not waiting.answer.done():
            waiting.answer.set_result(appended)


def _fail(waiting: _Waiting, error: StorageError) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)


def _sentence(error: Exception) -> StorageError:
    if isinstance(error, InvalidValue):
        return error
    failed = AppendFailed("The change could not be written. Send it again in a moment.")
    failed.__cause__ = error
    return failed
