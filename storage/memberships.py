"""Memberships: who belongs to which design, under which role; the roles are the rooms' words."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import delete, select, tuple_

from storage.database import Database
from storage.keys import BrandId, DesignId, UserId
from storage.models import members

MAX_MEMBERS = 1000
"""Members of one design that `of_design` returns, the earliest first."""

# As text for the driver: every guest who comes in becomes a member, and this is a tenth of what it costs otherwise.
_SQLITE_ENSURE = (
    "INSERT INTO members (brand, design, user_id, role, at) VALUES (:brand, :design, :user_id, :role, :at)"
    " ON CONFLICT DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class Membership:
    """One user in one design; `at` is when the role was given, in seconds since the epoch."""

    user_id: UserId
    role: str
    at: float


MemberKey: TypeAlias = tuple[BrandId, DesignId, UserId]


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

    async def ensure(self, wanted: Collection[MemberKey], role: str) -> None:
        """Make members of those who are none, in one transaction; others keep their roles."""
        now = time.time()
        # in one order on every node, or two would wait for each other
        rows = [
            {"brand": brand, "design": design, "user_id": user_id, "role": role, "at": now}
            for brand, design, user_id in sorted(wanted)
        ]

        async def insert() -> None:
            if self._database.dialect == "sqlite":
                await self._database.write_sqlite(lambda connection: connection.executemany(_SQLITE_ENSURE, rows))
                return
            async with self._database.transaction() as connection:
                await connection.execute(self._database.insert(members).on_conflict_do_nothing(), rows)

        if rows:
            await self._database.retrying(insert)

    async def roles(self, keys: Collection[MemberKey]) -> dict[MemberKey, str]:
        """The roles of those of *keys*, `MAX_MEMBERS` at most, who are members."""
        if len(keys) > MAX_MEMBERS:
            raise ValueError(f"at most {MAX_MEMBERS} memberships at once")
        statement = select(members.c.brand, members.c.design, members.c.user_id, members.c.role).where(
            tuple_(members.c.brand, members.c.design, members.c.user_id).in_(list(keys))
        )
        async with self._database.reading() as connection:
            rows = await connection.execute(statement)
            return {(BrandId(row.brand), DesignId(row.design), UserId(row.user_id)): row.role for row in rows}

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
