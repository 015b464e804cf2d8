"""Socket.IO on our own WebSockets: documents are taken here, other namespaces are handed to python-socketio.

python-socketio keeps `/chat`, `/notifications` and `/metrics`: who is connected, and to what. Engine.IO, of which a
WebSocket needs a handshake, pings and one frame a packet, is spoken here and not by python-engineio: that has two tasks
and a queue without a bound for each connection, its writer may part a packet's header from its attachment, its end of a
connection walks every namespace, and its handlers are not told the number of an acknowledgement. What is assumed of
python-socketio has a test each, in `tests/realtime/test_socketio_seam.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import orjson
import socketio
from aiohttp import WSCloseCode, web

from realtime import frames
from realtime.outbox import OutboxLimits
from realtime.protocols.connection import Door, SocketLimits
from realtime.protocols.frame_reader import FrameError
from realtime.protocols.websocket import WebSocket, WebSockets
from realtime.protocols.ysocketio import DocumentSocket
from rooms.errors import NotFound, RoomError
from rooms.metrics import Metrics
from storage.keys import is_id

log = logging.getLogger(__name__)

DOCUMENT_PREFIX = "/yjs|"
MAX_ACK_DIGITS = 10
CLIENT_PATIENCE = 3
"""How much longer than we for it a client waits for us: it sees no ping before it has read the document before it."""
MAX_STOCK_CONNECTS = 64
"""CONNECT packets of one connection that are for no document."""
CREDENTIALS = ("Authorization", "Cookie")
"""The headers of a handshake that say who is there: namespaces are joined later, and each asks again."""
CONNECTION = "luneo.connection"
"""Where a namespace's handler finds the connection, in what python-socketio calls the environ."""


@runtime_checkable
class TakesEvents(Protocol):
    """A namespace that answers by itself, through the outbox (`realtime/namespaces`)."""

    def take(self, sid: str | None, number: int | None, data: object) -> None:
        """One event as it came; *sid* is None when the client has not joined the namespace."""


class BadPacket(FrameError):
    """The client does not speak Socket.IO; its connection ends."""

    def __init__(self, reason: str) -> None:
        super().__init__(WSCloseCode.POLICY_VIOLATION, reason)


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


