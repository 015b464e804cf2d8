"""WebSocket: one raw WebSocket with as little as it can have; no task, no queue and no HTTP objects while it is idle.

aiohttp answers the handshake as it answers every request: Host, Origin, limits, identity. Then the connection is taken
from it (`WebSockets.take`), and its request handler, task and parser end; a `WebSocketResponse` would keep them, 15 KB,
for as long as the connection lives. What is assumed of aiohttp has a test each, in `test_websocket.py`.

Messages are handled where they are read. What has to wait (a worker, a full room) stops the reading of its own
connection, and nothing else (RULES O4, S9).
"""

from __future__ import annotations

import abc
import asyncio
import base64
import binascii
import contextlib
import hashlib
import logging
import os
import random
import re
import time
from collections.abc import Callable, Coroutine
from typing import ClassVar, Final

from aiohttp import WSCloseCode, web

from realtime import frames
from realtime.errors import RequestError
from realtime.outbox import Outbox, OutboxLimits
from realtime.pace import Pace
from realtime.protocols.connection import SocketLimits
from realtime.protocols.frame_reader import BINARY, CLOSE, PING, PONG, TEXT, FrameError, FrameReader
from realtime.wheel import Wheel
from rooms.metrics import Metrics

log = logging.getLogger(__name__)

TURN_SECONDS: Final = 0.002
"""After this another connection has its turn."""
CLOSE_SECONDS: Final = 2.0
"""How long a client may take to answer our close frame; then the transport ends without it."""
MAX_PING_SECONDS: Final = 25.0
"""Clients whose watchdog counts messages take 30 s of silence for a dead connection (RULE Y6)."""
NEVER: Final = float("inf")

RESTARTING: Final = 1012
TRY_AGAIN_LATER: Final = 1013
COME_BACK: Final = 4500
"""Passing, and neither of the two before."""

_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SUBPROTOCOL = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")


class NotAWebSocket(RequestError):
    """The address takes WebSockets only."""

    code = "websocket_required"


def switching_protocols(request: web.Request) -> bytes:
    """The answer that makes a WebSocket of the request's connection.

    No extension is agreed on: compressing costs more than it saves, and holds 64 KB and more per connection. Of the
    subprotocols that are offered the first is taken, since a browser gives up where none is.

    Raises:
        NotAWebSocket: it is no handshake of RFC 6455.
    """
    headers = request.headers
    key = headers.get("Sec-WebSocket-Key", "")
    try:
        key_bytes = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        key_bytes = b""
    if (
        request.method != "GET"
        or request.body_exists
        or not request.protocol._upgraded
        or headers.get("Upgrade", "").lower() != "websocket"
        or headers.get("Sec-WebSocket-Version") != "13"
        or len(key_bytes) != 16
    ):
        raise NotAWebSocket("This address takes WebSockets (RFC 6455, version 13) only.")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _KEY_SUFFIX, usedforsecurity=False).digest())
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
    )
    offered = headers.get("Sec-WebSocket-Protocol", "").split(",")[0].strip()
    if _SUBPROTOCOL.fullmatch(offered):
        answer += b"\r\nSec-WebSocket-Protocol: " + offered.encode()
    return answer + b"\r\n\r\n"


