"""Reads documents straight out of a database, with code of its own: a proof shares none with what it proves."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg


@dataclass(frozen=True, slots=True)
class Stored:
    """What a database has of one document."""

    rows: list[bytes]
    """Every update, in log order."""
    positions: list[int]
    keyframes: list[tuple[int, bytes]]
    """(position, state), ascending."""

    def is_gapless(self) -> bool:
        """Rule D3."""
        return self.positions == list(range(1, len(self.positions) + 1))

    def from_keyframe(self) -> list[bytes]:
        """The newest keyframe's state and the rows after it; all rows when there is no keyframe."""
        if not self.keyframes:
            return self.rows
        position, state = self.keyframes[-1]
        return [state, *(row for at, row in zip(self.positions, self.rows, strict=True) if at > position)]


_UPDATES = "SELECT position, data FROM updates WHERE brand = {0} AND document = {1} ORDER BY position"
_KEYFRAMES = "SELECT position, state FROM keyframes WHERE brand = {0} AND document = {1} ORDER BY position"


def read_sqlite(database: Path, document: str, brand: str = "demo") -> Stored:
    """Read a copy of the database's files, so that looking changes nothing; the node may be dead or alive."""
    return read_all_sqlite(database, [document], brand)[0]


def read_all_sqlite(database: Path, documents: Sequence[str], brand: str = "demo") -> list[Stored]:
    """`read_sqlite` for many documents, with one copy."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / database.name
        for suffix in ("", "-wal"):
            source = database.with_name(database.name + suffix)
            if source.exists():
                shutil.copyfile(source, copy.with_name(copy.name + suffix))
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return _read_all(connection, documents, brand)


def read_live_sqlite(database: Path, documents: Sequence[str], brand: str = "demo") -> list[Stored]:
    """The same beside a node that writes, as one more reader: a copy might be torn by a checkpoint."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return _read_all(connection, documents, brand)


def _read_all(connection: sqlite3.Connection, documents: Sequence[str], brand: str) -> list[Stored]:
    return [
        _stored(
            connection.execute(_UPDATES.format("?", "?"), (brand, document)).fetchall(),
            connection.execute(_KEYFRAMES.format("?", "?"), (brand, document)).fetchall(),
        )
        for document in documents
    ]


def _stored(updates: Sequence[Any], keyframes: Sequence[Any]) -> Stored:
    return Stored(
        [bytes(row[1]) for row in updates], [row[0] for row in updates], [(k[0], bytes(k[1])) for k in keyframes]
    )


async def read_postgresql(url: str, document: str, brand: str = "demo") -> Stored:
    """Read over a connection of its own; *url* as in LUNEO_DATABASE_URL."""
    return (await read_all_postgresql(url, [document], brand))[0]


async def read_all_postgresql(url: str, documents: Sequence[str], brand: str = "demo") -> list[Stored]:
    """`read_postgresql` for many documents, one after the other."""
    async with asyncio.timeout(30):
        connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
        try:
            return [
                _stored(
                    await connection.fetch(_UPDATES.format("$1", "$2"), brand, document),
                    await connection.fetch(_KEYFRAMES.format("$1", "$2"), brand, document),
                )
                for document in documents
            ]
        finally:
            await connection.close()
