"""Cluster: several nodes on one PostgreSQL and one Redis."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.node import Node


class Cluster:
    """Nodes that share a database and a bus, nothing else; as `async with` all are started, and killed at the end."""

    def __init__(self, directory: Path, size: int, database_url: str, redis_url: str, redis_prefix: str) -> None:
        self.database_url = database_url
        shared = {
            "LUNEO_DATABASE_URL": database_url,
            "LUNEO_REDIS_URL": redis_url,
            "LUNEO_REDIS_PREFIX": redis_prefix,
            "LUNEO_BLOB_URL": str(directory / "blobs"),
            "LUNEO_WORKERS": "1",
        }
        self.nodes = [Node(directory / f"node-{number}", **shared) for number in range(1, size + 1)]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for node in self.nodes:
            await self._stack.enter_async_context(node)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def restart(self) -> None:
        """Kill every node, then start them again: what is read afterwards comes from the database."""
        for node in self.nodes:
            await node.kill()
        for node in self.nodes:
            await node.start()