class TakenOver(web.StreamResponse):
    """What a handler returns whose connection is not aiohttp's any more: nothing is left to be written."""

    def __init__(self, socket: WebSocket) -> None:
        super().__init__(status=101)
        self.socket = socket
        self.force_close()

    @property
    def prepared(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        return

    async def write_eof(self, data: bytes = b"") -> None:
        return


def _take_from_aiohttp(request: web.Request, protocol: asyncio.Protocol) -> bytes:
    """Make *protocol* that of the request's connection; returns what has come behind the handshake already.

    aiohttp is told that its connection is lost, so that it forgets it; the transport does not hear of that.
    """
    handler, transport = request.protocol, request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone during its handshake")
    behind, handler._message_tail = handler._message_tail, b""
    handler.transport = None
    handler.connection_lost(None)
    transport.set_protocol(protocol)
    transport.resume_reading()  # aiohttp pauses it when much has come behind the handshake
    return behind


class WebSockets:
    """All raw WebSockets of a node: their bounds, and the one timer that wakes them."""

    def __init__(self, *, metrics: Metrics, limits: SocketLimits, outbox_limits: OutboxLimits) -> None:
        self.metrics = metrics
        self.limits = limits
        self.outbox_limits = outbox_limits
        self.open: set[WebSocket] = set()
        self._wheel: Wheel[WebSocket] = Wheel(lambda socket: socket.wake())
        self.wake_in = self._wheel.put
        self.forget = self._wheel.remove

    def take(self, request: web.Request, socket: WebSocket) -> TakenOver:
        """Answer the handshake of *request*, whose connection becomes *socket*; it is read from now on.

        Raises:
            NotAWebSocket: it is no handshake; nothing was written.
            ConnectionResetError: the client has gone.
        """
        answer = switching_protocols(request)
        behind = _take_from_aiohttp(request, socket)
        self.open.add(socket)
        self.metrics.connections.labels(socket.protocol).inc()
        socket.transport.write(answer)
        socket.opened()
        if behind:
            socket.data_received(behind)
        return TakenOver(socket)

    def lost(self, socket: WebSocket) -> None:
        self.open.discard(socket)
        self.forget(socket)
        self.metrics.connections.labels(socket.protocol).dec()

    def close_all(self) -> None:
        """Ask every client to come back: the node is draining."""
        for socket in list(self.open):
            socket.close(RESTARTING, "draining: The server restarts. Come back in a moment.")

    async def all_closed(self) -> None:
        """Wait until every connection has ended; those that do not by themselves are aborted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self.open:  # noqa: ASYNC110 - they end one by one, and this once in a node's life
                    await asyncio.sleep(0.01)
        for socket in list(self.open):
            socket.outbox.abort()


class WebSocket(asyncio.Protocol, abc.ABC):
    """One raw WebSocket; a protocol subclasses it and says what to do with a message.

    `close` ends it with a code and waits for the client's own close frame, so that the code is not lost to a reset;
    `outbox.abort` ends it at once.
    """

    __slots__ = (
        "_due",
        "_ended",
        "_expires_at",
        "_heard",
        "_is_joined",
        "_is_named",
        "_is_waiting",
        "_on_lost",
        "_pace",
        "_reader",
        "_silent_since",
        "_sockets",
        "_tasks",
        "_unnamed_bytes",
        "id",
        "outbox",
        "transport",
        "turn",
    )

    protocol: ClassVar[str]
    """The name under which connections are counted."""
    ping_frame: ClassVar[bytes] = frames.PING
    idle_frame: ClassVar[bytes] = b""
    """What `idle` says, where it is the same for all."""

    def __init__(self, sockets: WebSockets, request: web.Request) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone during its handshake")
        self.id = os.urandom(8).hex()
        self.outbox = Outbox(transport, sockets.outbox_limits)
        self.transport = transport
        self.turn = 0
        """Its place in the wheel."""
        self._sockets = sockets
        self._reader = FrameReader(sockets.limits.max_frame_bytes)
        self._pace = Pace(sockets.limits.burst_seconds, sockets.limits.share)
        self._tasks: set[asyncio.Task[None]] | None = None
        self._on_lost: Callable[[], None] | None = None
        self._ended = False
        self._is_waiting = False
        """Nothing is read: a message waits for something, or the pace is used up."""
        self._is_joined = False
        self._is_named = False
        self._unnamed_bytes = 0
        self._due = 0.0
        """When to ping, or until when to join something."""
        self._silent_since = NEVER
        """The first ping that no sign of life came after."""
        self._heard = False
        self._expires_at = NEVER

    # -- what a protocol says ------------------------------------------------------------------------------------

    @abc.abstractmethod
    def receive(self, message: bytes) -> Coroutine[None, None, None] | None:
        """Take one binary message; what has to wait is returned, and the next message is read when it is done.

        Raises:
            FrameError: the connection must end, with this code.
        """

    def receive_text(self, message: bytes) -> Coroutine[None, None, None] | None:
        """Take one text message, of which it is not known yet whether it is UTF-8; as `receive`."""
        raise FrameError(WSCloseCode.UNSUPPORTED_DATA, "messages are binary here")

    def idle(self) -> bytes:
        """Goes out with every ping: what a client whose watchdog counts messages is content with."""
        return self.idle_frame

    @abc.abstractmethod
    def ended(self) -> None:
        """Take back all that this connection has in rooms; called once, when it is closed or lost."""

    # -- what documents ask of their connection ------------------------------------------------------------------

    def background(self, work: Coroutine[None, None, None]) -> None:
        """Run *work* for as long as the connection lives; its failure costs this connection only."""
        task = asyncio.get_running_loop().create_task(self._guard(work))
        if self._tasks is None:
            self._tasks = set()
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

    def joined(self) -> None:
        """It has entered a room: the connection may stay (RULE O5)."""
        self._is_named = True
        if not self._is_joined:
            self._is_joined = True
            if self.turn:
                self._ping_later()

    def named(self) -> None:
        """It has said who it is, and that is being looked at: what it sends is not counted against `join_bytes`."""
        self._is_named = True

    def charge(self, seconds: float) -> None:
        """Count work of this connection that its frames do not show (RULE S9)."""
        self._pace.charge(seconds)

    def expires_at(self, moment: float) -> None:
        """Ask the client to come back when the first of its tokens ends (seconds since the epoch; 0: never)."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, moment - time.time())
        if moment and due < self._expires_at:
            self._expires_at = due
            if self.turn:
                self._sleep()

    def expires_only_at(self, moment: float) -> None:
        """The same, whatever was said before: a token came again."""
        self._expires_at = NEVER
        self._sleep()
        self.expires_at(moment)

    def until_lost(self, release: Callable[[], None]) -> None:
        """Call *release* when the connection has ended, or now if it has."""
        if self.transport.is_closing():
            release()
        else:
            self._on_lost = release

    # -- the life of a connection --------------------------------------------------------------------------------

    def opened(self) -> None:
        """The connection is this object's from here on."""
        if self._is_joined:
            self._ping_later()
        else:
            self._due = asyncio.get_running_loop().time() + self._sockets.limits.join_seconds
            self._sleep()

    def _ping_later(self) -> None:
        # Spread, so that all who came in one moment (a restart) are not pinged in one.
        self._due = asyncio.get_running_loop().time() + random.uniform(0.5, 1.0) * self._ping_seconds
        self._sleep()

    @property
    def _ping_seconds(self) -> float:
        return min(self._sockets.limits.ping_interval_seconds, MAX_PING_SECONDS)

    def _sleep(self) -> None:
        end = self._silent_since + self._sockets.limits.ping_timeout_seconds
        due = min(self._due, self._expires_at, end)
        self._sockets.wake_in(self, due - asyncio.get_running_loop().time())

    def wake(self) -> None:
        """The wheel's turn: end what is over, or ping."""
        now = asyncio.get_running_loop().time()
        if self._ended:
            self.transport.abort()  # it did not answer our close frame
            return
        if now >= self._expires_at:
            self.expired()
            return
        if self._silent_since < now and self._is_alive():
            self._silent_since = NEVER
        if now - self._silent_since >= self._sockets.limits.ping_timeout_seconds:
            log.info("connection silent", extra={"connection": self.id})
            self.outbox.abort()
        elif now < self._due:
            self._sleep()
        elif not self._is_joined:
            log.info("connection joined nothing in time", extra={"connection": self.id})
            self.outbox.abort()
        else:
            self.outbox.write(self.ping_frame + self.idle())
            if self._silent_since == NEVER:
                self._silent_since, self._heard = now, False
                self.outbox.mark()
            self._due = now + self._ping_seconds
            self._sleep()

    def _is_alive(self) -> bool:
        """Something came since the ping, or the client still reads what was before it, or we are not reading."""
        return self._heard or self._is_waiting or self.outbox.nears_mark()

    def expired(self) -> None:
        """The token has ended."""
        self.close(COME_BACK, "token_expired: The token has ended. Come back with a new one.")

    def close(self, code: int, reason: str = "") -> None:
        """Write what is buffered, say why it ends, and end when the client has said so too."""
        if self._ended:
            return
        self._end()
        self.outbox.finish(frames.close(code, reason))
        if not self.transport.is_closing():
            self._sockets.wake_in(self, CLOSE_SECONDS)
            self.transport.resume_reading()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self.outbox.released()
        self._sockets.lost(self)
        for task in list(self._tasks or ()):
            task.cancel()
        if self._on_lost is not None:
            self._on_lost()
            self._on_lost = None

    def eof_received(self) -> bool:
        return False

    # -- reading -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._reader.feed(data)
        if not self._is_waiting or self._ended:
            self._read()
        if not self._is_named:
            self._unnamed_bytes += len(data)
            if self._unnamed_bytes > self._sockets.limits.join_bytes:
                self.outbox.abort()

    def _read(self) -> None:
        """Take messages until none is whole, one has to wait, the turn is over or the pace is used up."""
        began = time.perf_counter()
        count = size = 0
        turn_is_over = False
        try:
            while not turn_is_over and (message := self._reader.next()) is not None:
                count += 1
                size += len(message[1])
                work = self._take(*message)
                if work is not None:
                    self._hold()
                    self.background(self._go_on_after(work))
                    return
                turn_is_over = time.perf_counter() - began > TURN_SECONDS
        except FrameError as error:
            log.info("bad frame", extra={"connection": self.id, "why": error.reason})
            if self._ended:
                self.transport.abort()
            else:
                self.close(error.code, error.reason)
            return
        except Exception:
            log.exception("a message failed", extra={"connection": self.id})
            self.outbox.abort()
            return
        finally:
            self._pace.count(size, count)
        pause = self._pace.pause_seconds()
        if (pause or turn_is_over) and not self.transport.is_closing():
            self._hold()
            asyncio.get_running_loop().call_later(pause, self._go_on)

    def _take(self, opcode: int, payload: bytes) -> Coroutine[None, None, None] | None:
        if opcode == BINARY:
            return None if self._ended else self.receive(payload)
        if opcode == CLOSE:
            if not self._ended:
                if len(payload) == 1:
                    raise FrameError(WSCloseCode.PROTOCOL_ERROR, "a close code has two bytes")
                self._end()
                self.outbox.finish(frames.websocket_frame(CLOSE, payload[:2]))
            self.transport.close()
        elif opcode == PING:
            self.outbox.write(frames.websocket_frame(PONG, payload))
        elif opcode == TEXT:
            return None if self._ended else self.receive_text(payload)
        return None

    def _hold(self) -> None:
        self._is_waiting = True
        self.transport.pause_reading()

    async def _go_on_after(self, work: Coroutine[None, None, None]) -> None:
        await work
        self._go_on()

    def _go_on(self) -> None:
        self._is_waiting = False
        if self.transport.is_closing():
            return
        self._heard = True
        self._read()
        if not self._is_waiting:
            self.transport.resume_reading()
