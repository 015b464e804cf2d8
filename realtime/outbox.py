"""Outbox: what is written to one connection, within a bound; a slow reader is resent from the log, or cut.

The queue is the transport's own buffer, looked at before each write. Over `soft_bytes`, presence is dropped and updates
are not written at all: the connection is *behind*, and once its buffer has drained to `low_bytes` the log is sent again
from the last position that was written (RULE O2). Over `hard_bytes`, or without any reading for `stall_seconds`, the
transport is aborted (RULE O3).

The kernel takes megabytes that nobody has read yet, so progress is what the other machine has acknowledged.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from realtime.link import kernel_bytes, taken_bytes


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """Bounds of one connection's outgoing bytes; each has its setting in `realtime/settings.py`."""

    low_bytes: int = 64 * 1024
    soft_bytes: int = 1024 * 1024
    hard_bytes: int = 16 * 1024 * 1024
    stall_seconds: float = 20.0


class Outbox:
    """Writes whole frames to a transport. No method waits but `drained`, and none raises."""

    __slots__ = ("_added", "_finished", "_limits", "_mark", "_taken", "_transport", "_watch", "_written")

    def __init__(self, transport: asyncio.Transport, limits: OutboxLimits) -> None:
        self._transport = transport
        self._added = b""
        self._finished = False
        self._limits = limits
        self._written = 0
        self._watch: asyncio.TimerHandle | None = None
        self._mark = 0
        self._taken = 0

    @property
    def closing(self) -> bool:
        return self._finished or self._transport.is_closing()

    @property
    def taken(self) -> int:
        """Bytes that the peer's machine has taken, from some beginning on."""
        taken = taken_bytes(self._transport)
        return self._written - self._transport.get_write_buffer_size() if taken is None else taken

    def mark(self) -> None:
        """Remember what was just written: a ping, behind all that the peer has not taken yet."""
        self._taken = self.taken
        self._mark = self._taken + self._transport.get_write_buffer_size() + kernel_bytes(self._transport)

    def nears_mark(self) -> bool:
        """Whether the peer's machine has come nearer to the mark since this was asked last, and had far to go.

        A machine takes a little also for a process that hangs; only a backlog is a reason for not answering yet.
        """
        before, self._taken = self._taken, self.taken
        return before < self._taken and (self._taken < self._mark or self._mark - before > self._limits.low_bytes)

    @property
    def congested(self) -> bool:
        """Over the bound at which updates are not written any more, but read from the log later."""
        return self._transport.get_write_buffer_size() > self._limits.soft_bytes

    def write(self, *frames: bytes) -> None:
        """Write whole frames, in parts or not, as one write; over `hard_bytes` the connection ends."""
        transport = self._transport
        if self.closing:
            return
        if self._added:
            frames, self._added = (self._added, *frames), b""
        if len(frames) == 1:
            transport.write(frames[0])
        else:
            transport.writelines(frames)
        self._written += sum(map(len, frames))
        if transport.get_write_buffer_size() > self._limits.hard_bytes:
            transport.abort()
        elif self._watch is None:
            self._watch_reader()

    def add(self, frames: bytes) -> None:
        """Write whole frames in front of what is written next, or alone at the end of this turn of the loop.

        For acknowledgements: those of a tick, and what it brings, are one write (RULE S10).
        """
        if not self._added:
            asyncio.get_running_loop().call_soon(self._write_added)
        self._added += frames

    def _write_added(self) -> None:
        if self._added:
            self.write()

    def offer(self, frames: bytes) -> bool:
        """Write whole frames, unless the connection is congested: presence is lost then, updates come again later."""
        transport = self._transport
        if transport.get_write_buffer_size() > self._limits.soft_bytes:
            return False
        if not self._finished and not transport.is_closing():
            if self._added:
                frames, self._added = self._added + frames, b""
            transport.write(frames)
            self._written += len(frames)
            if self._watch is None:
                self._watch_reader()
        return True

    async def drained(self) -> bool:
        """Wait until the peer has read all but `low_bytes`; False when the connection has ended."""
        pause = 0.01
        while not self._transport.is_closing():
            if self._transport.get_write_buffer_size() <= self._limits.low_bytes:
                return True
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.2)
        return False

    def finish(self, frames: bytes) -> None:
        """Write the last frames there are: what is written later is dropped; the transport stays, to be closed."""
        self.write(frames)
        self._finished = True

    def close(self) -> None:
        """Write what is buffered, then end the transport: passing, the client comes back."""
        self._write_added()
        self._transport.close()
        self._watch_reader()

    def abort(self) -> None:
        """End the transport now and free what is buffered."""
        self._transport.abort()

    def released(self) -> None:
        """The transport has ended: nothing is looked at any more."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _watch_reader(self) -> None:
        """Look again after `stall_seconds` whether the peer reads: a transport ends only when its buffer is empty."""
        if self._watch is None and self._transport.get_write_buffer_size():
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(self._limits.stall_seconds, self._look, self.taken)

    def _look(self, taken_before: int) -> None:
        self._watch = None
        if self._transport.get_write_buffer_size() and self.taken <= taken_before:
            self._transport.abort()
        else:
            self._watch_reader()
