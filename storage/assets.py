"""Assets: what is known of every uploaded image; its bytes are a blob of the same name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

from sqlalchemy import select, tuple_

from storage.database import Database
from storage.keys import BrandId, UserId
from storage.models import AnyRow, assets
from storage.pages import Page, decode_cursor, encode_cursor, page_size

MAX_NAMES = 500
"""Assets that can be asked for at once."""


@dataclass(frozen=True, slots=True)
class Asset:
    """An image as it is served: width and height in pixels, size in bytes, `at` in seconds since the epoch."""

    brand: BrandId
    sha256: str
    media_type: str
    width: int
    height: int
    size: int
    name: str
    uploaded_by: UserId
    at: float


class Assets:
    """The assets of all brands."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, asset: Asset) -> Asset:
        """Keep what is known of a blob, and return it; who uploaded the same bytes first stays their uploader."""

        async def insert() -> None:
            async with self._database.transaction() as connection:
                await connection.execute(self._database.insert(assets).values(**asdict(asset)).on_conflict_do_nothing())

        await self._database.retrying(insert)
        return await self.get(asset.brand, asset.sha256) or asset

    async def get(self, brand: BrandId, sha256: str) -> Asset | None:
        """One asset; None when it is absent or of another brand (rule D1)."""
        return (await self.find(brand, [sha256])).get(sha256)

    async def find(self, brand: BrandId, names: Collection[str]) -> dict[str, Asset]:
        """Those of *names* (SHA-256 in hex, `MAX_NAMES` at most) that the brand has."""
        if len(names) > MAX_NAMES:
            raise ValueError(f"at most {MAX_NAMES} assets at once")
        statement = select(*_COLUMNS).where(assets.c.brand == brand, assets.c.sha256.in_(list(names)))
        async with self._database.reading() as connection:
            return {row.sha256: _asset(row) for row in await connection.execute(statement)}

    async def list(self, brand: BrandId, cursor: str | None = None, limit: int = 50) -> Page[Asset]:
        """The assets of a brand, the newest first.

        Raises:
            InvalidCursor: *cursor* is no `Page.next` of this list.
        """
        statement = select(*_COLUMNS).where(assets.c.brand == brand)
        if cursor is not None:
            statement = statement.where(tuple_(assets.c.at, assets.c.sha256) < tuple_(*decode_cursor(cursor)))
        size = page_size(limit)
        statement = statement.order_by(assets.c.at.desc(), assets.c.sha256.desc()).limit(size + 1)
        async with self._database.reading() as connection:
            found = [_asset(row) for row in await connection.execute(statement)]
        rows = found[:size]
        return Page(rows, encode_cursor(rows[-1].at, rows[-1].sha256) if len(found) > size else None)


_COLUMNS = (
    assets.c.brand,
    assets.c.sha256,
    assets.c.media_type,
    assets.c.width,
    assets.c.height,
    assets.c.size,
    assets.c.name,
    assets.c.uploaded_by,
    assets.c.at,
)


def _asset(row: AnyRow) -> Asset:
    return Asset(*row)
