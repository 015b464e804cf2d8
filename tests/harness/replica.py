"""Replica: somebody with a real document (pycrdt), one of three protocols, and a network that a test may spoil.

The wires are spoken by hand, so that a connection can be cut in the middle of a frame, read nothing for a while, say
things twice, or end in each of the ways in which TCP ends. What the server has acknowledged as durable is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson
import pycrdt

from tests.harness.raw_hocuspocus import AUTH, AWARENESS, PONG, STEP1, STEP2, SYNC, UPDATE, message, number
from tests.harness.raw_hocuspocus import read as read_hocuspocus
from tests.harness.wire import BINARY, CLOSE, TEXT, event, frame
from tests.harness.wire import PING as WS_PING
from tests.harness.wire import PONG as WS_PONG

SEGMENT_BYTES: Final = 1024
"""Small segments and buffers: the kernel holds little for who does not read, so that the node feels it."""
RECEIVE_BYTES: Final = 4096
RETRY_SECONDS: Final = (0.02, 0.15)
DIAL_SECONDS: Final = 10.0
KEPT: Final = 30
"""What was said and may be said again."""
Y_SYNC, Y_AWARENESS, Y_AUTH, Y_ECHO = 0, 1, 2, 102


class Line(asyncio.Protocol):
    """One connection: an upgrade, then WebSocket frames; what is sent may leave late and in pieces, always in order."""

    def __init__(self, replica: Replica, head: bytes) -> None:
        self._replica = replica
        self._head = head
        self._in = bytearray()
        self._out: list[bytes] = []
        self._upgraded = False
        self._ended = False
        """Nothing is sent any more; perhaps something is still read."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._head)

    def connection_lost(self, error: Exception | None) -> None:
        self._out.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    def eof_received(self) -> bool:
        return False

    def send(self, data: bytes) -> None:
        if self._ended or self.closed.done() or self.transport.is_closing():
            return
        if not self._replica.slow and not self._out:
            self.transport.write(data)
            return
        self._out.append(data)
        if self._timer is None:
            self._later()

    def _later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._replica.chance.uniform(0, 0.02), self._some)

    def _some(self) -> None:
        """A piece of what waits."""
        self._timer = None
        if self._ended or self.closed.done() or not self._out:
            return
        waiting = b"".join(self._out)
        size = self._replica.chance.randint(1, len(waiting))
        self.transport.write(waiting[:size])
        self._out = [waiting[size:]] if size < len(waiting) else []
        if self._out:
            self._later()

    def cut(self, how: str) -> None:
        """`rst`, `fin`, `half` (nothing more is sent; what comes is read), or `torn`: RST within a frame."""
        if self.closed.done():
            return
        ended, self._ended = self._ended, True
        if how == "half":
            with contextlib.suppress(OSError, RuntimeError):
                self.transport.write_eof()
            return
        if how == "torn" and not ended:
            self.transport.write(frame(BINARY, bytes(200))[: self._replica.chance.randint(1, 100)])
        if how != "fin":
            endpoint = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            self._received(data)
        except Exception as error:  # a frame that is not as it must be; asyncio would only log it
            self._replica.refused.append(f"unreadable: {error!r}")
            self.transport.abort()

    def _received(self, data: bytes) -> None:
        buffer = self._in
        buffer += data
        if not self._upgraded:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            status = bytes(buffer[9:12])
            if status != b"101":
                if status not in (b"503", b"429"):
                    self._replica.refused.append(bytes(buffer[:300]).decode(errors="replace"))
                self.transport.abort()
                return
            del buffer[: end + 4]
            self._upgraded = True
            self._replica.upgraded(self)
        for opcode, payload in _frames(buffer):
            if opcode == WS_PING:
                self.send(frame(WS_PONG, payload))
            elif opcode == CLOSE:
                self._replica.closing(payload)
                self.transport.close()
                return
            elif opcode in (TEXT, BINARY):
                self._replica.receive(self, opcode, payload)


