"""Recency: when each design was last edited, noted beside the log and never in its way."""

from __future__ import annotations

import asyncio
import logging
from itertools import islice
from types import TracebackType
from typing import Final, Self

from storage.designs import MAX_TOUCHED, Designs
from storage.errors import StorageError
from storage.keys import DocumentKey

log = logging.getLogger(__name__)

NOTE_SECONDS: Final = 2.0
"""How late the list of designs may be about what was edited last."""
CLOSE_SECONDS: Final = 5.0
MAX_WAITING: Final = 50_000
"""Designs edited and not yet noted; policy over it: drop, since the next edit of the design says it again."""


class Recency:
    """Collects what was edited and notes it every `NOTE_SECONDS`, each design once. Use as `async with`."""

    def __init__(self, designs: Designs) -> None:
        self._designs = designs
        self._edited: dict[DocumentKey, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._note()
        except TimeoutError:
            log.warning("last edits not noted in time", extra={"designs": len(self._edited)})

    def edited(self, key: DocumentKey, at: float, updates: int) -> None:
        """A commit of *key* at *at* (seconds since the epoch); never waits."""
        if key in self._edited or len(self._edited) < MAX_WAITING:
            self._edited[key] = at

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            await self._note()

    async def _note(self) -> None:
        edited, self._edited = self._edited, {}
        changed = iter(edited.items())
        while some := dict(islice(changed, MAX_TOUCHED)):
            try:
                await self._designs.touch(some)
            except StorageError as error:
                log.warning("edits not noted", extra={"designs": len(some), "reason": error.code})
