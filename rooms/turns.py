"""Turns: large writes of a node, one in a turn of the event loop, so that a crowd that joins at once delays nobody."""

from __future__ import annotations

import asyncio

LARGE_BYTES = 64 * 1024
"""Smaller ones do not wait: the kernel takes this many in well under a tenth of a millisecond."""


class Turns:
    """A queue for those who are about to write much. One node has one, whatever the number of its rooms."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self, size: int) -> None:
        """Wait for a turn in which nothing else of this kind is written; *size* bytes are written right after it."""
        if size < LARGE_BYTES:
            return
        async with self._lock:
            await asyncio.sleep(0)