def _frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Whole frames, taken from the front of *buffer*."""
    at = 0
    found = []
    while len(buffer) - at >= 2:
        length, start = buffer[at + 1] & 127, at + 2
        if length >= 126:
            width = 2 if length == 126 else 8
            if len(buffer) - start < width:
                break
            length, start = int.from_bytes(buffer[start : start + width], "big"), start + width
        if start + length > len(buffer):
            break
        found.append((buffer[at] & 15, bytes(buffer[start : start + length])))
        at = start + length
    del buffer[:at]
    yield from found


class Replica:
    """One client of one room. `come` and `go` say whether it wants to be connected; a lost connection comes back.

    `acked`: called with each update that the server acknowledged as durable.
    """

    kind = ""

    def __init__(
        self, name: str, room: str, chance: random.Random, cookie: str, ports: Callable[[], int], acked: list[bytes]
    ) -> None:
        self.name, self.room, self.chance, self.cookie = name, room, chance, cookie
        self.ports = ports
        self.acked = acked
        self.client_id = chance.randrange(1, 2**32)
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=self.client_id)
        self.map = self.doc.get("el", type=pycrdt.Map)
        self.note = self.doc.get("note", type=pycrdt.Text)
        self.list = self.doc.get("list", type=pycrdt.Array)
        self.marks = self.doc.get("marks", type=pycrdt.Map)
        self._local: list[bytes] | None = None
        self.doc.observe(self._observed)
        self.people: dict[int, bytes] = {}
        """Who is there, by y-protocols' rules: client id → state; without itself."""
        self._clocks: dict[int, int] = {}
        self.clock = 0
        self.state: bytes = b"null"
        self.refused: list[str] = []
        self.said: list[tuple[str, bytes]] = []
        """`update` or `presence` and its bytes, of this and earlier connections, to be said again."""
        self.slow = False
        self.connections = 0
        self.line: Line | None = None
        self.exchanged = False
        self.pending: dict[int, bytes] = {}
        self._token = 0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.gone = False
        self.step("here")

    # -- what a test does ----------------------------------------------------------------------------------------

    def come(self) -> None:
        self._wanted.set()
        if self._task is None:
            self._task = asyncio.create_task(self._stay(), name=f"{self.name} of {self.room}")

    def go(self, how: str) -> None:
        """Leave until the next `come`."""
        self._wanted.clear()
        self.cut(how)

    def cut(self, how: str) -> None:
        if self.line is not None:
            self.line.cut(how)

    async def end(self, how: str = "rst") -> None:
        """Leave for good."""
        self.gone = True
        self.go(how)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.line is not None:
            self.line.cut("rst")

    def pause(self) -> None:
        if self.line is not None and not self.line.closed.done():
            self.line.transport.pause_reading()

    def read_on(self) -> None:
        if self.line is not None and not self.line.closed.done() and not self.line.transport.is_reading():
            self.line.transport.resume_reading()

    def edit(self, change: Callable[[Replica], None]) -> None:
        """Change the document in one transaction, and say so where there is a connection."""
        self._local = []
        try:
            with self.doc.transaction():
                change(self)
        finally:
            made, self._local = self._local, None
        for update in made:
            self.say(update)

    def say(self, update: bytes) -> None:
        """Send an update, made now or long ago."""
        if self.line is not None and self.exchanged:
            self._token += 1
            self.pending[self._token] = update
            self._remember("update", update)
            self.line.send(self.encode_update(update, self._token))

    def step(self, word: str) -> None:
        """A new state of its presence."""
        self.clock += 1
        self.state = json.dumps({"name": self.name, "word": word}).encode()
        self.renew(0)

    def renew(self, by: int = 1) -> None:
        """Say the presence again, as clients do every 15 s."""
        self.clock += by
        if self.line is not None and self.exchanged:
            self._remember("presence", self.presence())
            self.line.send(self.encode_presence(self.presence()))

    def repeat(self) -> None:
        """Say something again, perhaps something that an earlier connection has said."""
        if self.line is not None and self.exchanged and self.said:
            what, data = self.chance.choice(self.said)
            if what == "update":
                self.say(data)
            else:
                self.line.send(self.encode_presence(data))

    def say_everything(self) -> None:
        self.say(self.doc.get_update())

    @property
    def connected(self) -> bool:
        return self.line is not None and self.exchanged and not self.line.closed.done()

    def presence(self) -> bytes:
        return number(1) + number(self.client_id) + number(self.clock) + number(len(self.state)) + self.state

    # -- what happens --------------------------------------------------------------------------------------------

    def _remember(self, what: str, data: bytes) -> None:
        self.said.append((what, data))
        del self.said[:-KEPT]

    def _observed(self, transaction: pycrdt.TransactionEvent) -> None:
        if self._local is not None:
            self._local.append(transaction.update)

    async def _stay(self) -> None:
        while True:
            await self._wanted.wait()
            with contextlib.suppress(OSError, TimeoutError):
                await self._connection()
            await asyncio.sleep(self.chance.uniform(*RETRY_SECONDS))

    async def _connection(self) -> None:
        port = self.ports()
        endpoint = socket.socket()
        try:
            endpoint.setblocking(False)
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
            endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(DIAL_SECONDS):
                await asyncio.get_running_loop().sock_connect(endpoint, ("127.0.0.1", port))
        except BaseException:
            endpoint.close()
            raise
        head = (
            f"GET {self.path()} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: {self.cookie}\r\n\r\n"
        ).encode()
        self.exchanged = False
        _, line = await asyncio.get_running_loop().create_connection(lambda: Line(self, head), sock=endpoint)
        self.line = line
        self.connections += 1
        try:
            if not self._wanted.is_set():
                line.cut("rst")
            await asyncio.shield(line.closed)
        finally:
            if not line.closed.done():
                line.cut("rst")
            self.line = None
            self.exchanged = False
            self.pending.clear()
            # As y-protocols: the others are gone from sight, and their clocks are remembered.
            self.people.clear()

    def closing(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big")
        if 4400 <= code < 4500:
            self.refused.append(f"closed with {code} {payload[2:].decode(errors='replace')}")

    def take(self, update: bytes) -> None:
        self.doc.apply_update(update)

    def acknowledge(self, token: int) -> None:
        update = self.pending.pop(token, None)
        if update is not None:
            self.acked.append(update)

    def hear(self, data: bytes) -> None:
        """An awareness update, by the rules of y-protocols."""
        at = 0

        def take() -> int:
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value

        for _ in range(take()):
            client, clock = take(), take()
            length = take()
            state = data[at : at + length]
            at += length
            if client == self.client_id:
                if state != b"null" and clock > self.clock:
                    self.refused.append(f"RULE P7: told of its own state at {clock}, beyond its own {self.clock}")
                elif (
                    state == b"null" and clock >= self.clock
                ):  # y-protocols: who is told to be gone, and is not, says so with a newer clock
                    self.clock = clock + 1
                    self.renew(0)
                continue
            known = self._clocks.get(client, 0)
            if known < clock or (known == clock and state == b"null" and client in self.people):
                self._clocks[client] = clock
                if state == b"null":
                    self.people.pop(client, None)
                else:
                    self.people[client] = state

    def opened(self) -> None:
        """Entered: what the server lacks follows from its question; presence is said."""
        self.exchanged = True
        self.renew(0)

    # -- how a protocol says it ----------------------------------------------------------------------------------

    def path(self) -> str:
        raise NotImplementedError

    def upgraded(self, line: Line) -> None:
        raise NotImplementedError

    def receive(self, line: Line, opcode: int, payload: bytes) -> None:
        raise NotImplementedError

    def encode_update(self, update: bytes, token: int) -> bytes:
        raise NotImplementedError

    def encode_presence(self, data: bytes) -> bytes:
        raise NotImplementedError


class SocketIoReplica(Replica):
    """y-socket.io; each update asks for its acknowledgement (RULE S3)."""

    kind = "y-socket.io"
    _header: str | None = None

    def path(self) -> str:
        return "/socket.io/?EIO=4&transport=websocket"

    def upgraded(self, line: Line) -> None:
        self._header = None

    def encode_update(self, update: bytes, token: int) -> bytes:
        return event(self.room, "sync-update", update, token)

    def encode_presence(self, data: bytes) -> bytes:
        return event(self.room, "awareness-update", data)

    def receive(self, line: Line, opcode: int, payload: bytes) -> None:
        if opcode == BINARY:
            header, self._header = self._header, None
            assert header is not None, "an attachment without a header"
            self._attached(line, header, payload)
            return
        assert self._header is None, "a frame between header and attachment"
        text = payload.decode()
        kind = text[:2]
        if kind in ("45", "46"):
            self._header = text
        elif kind == "40":
            self._token += 1
            line.send(event(self.room, "sync-step-1", self.doc.get_state(), self._token))
            self.opened()
        elif kind == "43":
            token, _, rest = text.partition(",")[2].partition("[")
            answer = orjson.loads("[" + rest)[0]
            if answer["ok"]:
                self.acknowledge(int(token))
            elif not answer["retryable"]:
                self.refused.append(text)
        elif kind in ("42", "44", "41"):
            self.refused.append(text)
        elif text == "2":
            line.send(frame(TEXT, "3"))
        elif text[0] == "0":
            line.send(frame(TEXT, f"40/yjs|{self.room},"))

    def _attached(self, line: Line, header: str, payload: bytes) -> None:
        rest = header.partition(",")[2]
        if header[1] == "6" or rest.startswith('["sync-update"'):
            self.take(payload)
        elif rest.startswith('["awareness-update"'):
            self.hear(payload)
        else:
            asked = rest.partition("[")[0]
            diff = self.doc.get_update(payload)
            placeholder = '{"_placeholder":true,"num":0}'
            line.send(frame(TEXT, f"461-/yjs|{self.room},{asked}[{placeholder}]") + frame(BINARY, diff))


class WebSocketReplica(Replica):
    """y-websocket; an echo (RULE Y5) behind each update tells that it is durable."""

    kind = "y-websocket"

    def path(self) -> str:
        return f"/yjs/{self.room}"

    def upgraded(self, line: Line) -> None:
        state = self.doc.get_state()
        line.send(frame(BINARY, bytes((Y_SYNC, STEP1)) + number(len(state)) + state))
        self.opened()

    def _behind(self, token: int) -> bytes:
        version = number(token)
        return frame(BINARY, bytes((Y_ECHO,)) + number(len(version)) + version)

    def encode_update(self, update: bytes, token: int) -> bytes:
        return frame(BINARY, bytes((Y_SYNC, UPDATE)) + number(len(update)) + update) + self._behind(token)

    def encode_presence(self, data: bytes) -> bytes:
        return frame(BINARY, bytes((Y_AWARENESS,)) + number(len(data)) + data)

    def receive(self, line: Line, opcode: int, payload: bytes) -> None:
        kind = payload[0]
        if kind == Y_SYNC:
            body = _body(payload, 2)
            if payload[1] == STEP1:
                diff = self.doc.get_update(body)
                self._token += 1
                self.pending[self._token] = diff
                line.send(frame(BINARY, bytes((Y_SYNC, STEP2)) + number(len(diff)) + diff) + self._behind(self._token))
            else:
                self.take(body)
        elif kind == Y_AWARENESS:
            self.hear(_body(payload, 1))
        elif kind == Y_ECHO:
            self.acknowledge(_number(_body(payload, 1)))
        else:
            self.refused.append(payload.decode(errors="replace"))


class HocuspocusReplica(Replica):
    """Hocuspocus; a `SyncStatus` for each step 2 and update, counted (RULE F9)."""

    kind = "hocuspocus"
    _answered = 0

    def path(self) -> str:
        return "/hocuspocus"

    def upgraded(self, line: Line) -> None:
        line.send(frame(BINARY, message(self.room, AUTH, 0, "guest", "4.8.0")))
        line.send(frame(BINARY, message(self.room, SYNC, STEP1, self.doc.get_state())))
        self._answered = 0
        self.opened()

    def encode_update(self, update: bytes, token: int) -> bytes:
        return frame(BINARY, message(self.room, SYNC, UPDATE, update))

    def encode_presence(self, data: bytes) -> bytes:
        return frame(BINARY, message(self.room, AWARENESS, data))

    def receive(self, line: Line, opcode: int, payload: bytes) -> None:
        got = read_hocuspocus(payload)
        if got.what == "ping":
            line.send(frame(BINARY, bytes((PONG,))))
        elif got.what == "step1":
            diff = self.doc.get_update(got.body)
            self._token += 1
            self.pending[self._token] = diff
            line.send(frame(BINARY, message(self.room, SYNC, STEP2, diff)))
        elif got.what in ("step2", "update"):
            self.take(got.body)
        elif got.what == "awareness":
            self.hear(got.body)
        elif got.what == "status":
            if got.body != 1:
                self.refused.append("status 0")
            # They carry no number: only when as many came as were asked for, all that was said is durable.
            self._answered += 1
            assert self._answered <= len(self.pending), "more answers than questions"
            if self._answered == len(self.pending):
                self._answered = 0
                for token in list(self.pending):
                    self.acknowledge(token)
        elif got.what in ("denied", "stateless"):
            self.refused.append(str(got.body))


KINDS: Final[dict[str, type[Replica]]] = {
    one.kind: one for one in (SocketIoReplica, WebSocketReplica, HocuspocusReplica)
}


def _number(data: bytes, at: int = 0) -> int:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        if data[at] < 128:
            return value
        at += 1
        shift += 7


def _body(payload: bytes, at: int) -> bytes:
    """Bytes behind their length, to the end of the message."""
    length = _number(payload, at)
    assert len(number(length)) + at + length == len(payload), "bytes after the end"
    return payload[len(payload) - length :]
