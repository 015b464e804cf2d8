"""Memberships: who belongs to which design, under which role; the roles are the rooms' words."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import delete, select

from storage.database import Database
from storage.keys import BrandId, DesignId, UserId
from storage.models import members

MAX_MEMBERS = 1000
"""Members of one design that `of_design` returns, the earliest first."""


@dataclass(frozen=True, slots=True)
class Membership:
    """One user in one design; `at` is when the role was given, in seconds since the epoch."""

    user_id: UserId
    role: str
    at: float


class Memberships:
    """The members of all designs. A design that was deleted keeps its members; `Designs` hides it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, brand: BrandId, design: DesignId, user_id: UserId, role: str) -> None:
        """Make somebody a member, or give a member another role."""

        async def upsert() -> None:
            now = time.time()
            async with self._database.transaction() as connection:
                await connection.execute(
                    self._database.insert(members)
                    .values(brand=brand, design=design, user_id=user_id, role=role, at=now)
                    .on_conflict_do_update(
                        index_elements=["brand", "design", "user_id"], set_={"role": role, "at": now}
                    )
                )

        await self._database.retrying(upsert)

    async def remove(self, brand: BrandId, design: DesignId, user_id: UserId) -> bool:
        """End a membership; False when there was none."""

        async def remove() -> bool:
            async with self._database.transaction() as connection:
                removed = await connection.execute(
                    delete(members).where(
                        members.c.brand == brand, members.c.design == design, members.c.user_id == user_id
                    )
                )
                return bool(removed.rowcount)

        return await self._database.retrying(remove)

    async def role(self, brand: BrandId, design: DesignId, user_id: UserId) -> str | None:
        """Somebody's role in a design; None for all others, and in another brand (rule D1)."""
        statement = select(members.c.role).where(
            members.c.brand == brand, members.c.design == design, members.c.user_id == user_id
        )
        async with self._database.reading() as connection:
            return (await connection.execute(statement)).scalar_one_or_none()

    async def of_design(self, brand: BrandId, design: DesignId) -> list[Membership]:
        """The members of a design, the earliest first, `MAX_MEMBERS` at most."""
        statement = (
            select(members.c.user_id, members.c.role, members.c.at)
            .where(members.c.brand == brand, members.c.design == design)
            .order_by(members.c.at, members.c.user_id)
            .limit(MAX_MEMBERS)
        )
        async with self._database.reading() as connection:
            return [Membership(UserId(row.user_id), row.role, row.at) for row in await connection.execute(statement)]
