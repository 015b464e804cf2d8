"""Keyframes: the state of a document at a position, so that opening it need not read its whole past."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import select

from storage.database import Database
from storage.keys import DocumentKey, Epoch, Position
from storage.models import AnyRow, AnySelect, keyframes


@dataclass(frozen=True, slots=True)
class Keyframe:
    """All rows up to `position`, inclusive, folded into one update.

    `summary` is the room's own encoding of what `state` knows; storage does not read it.
    """

    epoch: Epoch
    position: Position
    state: bytes
    summary: bytes


class Keyframes:
    """The keyframes of all documents; added, never changed and never deleted here (rule D4)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, key: DocumentKey, keyframe: Keyframe) -> None:
        """Keep a keyframe; one that is there for its epoch and position stays, as two nodes may fold at once.

        Raises:
            DatabaseBusy, DatabaseUnavailable: it may be missing; a later one does as well.
        """

        async def insert() -> None:
            async with self._database.transaction() as connection:
                await connection.execute(
                    self._database.insert(keyframes)
                    .values(
                        brand=key.brand,
                        document=key.id,
                        epoch=keyframe.epoch,
                        position=keyframe.position,
                        state=keyframe.state,
                        summary=keyframe.summary,
                        at=time.time(),
                    )
                    .on_conflict_do_nothing()
                )

        await self._database.retrying(insert)

    async def newest(self, key: DocumentKey) -> Keyframe | None:
        """The furthest keyframe of the newest epoch that has one."""
        return await self._first(_of(key).order_by(keyframes.c.epoch.desc(), keyframes.c.position.desc()))

    async def at_or_before(self, key: DocumentKey, position: Position) -> Keyframe | None:
        """The furthest keyframe not beyond *position*: where the picture of an old version begins."""
        return await self._first(
            _of(key)
            .where(keyframes.c.position <= position)
            .order_by(keyframes.c.position.desc(), keyframes.c.epoch.desc())
        )

    async def _first(self, statement: AnySelect) -> Keyframe | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(statement.limit(1))).one_or_none()
        return None if row is None else _keyframe(row)


def _of(key: DocumentKey) -> AnySelect:
    columns = (keyframes.c.epoch, keyframes.c.position, keyframes.c.state, keyframes.c.summary)
    return select(*columns).where(keyframes.c.brand == key.brand, keyframes.c.document == key.id)


def _keyframe(row: AnyRow) -> Keyframe:
    return Keyframe(Epoch(row.epoch), Position(row.position), row.state, row.summary)
