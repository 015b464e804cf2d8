"""A Hocuspocus client by hand, so that tests see every message as it came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.harness.lib0 import Reader
from tests.harness.raw_websocket import SECONDS, RawWebSocket, raw_websocket

SYNC, AWARENESS, AUTH, QUERY_AWARENESS, SYNC_REPLY, STATELESS, BROADCAST_STATELESS, CLOSE, SYNC_STATUS, PING, PONG = (
    range(11)
)
STEP1, STEP2, UPDATE = range(3)
NAMES = {
    (SYNC, STEP1): "step1",
    (SYNC, STEP2): "step2",
    (SYNC, UPDATE): "update",
    (AUTH, 0): "token wanted",
    (AUTH, 1): "denied",
    (AUTH, 2): "scope",
}
PLAIN = {AWARENESS: "awareness", STATELESS: "stateless", SYNC_STATUS: "status"}


@dataclass(frozen=True)
class Message:
    """What came: its address, a word for what it is, and its body (text, bytes or a number)."""

    address: str
    what: str
    body: Any

    @property
    def fact(self) -> dict[str, Any]:
        """Of a stateless message of the server."""
        assert self.what == "stateless", self
        return dict(json.loads(self.body))


def number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return number(len(raw)) + raw


def message(address: str, *parts: int | str | bytes) -> bytes:
    """Numbers as they are, strings and bytes with their length."""
    return string(address) + b"".join(number(part) if isinstance(part, int) else string(part) for part in parts)


def read(data: bytes) -> Message:
    """Read one message of the server, to its end."""
    if len(data) == 1:
        return Message("", {PING: "ping", PONG: "pong"}[data[0]], None)
    reader = Reader(data)
    address = reader.some().decode()
    kind = reader.number()
    what = NAMES[kind, reader.number()] if kind in (SYNC, AUTH) else PLAIN[kind]
    body: Any = None
    if what == "status":
        body = reader.number()
    elif what != "token wanted":
        body = reader.some()
        if what in ("denied", "scope", "stateless"):
            body = body.decode()
    assert reader.ended, f"bytes after the end of {what}"
    return Message(address, what, body)


class RawHocuspocus:
    """One socket; messages are read in order by `next`."""

    def __init__(self, raw: RawWebSocket) -> None:
        self.raw = raw

    def send(self, address: str, *parts: int | str | bytes) -> None:
        self.raw.send(message(address, *parts))

    def token(self, address: str, token: str = "editor", version: str | None = "4.8.0") -> None:
        self.send(address, AUTH, 0, token, *([] if version is None else [version]))

    def step1(self, address: str, state_vector: bytes = b"\x00") -> None:
        self.send(address, SYNC, STEP1, state_vector)

    def step2(self, address: str, update: bytes = b"\x00\x00") -> None:
        self.send(address, SYNC, STEP2, update)

    def update(self, address: str, update: bytes) -> None:
        self.send(address, SYNC, UPDATE, update)

    async def next(self, seconds: float = SECONDS) -> Message:
        """The next message for a document, or a pong; the server's pings are passed over."""
        while (got := read(await self.raw.message(seconds))).what == "ping":
            pass
        return got

    async def until(self, what: str, address: str | None = None, seconds: float = SECONDS) -> Message:
        """The next message of this kind (and address); what comes before it is passed over."""
        async with asyncio.timeout(seconds):
            while True:
                got = await self.next(seconds)
                if got.what == what and address in (None, got.address):
                    return got

    async def all(self) -> list[Message]:
        """What is there, presence left out: everything that comes before the answer to a ping."""
        self.raw.send(bytes((PING,)))
        found: list[Message] = []
        while True:
            got = await self.next()
            if got.what == "pong":
                return found
            if got.what != "awareness":
                found.append(got)

    async def join(self, address: str, token: str = "editor") -> str:
        """Authenticate and exchange documents with an empty one; returns the scope."""
        self.token(address, token)
        self.step1(address)
        scope = await self.until("scope", address)
        await self.until("step1", address)
        self.step2(address)
        await self.until("status", address)
        return str(scope.body)


@asynccontextmanager
async def hocuspocus(url: str, path: str = "/hocuspocus", **headers: str) -> AsyncIterator[RawHocuspocus]:
    async with raw_websocket(url + path, headers=headers) as raw:
        yield RawHocuspocus(raw)
