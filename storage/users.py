"""Users: the names and faces of those who were here, for whoever reads what they left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

from sqlalchemy import select

from storage.database import Database
from storage.keys import BrandId, UserId
from storage.models import users

MAX_USERS = 500
"""Users that can be asked for at once."""

_LOOKS = ("name", "color", "avatar", "locale", "seen_at")
# As text for the driver: everybody who comes in is noted, and this is a tenth of what it costs otherwise.
_SQLITE_SEE = (
    f"INSERT INTO users (brand, id, {', '.join(_LOOKS)}) VALUES (:brand, :id, :{', :'.join(_LOOKS)})"
    f" ON CONFLICT (brand, id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _LOOKS)}"
    " WHERE users.seen_at <= excluded.seen_at"
)


@dataclass(frozen=True, slots=True)
class StoredUser:
    """How somebody looked when last seen, in seconds since the epoch."""

    brand: BrandId
    id: UserId
    name: str
    color: str
    avatar: str
    locale: str
    seen_at: float


class Users:
    """The users of all brands, as their tokens described them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def see(self, *seen: StoredUser) -> None:
        """Note how some people look, in one transaction; an older sight than is known changes nothing."""
        # in one order on every node, or two would wait for each other
        rows = [asdict(user) for user in sorted(seen, key=lambda user: (user.brand, user.id))]

        async def upsert() -> None:
            if self._database.dialect == "sqlite":
                await self._database.write_sqlite(lambda connection: connection.executemany(_SQLITE_SEE, rows))
                return
            statement = self._database.insert(users)
            async with self._database.transaction() as connection:
                await connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["brand", "id"],
                        set_={name: statement.excluded[name] for name in _LOOKS},
                        where=users.c.seen_at <= statement.excluded.seen_at,
                    ),
                    rows,
                )

        if rows:
            await self._database.retrying(upsert)

    async def get(self, brand: BrandId, id: UserId) -> StoredUser | None:
        """One user; None when never seen, or of another brand (rule D1)."""
        return (await self.find(brand, [id])).get(id)

    async def find(self, brand: BrandId, ids: Collection[UserId]) -> dict[UserId, StoredUser]:
        """Those of *ids* (`MAX_USERS` at most) that were seen in the brand."""
        if len(ids) > MAX_USERS:
            raise ValueError(f"at most {MAX_USERS} users at once")
        columns = (
            users.c.brand,
            users.c.id,
            users.c.name,
            users.c.color,
            users.c.avatar,
            users.c.locale,
            users.c.seen_at,
        )
        statement = select(*columns).where(users.c.brand == brand, users.c.id.in_(list(ids)))
        async with self._database.reading() as connection:
            return {UserId(row.id): StoredUser(*row) for row in await connection.execute(statement)}
