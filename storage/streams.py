"""StreamLog: events with positions (chat, inboxes, metrics), written in the same transaction as what they cause."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.errors import BodyTooLarge, MessageConflict
from storage.keys import Epoch, Position, StreamKey
from storage.models import AnyRow, AnySelect, stream_events, stream_heads
from storage.update_log import EMPTY, Head

MAX_BODY_BYTES = 64 * 1024
"""JSON of one event or inbox item."""
MAX_READ_EVENTS = 500

Body: TypeAlias = dict[str, Any]
"""A JSON object: names are strings, integers have 64 bits."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream; `at` in seconds since the epoch."""

    epoch: Epoch
    position: Position
    kind: str
    body: Body
    user_id: str
    client_message_id: str | None
    at: float
    repeated: bool = field(default=False, compare=False)
    """From `append` only: it had been written before, under the same client message id."""


Also: TypeAlias = Callable[[AsyncConnection, StreamEvent], Awaitable[None]]


class StreamLog:
    """The streams of all brands; positions gapless per stream from 1, whichever node appends (rule D3)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(
        self,
        key: StreamKey,
        kind: str,
        body: Body,
        user_id: str,
        client_message_id: str | None = None,
        *,
        also: Also | None = None,
    ) -> StreamEvent:
        """Write one event at the end of a stream; return after the commit.

        With a client message id it is written once, however often it is sent; a repetition returns the event that
        is there and does not call *also*.

        Args:
            kind: a short noun of the caller's, at most 64 characters.
            body: at most `MAX_BODY_BYTES` as JSON.
            client_message_id: the client's own name for the message, at most 64 characters.
            also: runs in the same transaction after the event has its position, and may run again when the database
                was busy; what it raises undoes everything.

        Raises:
            MessageConflict: the client message id is that of another kind, body or user; nothing was changed.
            BodyTooLarge: nothing was changed.

        Source: docs/protocol.md, D2, D3.
        """

        async def write() -> StreamEvent:
            async with self._database.transaction() as connection:
                event = await self.append_within(connection, key, kind, body, user_id, client_message_id)
                if also is not None and not event.repeated:
                    await also(connection, event)
                return event

        return await self._database.retrying(write)

    async def append_within(
        self,
        connection: AsyncConnection,
        key: StreamKey,
        kind: str,
        body: Body,
        user_id: str,
        client_message_id: str | None = None,
    ) -> StreamEvent:
        """The same in the caller's transaction, for an event that causes events of other streams.

        The stream is locked until the commit, so whoever writes to several takes them in one order everywhere: the
        cause first, then what it causes by name. Raises as `append`.
        """
        text = encode_body(body)
        head = await self._lock(connection, key)
        if client_message_id is not None:
            statement = _of(key).where(stream_events.c.client_message_id == client_message_id)
            row = (await connection.execute(statement)).one_or_none()
            if row is not None:
                if (row.kind, row.body, row.user_id) != (kind, text, user_id):
                    raise MessageConflict("This message id was used for another message. Send it under a new one.")
                return _event(row, repeated=True)
        position = Position(head.position + 1)
        at = time.time()
        await connection.execute(
            insert(stream_events).values(
                brand=key.brand,
                stream=key.name,
                position=position,
                epoch=head.epoch,
                kind=kind,
                body=text,
                user_id=user_id,
                client_message_id=client_message_id,
                at=at,
            )
        )
        await connection.execute(
            update(stream_heads)
            .where(stream_heads.c.brand == key.brand, stream_heads.c.stream == key.name)
            .values(position=position)
        )
        return StreamEvent(head.epoch, position, kind, orjson.loads(text), user_id, client_message_id, at)

    async def read(self, key: StreamKey, after: Position, limit: int = MAX_READ_EVENTS) -> list[StreamEvent]:
        """The events after a position, in order, `MAX_READ_EVENTS` at most; empty at the head."""
        statement = _of(key).where(stream_events.c.position > after).order_by(stream_events.c.position)
        return await self._events(statement, limit)

    async def before(self, key: StreamKey, position: Position, limit: int = MAX_READ_EVENTS) -> list[StreamEvent]:
        """The last events before a position, in order, `MAX_READ_EVENTS` at most: one page back."""
        statement = _of(key).where(stream_events.c.position < position).order_by(stream_events.c.position.desc())
        return (await self._events(statement, limit))[::-1]

    async def head(self, key: StreamKey) -> Head:
        """The end of a stream; `EMPTY` for one without events."""
        async with self._database.reading() as connection:
            return await _head(connection, _head_of(key)) or EMPTY

    async def _events(self, statement: AnySelect, limit: int) -> list[StreamEvent]:
        async with self._database.reading() as connection:
            rows = await connection.execute(statement.limit(max(1, min(limit, MAX_READ_EVENTS))))
            return [_event(row) for row in rows]

    async def _lock(self, connection: AsyncConnection, key: StreamKey) -> Head:
        locked = _head_of(key).with_for_update()
        head = await _head(connection, locked)
        if head is None:
            await connection.execute(
                self._database.insert(stream_heads)
                .values(brand=key.brand, stream=key.name, epoch=EMPTY.epoch, position=EMPTY.position)
                .on_conflict_do_nothing()
            )
            head = await _head(connection, locked)
        assert head is not None
        return head


def encode_body(body: Body) -> str:
    """A body as it is stored: JSON with sorted names, so that equal bodies are equal texts.

    Raises:
        BodyTooLarge: more than `MAX_BODY_BYTES`.
    """
    data = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    if len(data) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"A message may have {MAX_BODY_BYTES} bytes.")
    return data.decode()


_COLUMNS = (
    stream_events.c.epoch,
    stream_events.c.position,
    stream_events.c.kind,
    stream_events.c.body,
    stream_events.c.user_id,
    stream_events.c.client_message_id,
    stream_events.c.at,
)


def _of(key: StreamKey) -> AnySelect:
    return select(*_COLUMNS).where(stream_events.c.brand == key.brand, stream_events.c.stream == key.name)


def _head_of(key: StreamKey) -> AnySelect:
    columns = (stream_heads.c.epoch, stream_heads.c.position)
    return select(*columns).where(stream_heads.c.brand == key.brand, stream_heads.c.stream == key.name)


async def _head(connection: AsyncConnection, statement: AnySelect) -> Head | None:
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Head(Epoch(row.epoch), Position(row.position))


def _event(row: AnyRow, *, repeated: bool = False) -> StreamEvent:
    return StreamEvent(
        epoch=Epoch(row.epoch),
        position=Position(row.position),
        kind=row.kind,
        body=orjson.loads(row.body),
        user_id=row.user_id,
        client_message_id=row.client_message_id,
        at=row.at,
        repeated=repeated,
    )
