"""DocumentPeer: what every protocol does alike with a room: submit, answer, follow, and resume after being behind.

A protocol says how its frames look; when they are sent is decided here (RULES S1, S5, O1, O2, O4).
"""

from __future__ import annotations

import abc
import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import ClassVar, Final, Protocol

from realtime.outbox import Outbox
from rooms.errors import NotPermitted, RoomError
from rooms.history import EMPTY_UPDATE
from rooms.inbox import Submission
from rooms.metrics import Metrics
from rooms.permissions import Grant
from rooms.ports import Announced, Relayed, Said
from rooms.room import Room
from storage.keys import Epoch, Position

log = logging.getLogger(__name__)

NOBODY: Final = b"\x00"
"""An awareness update without entries."""
STATE_BYTE_SECONDS: Final = 1e-6
"""About what a byte of everybody's states costs."""

EncodeState = Callable[[Epoch, Position, bytes], Sequence[bytes]]
"""One complete update for a position, as the parts of a frame."""


class Connection(Protocol):
    """What a document needs of the socket below it."""

    id: str
    outbox: Outbox

    def background(self, work: Coroutine[None, None, None]) -> None:
        """Run *work* for as long as the connection lives; its failure costs this connection only."""

    def charge(self, seconds: float) -> None:
        """Count work of this connection that its frames do not show (RULE S9)."""

    def leave(self, name: str) -> None:
        """Forget a document that has ended."""


