"""A WebSocket client over bare TCP: every byte it sends is ours to choose, and every frame that comes is seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.harness.wire import BINARY, CLOSE, PING, PONG, TEXT, frame

__all__ = ["BINARY", "CLOSE", "PING", "PONG", "TEXT", "Frame", "RawWebSocket", "Refused", "frame", "raw_websocket"]

SECONDS = 10.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of a close frame."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2], "big")

    @property
    def reason(self) -> str:
        return self.payload[2:].decode()


class Refused(Exception):
    """The handshake was answered with something else than 101."""

    def __init__(self, status: int, head: str, body: bytes) -> None:
        super().__init__(f"{status} {body[:200]!r}")
        self.status = status
        self.head = head
        self.body = body


class RawWebSocket:
    """One connection; frames are read in order by `next`, which answers no pings unless asked to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader = reader
        self.writer = writer
        self.head = head

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, payload: bytes, opcode: int = BINARY) -> None:
        self.writer.write(frame(opcode, payload))

    async def next(self, seconds: float = SECONDS) -> Frame:
        """The next frame.

        Raises:
            ConnectionError: the connection has ended.
            TimeoutError: nothing came.
        """
        async with asyncio.timeout(seconds):
            try:
                first, second = await self.reader.readexactly(2)
                assert first & 0x80, "the server does not fragment"
                assert second < 0x80, "the server does not mask"
                size = second
                if size >= 126:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
                return Frame(first & 0x0F, await self.reader.readexactly(size))
            except asyncio.IncompleteReadError as error:
                raise ConnectionError("ended") from error

    async def message(self, seconds: float = SECONDS) -> bytes:
        """The next binary message; pings are passed over."""
        while True:
            got = await self.next(seconds)
            if got.opcode not in (PING, PONG):
                assert got.opcode == BINARY, got
                return got.payload

    async def closed(self, seconds: float = SECONDS) -> Frame:
        """The close frame, answered; what comes before it is passed over, and the transport ends after it."""
        async with asyncio.timeout(seconds):
            while (got := await self.next(seconds)).opcode != CLOSE:
                pass
            with suppress(ConnectionError):
                self.send(got.payload[:2], CLOSE)
                await self.writer.drain()
            assert await self.reader.read() == b""
            return got

    async def ended(self, seconds: float = SECONDS) -> None:
        """Wait until the connection has ended, in whatever way."""
        async with asyncio.timeout(seconds):
            with suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass

    def abort(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def raw_websocket(
    url: str, *, behind: bytes = b"", headers: dict[str, str] | None = None
) -> AsyncIterator[RawWebSocket]:
    """Open a WebSocket at *url*, which begins with `http`.

    Args:
        behind: sent in the same write as the handshake.

    Raises:
        Refused: it was answered with another status.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 26)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = {
        "Host": parts.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        **(headers or {}),
    }
    head = f"GET {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    try:
        writer.write(head.encode() + b"\r\n" + behind)
        async with asyncio.timeout(SECONDS):
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = int(answer.split(" ", 2)[1])
        if status != 101:
            length = next((int(line[15:]) for line in answer.split("\r\n") if line.startswith("Content-Length:")), 0)
            raise Refused(status, answer, await reader.readexactly(length))
        yield RawWebSocket(reader, writer, answer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
