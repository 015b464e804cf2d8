"""LocalBus: the bus of a node that is alone; and what every bus of this project shares: its listeners."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

Listener = Callable[[bytes], None]

DELIVERIES_PER_TURN = 256
"""Messages handed to listeners in one turn of the loop, so that a burst does not hold it."""


@dataclass(frozen=True, slots=True)
class BusHealth:
    """What `/readyz` and `/metrics` say of the bus.

    `dropped` counts messages that this node could not pass on; the rooms find them by comparing heads (RULE B2).
    """

    connected: bool
    dropped: int
    detail: str = ""


class Listeners:
    """Who listens to what on this node: delivers in the order published, a bounded number per turn of the loop.

    Policy of the queue: over *queue_bytes* the oldest message is dropped and counted (RULE B3).
    """

    def __init__(self, queue_bytes: int) -> None:
        self._queue_bytes = queue_bytes
        self._by_channel: dict[str, list[Listener]] = {}
        self._reconnect: list[Callable[[], None]] = []
        self._queue: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._turn: asyncio.Handle | None = None
        self.dropped = 0

    def __contains__(self, channel: str) -> bool:
        return channel in self._by_channel

    @property
    def channels(self) -> list[str]:
        return list(self._by_channel)

    def add(self, channel: str, listener: Listener) -> None:
        listeners = self._by_channel.setdefault(channel, [])
        if listener not in listeners:
            listeners.append(listener)

    def remove(self, channel: str, listener: Listener) -> None:
        listeners = self._by_channel.get(channel, [])
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del self._by_channel[channel]

    def add_reconnect(self, listener: Callable[[], None]) -> None:
        self._reconnect.append(listener)

    def queue(self, channel: str, payload: bytes) -> None:
        """Hand *payload* to the channel's listeners in a later turn: whoever publishes is never called back within."""
        if channel not in self._by_channel:
            return
        self._queue.append((channel, payload))
        self._bytes += len(payload)
        while self._bytes > self._queue_bytes and len(self._queue) > 1:
            _, oldest = self._queue.popleft()
            self._bytes -= len(oldest)
            self.dropped += 1
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._turn = None
        for _ in range(min(DELIVERIES_PER_TURN, len(self._queue))):
            channel, payload = self._queue.popleft()
            self._bytes -= len(payload)
            self.call(channel, payload)
        if self._queue:
            self._turn = asyncio.get_running_loop().call_soon(self._deliver)

    def call(self, channel: str, payload: bytes) -> None:
        """Call the channel's listeners now; one that fails is logged and keeps nobody else from hearing."""
        for listener in list(self._by_channel.get(channel, ())):
            try:
                listener(payload)
            except Exception:
                log.exception("listener failed", extra={"channel": channel})

    def call_reconnect(self) -> None:
        for listener in list(self._reconnect):
            try:
                listener()
            except Exception:
                log.exception("reconnect listener failed")

    def close(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._queue.clear()
        self._bytes = 0
        self._by_channel.clear()


class LocalBus:
    """A `rooms.ports.Bus` within one process: nothing is lost but over its bound.

    Source: docs/protocol.md, B1 and B3.
    """

    def __init__(self, queue_bytes: int = 8 * 1024 * 1024) -> None:
        self._listeners = Listeners(queue_bytes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listeners.close()

    @property
    def health(self) -> BusHealth:
        return BusHealth(connected=True, dropped=self._listeners.dropped)

    async def subscribe(self, channel: str, listener: Listener) -> None:
        self._listeners.add(channel, listener)

    async def unsubscribe(self, channel: str, listener: Listener) -> None:
        self._listeners.remove(channel, listener)

    def publish(self, channel: str, payload: bytes) -> None:
        self._listeners.queue(channel, payload)

    def on_reconnect(self, listener: Callable[[], None]) -> None:
        """Never called here: nothing can part a process from itself."""
        self._listeners.add_reconnect(listener)
