"""The Hocuspocus protocol: many documents on one raw WebSocket, each with its own token (RULES F1 to F14)."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Final

from aiohttp import web

from realtime.errors import NotAuthenticated
from realtime.protocols import hocuspocus_frames as wire
from realtime.protocols.connection import Door
from realtime.protocols.frame_reader import FrameError
from realtime.protocols.hocuspocus_frames import BadMessage, Frames
from realtime.protocols.peer import NOBODY, DocumentPeer
from realtime.protocols.websocket import COME_BACK, TRY_AGAIN_LATER, TakenOver, WebSocket, WebSockets
from rooms.errors import LimitExceeded, NotFound, RoomError
from rooms.metrics import Metrics
from rooms.permissions import Action, Grant, User
from rooms.ports import Relayed, Said
from rooms.rates import Rate, Rates
from rooms.room import Room
from storage.keys import Epoch, Position, is_id

PATHS: Final = ("/hocuspocus", "/hocuspocus/")
MAX_QUEUED_FRAMES: Final = 256
"""Messages of one connection that wait for documents which are not entered yet."""
MAX_QUEUED_BYTES: Final = 64 * 1024
"""Their bytes; over one of the two the connection is not read, or closed if no token is being looked at (RULE F4)."""
MAX_PASSED_OVER: Final = 64
"""Addresses of one connection that were refused or left: what their providers still send is passed over."""
ENTER_SECONDS: Final = 0.002
"""About what an entrance costs beside its frames: a token, a grant, a room (RULE S9)."""
STEP1_SECONDS: Final = 0.01
"""The same of a step 1: the answer may be a whole document, and a worker may have to cut it."""
EMPTY_SECONDS: Final = 60.0
"""A connection whose documents have all ended is closed after this (RULE F5)."""
RENEW_SECONDS: Final = 30.0
"""A document's token is asked for again so long before it ends, or after half of its time (RULE F6)."""
MAX_STATELESS_BYTES: Final = 16 * 1024
MALFORMED: Final = 4400
"""As y-websocket's clients read it: for good. Hocuspocus' providers do not look."""
IDENTIFYING: Final = ("Authorization", "Cookie")
"""Headers of the handshake that say who it is, where a token does not."""
MAX_STATELESS: Final = Rate("max_stateless_messages", 20, 5.0)
"""Stateless messages of one connection."""


class InvalidStateless(RoomError):
    """A message of a client that would pass for one of ours."""

    code = "invalid_stateless"


