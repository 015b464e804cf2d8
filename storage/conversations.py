"""Conversations: what is asked of many streams at once, and who has spoken in one; a stream alone is `StreamLog`'s."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

import orjson
from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.keys import BrandId, DesignId, Epoch, Position, StreamKey, UserId
from storage.models import designs, members, stream_events, stream_heads
from storage.pages import MAX_PAGE, Page, decode_cursor, encode_cursor, page_size
from storage.streams import Body
from storage.update_log import EMPTY, Head

Transaction: TypeAlias = AsyncConnection
"""A transaction under way, for layers above that pass it on and know nothing of what it is."""

MAX_KEYS_PER_STATEMENT = 512
MAX_AUTHORS = 200
"""People that `authors` names, the last speakers first."""
LOOK_BACK_EVENTS = 2000
"""How far `authors` looks back, so that an old stream costs no more than a young one."""
LAST_EVENTS = 100
"""How far `last_authors` looks back."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The chat of one design: where it stands, and its last event."""

    design: DesignId
    title: str
    position: Position
    kind: str
    body: Body
    at: float


class Conversations:
    """Questions about streams that no single stream can answer; nothing is read across brands (rule D1)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def heads(self, keys: Collection[StreamKey]) -> dict[StreamKey, Head]:
        """The ends of many streams, one for each of *keys*; `EMPTY` for those without events."""
        found: dict[StreamKey, Head] = {}
        wanted = list(dict.fromkeys(keys))
        columns = (stream_heads.c.brand, stream_heads.c.stream)
        async with self._database.reading() as connection:
            for start in range(0, len(wanted), MAX_KEYS_PER_STATEMENT):
                some = [(key.brand, key.name) for key in wanted[start : start + MAX_KEYS_PER_STATEMENT]]
                for row in await connection.execute(select(stream_heads).where(tuple_(*columns).in_(some))):
                    found[StreamKey(row.brand, row.stream)] = Head(Epoch(row.epoch), Position(row.position))
        return {key: found.get(key, EMPTY) for key in wanted}

    async def hold(self, connection: Transaction, key: StreamKey) -> None:
        """Lock a stream until the caller's commit, so that what is counted now is true when the event is written."""
        await connection.execute(
            self._database.insert(stream_heads)
            .values(brand=key.brand, stream=key.name, epoch=EMPTY.epoch, position=EMPTY.position)
            .on_conflict_do_nothing()
        )
        await connection.execute(
            select(stream_heads.c.position)
            .where(stream_heads.c.brand == key.brand, stream_heads.c.stream == key.name)
            .with_for_update()
        )

    async def authors(self, key: StreamKey) -> list[UserId]:
        """Who caused the last `LOOK_BACK_EVENTS` events of a stream, the last first, `MAX_AUTHORS` at most."""
        recent = (
            select(stream_events.c.user_id, stream_events.c.position)
            .where(stream_events.c.brand == key.brand, stream_events.c.stream == key.name)
            .order_by(stream_events.c.position.desc())
            .limit(LOOK_BACK_EVENTS)
            .subquery()
        )
        statement = (
            select(recent.c.user_id)
            .group_by(recent.c.user_id)
            .order_by(func.max(recent.c.position).desc())
            .limit(MAX_AUTHORS)
        )
        async with self._database.reading() as connection:
            return [UserId(row.user_id) for row in await connection.execute(statement)]

    async def last_authors(self, keys: Collection[StreamKey]) -> dict[StreamKey, list[UserId]]:
        """Who caused the last `LAST_EVENTS` events of each stream, the last first; at most `MAX_PAGE` streams."""
        found: dict[StreamKey, list[UserId]] = {key: [] for key in keys}
        if len(found) > MAX_PAGE:
            raise ValueError(f"at most {MAX_PAGE} streams at once")
        names = [(key.brand, key.name) for key in found]
        newest = func.max(stream_events.c.position)
        statement = (
            select(stream_events.c.brand, stream_events.c.stream, stream_events.c.user_id)
            .join(
                stream_heads,
                (stream_heads.c.brand == stream_events.c.brand)
                & (stream_heads.c.stream == stream_events.c.stream)
                & (stream_events.c.position > stream_heads.c.position - LAST_EVENTS),
            )
            .where(tuple_(stream_heads.c.brand, stream_heads.c.stream).in_(names))
            .group_by(stream_events.c.brand, stream_events.c.stream, stream_events.c.user_id)
            .order_by(newest.desc())
        )
        async with self._database.reading() as connection:
            for row in await connection.execute(statement):
                found[StreamKey(row.brand, row.stream)].append(UserId(row.user_id))
        return found

    async def list(
        self, brand: BrandId, user: UserId | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Conversation]:
        """The chats of a brand's designs, or of those of which *user* is a member; where was spoken last, first.

        Raises:
            InvalidCursor: *cursor* is no `Page.next` of this list.
        """
        last = stream_events
        statement = (
            select(designs.c.id, designs.c.title, stream_heads.c.position, last.c.kind, last.c.body, last.c.at)
            .join(
                stream_heads,
                (stream_heads.c.brand == designs.c.brand) & (stream_heads.c.stream == "chat:" + designs.c.id),
            )
            .join(
                last,
                (last.c.brand == stream_heads.c.brand)
                & (last.c.stream == stream_heads.c.stream)
                & (last.c.position == stream_heads.c.position),
            )
            .where(designs.c.brand == brand, designs.c.deleted_at.is_(None))
        )
        if user is not None:
            statement = statement.join(
                members, (members.c.brand == designs.c.brand) & (members.c.design == designs.c.id)
            ).where(members.c.user_id == user)
        if cursor is not None:
            statement = statement.where(tuple_(last.c.at, designs.c.id) < tuple_(*decode_cursor(cursor)))
        size = page_size(limit)
        statement = statement.order_by(last.c.at.desc(), designs.c.id.desc()).limit(size + 1)
        async with self._database.reading() as connection:
            found = [
                Conversation(
                    DesignId(row.id), row.title, Position(row.position), row.kind, orjson.loads(row.body), row.at
                )
                for row in await connection.execute(statement)
            ]
        rows = found[:size]
        return Page(rows, encode_cursor(rows[-1].at, rows[-1].design) if len(found) > size else None)
