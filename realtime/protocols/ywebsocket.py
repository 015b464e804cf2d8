"""The y-websocket protocol: one document on one raw WebSocket (RULES Y1 to Y12).

A message is its kind, then its body: 0 sync (a step, then bytes), 1 awareness (bytes), 2 auth, 3 a question who is
there; numbers are lib0's, bytes have their length before them. There is no acknowledgement in it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine, Mapping, Sequence
from typing import Final

from aiohttp import web

from realtime.frames import BINARY, websocket_frame, websocket_head
from realtime.protocols.connection import Door
from realtime.protocols.peer import DocumentPeer
from realtime.protocols.refusals import Refusals, caller_of
from realtime.protocols.websocket import RESTARTING, TRY_AGAIN_LATER, TakenOver, WebSocket, WebSockets
from realtime.protocols.websocket import switching_protocols as check_handshake
from rooms.errors import NotFound, RoomError, Unavailable
from rooms.history import EMPTY_UPDATE
from rooms.inspection import MalformedUpdate, read_varuint, write_varuint
from rooms.permissions import Grant
from rooms.ports import Relayed
from rooms.room import Room
from storage.keys import Epoch, Position, is_id

PROTOCOL: Final = "y-websocket"
PATH: Final = "/yjs/"

SYNC, AWARENESS, AUTH, QUERY_AWARENESS = 0, 1, 2, 3
ORDER = 102
"""y-sweet's: sent back once everything that came before it is durable."""
STEP_1, STEP_2, UPDATE = 0, 1, 2
PERMISSION_DENIED = 0
MAX_ORDER_BYTES: Final = 64
STEP_1_SECONDS: Final = 0.01
"""What a step 1 counts as (RULE S9): the answer may be a whole document, and a worker may have to cut it."""

CLOSE_CODES: Final[Mapping[str, int]] = {
    "not_authenticated": 4401,
    "token_expired": 4401,
    "not_permitted": 4403,
    "not_a_member": 4403,
    "not_found": 4404,
    "deleted": 4404,
    "poisoned": 4409,
    "missing_history": 4409,
    "limit_exceeded": 4413,
    "update_too_complex": 4413,
}
"""Permanent refusals by code; y-websocket from 3.1 on stops at 4400 to 4499, older ones at nothing (RULE Y8)."""
MALFORMED: Final = 4400
"""Every other one: what was sent cannot be read, or not by all engines alike."""


class YWebsocket:
    """`GET /yjs/{id}`: who comes in by a raw WebSocket, and into which room."""

    def __init__(self, door: Door, sockets: WebSockets) -> None:
        self._door = door
        self._sockets = sockets
        self._refusals = Refusals()

    def attach(self, app: web.Application) -> None:
        app.router.add_get(PATH + "{design:.+}", self._handle, allow_head=False)

    async def _handle(self, request: web.Request) -> TakenOver:
        """Everything is asked before the upgrade, so that what is passing is told by a status (RULE Y7).

        Raises:
            RoomError: `retryable`, or of somebody who was refused again and again; nothing was upgraded.
        """
        check_handshake(request)
        design = request.match_info["design"].removesuffix("/")
        token = request.query.get("token") or None
        caller = caller_of(request, design, token)
        self._refusals.check(caller)
        connection = _Connection(self._sockets, request, functools.partial(self._refusals.note, caller))
        try:
            if not is_id(design):
                raise NotFound("design")
            async with asyncio.timeout(self._sockets.limits.open_seconds):
                user = await self._door.admit(request.headers, token)
                room, grant = await self._door.enter(user, design)
        except TimeoutError:
            raise Unavailable("The design could not be opened in time. Try again in a moment.") from None
        except RoomError as error:
            if error.retryable:
                raise
            response = self._sockets.take(request, connection)
            connection.refuse(error.code, error.message)
            return response
        connection.enter(room, grant)
        return self._sockets.take(request, connection)


class _Connection(WebSocket):
    """One raw WebSocket and its one document."""

    __slots__ = ("_document", "_note_refusal")

    protocol = PROTOCOL
    idle_frame = websocket_frame(BINARY, bytes((AWARENESS, 1, 0)))
    """An awareness update of nobody: every version of the client takes it, and stays silent."""

    def __init__(self, sockets: WebSockets, request: web.Request, note_refusal: functools.partial[None]) -> None:
        super().__init__(sockets, request)
        self._document: YDocument | None = None
        self._note_refusal = note_refusal

    def enter(self, room: Room, grant: Grant) -> None:
        """This is the room that the connection is for."""
        limits = self._sockets.limits
        self._document = YDocument(self, "", room, grant, self._sockets.metrics, limits.ping_timeout_seconds / 2)
        self.joined()
        self.expires_at(grant.user.expires_at)

    def opened(self) -> None:
        super().opened()
        if self._document is not None:
            self._document.open()

    def refuse(self, code: str, message: str) -> None:
        """Permanent: the sentence as a message, which every version shows, then a code at which newer ones stop."""
        self._note_refusal(code, message)
        self.outbox.write(_denied(code, message))
        self.close(CLOSE_CODES.get(code, MALFORMED), f"{code}: {message}")

    def receive(self, message: bytes) -> Coroutine[None, None, None] | None:
        return self._document.receive(message) if self._document is not None else None

    def leave(self, name: str) -> None:
        self._document = None

    def ended(self) -> None:
        if self._document is not None:
            self._document.end()