class SocketConnection(WebSocket):
    """One Socket.IO client: the documents that it has joined, and what python-socketio is told of it.

    Engine.IO on a WebSocket is little: an OPEN packet, pings, and messages, each a frame. It is spoken here.
    """

    __slots__ = (
        "_documents",
        "_header",
        "_is_stock",
        "_last_header",
        "_last_packet",
        "_server",
        "_stock_connects",
        "headers",
    )

    protocol = "socket.io"
    ping_frame = frames.websocket_frame(frames.TEXT, b"2")

    def __init__(self, server: LiveServer, request: web.Request) -> None:
        super().__init__(server.sockets, request)
        self.headers = {name: request.headers[name] for name in CREDENTIALS if name in request.headers}
        """Of the handshake: what says who is there."""
        self._server = server
        self._documents: dict[str, DocumentSocket] = {}
        self._header: Packet | None = None
        """Its attachment is the next frame."""
        self._last_header: bytes | None = None
        self._last_packet: Packet | None = None
        self._is_stock = False
        """python-socketio knows of this connection."""
        self._stock_connects = 0

    def opened(self) -> None:
        limits = self._server.limits
        said = {
            "sid": self.id,
            "upgrades": [],
            "pingInterval": int(limits.ping_interval_seconds * 1000),
            "pingTimeout": int(limits.ping_timeout_seconds * CLIENT_PATIENCE * 1000),
            "maxPayload": limits.max_frame_bytes,
        }
        self.outbox.write(frames.websocket_frame(frames.TEXT, b"0" + orjson.dumps(said)))
        super().opened()

    def leave(self, name: str) -> None:
        self._documents.pop(name, None)

    def expired(self) -> None:
        """The first of its tokens has ended."""
        self.outbox.close()

    def ended(self) -> None:
        for document in list(self._documents.values()):
            document.end()
        if self._is_stock:
            self._server.stock_ended(self)

    # -- packets -------------------------------------------------------------------------------------------------

    def receive_text(self, message: bytes) -> Coroutine[None, None, None] | None:
        """Take one Engine.IO packet.

        Raises:
            BadPacket: the connection must end.
        """
        if self._header is not None:
            raise BadPacket("an attachment must follow its header")
        if message == self._last_header:
            # Clients that ask for no acknowledgement send the same header with each update, and each cursor.
            self._header = self._last_packet
            return None
        if message[:1] != b"4":
            if message[:1] == b"1":
                self.transport.close()
            elif message[:1] != b"3":
                raise BadPacket("a client sends messages, pongs and its end")
            return None
        try:
            text = message.decode()
        except UnicodeDecodeError as error:
            raise BadPacket("a packet is text") from error
        parsed = parse_header(text)
        if parsed is None:
            return self._take_stock(text[1:])
        packet, attachments = parsed
        if not attachments:
            return self._take_packet(packet)
        self._header = packet
        if packet.number is None:
            self._last_header, self._last_packet = message, packet
        return None

    def receive(self, message: bytes) -> Coroutine[None, None, None] | None:
        """Take the attachment of the packet before.

        Raises:
            BadPacket: there was none.
        """
        header, self._header = self._header, None
        if header is None:
            raise BadPacket("binary frame without a header")
        data = with_attachment(header.data, message)
        return self._take_packet(Packet(header.kind, header.namespace, header.number, data))

    def _take_packet(self, packet: Packet) -> Coroutine[None, None, None] | None:
        """Take one packet of a document namespace."""
        document = self._documents.get(packet.namespace)
        match packet.kind:
            case 2 | 5:
                if not isinstance(packet.data, list) or not packet.data or not isinstance(packet.data[0], str):
                    raise BadPacket("an event is a list that begins with its name")
                if document is not None:
                    return document.receive(packet.data[0], packet.data[1:], packet.number, time.perf_counter())
            case 3 | 6:
                if not isinstance(packet.data, list) or packet.number is None:
                    raise BadPacket("an acknowledgement is a list, with a number")
                if document is not None:
                    return document.receive_acknowledgement(packet.number, packet.data)
            case 0:
                if document is None:
                    return self._connect(packet)
            case 1:
                if document is not None:
                    document.end()
            case _:
                raise BadPacket("an unknown kind of packet")
        return None

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
                user = await server.door.admit(self.headers, token_of(packet.data))
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

    def _take_stock(self, text: str) -> Coroutine[None, None, None]:
        """Hand a packet of another namespace to python-socketio; what it could not read ends the connection here.

        Raises:
            BadPacket: not a packet of Socket.IO; python-socketio would log a traceback for each, and go on.
        """
        if text[:1] in ("5", "6"):
            # Stock packets hold attachments without a bound; only documents have any.
            raise BadPacket("only documents take binary events")
        try:
            packet = self._server.packet_class(encoded_packet=text) if text else None
        except Exception as error:
            raise BadPacket("a packet cannot be read") from error
        if packet is None or (packet.packet_type == EVENT and not (isinstance(packet.data, list) and packet.data)):
            raise BadPacket("an event is a list that begins with its name")
        if packet.packet_type not in (CONNECT, DISCONNECT, EVENT, ACK):
            raise BadPacket("an unknown kind of packet")
        if packet.packet_type == CONNECT:
            self._stock_connects += 1
            if self._stock_connects > MAX_STOCK_CONNECTS:
                raise BadPacket("too many namespaces were asked for")
        self._is_stock = True
        return self._server.take_stock(self, text)


def token_of(auth: object) -> str | None:
    """The token in a Socket.IO `auth` object, if it brings one."""
    token = auth.get("token") if isinstance(auth, dict) else None
    return token if isinstance(token, str) and token else None


class Engine:
    """What python-socketio asks of python-engineio, answered by our own connections."""

    async_mode = "aiohttp"

    def __init__(self, **options: object) -> None:
        self.connections: dict[str, SocketConnection] = {}
        """Those that python-socketio knows, by their id."""

    def on(self, event: str, handler: object) -> None:
        """It says whom it wants to be told by; `LiveServer` calls these by their names."""

    @staticmethod
    def generate_id() -> str:
        return os.urandom(10).hex()

    async def send(self, sid: str, packet: str | bytes) -> None:
        """Write one Socket.IO packet; for a connection that has ended it is nothing."""
        connection = self.connections.get(sid)
        if connection is not None and isinstance(packet, str):
            connection.outbox.write(frames.websocket_frame(frames.TEXT, b"4" + packet.encode()))


