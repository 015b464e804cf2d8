"""The seam to python-socketio and python-engineio: everything that leans on how they work inside is in this module.

python-engineio keeps the handshake, pings and the end of a connection; python-socketio keeps `/chat`, `/notifications`
and `/metrics`. Packets of document namespaces (`/yjs|{id}`) are taken from the WebSocket before Engine.IO sees them:
its manager walks every namespace when a connection ends, its writer may part a packet's header from its attachment, and
its handlers are not told the number of an acknowledgement. What is assumed of the two libraries has a test each, in
`tests/realtime/test_socketio_seam.py`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import orjson
import socketio
from aiohttp import WSMessage, WSMsgType, web
from engineio.async_drivers import aiohttp as driver

from realtime import frames
from realtime.outbox import Outbox, OutboxLimits
from realtime.pace import Pace
from realtime.protocols.connection import Door, SocketLimits
from realtime.protocols.ysocketio import DocumentSocket
from rooms.errors import NotFound, RoomError
from rooms.metrics import Metrics
from storage.keys import is_id

log = logging.getLogger(__name__)

DOCUMENT_PREFIX = "/yjs|"
MAX_ACK_DIGITS = 10
TURN_SECONDS = 0.002
"""After this another connection has its turn: what has arrived already is read without any wait."""
MAX_STOCK_CONNECTS = 64
"""CONNECT packets of one connection that are for no document: python-engineio queues each answer without a bound."""


@runtime_checkable
class TakesEvents(Protocol):
    """A namespace that answers by itself, through the outbox (`realtime/namespaces`)."""

    def take(self, sid: str | None, number: int | None, data: object) -> None:
        """One event as it came; *sid* is None when the client has not joined the namespace."""


class BadPacket(Exception):
    """The client does not speak Socket.IO; its connection ends."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One Socket.IO packet of a document namespace, its one attachment in place."""

    kind: int
    namespace: str
    number: int | None
    data: Any


CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)


def parse_header(text: str) -> tuple[Packet, int] | None:
    """Read the text of a packet and the number of its attachments; None when it is not for a document.

    Raises:
        BadPacket: it is for a document and cannot be read.
    """
    # "4" is Engine.IO's MESSAGE; then Socket.IO's kind, "{attachments}-", "{namespace},", "{ack id}", JSON.
    start = 2
    kind_digit = text[1:2]
    attachments = 0
    if kind_digit in ("5", "6"):
        dash = text.find("-", 2, 6)
        if dash < 0:
            return None
        if not text.startswith(DOCUMENT_PREFIX, dash + 1):
            return None
        count = text[2:dash]
        if count not in ("0", "1"):
            raise BadPacket("a document event has at most one attachment")
        attachments = int(count)
        start = dash + 1
    elif not text.startswith(DOCUMENT_PREFIX, 2):
        return None
    comma = text.find(",", start)
    namespace, rest = (text[start:], "") if comma < 0 else (text[start:comma], text[comma + 1 :])
    namespace = namespace.partition("?")[0]
    digits = 0
    while digits < len(rest) and rest[digits].isdigit():
        digits += 1
    if digits > MAX_ACK_DIGITS:
        raise BadPacket("an acknowledgement id is too long")
    try:
        number = int(rest[:digits]) if digits else None
        data = orjson.loads(rest[digits:]) if len(rest) > digits else None
        kind = int(kind_digit)
    except ValueError as error:
        raise BadPacket("a packet cannot be read") from error
    return Packet(kind, namespace, number, data), attachments


def with_attachment(data: Any, attachment: bytes) -> list[Any]:
    """Put the one attachment in its place: document events have it at the top level of their arguments."""
    if not isinstance(data, list):
        raise BadPacket("an event is a list")
    return [attachment if isinstance(item, dict) and item.get("_placeholder") is True else item for item in data]


