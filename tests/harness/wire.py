"""A y-socket.io client over a bare TCP connection: what leaves in one write, and when a byte came, is in our hands.

For load and for bad input. What only wants to talk uses `raw_socket.py`, what only wants to edit `designer.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
HANDSHAKE_SECONDS = 20.0
_MASK = bytes(4)  # a key of zeros is legal, and leaves the payload as it is
_PLACEHOLDER = '{"_placeholder":true,"num":0}'


def frame(opcode: int, payload: bytes | str) -> bytes:
    """One client frame."""
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + _MASK + data


def event(room: str, name: str, payload: bytes, number: int | None = None) -> bytes:
    """A document event with its attachment; *number* asks for an acknowledgement."""
    asks = "" if number is None else str(number)
    return frame(TEXT, f'451-/yjs|{room},{asks}["{name}",{_PLACEHOLDER}]') + frame(BINARY, payload)


class Wire(asyncio.Protocol):
    """One connection to one room. `join` does what a provider does; then `on_update` and `acks` say what comes.

    on_update(bytes, moment): called for each `sync-update`, with `time.perf_counter()` of the read that brought it.
    """

    def __init__(self, room: str) -> None:
        self.room = room
        self.acks: dict[int, tuple[Any, float]] = {}
        self.refused: list[Any] = []
        self.frames = 0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.joined: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.on_update: Callable[[bytes, float], None] = lambda update, moment: None
        self.on_presence: Callable[[bytes, float], None] = lambda frame, moment: None
        self.on_ack: Callable[[int, Any, float], None] = lambda number, answer, moment: None
        self.transport: asyncio.Transport
        self._buffer = bytearray()
        self._upgraded = False
        self._parts = b""
        self._header: str | None = None
        self._presence: bytes | None = None
        self._number = 1_000_000

    @classmethod
    async def join(cls, host: str, port: int, room: str, *, presence: bytes | None = None, token: str = "") -> Wire:
        """Connect, enter, exchange documents (with an empty one), and return when the room's state is in.

        Raises:
            ConnectionError: refused or closed on the way.
        """
        wire = await cls.connect(host, port, room, token=token)
        wire._presence = presence
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await asyncio.wait(wire._ends, return_when=asyncio.FIRST_COMPLETED)
        if not wire.joined.done():
            raise ConnectionError(f"not joined: {wire.refused}")
        return wire

    @classmethod
    async def connect(cls, host: str, port: int, room: str, *, token: str = "", hold: bool = False) -> Wire:
        """Connect and ask to enter; whether it succeeds is for the caller to see.

        Args:
            hold: ask for the document only after `release`.
        """
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(lambda: cls(room), host, port)
        wire._token = token
        if hold:
            wire._held = []
        wire.transport.write(
            f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        return wire

    _token = ""
    _held: list[bytes] | None = None

    def release(self) -> None:
        """Say what was held back."""
        held, self._held = self._held, None
        self.write(b"".join(held or []))

    @property
    def _ends(self) -> tuple[asyncio.Future[Any], asyncio.Future[Any]]:
        return self.joined, self.closed

    def update(self, update: bytes, number: int | None = None) -> bytes:
        """The frames of a `sync-update`, to be given to `write`."""
        return event(self.room, "sync-update", update, number)

    def write(self, frames: bytes) -> None:
        self.transport.write(frames)

    async def acked(self, update: bytes, within: float = 20.0) -> Any:
        """Send one update and wait for its answer.

        Raises:
            ConnectionError: the connection ended first.
        """
        self._number += 1
        number = self._number
        self.write(self.update(update, number))
        return await self.answer(number, within)

    async def answer(self, number: int, within: float = 20.0) -> Any:
        async with asyncio.timeout(within):
            while number not in self.acks:
                if self.closed.done():
                    raise ConnectionError("the connection ended before the answer")
                await asyncio.sleep(0.002)
        return self.acks[number][0]

    def close(self) -> None:
        self.transport.abort()

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        moment = time.perf_counter()
        buffer = self._buffer
        buffer += data
        if not self._upgraded:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                self.refused.append(bytes(buffer[:end]).decode(errors="replace"))
                self.transport.abort()
                return
            del buffer[: end + 4]
            self._upgraded = True
        at = 0
        size = len(buffer)
        while size - at >= 2:
            length = buffer[at + 1] & 127
            start = at + 2
            if length == 126:
                if size - at < 4:
                    break
                length, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                if size - at < 10:
                    break
                length, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if start + length > size:
                break
            self._frame(buffer[at], bytes(buffer[start : start + length]), moment)
            at = start + length
        del buffer[:at]

    def _frame(self, first: int, payload: bytes, moment: float) -> None:
        self.frames += 1
        opcode = first & 15
        assert first & 0x80, "the server does not fragment"
        if opcode == PING:
            self.write(frame(PONG, payload))
        elif opcode == CLOSE:
            self.transport.close()
        elif opcode == TEXT:
            self._text(payload.decode(), moment)
        elif opcode == BINARY and self._header is not None:
            header, self._header = self._header, None
            self._attached(header, payload, moment)

    def _text(self, text: str, moment: float) -> None:
        match text[:2]:
            case "2":
                self.write(frame(TEXT, "3"))
            case "45" | "46":
                self._header = text
            case "40":
                self._ask(event(self.room, "sync-step-1", b"\x00", 0))
                if self._presence is not None:
                    self.write(event(self.room, "awareness-update", self._presence))
            case "43":
                number, _, rest = text.partition(",")[2].partition("[")
                self._ack(int(number), orjson.loads("[" + rest)[0], moment)
            case "42":
                name, *arguments = orjson.loads(text.partition(",")[2])
                if name == "refused":
                    self.refused.append(arguments[0])
            case "41" | "44":
                self.refused.append(text)
                self.transport.close()
            case _ if text[:1] == "0":
                auth = orjson.dumps({"token": self._token}).decode() if self._token else ""
                self._ask(frame(TEXT, f"40/yjs|{self.room},{auth}"))

    def _ask(self, frames: bytes) -> None:
        if self._held is None:
            self.write(frames)
        else:
            self._held.append(frames)

    def _ack(self, number: int, answer: Any, moment: float) -> None:
        self.acks[number] = (answer, moment)
        self.on_ack(number, answer, moment)

    def _attached(self, header: str, payload: bytes, moment: float) -> None:
        rest = header.partition(",")[2]
        if header[1] == "6":
            if not self.joined.done():
                self.joined.set_result(payload)
        elif rest.startswith('["sync-update"'):
            self.on_update(payload, moment)
        elif rest.startswith('["awareness-update"'):
            self.on_presence(payload, moment)
        else:
            number = rest.partition("[")[0]
            if number:
                self.write(frame(TEXT, f"461-/yjs|{self.room},{number}[{_PLACEHOLDER}]") + frame(BINARY, b"\x00\x00"))
