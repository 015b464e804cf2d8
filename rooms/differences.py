"""Differences: what a returning client lacks of a room's newest prefix, cut once for all who ask."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from rooms.errors import InvalidUpdate, TaskFailed
from rooms.history import Prefix
from rooms.inspection import decode_state_vector, encode_state_vector
from rooms.ports import WorkerPort
from rooms.tasks import INSPECT_ON_LOOP_BYTES

log = logging.getLogger(__name__)

WHOLE_BYTES: Final = 16 * 1024
"""Prefixes below this are sent whole: cutting a difference costs more than it saves."""
UNDER_WAY: Final = 2
"""Different ones of a room that are with a worker at the same time; others wait for their turn."""
WAIT_SECONDS: Final = 5.0
"""After this the whole prefix is sent: larger, and as true."""
KEPT_BYTES: Final = 256 * 1024
"""Of results that are kept for whoever asks the same again, until the next keyframe."""


class Differences:
    """Cuts and shares the differences of one room (RULE S11)."""

    def __init__(self, workers: WorkerPort, background: asyncio.TaskGroup) -> None:
        self._workers = workers
        self._background = background
        self._places = asyncio.Semaphore(UNDER_WAY)
        self._prefix: Prefix | None = None
        """What everything below is a difference from."""
        self._asked: dict[bytes, asyncio.Task[bytes | InvalidUpdate | None]] = {}
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._kept_bytes = 0

    def now(self, prefix: Prefix, state_vector: bytes, known: Mapping[int, int]) -> Prefix | bytes:
        """What *state_vector* lacks of *prefix* if that is there, or its whole where nothing is saved by less.

        Otherwise the state vector for `later`, in one spelling for all who lack the same, whatever else they have.

        Args:
            known: client ids and clocks of the room; what a client has beyond them makes no difference.

        Raises:
            InvalidUpdate: the state vector is not one.
        """
        if len(state_vector) <= INSPECT_ON_LOOP_BYTES:
            vector = decode_state_vector(state_vector)
            shared = {
                client: min(clock, known[client]) for client, clock in vector.items() if clock and client in known
            }
            if not shared:
                return prefix
            state_vector = encode_state_vector(shared)
        if len(prefix.state) < WHOLE_BYTES:
            return prefix
        kept = self._kept.get(state_vector) if self._prefix is prefix else None
        if kept is None:
            return state_vector
        self._kept.move_to_end(state_vector)
        return Prefix(prefix.epoch, prefix.position, kept)

    async def later(self, prefix: Prefix, state_vector: bytes) -> Prefix:
        """What `now` did not have, by a worker; the whole prefix where none is free.

        Raises:
            InvalidUpdate: the state vector is not one.
        """
        if self._prefix is not prefix:
            self._prefix, self._asked, self._kept, self._kept_bytes = prefix, {}, OrderedDict(), 0
        asked = self._asked.get(state_vector)
        if asked is None:
            asked = self._asked[state_vector] = self._background.create_task(self._cut(prefix, state_vector))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                difference = await asyncio.shield(asked)  # who goes away does not take it from the others
        except TimeoutError:
            return prefix
        if isinstance(difference, InvalidUpdate):
            raise difference
        return prefix if difference is None else Prefix(prefix.epoch, prefix.position, difference)

    async def _cut(self, prefix: Prefix, state_vector: bytes) -> bytes | InvalidUpdate | None:
        """One difference for all who asked; a failure is an answer too, since nobody in particular waits for it."""
        try:
            async with self._places:
                _, (difference,) = await self._workers.call(
                    "difference", {}, [prefix.state, state_vector], deadline_seconds=WAIT_SECONDS
                )
        except TaskFailed as error:
            refused = InvalidUpdate(error.message)
            refused.code = error.code
            return refused
        except Exception as error:
            log.warning("no difference, the whole state instead", extra={"why": str(error)})
            return None
        finally:
            if self._prefix is prefix:
                self._asked.pop(state_vector, None)
        if self._prefix is prefix:
            self._keep(state_vector, difference)
        return difference

    def _keep(self, state_vector: bytes, difference: bytes) -> None:
        self._kept[state_vector] = difference
        self._kept_bytes += len(state_vector) + len(difference)
        while self._kept_bytes > KEPT_BYTES:
            oldest, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest) + len(dropped)
