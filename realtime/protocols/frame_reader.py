"""FrameReader: WebSocket messages of one client from the bytes of its connection, strictly by RFC 6455.

aiohttp's own reader hands on every message of a read at once, takes frames without a mask, and holds 1.5 KB while it
waits. Here the caller takes one message at a time, so that what it cannot take yet stays where it is, in order.
"""

from __future__ import annotations

from typing import Final

from aiohttp import WSCloseCode
from aiohttp._websocket.helpers import websocket_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MAX_CONTROL_BYTES: Final = 125


class FrameError(Exception):
    """The connection must end, with this close code; `reason` is for whoever wrote the client."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class FrameReader:
    """Give it bytes as they come, and take messages until there is none.

    Args:
        max_bytes: of one message, whatever the number of its frames.
    """

    __slots__ = ("_at", "_buffer", "_max_bytes", "_opcode", "_parts")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer: bytes | bytearray = b""
        self._at = 0
        self._opcode = CONTINUATION
        """Of the message that is coming in frames."""
        self._parts: bytearray | None = None
        """What has come of it; None: none is coming."""

    @property
    def waiting(self) -> int:
        """Bytes that were given and not taken yet."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Take what was read from the connection."""
        if not self._buffer:
            self._buffer = data
            return
        if not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(self._buffer[self._at :])
        elif self._at:
            del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    def next(self) -> tuple[int, bytes] | None:
        """The next message: TEXT, BINARY, CLOSE, PING or PONG with its payload; None: it has not come whole.

        CONTINUATION stands for a frame that did not complete its message, so that the caller counts it as work.

        Raises:
            FrameError: the client breaks the protocol, or its message is too large; nothing after it can be read.
        """
        whole = self._whole()
        if whole is None:
            if self._at:  # keep only what is left: usually nothing
                self._buffer = self._buffer[self._at :]
                self._at = 0
            return None
        first, start, end = whole
        buffer = self._buffer
        payload = bytearray(buffer[start:end])
        websocket_mask(bytes(buffer[start - 4 : start]), payload)
        self._at = end
        opcode = first & 0x0F
        if first & 0x80 and opcode:
            return opcode, bytes(payload)
        if self._parts is None:
            self._opcode, self._parts = opcode, payload
        else:
            self._parts += payload
        if not first & 0x80:
            return CONTINUATION, b""
        opcode, message = self._opcode, bytes(self._parts)
        self._opcode, self._parts = CONTINUATION, None
        return opcode, message

    def _whole(self) -> tuple[int, int, int] | None:
        """The first byte of the next frame, and where its payload starts and ends; None: it has not come whole."""
        buffer, at = self._buffer, self._at
        left = len(buffer) - at
        if left < 2:
            return None
        first, second = buffer[at], buffer[at + 1]
        size, start = second & 0x7F, at + 6
        if not second & 0x80:
            raise FrameError(WSCloseCode.PROTOCOL_ERROR, "a client masks its frames")
        if first & 0x70:
            raise FrameError(WSCloseCode.PROTOCOL_ERROR, "no extension was agreed on")
        if size == 126:
            if left < 4:
                return None
            size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 8
        elif size == 127:
            if left < 10:
                return None
            size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 14
        self._check(first, size)
        return (first, start, start + size) if start + size <= len(buffer) else None

    def _check(self, first: int, size: int) -> None:
        opcode = first & 0x0F
        if opcode >= CLOSE:
            if opcode > PONG:
                raise FrameError(WSCloseCode.PROTOCOL_ERROR, "an unknown kind of frame")
            if not first & 0x80 or size > MAX_CONTROL_BYTES:
                raise FrameError(WSCloseCode.PROTOCOL_ERROR, "a control frame is short and whole")
            return
        if opcode > BINARY:
            raise FrameError(WSCloseCode.PROTOCOL_ERROR, "an unknown kind of frame")
        if (opcode == CONTINUATION) is (self._parts is None):
            raise FrameError(WSCloseCode.PROTOCOL_ERROR, "a message begins before another has ended, or never began")
        if size + (len(self._parts) if self._parts is not None else 0) > self._max_bytes:
            raise FrameError(WSCloseCode.MESSAGE_TOO_BIG, f"a message has at most {self._max_bytes} bytes")
