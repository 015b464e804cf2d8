"""Inboxes: what waits for a user; each thing once, until it is seen and read."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.keys import BrandId, UserId
from storage.models import AnyRow, inbox_items
from storage.pages import Page, decode_cursor, encode_cursor, page_size
from storage.streams import Body, encode_body

MAX_COUNTED = 1000
"""Unread items are counted up to here; a count of so many means as many or more."""
MAX_MARKED = 500
"""Items that can be named at once."""


@dataclass(frozen=True, slots=True)
class InboxItem:
    """One thing that waits for somebody; times in seconds since the epoch, None: not yet."""

    id: str
    kind: str
    body: Body
    at: float
    seen_at: float | None
    read_at: float | None


@dataclass(frozen=True, slots=True)
class InboxCounts:
    """Items not read, and those of them not even seen (the number on the bell); `MAX_COUNTED` means that or more."""

    unseen: int
    unread: int


class Inboxes:
    """The inboxes of all users. Every write takes the caller's transaction where one is given, so that it commits with
    its cause and with the event that tells of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        connection: AsyncConnection,
        brand: BrandId,
        user_id: UserId,
        kind: str,
        dedupe_key: str,
        body: Body,
    ) -> InboxItem | None:
        """Put something into somebody's inbox; None when it has had something of the same key.

        Args:
            kind: a short noun of the caller's, at most 64 characters.
            dedupe_key: names the cause, at most 255 characters; an item that was read still counts.

        Raises:
            BodyTooLarge: more than `MAX_BODY_BYTES` as JSON; nothing was changed.
        """
        text = encode_body(body)
        at = time.time()
        # Ids of one inbox sort by time, which keeps rows that are read together next to each other.
        id = f"{int(at * 1000):013x}-{secrets.token_hex(8)}"
        added = await connection.execute(
            self._database.insert(inbox_items)
            .values(brand=brand, user_id=user_id, id=id, kind=kind, dedupe_key=dedupe_key, body=text, at=at)
            .on_conflict_do_nothing()
        )
        return InboxItem(id, kind, orjson.loads(text), at, None, None) if added.rowcount else None

    async def list(
        self, brand: BrandId, user_id: UserId, cursor: str | None = None, limit: int = 50
    ) -> Page[InboxItem]:
        """The items of an inbox, the newest first.

        Raises:
            InvalidCursor: *cursor* is no `Page.next` of this list.
        """
        statement = select(*_COLUMNS).where(inbox_items.c.brand == brand, inbox_items.c.user_id == user_id)
        if cursor is not None:
            statement = statement.where(tuple_(inbox_items.c.at, inbox_items.c.id) < tuple_(*decode_cursor(cursor)))
        size = page_size(limit)
        statement = statement.order_by(inbox_items.c.at.desc(), inbox_items.c.id.desc()).limit(size + 1)
        async with self._database.reading() as connection:
            found = [_item(row) for row in await connection.execute(statement)]
        rows = found[:size]
        return Page(rows, encode_cursor(rows[-1].at, rows[-1].id) if len(found) > size else None)

    async def mark_seen(self, brand: BrandId, user_id: UserId, *, connection: AsyncConnection | None = None) -> int:
        """Note that all items were shown; returns how many were new."""
        return await self._mark(brand, user_id, None, "seen_at", connection)

    async def mark_read(
        self,
        brand: BrandId,
        user_id: UserId,
        ids: Collection[str] | None = None,
        *,
        connection: AsyncConnection | None = None,
    ) -> int:
        """Note that some items (`MAX_MARKED` at most), or all, were read; returns how many had not been.

        Ids that are not in this inbox are nothing. What is read counts as seen.
        """
        if ids is not None and len(ids) > MAX_MARKED:
            raise ValueError(f"at most {MAX_MARKED} items at once")
        return await self._mark(brand, user_id, ids, "read_at", connection)

    async def counts(
        self, brand: BrandId, user_id: UserId, *, connection: AsyncConnection | None = None
    ) -> InboxCounts:
        """How much waits; with *connection*, as the caller's transaction sees it."""
        unread = (
            select(inbox_items.c.seen_at)
            .where(inbox_items.c.brand == brand, inbox_items.c.user_id == user_id, inbox_items.c.read_at.is_(None))
            .limit(MAX_COUNTED)
            .subquery()
        )
        statement = select(func.count().label("unread"), func.count(unread.c.seen_at).label("seen")).select_from(unread)
        if connection is not None:
            row = (await connection.execute(statement)).one()
        else:
            async with self._database.reading() as own:
                row = (await own.execute(statement)).one()
        return InboxCounts(unseen=row.unread - row.seen, unread=row.unread)

    async def _mark(
        self,
        brand: BrandId,
        user_id: UserId,
        ids: Collection[str] | None,
        column: str,
        connection: AsyncConnection | None,
    ) -> int:
        now = time.time()
        changes: dict[str, Any] = {column: now}
        if column == "read_at":
            changes["seen_at"] = func.coalesce(inbox_items.c.seen_at, now)
        statement = (
            update(inbox_items)
            .where(
                inbox_items.c.brand == brand,
                inbox_items.c.user_id == user_id,
                inbox_items.c[column].is_(None),
                inbox_items.c.read_at.is_(None),
            )
            .values(**changes)
        )
        if ids is not None:
            statement = statement.where(inbox_items.c.id.in_(list(ids)))

        async def mark() -> int:
            async with self._database.joining(connection) as joined:
                return (await joined.execute(statement)).rowcount

        return await (self._database.retrying(mark) if connection is None else mark())


_COLUMNS = (
    inbox_items.c.id,
    inbox_items.c.kind,
    inbox_items.c.body,
    inbox_items.c.at,
    inbox_items.c.seen_at,
    inbox_items.c.read_at,
)


def _item(row: AnyRow) -> InboxItem:
    return InboxItem(row.id, row.kind, orjson.loads(row.body), row.at, row.seen_at, row.read_at)
