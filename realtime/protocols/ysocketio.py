"""The y-socket.io protocol: one document on one namespace of a connection (RULES S1 to S8)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Protocol

import orjson

from realtime import frames
from realtime.outbox import Outbox
from rooms.errors import NotPermitted, RoomError
from rooms.history import EMPTY_UPDATE
from rooms.inbox import Submission
from rooms.metrics import Metrics
from rooms.permissions import Grant
from rooms.ports import Announced, Relayed
from rooms.room import Room
from storage.keys import Position

log = logging.getLogger(__name__)

ACK_IDS_BITS = 31
_PROTOCOL = "y-socket.io"


class Connection(Protocol):
    """What a document needs of the socket below it."""

    id: str
    outbox: Outbox

    def background(self, work: Coroutine[None, None, None]) -> None:
        """Run *work* for as long as the connection lives; its failure costs this connection only."""

    def leave(self, namespace: str) -> None:
        """Forget a namespace that has ended."""


class DocumentSocket:
    """One client of one room: a `rooms.ports.Peer` that speaks y-socket.io."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        room: Room,
        grant: Grant,
        metrics: Metrics,
        inbox_wait_seconds: float,
    ) -> None:
        self.id = f"{connection.id}{namespace}"
        self.grant = grant
        self._connection = connection
        self._outbox = connection.outbox
        self._name = namespace
        self._namespace = namespace.encode()
        self._room = room
        self._metrics = metrics
        self._inbox_wait_seconds = inbox_wait_seconds
        self._ended = False
        self._following = False
        self._position = Position(0)
        self._resuming = False
        self._next_ack = 0
        self._questions: dict[int, int] = {}

    # -- what the client sends -----------------------------------------------------------------------------------

    def open(self, sid: str) -> None:
        """Answer CONNECT and say what the room has: its state vector (a question), and who is there."""
        states = self._room.presence.states(self.id, self.grant.user.id)
        number = self._question(0)
        self._outbox.write(
            frames.connected(self._namespace, sid)
            + frames.binary_event(self._namespace, "sync-step-1", self._room.state_vector(), number=number)
            + (frames.binary_event(self._namespace, "awareness-update", states) if states is not None else b"")
        )
        self._room.attach(self)

    async def receive(self, event: str, arguments: list[object], number: int | None, received_at: float) -> None:
        """Take one event; it returns once the next may be read."""
        match event, arguments:
            case "sync-update", [bytes(update), *_]:
                await self._submit(update, self._acknowledger(number, received_at))
            case "awareness-update", [bytes(frame), *_]:
                try:
                    self._room.hear_presence(self, frame)
                except RoomError as error:
                    self._refused(error)
            case "sync-step-1", [bytes(state_vector), *rest]:
                await self._answer_step_1(state_vector, rest[0] if rest else None, number)
            case _:
                # Known names with other payloads, and names that are not ours: said, not punished.
                self._outbox.write(
                    frames.event(
                        self._namespace,
                        "refused",
                        {"code": "unknown_event", "message": "This event is not part of the protocol.", "elements": []},
                    )
                )

    async def receive_acknowledgement(self, number: int, arguments: list[object]) -> None:
        """Take the answer to one of our questions: what the client has and the room has not."""
        question = self._questions.pop(number, None)
        if question is None:
            return
        match arguments:
            case [bytes(update), *_]:
                await self._submit(update, self._settle_answer, question)
            case _:
                self.refuse("invalid_answer", "The answer to sync-step-1 must be an update.")

    async def _submit(
        self, update: bytes, on_settled: Callable[[Position | RoomError], None], answers: int | None = None
    ) -> None:
        if self._room.full:
            try:
                async with asyncio.timeout(self._inbox_wait_seconds):
                    await self._room.place()
            except TimeoutError:
                self.rejoin("overloaded", "The design takes no more updates at the moment.")
                return
        submission = Submission(self, update, on_settled, answers=answers)
        await self._room.read_ahead(submission)
        if not self._ended:
            self._room.submit(submission)

    def _acknowledger(self, number: int | None, received_at: float) -> Callable[[Position | RoomError], None]:
        def settle(result: Position | RoomError) -> None:
            if isinstance(result, RoomError):
                answer = {"ok": False, "code": result.code, "message": result.message, "retryable": result.retryable}
            else:
                self._metrics.ack_seconds.observe(time.perf_counter() - received_at)
                answer = {"ok": True, "position": result}
            if number is not None:
                self._outbox.write(frames.acknowledgement(self._namespace, number, answer))
            if isinstance(result, RoomError):
                self._refused(result)

        return settle

    def _settle_answer(self, result: Position | RoomError) -> None:
        if isinstance(result, RoomError):
            self._refused(result)

    def _refused(self, error: RoomError) -> None:
        """Not taken: say it; then stay for reading, come back, or end for good (RULES S6, D6)."""
        if self._ended:
            return
        if error.retryable:
            self.rejoin(error.code, error.message)
        elif isinstance(error, NotPermitted):
            self._say_refused(error.code, error.message)
        else:
            self.refuse(error.code, error.message)

    def _say_refused(self, code: str, message: str) -> None:
        self._outbox.write(frames.event(self._namespace, "refused", {"code": code, "message": message, "elements": []}))

    async def _answer_step_1(self, state_vector: bytes, resume: object, number: int | None) -> None:
        """Send everything that the client lacks, and follow the room from there (RULES S1, S5)."""
        room = self._room
        match resume:
            case {"epoch": int(epoch), "position": int(position)} if epoch == room.epoch and 0 <= position <= room.head:
                start, update = Position(position), EMPTY_UPDATE
            case _:
                try:
                    prefix = await room.state_for(state_vector)
                except RoomError as error:
                    self.refuse(error.code, error.message)
                    return
                start, update = prefix.position, prefix.state
        if self._ended:
            return
        extra = orjson.dumps({"epoch": room.epoch, "position": start})
        answer = b"" if number is None else frames.binary_acknowledgement(self._namespace, number, update, extra)
        rows = room.history.after(start)
        self._position = start
        if rows is None:  # folded meanwhile, or older than the prefix: the rest comes from the log
            self._outbox.write(answer)
            self._follow_later()
            return
        self._following = True
        if rows:
            relayed = Relayed(room.epoch, Position(start + 1), room.head, rows)
            answer += self._encode(relayed)
            self._position = relayed.last
        self._outbox.write(answer)

    # -- what the room sends -------------------------------------------------------------------------------------

    def send_updates(self, relayed: Relayed) -> None:
        if not self._following:
            return
        if self._outbox.congested:
            self._metrics.slow_peers.labels("behind").inc()
            self._follow_later()
            return
        frame = relayed.frames.get(_PROTOCOL)
        if frame is None:
            frame = relayed.frames[_PROTOCOL] = self._encode(relayed)
        self._outbox.write(frame)
        self._position = relayed.last

    def send_presence(self, announced: Announced) -> None:
        frame = announced.frames.get(_PROTOCOL)
        if frame is None:
            frame = frames.binary_event(self._namespace, "awareness-update", announced.data)
            announced.frames[_PROTOCOL] = frame
        self._outbox.write_volatile(frame)

    def ask(self, question: int, state_vector: bytes) -> None:
        if self._ended:  # what it sent last is read after it has gone: it has nothing more
            self._room.submit(Submission(self, EMPTY_UPDATE, lambda _: None, answers=question))
            return
        number = self._question(question)
        self._outbox.write(frames.binary_event(self._namespace, "sync-step-1", state_vector, number=number))

    def refuse(self, code: str, message: str) -> None:
        """`refused`, then DISCONNECT: a stock client does not come back by itself (RULE S6)."""
        if not self._ended:
            self._say_refused(code, message)
            self._outbox.write(frames.disconnect(self._namespace))
            self.end()

    def rejoin(self, code: str, message: str) -> None:
        """Close the transport below: whatever is passing brings the client back."""
        if self._outbox.closing:
            return
        log.info("connection asked to come back", extra={"code": code, "peer": self.id})
        self._outbox.close()

    def end(self) -> None:
        """The namespace has ended, whoever wished it."""
        if not self._ended:
            self._ended = True
            self._following = False
            self._room.detach(self.id)
            self._connection.leave(self._name)

    # -- inside --------------------------------------------------------------------------------------------------

    def _question(self, question: int) -> int:
        number = self._next_ack
        self._next_ack = (self._next_ack + 1) % (1 << ACK_IDS_BITS)
        self._questions[number] = question
        return number

    def _encode(self, relayed: Relayed) -> bytes:
        parts = []
        for position, update in enumerate(relayed.updates, relayed.first):
            extra = b'{"epoch":%d,"from":%d,"to":%d}' % (relayed.epoch, position, position)
            parts.append(frames.binary_event(self._namespace, "sync-update", update, extra))
        return b"".join(parts)

    def _follow_later(self) -> None:
        """Stop following the room, and send the log from the last written position once the peer has read (RULE O2)."""
        self._following = False
        if not self._resuming:
            self._resuming = True
            self._connection.background(self._resume())

    async def _resume(self) -> None:
        try:
            while not self._ended and await self._outbox.drained():
                after = self._position
                rows = await self._room.rows_after(after)
                if self._position != after:
                    continue  # a step 1 was answered meanwhile
                if rows is None or self._ended:
                    return
                if rows:
                    relayed = Relayed(self._room.epoch, Position(after + 1), Position(after + len(rows)), rows)
                    self._outbox.write(self._encode(relayed))
                    self._position = relayed.last
                if self._position == self._room.head:  # no await between this look and what follows
                    self._following = True
                    self._metrics.slow_peers.labels("caught_up").inc()
                    return
        finally:
            self._resuming = False
