"""Gathering: questions of one kind, asked together; what comes while one is under way goes with the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from storage.errors import StorageError

K = TypeVar("K")
V = TypeVar("V")

CLOSE_SECONDS = 10.0
MAX_WAITING = 20_000
"""Questions that have no answer yet; over it the next one is refused, and whoever asks comes back."""


class TooManyQuestions(StorageError):
    """More is asked than the database answers; nothing was done."""

    code = "overloaded"
    retryable = True


class Gathering(Generic[K, V]):
    """Asks *many* with up to *limit* different keys; alone, a question is asked at once.

    A thousand people who come in one moment cost a few statements and not a thousand. A failure is that of all who were
    asked for together; a caller that goes away costs the others nothing.
    """

    def __init__(self, many: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], limit: int) -> None:
        self._many = many
        self._limit = limit
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, key: K) -> V | None:
        """What there is for *key*; None: nothing.

        Raises:
            TooManyQuestions: over `MAX_WAITING`.
            StorageError: as *many* does.
        """
        return await asyncio.shield(self.soon(key))

    def soon(self, key: K) -> asyncio.Future[V | None]:
        """The same for a caller that has something else to do meanwhile; the answer is others', too: shield it."""
        answer = self._waiting.get(key)
        if answer is None:
            if len(self._waiting) >= MAX_WAITING:
                raise TooManyQuestions("The server is asked more than it can answer. Try again in a moment.")
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._asking is None:
                self._asking = asyncio.get_running_loop().create_task(self._ask())
        return answer

    async def close(self) -> None:
        """Wait for what is under way, `CLOSE_SECONDS` at most: a database closes after those who use it."""
        if self._asking is not None:
            _, late = await asyncio.wait([self._asking], timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
                await asyncio.wait([task])

    async def _ask(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[: self._limit]
                # Out before the question: who asks later may know of something that it does not see.
                asked = {key: self._waiting.pop(key) for key in keys}
                try:
                    found = await self._many(keys)
                except Exception as error:
                    for answer in asked.values():
                        if not answer.done():
                            answer.set_exception(error)
                            answer.exception()  # whoever waited may have gone
                except BaseException:
                    for answer in asked.values():
                        answer.cancel()
                    raise
                else:
                    for key, answer in asked.items():
                        if not answer.done():
                            answer.set_result(found.get(key))
        finally:
            self._asking = None
