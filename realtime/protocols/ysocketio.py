"""The y-socket.io protocol: one document on one namespace of a connection (RULES S1 to S8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence

import orjson

from realtime import frames
from realtime.protocols.peer import Connection, DocumentPeer
from rooms.errors import RoomError
from rooms.metrics import Metrics
from rooms.permissions import Grant
from rooms.ports import Relayed
from rooms.room import Room
from storage.keys import Epoch, Position

ACK_IDS_BITS = 31


class DocumentSocket(DocumentPeer):
    """One client of one room that speaks y-socket.io."""

    __slots__ = ("_namespace", "_next_ack", "_questions")

    protocol = "y-socket.io"

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        room: Room,
        grant: Grant,
        metrics: Metrics,
        inbox_wait_seconds: float,
    ) -> None:
        super().__init__(connection, namespace, room, grant, metrics, inbox_wait_seconds)
        self._namespace = namespace.encode()
        self._next_ack = 0
        self._questions: dict[int, int] = {}

    # -- what the client sends -----------------------------------------------------------------------------------

    def open(self, sid: str) -> None:
        """Answer CONNECT and say what the room has: its state vector (a question), and who is there."""
        states = self.room.presence.states(self.id, self.grant.user.id)
        number = self._question(0)
        self.outbox.write(
            frames.connected(self._namespace, sid)
            + frames.binary_event(self._namespace, "sync-step-1", self.room.state_vector(), number=number)
            + (frames.binary_event(self._namespace, "awareness-update", states) if states is not None else b"")
        )
        self.room.attach(self)

    def receive(
        self, event: str, arguments: list[object], number: int | None, received_at: float
    ) -> Coroutine[None, None, None] | None:
        """Take one event; what is returned is to be awaited before the next is read."""
        match event, arguments:
            case "sync-update", [bytes(update), *_]:
                return self.submit(update, self._acknowledger(number, received_at))
            case "awareness-update", [bytes(frame), *_]:
                self.hear_presence(frame)
            case "sync-step-1", [bytes(state_vector), *rest]:

                def encode(epoch: Epoch, position: Position, update: bytes) -> Sequence[bytes]:
                    if number is None:
                        return (b"",)
                    extra = orjson.dumps({"epoch": epoch, "position": position})
                    return frames.binary_acknowledgement(self._namespace, number, update, extra)

                return self.answer(state_vector, encode, rest[0] if rest else None)
            case _:
                # Known names with other payloads, and names that are not ours: said, not punished.
                self.say_refused("unknown_event", "This event is not part of the protocol.")
        return None

    def receive_acknowledgement(self, number: int, arguments: list[object]) -> Coroutine[None, None, None] | None:
        """Take the answer to one of our questions: what the client has and the room has not."""
        question = self._questions.pop(number, None)
        if question is None:
            return None
        match arguments:
            case [bytes(update), *_]:
                return self.submit(update, self.settle_answer, question)
            case _:
                self.refuse("invalid_answer", "The answer to sync-step-1 must be an update.")
                return None

    def _acknowledger(self, number: int | None, received_at: float) -> Callable[[Position | RoomError], None]:
        def settle(result: Position | RoomError) -> None:
            if isinstance(result, RoomError):
                answer = {"ok": False, "code": result.code, "message": result.message, "retryable": result.retryable}
            else:
                self._metrics.ack_seconds.observe(time.perf_counter() - received_at)
                answer = {"ok": True, "position": result}
            if number is not None:
                self.outbox.write(frames.acknowledgement(self._namespace, number, answer))
            if isinstance(result, RoomError):
                self.refused(result)

        return settle

    # -- what the room sends -------------------------------------------------------------------------------------

    def encode_updates(self, relayed: Relayed) -> bytes:
        parts = []
        for position, update in enumerate(relayed.updates, relayed.first):
            extra = b'{"epoch":%d,"from":%d,"to":%d}' % (relayed.epoch, position, position)
            parts.append(frames.binary_event(self._namespace, "sync-update", update, extra))
        return b"".join(parts)

    def encode_presence(self, data: bytes) -> bytes:
        return frames.binary_event(self._namespace, "awareness-update", data)

    def ask(self, question: int, state_vector: bytes) -> None:
        if self.ended:  # what it sent last is read after it has gone
            self.answers_nothing(question)
            return
        number = self._question(question)
        self.outbox.write(frames.binary_event(self._namespace, "sync-step-1", state_vector, number=number))

    def _question(self, question: int) -> int:
        number = self._next_ack
        self._next_ack = (self._next_ack + 1) % (1 << ACK_IDS_BITS)
        self._questions[number] = question
        return number

    def warn(self, code: str, message: str, elements: Sequence[str]) -> None:
        if not self.ended:
            self._say(code, message, elements, permanent=False)

    def say_refused(self, code: str, message: str) -> None:
        self._say(code, message)

    def say_ended(self, code: str, message: str) -> None:
        """`refused`, then DISCONNECT."""
        self._say(code, message)
        self.outbox.write(frames.disconnect(self._namespace))

    def _say(self, code: str, message: str, elements: Sequence[str] = (), **more: bool) -> None:
        payload = {"code": code, "message": message, "elements": list(elements), **more}
        self.outbox.write(frames.event(self._namespace, "refused", payload))