class HocuspocusPeer(DocumentPeer):
    """One document of one connection."""

    __slots__ = (
        "_asked",
        "_frames",
        "_question",
        "address",
        "is_refused",
        "renew_at",
        "token_wanted",
    )

    protocol = "hocuspocus"
    _connection: HocuspocusSocket

    def __init__(
        self,
        connection: HocuspocusSocket,
        number: int,
        address: bytes,
        room: Room,
        grant: Grant,
        metrics: Metrics,
        inbox_wait_seconds: float,
    ) -> None:
        """
        Args:
            number: of the document within its connection; an address comes again when a provider does.
        """
        super().__init__(connection, address.decode("latin-1"), room, grant, metrics, inbox_wait_seconds)
        self.id = f"{connection.id}.{number}"
        self.address = address
        self.is_refused = False
        self.renew_at = 0.0
        """When its token is to be asked for again; seconds since the epoch."""
        self.token_wanted = False
        if b"\0" in address:  # whoever has the document under its plain name is written the same bytes
            self.dialect = f"{self.protocol} {self.name}"
        self._frames = Frames(address)
        self._asked = False
        """A step 1 of ours is not answered yet."""
        self._question = 0
        """The room's question that the next step 2 answers; 0: the one that everybody is asked."""

    # -- what the client sends -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Say what may be done here, and who is there; from now on messages are taken."""
        states = self.room.presence.states(self.id, self.grant.user.id)
        self.outbox.write(self._scope() + (b"" if states is None else self._frames.awareness(states)))
        self.room.attach(self)

    def renewed(self, grant: Grant) -> None:
        """A new token: its rights hold from here on (RULE F6)."""
        self.grant = grant
        self.token_wanted = False
        self.outbox.write(self._scope())

    def want_token(self) -> None:
        self.token_wanted = True
        self.outbox.write(self._frames.token_wanted())

    def _scope(self) -> bytes:
        return self._frames.authenticated(readonly=not self.grant.allows(Action.EDIT))

    def receive(self, kind: int, message: bytes, p: int) -> Coroutine[None, None, None] | None:
        """Take one message; *p* is the place after its kind. What is returned is to be awaited before the next.

        Raises:
            BadMessage: the connection must end.
        """
        if kind == wire.SYNC:
            step, p = wire.read_number(message, p)
            body = wire.read_last_bytes(message, p)
            if step == wire.UPDATE:
                return self.submit(body, functools.partial(self._settle, time.perf_counter()))
            if step == wire.STEP2:
                question, self._question, self._asked = self._question, 0, False
                return self.submit(body, functools.partial(self._settle, time.perf_counter()), question)
            if step == wire.STEP1:
                self._connection.charge(STEP1_SECONDS)
                return self.answer(body, self._encode_state)
            raise BadMessage("an unknown kind of sync message")
        if kind == wire.AWARENESS:
            self.hear_presence(wire.read_last_bytes(message, p))
        elif kind == wire.QUERY_AWARENESS:
            self.answer_who_is_there()
        elif kind == wire.STATELESS:
            self._say_to_others(wire.read_last_bytes(message, p))
        elif kind == wire.CLOSE:
            self.end()
        else:
            # Kinds of servers, and those of versions to come: said, not punished.
            self.say_refused("unknown_message", "This kind of message is not for a client to send.")
        return None

    def _say_to_others(self, payload: bytes) -> None:
        """A stateless message goes to everybody else in the room, within bounds (RULE F12).

        Raises:
            BadMessage: not UTF-8, at which the others' providers would stumble.
        """
        try:
            text = payload.decode()
        except UnicodeDecodeError as error:
            raise BadMessage("UTF-8") from error
        try:
            if len(payload) > MAX_STATELESS_BYTES:
                sentence = f"A stateless message may have {MAX_STATELESS_BYTES} bytes; this one has {len(payload)}."
                raise LimitExceeded("max_stateless_bytes", MAX_STATELESS_BYTES, sentence)
            if _imitates_a_fact(text):
                raise InvalidStateless("Messages of the type `refused` are the server's own. Choose another type.")
            self._connection.rates.take(self._connection.id)
        except RoomError as error:
            self.say_refused(error.code, error.message)
        else:
            self.room.say(self, payload)

    def _encode_state(self, epoch: Epoch, position: Position, update: bytes) -> Sequence[bytes]:
        """The answer to step 1: our own step 1 first, as upstream's (RULE F8)."""
        self._asked = True
        return self._frames.step1(self.room.state_vector()) + self._frames.step2_head(len(update)), update

    def _settle(self, received_at: float, result: Position | RoomError) -> None:
        """One `SyncStatus` for each update that came, once it is decided (RULE F9)."""
        if isinstance(result, RoomError):
            if not result.retryable and not self.ended:
                self.outbox.write(self._frames.sync_status(stored=False))
            self.refused(result)
            return
        self._metrics.ack_seconds.observe(time.perf_counter() - received_at)
        if not self.ended:  # else it would count for the provider that took the address over
            self.outbox.add(self._frames.sync_status(stored=True))

    # -- what the room sends -------------------------------------------------------------------------------------

    def encode_updates(self, relayed: Relayed) -> bytes:
        return b"".join([self._frames.update(update) for update in relayed.updates])

    def encode_presence(self, data: bytes) -> bytes:
        return self._frames.awareness(data)

    def send_said(self, said: Said) -> None:
        frame = said.frames.get(self.dialect)
        if frame is None:
            frame = said.frames[self.dialect] = self._frames.stateless(said.data)
        self.outbox.offer(frame)

    def ask(self, question: int, state_vector: bytes) -> None:
        if self.ended:  # what it sent last is read after it has gone
            self.answers_nothing(question)
            return
        self._question = question
        # An answer that is still to come is made after the update that builds on what is missing, so it has that too.
        # A second answer would also be acknowledged, and the provider counts one.
        if not self._asked:
            self._asked = True
            self.outbox.write(self._frames.step1(state_vector))

    def warn(self, code: str, message: str, elements: Sequence[str]) -> None:
        if not self.ended:
            self._say(code, message, elements=list(elements), permanent=False)

    def say_refused(self, code: str, message: str) -> None:
        self._say(code, message)

    def say_ended(self, code: str, message: str) -> None:
        """The fact, then `PermissionDenied`: a provider does not send its token again by itself."""
        self.is_refused = True
        self._say(code, message)
        self.outbox.write(self._frames.permission_denied(f"{code}: {message}"))

    def _say(self, code: str, message: str, **more: object) -> None:
        self.outbox.write(self._frames.fact("refused", code, message, **{"elements": [], **more}))

    def close_passing(self, code: str, message: str) -> None:
        self._connection.close(TRY_AGAIN_LATER, f"{code}: {message}")


