"""Designs: title, product, owner and times of every design; what is in it stands in the log."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, insert, select, tuple_, update

from storage.database import Database
from storage.errors import DesignExists, DesignNotFound
from storage.keys import BrandId, DesignId, DocumentKey, Position, UserId
from storage.models import AnyRow, AnySelect, designs, members
from storage.pages import Page, decode_cursor, encode_cursor, page_size

MAX_TOUCHED = 500
"""Designs whose change is noted in one transaction, or that are asked for at once."""
OWNER = "owner"
"""The role under which a new design's owner becomes its first member."""


@dataclass(frozen=True, slots=True)
class Design:
    """What stands about a design outside of its document; times in seconds since the epoch."""

    brand: BrandId
    id: DesignId
    title: str
    product: str
    owner: UserId
    created_at: float
    updated_at: float
    preview_position: Position | None
    """The position of the log that the newest preview shows; None before the first one."""


class Designs:
    """The designs of all brands; those that were deleted are not seen any more, and their ids stay taken."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, brand: BrandId, id: DesignId, title: str, product: str, owner: UserId) -> Design:
        """Make a design, and its owner a member of it, in one transaction.

        Raises:
            DesignExists: the id is taken within the brand, `deleted` says by what; nothing was changed.
        """
        now = time.time()

        async def make() -> bool:
            async with self._database.transaction() as connection:
                made = await connection.execute(
                    self._database.insert(designs)
                    .values(
                        brand=brand,
                        id=id,
                        title=title,
                        product=product,
                        owner=owner,
                        created_at=now,
                        updated_at=now,
                    )
                    .on_conflict_do_nothing()
                )
                if made.rowcount:
                    await connection.execute(
                        insert(members).values(brand=brand, design=id, user_id=owner, role=OWNER, at=now)
                    )
                return bool(made.rowcount)

        if not await self._database.retrying(make):
            deleted = await self.get(brand, id) is None
            raise DesignExists(f"There is {'or was ' if deleted else ''}a design {id} already.", deleted=deleted)
        return Design(brand, id, title, product, owner, now, now, None)

    async def get(self, brand: BrandId, id: DesignId) -> Design | None:
        """A design; None when it is absent, deleted, or of another brand (rule D1)."""
        async with self._database.reading() as connection:
            row = (await connection.execute(_alive(brand).where(designs.c.id == id))).one_or_none()
        return None if row is None else _design(row)

    async def find(self, keys: Collection[DocumentKey]) -> dict[DocumentKey, Design]:
        """Those of *keys*, `MAX_TOUCHED` at most, that there are: neither absent nor deleted."""
        if len(keys) > MAX_TOUCHED:
            raise ValueError(f"at most {MAX_TOUCHED} designs at once")
        wanted = {"keys": [(key.brand, key.id) for key in keys]}
        async with self._database.reading() as connection:
            found = [_design(row) for row in await connection.execute(_FOUND, wanted)]
        return {DocumentKey(design.brand, design.id): design for design in found}

    async def list(
        self, brand: BrandId, user: UserId | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Design]:
        """The designs of a brand, or those of which *user* is a member, the last changed first.

        A design that changes while the list is read moves to its front; no other one is left out or comes twice.

        Raises:
            InvalidCursor: *cursor* is no `Page.next` of this list.
        """
        statement = _alive(brand)
        if user is not None:
            statement = statement.join(
                members, (members.c.brand == designs.c.brand) & (members.c.design == designs.c.id)
            ).where(members.c.user_id == user)
        if cursor is not None:
            statement = statement.where(tuple_(designs.c.updated_at, designs.c.id) < tuple_(*decode_cursor(cursor)))
        size = page_size(limit)
        statement = statement.order_by(designs.c.updated_at.desc(), designs.c.id.desc()).limit(size + 1)
        async with self._database.reading() as connection:
            found = [_design(row) for row in await connection.execute(statement)]
        rows = found[:size]
        return Page(rows, encode_cursor(rows[-1].updated_at, rows[-1].id) if len(found) > size else None)

    async def update(
        self,
        brand: BrandId,
        id: DesignId,
        *,
        title: str | None = None,
        product: str | None = None,
        preview_position: Position | None = None,
    ) -> Design:
        """Change what is given; a new title or product counts as a change of the design, a preview does not.

        A preview never goes back: an older one than is there changes nothing.

        Raises:
            DesignNotFound: absent, deleted, or of another brand; nothing was changed.
        """
        changes: dict[str, Any] = {
            name: value for name, value in (("title", title), ("product", product)) if value is not None
        }
        if changes:
            changes["updated_at"] = self._at_least(designs.c.updated_at, time.time())
        if preview_position is not None:
            changes["preview_position"] = self._at_least(
                func.coalesce(designs.c.preview_position, preview_position), preview_position
            )
        if changes:
            await self._change(brand, id, changes)
        design = await self.get(brand, id)
        if design is None:
            raise _not_found()
        return design

    async def delete(self, brand: BrandId, id: DesignId) -> None:
        """Hide a design for good; its log, its keyframes and its id stay.

        Raises:
            DesignNotFound: absent, deleted before, or of another brand; nothing was changed.
        """
        await self._change(brand, id, {"deleted_at": time.time()})

    async def touch(self, changed: Mapping[DocumentKey, float]) -> None:
        """Note when designs were changed, `MAX_TOUCHED` at most, in one transaction.

        An earlier time than is known, or an absent design, is nothing.
        """
        if len(changed) > MAX_TOUCHED:
            raise ValueError(f"at most {MAX_TOUCHED} designs at once")
        # in one order on every node, or two would wait for each other
        rows = [
            {"of_brand": key.brand, "of_id": key.id, "changed_at": at}
            for key, at in sorted(changed.items(), key=lambda one: (one[0].brand, one[0].id))
        ]

        async def change() -> None:
            async with self._database.transaction() as connection:
                await connection.execute(_TOUCH, rows)

        if rows:
            await self._database.retrying(change)

    async def _change(self, brand: BrandId, id: DesignId, changes: dict[str, Any]) -> None:
        async def change() -> None:
            async with self._database.transaction() as connection:
                changed = await connection.execute(
                    update(designs)
                    .where(designs.c.brand == brand, designs.c.id == id, designs.c.deleted_at.is_(None))
                    .values(**changes)
                )
                if not changed.rowcount:
                    raise _not_found()

        await self._database.retrying(change)

    def _at_least(self, column: Any, value: float) -> Any:
        # The same function has two names.
        return func.greatest(column, value) if self._database.dialect == "postgresql" else func.max(column, value)


_TOUCH = (
    update(designs)
    .where(
        designs.c.brand == bindparam("of_brand"),
        designs.c.id == bindparam("of_id"),
        designs.c.updated_at < bindparam("changed_at"),
    )
    .values(updated_at=bindparam("changed_at"))
)
_COLUMNS = (
    designs.c.brand,
    designs.c.id,
    designs.c.title,
    designs.c.product,
    designs.c.owner,
    designs.c.created_at,
    designs.c.updated_at,
    designs.c.preview_position,
)
# Built once: to build it costs more than to run it.
_FOUND = select(*_COLUMNS).where(
    tuple_(designs.c.brand, designs.c.id).in_(bindparam("keys", expanding=True)), designs.c.deleted_at.is_(None)
)


def _alive(brand: BrandId) -> AnySelect:
    return select(*_COLUMNS).where(designs.c.brand == brand, designs.c.deleted_at.is_(None))


def _design(row: AnyRow) -> Design:
    return Design(*row)


def _not_found() -> DesignNotFound:
    return DesignNotFound("There is no such design.")
