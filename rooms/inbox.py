"""Inbox: what waits for a room's single writer. Bounded by count and bytes; a full one makes its sender wait."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rooms.errors import RoomError
from rooms.inspection import Inspection
from rooms.ports import Peer, Relayed
from storage.keys import Position

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Submission:
    """One update on its way into the log.

    `on_settled` is called once, on the loop, with the position it got (that of the head when it brought nothing new)
    or with why it was not taken. `answers` is the number of the room's question that this answers; 0 is the one
    that every joining client is asked; None: it answers none.
    """

    peer: Peer
    update: bytes
    on_settled: Callable[[Position | RoomError], None]
    origin: str = "client"
    answers: int | None = None
    inspection: Inspection | RoomError | None = None
    """What was read of a large update before it was queued; None: the room reads it when its turn comes."""
    _settled: bool = False

    def settle(self, result: Position | RoomError) -> None:
        """Answer the sender, the first time; a sender that cannot be answered costs nobody else."""
        if self._settled:
            return
        self._settled = True
        try:
            self.on_settled(result)
        except Exception:
            log.exception("answering failed", extra={"peer": self.peer.id})


@dataclass(slots=True, eq=False)
class Heard:
    """Rows that the bus brought from another node."""

    relayed: Relayed


@dataclass(slots=True, eq=False)
class CatchUp:
    """Read the log: somebody said, or may have said unheard, that it is ahead."""


Message = Submission | Heard | CatchUp


@dataclass(eq=False)
class Inbox:
    """A queue of submissions that waits when full, and of hints that never wait.

    Hints from the bus beyond the bound are replaced by one `CatchUp`, which reads the same rows from the log.
    """

    max_submissions: int
    max_bytes: int
    max_hints: int = 256
    _queue: deque[Message] = field(default_factory=deque)
    _submissions: int = 0
    _bytes: int = 0
    _hints: int = 0
    _arrived: asyncio.Future[None] | None = None
    """The room waits for something; an Event would cost more than all the rest of a put."""
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._room.set()

    @property
    def full(self) -> bool:
        return self._submissions >= self.max_submissions or self._bytes >= self.max_bytes

    def put(self, submission: Submission) -> None:
        """Take one submission, full or not: look at `full` first, and wait for `place`."""
        self._queue.append(submission)
        self._submissions += 1
        self._bytes += len(submission.update)
        self._wake()
        if self.full:
            self._room.clear()

    async def place(self) -> None:
        """Wait until there is room for another submission."""
        while self.full:
            await self._room.wait()

    def hint(self, hint: Heard | CatchUp) -> None:
        if self._hints >= self.max_hints:
            return
        if self._hints == self.max_hints - 1:
            hint = CatchUp()
        self._hints += 1
        self._queue.append(hint)
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def batch(self, limit: int) -> list[Message]:
        """Wait for something, then return all that is there, up to *limit*, in the order of arrival."""
        while not self._queue:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        self._arrived = None
        batch = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
        for message in batch:
            if isinstance(message, Submission):
                self._submissions -= 1
                self._bytes -= len(message.update)
            else:
                self._hints -= 1
        if not self.full:
            self._room.set()
        return batch

    def drain(self) -> list[Submission]:
        """Take out every submission that waits, so that each can be answered."""
        waiting = [message for message in self._queue if isinstance(message, Submission)]
        self._queue.clear()
        self._submissions = self._bytes = self._hints = 0
        self._room.set()
        return waiting
