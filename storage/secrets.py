"""Secrets: keys that the server makes for itself, the same on every node and after every restart."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import select

from storage.database import Database
from storage.models import secrets


class Secrets:
    """Named bytes; made once, never changed here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret of that name; *make* makes it where there is none, and of several nodes at once one wins."""
        found = await self.get(name)
        if found is not None:
            return found
        value = make()

        async def insert() -> None:
            async with self._database.transaction() as connection:
                await connection.execute(
                    self._database.insert(secrets)
                    .values(name=name, value=value, at=time.time())
                    .on_conflict_do_nothing()
                )

        await self._database.retrying(insert)
        return await self.get(name) or value

    async def get(self, name: str) -> bytes | None:
        """The secret of that name, if it was made."""
        async with self._database.reading() as connection:
            statement = select(secrets.c.value).where(secrets.c.name == name)
            return (await connection.execute(statement)).scalar_one_or_none()