class _Entrance:
    """An address whose document is not entered yet: what came for it waits here, in order."""

    __slots__ = ("entered", "frames", "peer", "refusal", "timer", "under_way")

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.under_way = False
        """It is being decided whether it may be entered."""
        self.entered = asyncio.Event()
        """Set when it is decided, either way, and what waited is taken."""
        self.peer: HocuspocusPeer | None = None
        """Of the document that takes now what has waited."""
        self.refusal: RoomError | None = None
        """Why it could not be entered without a token; one may still come."""
        self.timer: asyncio.TimerHandle | None = None


class HocuspocusSocket(WebSocket):
    """One WebSocket with any number of documents, those that wait for their token or room included."""

    __slots__ = (
        "_documents",
        "_door",
        "_empty",
        "_entered_count",
        "_entrances",
        "_guest",
        "_headers",
        "_knows_ping",
        "_passed_over",
        "_queued_bytes",
        "_queued_frames",
        "rates",
    )

    protocol = "hocuspocus"

    def __init__(self, sockets: WebSockets, door: Door, rates: Rates, request: web.Request) -> None:
        super().__init__(sockets, request)
        self.rates = rates
        """Of stateless messages, by connection."""
        self._door = door
        self._headers = {name: request.headers[name] for name in IDENTIFYING if name in request.headers}
        self._documents: dict[bytes, HocuspocusPeer] = {}
        self._entrances: dict[bytes, _Entrance] = {}
        self._queued_frames = self._queued_bytes = 0
        self._passed_over: dict[bytes, bool] = {}
        """Addresses that ended, the latest last; True: refused, so that only a token enters them again."""
        self._entered_count = 0
        self._guest: User | None = None
        """Who is here in open mode: one person in all documents of the connection, though it has no cookie."""
        self._knows_ping = False
        self._empty: asyncio.TimerHandle | None = None

    # -- messages ------------------------------------------------------------------------------------------------

    def receive(self, message: bytes) -> Coroutine[None, None, None] | None:
        try:
            if len(message) == 1:
                self._receive_byte(message[0])
                return None
            address, p = wire.read_address(message)
            kind, p = wire.read_number(message, p)
            document = self._documents.get(address)
            if document is None:
                return self._await_entrance(address, kind, message, p)
            return self._deliver(document, kind, message, p)
        except BadMessage as error:
            raise _malformed(error) from error

    def _receive_byte(self, kind: int) -> None:
        if kind == wire.PING:
            self.outbox.write(wire.PONG_FRAME)
        elif kind != wire.PONG:
            raise BadMessage("an unknown message of one byte")

    def _deliver(
        self, document: HocuspocusPeer, kind: int, message: bytes, p: int
    ) -> Coroutine[None, None, None] | None:
        if kind == wire.AUTH:
            return self._renew(document, self._read_token(message, p))
        return document.receive(kind, message, p)

    def _read_token(self, message: bytes, p: int) -> str | None:
        """The token of an authentication message; None: an empty one, so that the handshake's headers decide.

        Raises:
            BadMessage: it is none, or of a kind that only servers send.
        """
        kind, p = wire.read_number(message, p)
        if kind != wire.TOKEN:
            raise BadMessage("a client sends tokens")
        token, p = wire.read_text(message, p)
        # Providers from 4 on add their version, and know the ping of one byte; what later ones add is not judged here.
        self._knows_ping = self._knows_ping or p < len(message)
        return token or None

    # -- coming in -----------------------------------------------------------------------------------------------

    def _await_entrance(self, address: bytes, kind: int, message: bytes, p: int) -> Coroutine[None, None, None] | None:
        """Take a message for a document that is not there (yet): enter it, or keep the message until it is."""
        entrance = self._entrances.get(address) or self._new_entrance(address, kind, message, p)
        if entrance is None:
            return None
        if kind == wire.CLOSE:
            self._drop(address, entrance)
            self._pass_over(address, refused=False)
            return None
        if kind == wire.AUTH and not entrance.under_way:
            self._enter_soon(address, entrance, self._read_token(message, p), named=True)
            return None
        if self._queued_frames >= MAX_QUEUED_FRAMES or self._queued_bytes + len(message) > MAX_QUEUED_BYTES:
            decided = entrance if entrance.under_way else self._some_decision()
            if decided is None:
                self.close(TRY_AGAIN_LATER, "too_much_before_token: Send a document's token before its messages.")
                return None
            return self._receive_after(decided, message)
        entrance.frames.append(message)
        self._queued_frames += 1
        self._queued_bytes += len(message)
        if _is_step1(kind, message, p) and not entrance.under_way and entrance.refusal is None:
            self._enter_soon(
                address, entrance, None, named=False
            )  # providers before 3 send no token where they have none
        return None

    def _new_entrance(self, address: bytes, kind: int, message: bytes, p: int) -> _Entrance | None:
        """Begin to wait for a document; None: what came is passed over."""
        refused = self._passed_over.get(address)
        if refused is not None and kind != wire.AUTH and (refused or not _is_step1(kind, message, p)):
            return None
        limits = self._sockets.limits
        if len(self._documents) + len(self._entrances) >= limits.max_documents:
            sentence = f"A connection may have {limits.max_documents} documents. Open another connection for more."
            self._deny(address, LimitExceeded("max_documents_per_connection", limits.max_documents, sentence))
            return None
        self._passed_over.pop(address, None)
        entrance = self._entrances[address] = _Entrance()
        entrance.timer = asyncio.get_running_loop().call_later(limits.join_seconds, self._give_up, address, entrance)
        if self._empty is not None:
            self._empty.cancel()
            self._empty = None
        return entrance

    def _some_decision(self) -> _Entrance | None:
        return next((entrance for entrance in self._entrances.values() if entrance.under_way), None)

    async def _receive_after(self, decided: _Entrance, message: bytes) -> None:
        """Too much waits: nothing more is read until *decided* is, and what waited for it is taken."""
        await decided.entered.wait()
        if self.outbox.closing:
            return
        try:
            work = self.receive(message)
        except FrameError as error:
            self.close(error.code, error.reason)
        else:
            if work is not None:
                await work

    def _give_up(self, address: bytes, entrance: _Entrance) -> None:
        """No token came in time."""
        entrance.timer = None
        if not entrance.under_way:
            self._deny(address, entrance.refusal or NotAuthenticated("No token came for this document. Send one."))

    def _enter_soon(self, address: bytes, entrance: _Entrance, token: str | None, *, named: bool) -> None:
        """
        Args:
            named: a token was sent, though perhaps an empty one; otherwise one may still come.
        """
        entrance.under_way = True
        self.named()
        self.charge(ENTER_SECONDS)
        self.background(self._enter(address, entrance, token, named=named))

    async def _enter(self, address: bytes, entrance: _Entrance, token: str | None, *, named: bool) -> None:
        limits = self._sockets.limits
        try:
            async with asyncio.timeout(limits.open_seconds):
                user = await self._admit(token)
                room, grant = await self._door.enter(user, _design(address))
        except TimeoutError:
            self.close(TRY_AGAIN_LATER, "unavailable: The design could not be opened in time. Come back.")
            return
        except RoomError as error:
            if self._entrances.get(address) is entrance:
                self._not_entered(address, entrance, error, named=named)
            return
        if self._entrances.get(address) is not entrance:
            return  # it was left meanwhile, or the connection has ended
        self.joined()
        self._entered_count += 1
        peer = HocuspocusPeer(
            self, self._entered_count, address, room, grant, self._sockets.metrics, limits.ping_timeout_seconds / 2
        )
        entrance.peer = peer
        peer.open()
        self._expect_token(peer)
        try:
            await self._take_waiting(entrance, peer)
        except BadMessage as error:
            malformed = _malformed(error)
            self.close(malformed.code, malformed.reason)
        if self._entrances.get(address) is entrance:  # no await between the look at what waits and this
            self._documents[address] = peer
            self._drop(address, entrance, ended=False)

    async def _take_waiting(self, entrance: _Entrance, peer: HocuspocusPeer) -> None:
        while entrance.frames and not peer.ended:
            message = self._unqueue(entrance)
            _, p = wire.read_address(message)
            kind, p = wire.read_number(message, p)
            work = self._deliver(peer, kind, message, p)
            if work is not None:
                await work

    def _not_entered(self, address: bytes, entrance: _Entrance, error: RoomError, *, named: bool) -> None:
        if error.retryable:
            self.close(TRY_AGAIN_LATER, f"{error.code}: {error.message}")
        elif named or not isinstance(error, NotAuthenticated):
            self._deny(address, error)
        else:  # the handshake alone does not say who it is; a token may have come meanwhile, or come yet
            entrance.under_way = False
            entrance.refusal = error
            try:
                for _ in range(len(entrance.frames)):
                    self.receive(self._unqueue(entrance))
            except FrameError as malformed:
                self.close(malformed.code, malformed.reason)

    async def _admit(self, token: str | None) -> User:
        if self._guest is not None:
            return self._guest
        user = await self._door.admit(self._headers, token)
        if user.is_guest:
            self._guest = user
        return user

    def _unqueue(self, entrance: _Entrance) -> bytes:
        message = entrance.frames.popleft()
        self._queued_frames -= 1
        self._queued_bytes -= len(message)
        return message

    # -- tokens that come again ----------------------------------------------------------------------------------

    async def _renew(self, document: HocuspocusPeer, token: str | None) -> None:
        """A token for a document that is open: its rights and its end hold from now on (RULE F6)."""
        self.charge(ENTER_SECONDS)
        try:
            async with asyncio.timeout(self._sockets.limits.open_seconds):
                user = await self._admit(token)
                _, grant = await self._door.enter(user, _design(document.address))
        except TimeoutError:
            return  # the token before is as good as it was
        except RoomError as error:
            if not error.retryable:
                document.refuse(error.code, error.message)
            return
        if document.ended:
            return
        before = document.grant.user
        if (user.brand, user.id) != (before.brand, before.id):
            document.refuse("not_authenticated", "This token is somebody else's. Open the document anew for it.")
            return
        document.renewed(grant)
        self._expect_token(document)

    def _expect_token(self, document: HocuspocusPeer) -> None:
        """Ask for the token again before it ends; at its end the connection is closed as passing (RULE F6)."""
        ends_at = document.grant.user.expires_at
        if ends_at:
            left = max(0.0, ends_at - time.time())
            document.renew_at = ends_at - min(RENEW_SECONDS, left / 2)
        self._look_at_tokens()

    def _look_at_tokens(self) -> None:
        now = time.time()
        due = 0.0
        for document in self._open_documents():
            ends_at = document.grant.user.expires_at
            if not ends_at:
                continue
            if now >= ends_at:
                super().expired()
                return
            if now >= document.renew_at and not document.token_wanted:
                document.want_token()
            moment = ends_at if document.token_wanted else document.renew_at
            due = min(due or moment, moment)
        self.expires_only_at(due)

    def expired(self) -> None:
        self._look_at_tokens()

    def _open_documents(self) -> list[HocuspocusPeer]:
        entering = [entrance.peer for entrance in self._entrances.values() if entrance.peer is not None]
        return [*self._documents.values(), *entering]

    # -- the end -------------------------------------------------------------------------------------------------

    def idle(self) -> bytes:
        """A ping of one byte, or presence of nobody for providers that do not know it."""
        if self._knows_ping:
            return wire.PING_FRAME
        return next((Frames(address).awareness(NOBODY) for address in self._documents), b"")

    def leave(self, name: str) -> None:
        """A document has ended (`DocumentPeer.end`)."""
        address = name.encode("latin-1")
        document = self._documents.pop(address, None)
        entrance = self._entrances.get(address)
        if document is None and entrance is not None:
            document = entrance.peer
            self._drop(address, entrance)
        if document is not None:
            self._pass_over(address, refused=document.is_refused)
            self._look_whether_empty()

    def _deny(self, address: bytes, error: RoomError) -> None:
        """Refuse a document that is not open; the others of the connection stay (RULE F5)."""
        entrance = self._entrances.get(address)
        if entrance is not None:
            self._drop(address, entrance)
        self._pass_over(address, refused=True)
        self.outbox.write(Frames(address).permission_denied(f"{error.code}: {error.message}"))

    def _drop(self, address: bytes, entrance: _Entrance, *, ended: bool = True) -> None:
        while entrance.frames:
            self._unqueue(entrance)
        entrance.entered.set()
        if entrance.timer is not None:
            entrance.timer.cancel()
        del self._entrances[address]
        if ended:
            self._look_whether_empty()

    def _pass_over(self, address: bytes, *, refused: bool) -> None:
        self._passed_over.pop(address, None)
        self._passed_over[address] = refused
        if len(self._passed_over) > MAX_PASSED_OVER:
            del self._passed_over[next(iter(self._passed_over))]

    def _look_whether_empty(self) -> None:
        if not self._documents and not self._entrances and self._empty is None and not self.outbox.closing:
            self._empty = asyncio.get_running_loop().call_later(EMPTY_SECONDS, self._still_empty)

    def _still_empty(self) -> None:
        self._empty = None
        self.close(COME_BACK, "empty: No document is open on this connection.")

    def ended(self) -> None:
        for document in self._open_documents():
            document.end()
        for address, entrance in list(self._entrances.items()):
            self._drop(address, entrance)
        if self._empty is not None:
            self._empty.cancel()
            self._empty = None


def _imitates_a_fact(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "refused" in text  # what a browser reads and Python does not
    return isinstance(value, dict) and value.get("type") == "refused"


def _malformed(error: BadMessage) -> FrameError:
    return FrameError(MALFORMED, f"malformed_message: This is no Hocuspocus message ({error}).")


def _is_step1(kind: int, message: bytes, p: int) -> bool:
    return kind == wire.SYNC and message[p : p + 1] == bytes((wire.STEP1,))


def _design(address: bytes) -> str:
    """The design that an address is of.

    Raises:
        NotFound: its name is none of a design.
    """
    name = address.partition(b"\0")[0].decode(errors="replace")
    if not is_id(name):
        raise NotFound("design")
    return name


class Hocuspocus:
    """Answers the handshakes on `/hocuspocus`."""

    def __init__(self, door: Door, sockets: WebSockets) -> None:
        self._door = door
        self._sockets = sockets
        self._rates = Rates(MAX_STATELESS)

    def attach(self, app: web.Application) -> None:
        for path in PATHS:
            app.router.add_get(path, self._handle, allow_head=False)

    async def _handle(self, request: web.Request) -> TakenOver:
        return self._sockets.take(request, HocuspocusSocket(self._sockets, self._door, self._rates, request))