class DocumentPeer(abc.ABC):
    """One client of one room: a `rooms.ports.Peer`, whatever protocol it speaks."""

    __slots__ = (
        "_connection",
        "_following",
        "_inbox_wait_seconds",
        "_metrics",
        "_missed_presence",
        "_position",
        "_resuming",
        "dialect",
        "ended",
        "grant",
        "id",
        "name",
        "outbox",
        "room",
    )

    protocol: ClassVar[str]

    def __init__(
        self,
        connection: Connection,
        name: str,
        room: Room,
        grant: Grant,
        metrics: Metrics,
        inbox_wait_seconds: float,
    ) -> None:
        self.id = f"{connection.id}{name}"
        self.grant = grant
        self.room = room
        self.name = name
        self.outbox = connection.outbox
        self.dialect = self.protocol
        """Peers of one room with the same dialect are written the same bytes."""
        self.ended = False
        self._connection = connection
        self._metrics = metrics
        self._inbox_wait_seconds = inbox_wait_seconds
        self._following = False
        self._position = Position(0)
        self._resuming = False
        self._missed_presence = False

    # -- how a protocol says it ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def encode_updates(self, relayed: Relayed) -> bytes:
        """Frames with the rows of *relayed*; one encoding serves all peers of a room that speak this protocol."""

    @abc.abstractmethod
    def encode_presence(self, data: bytes) -> bytes:
        """A frame with one awareness update."""

    @abc.abstractmethod
    def ask(self, question: int, state_vector: bytes) -> None:
        """Ask for all that is missing from *state_vector* (`rooms.ports.Peer.ask`)."""

    @abc.abstractmethod
    def say_refused(self, code: str, message: str) -> None:
        """Say that something was not taken; the peer stays for reading."""

    @abc.abstractmethod
    def say_ended(self, code: str, message: str) -> None:
        """Say that nothing more is taken for good, and end this document or the connection, as the protocol can."""

    @abc.abstractmethod
    def warn(self, code: str, message: str, elements: Sequence[str]) -> None:
        """Say something about what was taken and stays (`rooms.ports.Peer.warn`)."""

    # -- what the client sends -----------------------------------------------------------------------------------

    def submit(
        self, update: bytes, on_settled: Callable[[Position | RoomError], None], answers: int | None = None
    ) -> Coroutine[None, None, None] | None:
        """Hand one update to the room; what is returned is to be awaited before the next is read (RULE O4)."""
        submission = Submission(self, update, on_settled, answers=answers)
        if self.room.full or not self.room.read_now(submission):
            return self._submit_later(submission)
        self.room.submit(submission)
        return None

    async def _submit_later(self, submission: Submission) -> None:
        if self.room.full:
            try:
                async with asyncio.timeout(self._inbox_wait_seconds):
                    await self.room.place()
            except TimeoutError:
                self.rejoin("overloaded", "The design takes no more updates at the moment.")
                return
        await self.room.read_ahead(submission)
        if not self.ended:
            self.room.submit(submission)

    def hear_presence(self, frame: bytes) -> None:
        """Take an awareness update; one that cannot be taken is said, and costs nothing else (RULE P1)."""
        try:
            self.room.hear_presence(self, frame)
        except RoomError as error:
            self.say_refused(error.code, error.message)

    def refused(self, error: RoomError) -> None:
        """Not taken: say it; then stay for reading, come back, or end for good (RULES S6, D6)."""
        if self.ended:
            return
        if error.retryable:
            self.rejoin(error.code, error.message)
        elif isinstance(error, NotPermitted):
            self.say_refused(error.code, error.message)
        else:
            self.refuse(error.code, error.message)

    def settle_answer(self, result: Position | RoomError) -> None:
        """How the answer to a question of ours ended."""
        if isinstance(result, RoomError):
            self.refused(result)

    def answers_nothing(self, question: int) -> None:
        """Who has gone has nothing more: what waits for its answer is decided without it."""
        self.room.submit(Submission(self, EMPTY_UPDATE, lambda _: None, answers=question))

    def answer_who_is_there(self) -> None:
        """Say it to a client that asks; while it does not read, it is told nothing."""
        if not self.outbox.congested:
            states = self.room.presence.states(self.id, self.grant.user.id) or NOBODY
            self._connection.charge(len(states) * STATE_BYTE_SECONDS)
            self.outbox.write(self.encode_presence(states))

    # -- following the room --------------------------------------------------------------------------------------

    def answer(
        self, state_vector: bytes, encode: EncodeState, resume: object = None
    ) -> Coroutine[None, None, None] | None:
        """Send everything that the client lacks, and follow the room from there (RULES S1, S5, S11).

        What is returned is to be awaited before the next message is read.

        Args:
            encode: one complete update for a position as the parts of a frame; the update is one of them as it came,
                since a copy of it for each who joins would cost more than sending it. Rows follow in the same write.
            resume: `{epoch, position}` of a client that has everything up to there.
        """
        room = self.room
        match resume:
            case {"epoch": int(epoch), "position": int(position)} if epoch == room.epoch and 0 <= position <= room.head:
                self._answer_from(Position(position), EMPTY_UPDATE, encode)
                return None
        try:
            prefix = room.state_now(state_vector)
        except RoomError as error:
            self.refuse(error.code, error.message)
            return None
        if prefix is None:
            return self._answer_later(state_vector, encode)
        self._answer_from(prefix.position, prefix.state, encode)
        return None

    async def _answer_later(self, state_vector: bytes, encode: EncodeState) -> None:
        try:
            prefix = await self.room.state_for(state_vector)
        except RoomError as error:
            self.refuse(error.code, error.message)
            return
        if not self.ended:
            self._answer_from(prefix.position, prefix.state, encode)

    def _answer_from(self, start: Position, update: bytes, encode: EncodeState) -> None:
        room = self.room
        parts = encode(room.epoch, start, update)
        tail = room.tail_after(start)
        self._position = start
        if tail is None:  # folded meanwhile, or older than the prefix: the rest comes from the log
            self.outbox.write(*parts)
            self._follow_later()
            return
        self._following = True
        if tail.updates:
            parts = [*parts, self._encoded(tail)]
            self._position = tail.last
        self.outbox.write(*parts)

    def _encoded(self, relayed: Relayed) -> bytes:
        frame = relayed.frames.get(self.dialect)
        if frame is None:
            frame = relayed.frames[self.dialect] = self.encode_updates(relayed)
        return frame

    def send_updates(self, relayed: Relayed) -> None:
        if not self._following or relayed.last <= self._position:  # an answer to a step 1 had them already
            return
        if self.outbox.offer(self._encoded(relayed)):
            self._position = relayed.last
        else:
            self._metrics.slow_peers.labels("behind").inc()
            self._follow_later()

    def send_presence(self, announced: Announced) -> None:
        frame = announced.frames.get(self.dialect)
        if frame is None:
            frame = announced.frames[self.dialect] = self.encode_presence(announced.data)
        if not self.outbox.offer(frame) and not self._missed_presence:
            self._missed_presence = True
            self._connection.background(self._tell_missed_presence())

    async def _tell_missed_presence(self) -> None:
        """Who is there, and who left, once the peer has read: what was dropped is not said again (RULE O2)."""
        if await self.outbox.drained() and not self.ended:
            self._missed_presence = False
            states = self.room.presence.states(self.id, self.grant.user.id, and_who_left=True)
            if states is not None:
                self.outbox.write(self.encode_presence(states))

    def send_said(self, said: Said) -> None:
        """Most protocols have no words for it."""
        return

    def _follow_later(self) -> None:
        """Stop following the room, and send the log from the last written position once the peer has read (RULE O2)."""
        self._following = False
        if not self._resuming:
            self._resuming = True
            self._connection.background(self._resume())

    async def _resume(self) -> None:
        try:
            while not self.ended and await self.outbox.drained():
                after = self._position
                rows = await self.room.rows_after(after)
                if self._position != after:
                    continue  # a step 1 was answered meanwhile
                if rows is None or self.ended:
                    return
                if rows:
                    relayed = Relayed(self.room.epoch, Position(after + 1), Position(after + len(rows)), rows)
                    self.outbox.write(self.encode_updates(relayed))
                    self._position = relayed.last
                if self._position == self.room.head:  # no await between this look and what follows
                    self._following = True
                    self._metrics.slow_peers.labels("caught_up").inc()
                    return
        finally:
            self._resuming = False

    # -- the end -------------------------------------------------------------------------------------------------

    def refuse(self, code: str, message: str) -> None:
        """Permanent: a stock client does not come back by itself (RULE S6)."""
        if not self.ended:
            self.say_ended(code, message)
            self.end()

    def rejoin(self, code: str, message: str) -> None:
        """Close the transport below: whatever is passing brings the client back."""
        if self.outbox.closing:
            return
        log.info("connection asked to come back", extra={"code": code, "peer": self.id})
        self.close_passing(code, message)

    def close_passing(self, code: str, message: str) -> None:
        self.outbox.close()

    def end(self) -> None:
        """The document has ended for this client, whoever wished it."""
        if not self.ended:
            self.ended = True
            self._following = False
            self.room.detach(self.id)
            self._connection.leave(self.name)
