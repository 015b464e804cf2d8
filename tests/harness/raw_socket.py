"""A y-socket.io client that speaks Engine.IO and Socket.IO by hand, so that tests see every frame as it came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

SECONDS = 10.0


@dataclass(frozen=True)
class Received:
    """One Socket.IO packet: `kind` as in the protocol (0 CONNECT … 6 BINARY_ACK), attachments in their places."""

    kind: int
    namespace: str
    number: int | None
    data: Any


class RawSocket:
    """One WebSocket; packets are read in order by `next`, pings are answered on the way."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def next(self, seconds: float = SECONDS) -> Received:
        """The next Socket.IO packet.

        Raises:
            ConnectionError: the connection has ended.
            TimeoutError: nothing came.
        """
        async with asyncio.timeout(seconds):
            while True:
                message = await self.ws.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise ConnectionError(str(message))
                text: str = message.data
                if text == "2":
                    await self.ws.send_str("3")
                elif text[0] == "4":
                    return await self._packet(text[1:])

    async def _packet(self, text: str) -> Received:
        kind, rest = int(text[0]), text[1:]
        attachments = 0
        if kind in (5, 6):
            count, _, rest = rest.partition("-")
            attachments = int(count)
        namespace = "/"
        if rest.startswith("/"):
            namespace, _, rest = rest.partition(",")
        digits = len(rest) - len(rest.lstrip("0123456789"))
        number = int(rest[:digits]) if digits else None
        data: Any = orjson.loads(rest[digits:]) if rest[digits:] else None
        for index in range(attachments):
            message = await self.ws.receive()
            assert message.type is aiohttp.WSMsgType.BINARY, message
            data = [message.data if item == {"_placeholder": True, "num": index} else item for item in data]
        return Received(kind, namespace, number, data)

    async def until(self, event: str, seconds: float = SECONDS) -> Received:
        """The next packet that is an event of this name; what comes before it is passed over."""
        async with asyncio.timeout(seconds):
            while True:
                packet = await self.next(seconds)
                if packet.kind in (2, 5) and packet.data[0] == event:
                    return packet

    async def acknowledged(self, number: int, seconds: float = SECONDS) -> list[Any]:
        """The arguments of the acknowledgement *number*; what comes before it is passed over."""
        async with asyncio.timeout(seconds):
            while True:
                packet = await self.next(seconds)
                if packet.kind in (3, 6) and packet.number == number:
                    return list(packet.data)

    async def ended(self, seconds: float = SECONDS) -> None:
        """Wait until the server has ended the connection; what comes before is passed over."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.next(seconds)
                except ConnectionError:
                    return

    async def connect(self, namespace: str, auth: object = None) -> None:
        await self.ws.send_str(f"40{namespace}," + (orjson.dumps(auth).decode() if auth is not None else ""))

    async def emit(self, namespace: str, event: str, payload: bytes, *extra: object, number: int | None = None) -> None:
        """Send an event with one attachment; *number* asks for an acknowledgement."""
        arguments = orjson.dumps([event, {"_placeholder": True, "num": 0}, *extra]).decode()
        await self.ws.send_str(f"451-{namespace},{'' if number is None else number}{arguments}")
        await self.ws.send_bytes(payload)

    async def acknowledge(self, namespace: str, number: int, payload: bytes) -> None:
        await self.ws.send_str(f'461-{namespace},{number}[{{"_placeholder":true,"num":0}}]')
        await self.ws.send_bytes(payload)


@asynccontextmanager
async def raw_socket(url: str, **headers: str) -> AsyncIterator[RawSocket]:
    """Open `{url}/socket.io/` and take the Engine.IO handshake; *url* begins with `http`."""
    async with aiohttp.ClientSession() as session:
        address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        async with session.ws_connect(address, headers=headers, max_msg_size=0) as ws:
            handshake = await ws.receive_str()
            assert handshake.startswith("0"), handshake
            yield RawSocket(ws)