class SocketConnection:
    """One WebSocket of a Socket.IO client: its outbox, and the documents it has joined."""

    def __init__(self, server: LiveServer, request: web.Request, response: web.WebSocketResponse) -> None:
        self.id = os.urandom(8).hex()
        transport = request.transport
        assert transport is not None
        self.outbox = Outbox(transport, server.outbox_limits)
        self.request = request
        self._server = server
        self._response = response
        self._documents: dict[str, DocumentSocket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        self._reaper: asyncio.TimerHandle | None = loop.call_later(server.limits.join_seconds, self._never_joined)

    # -- what documents ask of their connection ------------------------------------------------------------------

    def background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("work of a connection failed", extra={"connection": self.id})
            self.outbox.abort()

    def leave(self, namespace: str) -> None:
        self._documents.pop(namespace, None)

    # -- the life of a connection --------------------------------------------------------------------------------

    @property
    def has_joined(self) -> bool:
        return self._reaper is None

    def joined(self) -> None:
        """A namespace was joined, a document or another: the connection may stay."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None

    def expires_at(self, moment: float) -> None:
        """Close the transport when the first of its tokens ends (seconds since the epoch; 0: never)."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, moment - time.time())
        if moment and (self._expiry is None or due < self._expiry.when()):
            if self._expiry is not None:
                self._expiry.cancel()
            self._expiry = loop.call_at(due, self.outbox.close)

    def _never_joined(self) -> None:
        self._reaper = None
        log.info("connection joined nothing in time", extra={"connection": self.id})
        self.outbox.abort()

    def closed(self) -> None:
        """The transport has ended: everything is taken back at once."""
        self.joined()
        if self._expiry is not None:
            self._expiry.cancel()
        for document in list(self._documents.values()):
            document.end()
        for task in list(self._tasks):
            task.cancel()

    # -- packets -------------------------------------------------------------------------------------------------

    async def take(self, packet: Packet) -> None:
        """Take one packet of a document namespace.

        Raises:
            BadPacket: the connection must end.
        """
        document = self._documents.get(packet.namespace)
        work = None
        match packet.kind:
            case 0:
                if document is None:
                    await self._connect(packet)
            case 1:
                if document is not None:
                    document.end()
            case 2 | 5:
                if not isinstance(packet.data, list) or not packet.data or not isinstance(packet.data[0], str):
                    raise BadPacket("an event is a list that begins with its name")
                if document is not None:
                    work = document.receive(packet.data[0], packet.data[1:], packet.number, time.perf_counter())
            case 3 | 6:
                if not isinstance(packet.data, list) or packet.number is None:
                    raise BadPacket("an acknowledgement is a list, with a number")
                if document is not None:
                    work = document.receive_acknowledgement(packet.number, packet.data)
            case _:
                raise BadPacket("an unknown kind of packet")
        if work is not None:
            await work

    async def _connect(self, packet: Packet) -> None:
        server, namespace = self._server, packet.namespace
        encoded = namespace.encode()
        design = namespace.removeprefix(DOCUMENT_PREFIX)
        try:
            if not is_id(design):
                raise NotFound("design")
            if len(self._documents) >= server.limits.max_documents:
                self.outbox.close()
                return
            async with asyncio.timeout(server.limits.open_seconds):
                user = await server.door.admit(self.request, token_of(packet.data))
                room, grant = await server.door.enter(user, design)
        except TimeoutError:
            self.outbox.close()
        except RoomError as error:
            if error.retryable:
                self.outbox.close()
            else:
                self._reject(encoded, error.code, error.message)
        else:
            if self.outbox.closing:
                return
            self.joined()
            self.expires_at(user.expires_at)
            document = DocumentSocket(
                self, namespace, room, grant, server.metrics, server.limits.ping_timeout_seconds / 2
            )
            self._documents[namespace] = document
            document.open(os.urandom(10).hex())

    def _reject(self, namespace: bytes, code: str, message: str) -> None:
        """y-socket.io clients know one word for it; code and sentence go beside it."""
        self.outbox.write(frames.connect_error(namespace, "Unauthorized", {"code": code, "message": message}))


def token_of(auth: object) -> str | None:
    """The token in a Socket.IO `auth` object, if it brings one."""
    token = auth.get("token") if isinstance(auth, dict) else None
    return token if isinstance(token, str) and token else None


class _WebSocket(driver.WebSocket):  # type: ignore[misc]
    """The driver's WebSocket without compression, and with document packets taken out of the stream."""

    def __init__(self, live: LiveServer, handler: Callable[[Any], Awaitable[None]], server: Any) -> None:
        super().__init__(handler, server)
        self._live = live
        self._unjoined_bytes = 0
        self._stock_connects = 0
        self._pace = Pace(live.limits.burst_seconds, live.limits.share)
        self.connection: SocketConnection

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        request: web.Request = environ["aiohttp.request"]
        self._sock = web.WebSocketResponse(max_msg_size=self._live.limits.max_frame_bytes, compress=False, timeout=2.0)
        await self._sock.prepare(request)
        self.environ = environ
        self.connection = environ["luneo.connection"] = SocketConnection(self._live, request, self._sock)
        gauge = self._live.metrics.connections.labels("socket.io")
        gauge.inc()
        self._live.connections.add(self.connection)
        try:
            await self.handler(self)
        finally:
            gauge.dec()
            self._live.connections.discard(self.connection)
            self.connection.closed()
        return self._sock

    async def wait(self) -> str:
        """The next frame that is not a document's."""
        try:
            return await self._next()
        except asyncio.CancelledError:
            # Nothing came for too long. The stock writer would wait for whoever does not read, and the end for it.
            self.connection.outbox.close()
            raise

    async def _next(self) -> str:
        turn_began = time.perf_counter()
        while True:
            pause = self._pace.pause_seconds()
            if pause or time.perf_counter() - turn_began > TURN_SECONDS:
                await asyncio.sleep(pause)
                turn_began = time.perf_counter()
            message = await self._receive()
            data = message.data
            if message.type is WSMsgType.TEXT:
                try:
                    if not self.connection.has_joined:
                        self._unjoined_bytes += len(data)
                        if self._unjoined_bytes > self._live.limits.join_bytes:
                            raise BadPacket("too much before a namespace was joined")
                    if not await self._taken(data):
                        if data[:2] in ("45", "46"):
                            # Stock packets hold attachments without a bound; only documents have any.
                            raise BadPacket("only documents take binary events")
                        return cast(str, data)
                except BadPacket as error:
                    log.info("bad packet", extra={"connection": self.connection.id, "why": str(error)})
                    await self._sock.close(code=1008, message=b"bad packet")
                    raise OSError from error
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    log.exception("a document packet failed", extra={"connection": self.connection.id})
                    self.connection.outbox.abort()
                    raise OSError from error
            elif message.type is WSMsgType.BINARY:
                await self._sock.close(code=1008, message=b"binary frame without a header")
                raise OSError
            else:
                raise OSError

    async def _receive(self) -> WSMessage:
        message: WSMessage = await self._sock.receive()
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self._pace.count(len(message.data))
        return message

    async def _taken(self, text: str) -> bool:
        if text[:1] != "4":
            if text[:1] not in ("1", "3"):
                raise BadPacket("a client sends messages, pongs and its end")
            return False
        parsed = parse_header(text)
        if parsed is None:
            self._check_stock(text[1:])
            return False
        packet, attachments = parsed
        if attachments:
            follows = await self._receive()
            if follows.type is not WSMsgType.BINARY:
                raise BadPacket("an attachment must follow its header")
            packet = Packet(packet.kind, packet.namespace, packet.number, with_attachment(packet.data, follows.data))
        await self.connection.take(packet)
        return True

    def _check_stock(self, text: str) -> None:
        """Refuse what python-socketio could not read: it would log a traceback for each packet, and go on.

        Raises:
            BadPacket: not a packet of Socket.IO.
        """
        try:
            packet = self._live.packet_class(encoded_packet=text) if text else None
        except Exception as error:
            raise BadPacket("a packet cannot be read") from error
        if packet is None or (packet.packet_type == EVENT and not (isinstance(packet.data, list) and packet.data)):
            raise BadPacket("an event is a list that begins with its name")
        if packet.packet_type == CONNECT:
            self._stock_connects += 1
            if self._stock_connects > MAX_STOCK_CONNECTS:
                raise BadPacket("too many namespaces were asked for")


class LiveServer(socketio.AsyncServer):  # type: ignore[misc]
    """python-socketio's server for `/chat`, `/notifications` and `/metrics`, with our document sockets beside them."""

    def __init__(
        self, *, door: Door, metrics: Metrics, limits: SocketLimits, outbox_limits: OutboxLimits, **options: Any
    ) -> None:
        super().__init__(
            async_mode="aiohttp",
            transports=["websocket"],
            # Handlers of one connection run one after another; each is a few lines.
            async_handlers=False,
            always_connect=False,
            # Origin is checked before Engine.IO is asked, by realtime/security.py.
            cors_allowed_origins=[],
            max_http_buffer_size=limits.max_frame_bytes,
            ping_interval=limits.ping_interval_seconds,
            ping_timeout=limits.ping_timeout_seconds,
            logger=False,
            engineio_logger=False,
            **options,
        )
        self.door = door
        self.metrics = metrics
        self.limits = limits
        self.outbox_limits = outbox_limits
        self.connections: set[SocketConnection] = set()
        self.eio._async = {**self.eio._async, "websocket": functools.partial(_WebSocket, self)}

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: object) -> None:
        """Every event of a stock namespace, before a handler is looked for: namespaces that take events get theirs."""
        taker = self.namespace_handlers.get(namespace)
        if isinstance(taker, TakesEvents):
            taker.take(self.manager.sid_from_eio_sid(eio_sid, namespace), id, data)
        else:
            await super()._handle_event(eio_sid, namespace, id, data)

    def connection_of(self, environ: dict[str, Any]) -> SocketConnection:
        """The connection below a namespace's handler, from the environ that its connect handler was given."""
        return cast(SocketConnection, environ["luneo.connection"])

    def close_all(self) -> None:
        """Ask every client to come back: the node is draining."""
        for connection in list(self.connections):
            connection.outbox.close()
