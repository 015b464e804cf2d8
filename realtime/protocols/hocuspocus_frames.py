"""Hocuspocus messages as bytes: a document's address, a kind, a body. Reading is strict, writing gives whole frames.

Address: `documentName`, or `documentName\\0sessionId` where one socket has a document twice. Numbers and strings are
lib0's, in their shortest form.

Source: docs/protocol.md, F1 to F4.
"""

from __future__ import annotations

from typing import Final

import orjson

from realtime.frames import BINARY, websocket_frame, websocket_head
from rooms.errors import InvalidUpdate
from rooms.inspection import read_varuint, write_varuint

SYNC, AWARENESS, AUTH, QUERY_AWARENESS, SYNC_REPLY, STATELESS, BROADCAST_STATELESS, CLOSE, SYNC_STATUS, PING, PONG = (
    range(11)
)
STEP1, STEP2, UPDATE = range(3)
TOKEN, PERMISSION_DENIED, AUTHENTICATED = range(3)

MAX_ADDRESS_BYTES: Final = 256
"""A design's id has 64 characters; the rest is for the session."""
MAX_REASON_BYTES: Final = 1024

PING_FRAME: Final = websocket_frame(BINARY, bytes((PING,)))
PONG_FRAME: Final = websocket_frame(BINARY, bytes((PONG,)))


class BadMessage(Exception):
    """The client does not speak Hocuspocus; its connection ends."""


def read_address(data: bytes) -> tuple[bytes, int]:
    """The address that a message begins with, as bytes, and the place after it.

    Raises:
        BadMessage: cut short, or longer than `MAX_ADDRESS_BYTES`.
    """
    length, p = read_number(data, 0)
    end = p + length
    if length > MAX_ADDRESS_BYTES or end > len(data):
        raise BadMessage("address")
    return data[p:end], end


def read_number(data: bytes, p: int) -> tuple[int, int]:
    """Raises BadMessage: cut short, over 53 bits, or longer than it need be."""
    if p < len(data) and data[p] < 128:
        return data[p], p + 1
    try:
        return read_varuint(data, p)
    except InvalidUpdate as error:
        raise BadMessage("number") from error


def read_bytes(data: bytes, p: int) -> tuple[bytes, int]:
    """Raises BadMessage: declares more than there is."""
    length, p = read_number(data, p)
    end = p + length
    if end > len(data):
        raise BadMessage("length")
    return data[p:end], end


def read_text(data: bytes, p: int) -> tuple[str, int]:
    """Raises BadMessage: declares more than there is, or is not UTF-8."""
    raw, end = read_bytes(data, p)
    try:
        return raw.decode(), end
    except UnicodeDecodeError as error:
        raise BadMessage("UTF-8") from error


def read_last_bytes(data: bytes, p: int) -> bytes:
    """Bytes that end the message.

    Raises:
        BadMessage: they do not, or declare more than there is.
    """
    value, end = read_bytes(data, p)
    if end != len(data):
        raise BadMessage("bytes after the end")
    return value


class Frames:
    """Writes the frames of one address."""

    __slots__ = ("_prefix",)

    def __init__(self, address: bytes) -> None:
        prefix = bytearray()
        write_varuint(prefix, len(address))
        self._prefix = bytes(prefix) + address

    def _frame(self, head: tuple[int, ...], body: bytes | None = None) -> bytes:
        """A message of small numbers and, if any, one length with its bytes."""
        out = bytearray(self._prefix)
        out += bytes(head)
        if body is not None:
            write_varuint(out, len(body))
            out += body
        return websocket_frame(BINARY, bytes(out))

    def authenticated(self, *, readonly: bool) -> bytes:
        return self._frame((AUTH, AUTHENTICATED), b"readonly" if readonly else b"read-write")

    def permission_denied(self, reason: str) -> bytes:
        return self._frame((AUTH, PERMISSION_DENIED), _cut(reason.encode()))

    def token_wanted(self) -> bytes:
        """Asks for the token again; providers before 3 do not know it and say nothing."""
        return self._frame((AUTH, TOKEN))

    def step1(self, state_vector: bytes) -> bytes:
        return self._frame((SYNC, STEP1), state_vector)

    def step2_head(self, length: int) -> bytes:
        """What stands before an update of *length* bytes: it may be large, and the same for all who join."""
        out = bytearray(self._prefix)
        out += bytes((SYNC, STEP2))
        write_varuint(out, length)
        return websocket_head(BINARY, len(out) + length) + out

    def update(self, update: bytes) -> bytes:
        return self._frame((SYNC, UPDATE), update)

    def sync_status(self, *, stored: bool) -> bytes:
        return self._frame((SYNC_STATUS, int(stored)))

    def awareness(self, data: bytes) -> bytes:
        return self._frame((AWARENESS,), data)

    def stateless(self, payload: bytes) -> bytes:
        return self._frame((STATELESS,), payload)

    def fact(self, kind: str, code: str, message: str, **more: object) -> bytes:
        """A stateless message of the server's own."""
        return self.stateless(orjson.dumps({"type": kind, "code": code, "message": message, **more}))


def _cut(reason: bytes) -> bytes:
    """At most `MAX_REASON_BYTES`, whole characters."""
    return reason[:MAX_REASON_BYTES].decode(errors="ignore").encode()