class YDocument(DocumentPeer):
    """One client of one room that speaks y-websocket."""

    __slots__ = ("_questions",)

    protocol = PROTOCOL
    _connection: _Connection

    # -- what the client sends -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Say what the room has, which is a question for what the client has, and who is there (RULE Y2)."""
        self._questions = [0]
        states = self.room.presence.states(self.id, self.grant.user.id)
        self.outbox.write(
            _sync(STEP_1, self.room.state_vector()) + (self.encode_presence(states) if states is not None else b"")
        )
        self.room.attach(self)

    def receive(self, message: bytes) -> Coroutine[None, None, None] | None:
        """Take one message; what is returned is to be awaited before the next is read."""
        try:
            kind, at = read_varuint(message, 0)
            if kind == SYNC:
                step, at = read_varuint(message, at)
                return self._sync(step, _bytes(message, at))
            if kind == AWARENESS:
                self.hear_presence(_bytes(message, at))
            elif kind == QUERY_AWARENESS:
                self.answer_who_is_there()
            elif kind == ORDER:
                return self._answer_order(message, _bytes(message, at))
            else:
                self.say_refused("unknown_message", "Messages of this kind are not part of the protocol.")
        except MalformedUpdate:
            self.refuse("malformed_message", "A message could not be read.")
        return None

    def _sync(self, step: int, data: bytes) -> Coroutine[None, None, None] | None:
        if step == UPDATE:
            return self.submit(data, self.settle_answer)
        if step == STEP_2:
            # Clients answer in the order in which they were asked; one that answers unasked has something to say.
            return self.submit(data, self.settle_answer, self._questions.pop(0) if self._questions else None)
        if step == STEP_1:
            self._connection.charge(STEP_1_SECONDS)
            return self.answer(data, _step_2)
        raise MalformedUpdate("not a message")

    def _answer_order(self, message: bytes, data: bytes) -> Coroutine[None, None, None] | None:
        if len(data) > MAX_ORDER_BYTES:
            raise MalformedUpdate("not a message")
        echo = websocket_frame(BINARY, message)

        def settle(result: Position | RoomError) -> None:
            if not isinstance(result, RoomError):
                self.outbox.write(echo)

        return self.submit(EMPTY_UPDATE, settle)  # settled after the commit of all that came before (D2, D5)

    # -- what the room sends -------------------------------------------------------------------------------------

    def encode_updates(self, relayed: Relayed) -> bytes:
        return b"".join([_sync(UPDATE, update) for update in relayed.updates])

    def encode_presence(self, data: bytes) -> bytes:
        return websocket_frame(BINARY, _sized(bytes((AWARENESS,)), data))

    def ask(self, question: int, state_vector: bytes) -> None:
        if self.ended:  # what it sent last is read after it has gone
            self.answers_nothing(question)
            return
        self._questions.append(question)
        self.outbox.write(_sync(STEP_1, state_vector))

    def warn(self, code: str, message: str, elements: Sequence[str]) -> None:
        """The protocol has no words for what was taken and stays: clients would call it a refusal."""

    def say_refused(self, code: str, message: str) -> None:
        if not self.ended:
            self.outbox.write(_denied(code, message))

    def say_ended(self, code: str, message: str) -> None:
        self._connection.refuse(code, message)

    def close_passing(self, code: str, message: str) -> None:
        self._connection.close(RESTARTING if code == "draining" else TRY_AGAIN_LATER, f"{code}: {message}")


def _bytes(message: bytes, at: int) -> bytes:
    """The rest of *message*: its length, and so many bytes.

    Raises:
        MalformedUpdate: the length is another.
    """
    size, at = read_varuint(message, at)
    if at + size != len(message):
        raise MalformedUpdate("not a message")
    return message[at:]


def _sized(head: bytes, data: bytes) -> bytes:
    out = bytearray(head)
    write_varuint(out, len(data))
    return bytes(out + data)


def _sync(step: int, data: bytes) -> bytes:
    return websocket_frame(BINARY, _sized(bytes((SYNC, step)), data))


def _step_2(epoch: Epoch, position: Position, update: bytes) -> Sequence[bytes]:
    """The update stays as it came: it may be large, and the same for all who join."""
    head = bytearray((SYNC, STEP_2))
    write_varuint(head, len(update))
    return websocket_head(BINARY, len(head) + len(update)) + head, update


def _denied(code: str, message: str) -> bytes:
    return websocket_frame(BINARY, _sized(bytes((AUTH, PERMISSION_DENIED)), f"{code}: {message}".encode()))
