"""Outbox: what is written to one connection, within a bound; a slow reader is resent from the log, or cut.

The queue is the transport's own buffer, looked at before each write. Over `soft_bytes`, presence is dropped and updates
are not written at all: the connection is *behind*, and once its buffer has drained to `low_bytes` the log is sent again
from the last position that was written (RULE O2). Over `hard_bytes`, or without any reading for `stall_seconds`, the
transport is aborted (RULE O3).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """Bounds of one connection's outgoing bytes; each has its setting in `realtime/settings.py`."""

    low_bytes: int = 64 * 1024
    soft_bytes: int = 1024 * 1024
    hard_bytes: int = 16 * 1024 * 1024
    stall_seconds: float = 20.0


class Outbox:
    """Writes whole frames to a transport. No method waits but `drained`, and none raises."""

    def __init__(self, transport: asyncio.Transport, limits: OutboxLimits) -> None:
        self._transport = transport
        self._limits = limits

    @property
    def closing(self) -> bool:
        return self._transport.is_closing()

    @property
    def congested(self) -> bool:
        """Over the bound at which updates are not written any more, but read from the log later."""
        return self._transport.get_write_buffer_size() > self._limits.soft_bytes

    def write(self, frames: bytes) -> None:
        """Write whole frames; over `hard_bytes` the connection ends."""
        transport = self._transport
        if transport.is_closing():
            return
        transport.write(frames)
        if transport.get_write_buffer_size() > self._limits.hard_bytes:
            transport.abort()

    def write_volatile(self, frames: bytes) -> None:
        """Write frames that may be lost: presence goes first."""
        if not self.congested:
            self.write(frames)

    async def drained(self) -> bool:
        """Wait until the peer has read all but `low_bytes`; False when it ended, or stalled for `stall_seconds`."""
        loop = asyncio.get_running_loop()
        smallest, since = self._transport.get_write_buffer_size(), loop.time()
        pause = 0.01
        while smallest > self._limits.low_bytes:
            if self._transport.is_closing():
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.2)
            size = self._transport.get_write_buffer_size()
            if size < smallest:
                smallest, since = size, loop.time()
            elif loop.time() - since > self._limits.stall_seconds:
                self._transport.abort()
                return False
        return not self._transport.is_closing()

    def close(self) -> None:
        """Write what is buffered, then end the transport: passing, the client comes back."""
        self._transport.close()

    def abort(self) -> None:
        """End the transport now and free what is buffered."""
        self._transport.abort()