class _Manager(socketio.AsyncManager):  # type: ignore[misc]
    """python-socketio's manager, whose end of a client walks every room of its namespace: ours have their own only."""

    def basic_disconnect(self, sid: str, namespace: str, **options: object) -> None:
        rooms = self.rooms.get(namespace, {})
        for name in (sid, None):
            if sid in rooms.get(name, ()):
                self.basic_leave_room(sid, namespace, name)
        self.callbacks.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            if sid in pending.get(namespace, ()):
                pending[namespace].remove(sid)
                if not pending[namespace]:
                    del pending[namespace]


class LiveServer(socketio.AsyncServer):  # type: ignore[misc]
    """python-socketio's server for `/chat`, `/notifications` and `/metrics`, with our document sockets beside them."""

    def __init__(
        self, *, door: Door, metrics: Metrics, limits: SocketLimits, outbox_limits: OutboxLimits, **options: Any
    ) -> None:
        super().__init__(
            client_manager=_Manager(),
            # Handlers of one connection run one after another; each is a few lines.
            async_handlers=False,
            always_connect=False,
            logger=False,
            **options,
        )
        self.door = door
        self.metrics = metrics
        self.limits = limits
        self.sockets = WebSockets(metrics=metrics, limits=limits, outbox_limits=outbox_limits)
        self._endings: set[asyncio.Task[None]] = set()

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    def attach(self, app: web.Application, socketio_path: str = "socket.io") -> None:
        """Take the handshakes of Engine.IO."""
        app.router.add_get(f"/{socketio_path}/", self._open)

    async def _open(self, request: web.Request) -> web.StreamResponse:
        # The answers of Engine.IO, which its clients know (S8).
        if request.query.get("transport") != "websocket" or "sid" in request.query:
            return _engine_error(0, "Transport unknown: this server takes WebSockets only")
        if request.query.get("EIO") != "4":
            return _engine_error(5, "Unsupported protocol version")
        return self.sockets.take(request, SocketConnection(self, request))

    @property
    def connections(self) -> set[SocketConnection]:
        return cast(set[SocketConnection], self.sockets.open)

    async def take_stock(self, connection: SocketConnection, text: str) -> None:
        """One packet for a namespace that is no document's."""
        if connection.id not in self.environ:
            self.eio.connections[connection.id] = connection
            await self._handle_eio_connect(connection.id, {CONNECTION: connection})
        await self._handle_eio_message(connection.id, text)

    def stock_ended(self, connection: SocketConnection) -> None:
        """A connection that python-socketio knows has ended."""
        if self.eio.connections.pop(connection.id, None) is not None:
            ending = asyncio.get_running_loop().create_task(
                self._handle_eio_disconnect(connection.id, self.reason.TRANSPORT_CLOSE)
            )
            self._endings.add(ending)
            ending.add_done_callback(self._ended)

    def _ended(self, ending: asyncio.Task[None]) -> None:
        self._endings.discard(ending)
        if not ending.cancelled() and ending.exception() is not None:
            log.error("the end of a connection failed", exc_info=ending.exception())

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: object) -> None:
        """Every event of a stock namespace, before a handler is looked for: namespaces that take events get theirs."""
        taker = self.namespace_handlers.get(namespace)
        if isinstance(taker, TakesEvents):
            taker.take(self.manager.sid_from_eio_sid(eio_sid, namespace), id, data)
        else:
            await super()._handle_event(eio_sid, namespace, id, data)

    def connection_of(self, environ: dict[str, Any]) -> SocketConnection:
        """The connection below a namespace's handler, from the environ that its connect handler was given."""
        return cast(SocketConnection, environ[CONNECTION])

    def close_all(self) -> None:
        """Ask every client to come back: the node is draining."""
        for connection in list(self.connections):
            connection.outbox.close()


def _engine_error(code: int, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=400)
