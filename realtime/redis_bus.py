"""RedisBus: the bus between nodes, over Redis pub/sub; one channel per document or stream, raw bytes, at most once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Final, Self

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from realtime.bus import BusHealth, Listener, Listeners

log = logging.getLogger(__name__)

Connection = Any
"""redis.asyncio.connection.Connection, which is only half typed."""

START_SECONDS: Final = 10.0
"""A node that cannot reach its Redis within this does not start."""
CONNECT_SECONDS: Final = 5.0
CONFIRM_SECONDS: Final = 5.0
"""A subscription that Redis does not confirm within this means a dead connection."""
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0
MISSED_HEARTBEATS: Final = 3
BATCH_COMMANDS: Final = 256
BATCH_BYTES: Final = 1024 * 1024
SUBSCRIBE_AT_ONCE: Final = 500
NODE_BYTES: Final = 8


class BusUnreachable(Exception):
    """There is no Redis where the settings say; the sentence is for whoever starts the node."""


class RedisBus:
    """A `rooms.ports.Bus` over Redis. Use as `async with`.

    Listeners of this node hear at once and without Redis; those of other nodes through it. While Redis is away,
    `publish` queues within its bound (policy: drop the oldest, counted), `subscribe` returns at once, and when Redis is
    back every channel is subscribed again *before* the `on_reconnect` listeners are called: so whoever compares
    heads with the log then misses nothing.

    Two connections: a subscribed one may do nothing else. Each node sends itself a heartbeat through both; when
    `MISSED_HEARTBEATS` are missing both are closed and made anew, whatever TCP says of them.

    Args:
        prefix: the first part of every channel's name; installations that share a Redis differ in it.
        queue_bytes: bound of what waits to be published, and of what waits for this node's listeners.

    Source: RULINGS 18 and 39; docs/protocol.md, B1 to B6.
    """

    def __init__(
        self, url: str, *, prefix: str = "luneo", queue_bytes: int = 8 * 1024 * 1024, heartbeat_seconds: float = 2.0
    ) -> None:
        self._pool: Any = ConnectionPool.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=CONNECT_SECONDS,
            health_check_interval=0,
            decode_responses=False,
        )
        self._prefix = f"{prefix}:"
        self._node = os.urandom(NODE_BYTES)
        self._pulse = f"pulse:{self._node.hex()}"
        self._heartbeat_seconds = heartbeat_seconds
        self._queue_bytes = queue_bytes
        self._listeners = Listeners(queue_bytes)
        self._outgoing: deque[tuple[str, bytes]] = deque()
        self._outgoing_bytes = 0
        self._something = asyncio.Event()
        self._dropped = 0
        self._subscriber: Connection | None = None
        self._writing = asyncio.Lock()
        self._confirmed: set[str] = set()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._ready = asyncio.Event()
        self._publishing = False
        self._was_ready = False
        self._heard_at = 0.0
        self._trouble = ""
        self._stack = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            BusUnreachable: nothing answered within `START_SECONDS`.
        """
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._tasks = [group.create_task(self._keep_subscribed()), group.create_task(self._keep_publishing())]
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._ready.wait()
        except BaseException as error:
            await self._close()
            if isinstance(error, TimeoutError):
                raise BusUnreachable(f"LUNEO_REDIS_URL: no Redis answers there ({self._trouble}).") from None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._stack.aclose()
        self._listeners.close()
        self._release_waiting()

    # what the rooms use

    @property
    def health(self) -> BusHealth:
        """Connected means: subscribed, able to publish, and the last heartbeat came back."""
        connected = self._ready.is_set() and self._publishing
        return BusHealth(connected, self._dropped + self._listeners.dropped, "" if connected else self._trouble)

    async def subscribe(self, channel: str, listener: Listener) -> None:
        """As `rooms.ports.Bus`. While Redis is away it returns at once: `on_reconnect` will be called and covers it."""
        self._listeners.add(channel, listener)
        if channel in self._confirmed or not self._ready.is_set():
            return
        confirmation = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(channel, deque())
        waiting.append(confirmation)
        if len(waiting) == 1:  # others are asking already otherwise, and the answer is for all
            await self._command("SUBSCRIBE", channel)
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await confirmation
        except TimeoutError:
            await self._cut("a subscription was not confirmed")

    async def unsubscribe(self, channel: str, listener: Listener) -> None:
        self._listeners.remove(channel, listener)
        if channel not in self._listeners and channel in self._confirmed:
            self._confirmed.discard(channel)
            await self._command("UNSUBSCRIBE", channel)

    def publish(self, channel: str, payload: bytes) -> None:
        self._listeners.queue(channel, payload)
        self._queue(channel, payload)

    def on_reconnect(self, listener: Callable[[], None]) -> None:
        self._listeners.add_reconnect(listener)

    # hearing

    async def _keep_subscribed(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._connected() as connection:
                    self._subscriber = connection
                    await self._hear(connection)
            except (RedisError, OSError, TimeoutError) as error:
                self._lost(error)
            finally:
                self._subscriber = None
            if self._ready.is_set():
                self._ready.clear()
                pause = FIRST_PAUSE_SECONDS
            self._confirmed.clear()
            self._release_waiting()
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _hear(self, connection: Connection) -> None:
        """Subscribe to everything, then say so, then read until the connection ends or goes silent."""
        loop = asyncio.get_running_loop()
        wanted = [self._pulse, *self._listeners.channels]
        for start in range(0, len(wanted), SUBSCRIBE_AT_ONCE):
            await self._send(connection, "SUBSCRIBE", wanted[start : start + SUBSCRIBE_AT_ONCE])
        missing = set(wanted)
        self._heard_at = loop.time()
        async with _beside(self._watch(connection)):
            while True:
                kind, name, payload = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
                channel = name.decode()[len(self._prefix) :]
                if kind == b"message":
                    self._take(channel, payload)
                elif kind == b"subscribe":
                    missing.discard(channel)
                    if not self._confirm(channel):  # nobody listens any more
                        await self._send(connection, "UNSUBSCRIBE", [channel])
                    if not missing and not self._ready.is_set():
                        # `subscribe` sends nothing while we are not ready: whoever came meanwhile is asked for now
                        missing = {known for known in self._listeners.channels if known not in self._confirmed}
                        if missing:
                            await self._send(connection, "SUBSCRIBE", missing)
                        else:
                            self._become_ready()

    def _become_ready(self) -> None:
        """Every channel is subscribed; from here on nothing is missed, and whoever listens may compare."""
        self._ready.set()
        self._trouble = ""
        if self._was_ready:
            log.info("bus connected again", extra={"channels": len(self._confirmed), "dropped": self._dropped})
            self._listeners.call_reconnect()
        self._was_ready = True

    def _take(self, channel: str, payload: bytes) -> None:
        self._heard_at = asyncio.get_running_loop().time() if channel == self._pulse else self._heard_at
        if payload[:NODE_BYTES] != self._node:  # our own listeners have it since it was published
            self._listeners.call(channel, payload[NODE_BYTES:])

    def _confirm(self, channel: str) -> bool:
        """Let go on who waits for *channel*; whether anybody still listens to it."""
        wanted = channel in self._listeners or channel == self._pulse
        if wanted:
            self._confirmed.add(channel)
        for confirmation in self._waiting.pop(channel, ()):
            if not confirmation.done():
                confirmation.set_result(None)
        return wanted

    def _release_waiting(self) -> None:
        """Whoever waits for a confirmation goes on: the reconnection subscribes, and is told to all."""
        for waiting in self._waiting.values():
            for confirmation in waiting:
                if not confirmation.done():
                    confirmation.set_result(None)
        self._waiting.clear()

    async def _watch(self, connection: Connection) -> None:
        """Send this node its heartbeat, and close a connection on which it does not come back."""
        loop = asyncio.get_running_loop()
        while True:
            self._queue(self._pulse, b"")
            await asyncio.sleep(self._heartbeat_seconds)
            if loop.time() - self._heard_at > self._heartbeat_seconds * MISSED_HEARTBEATS:
                self._trouble = "no heartbeat came back"
                # an aborted transport ends the read; a clean close would wait for a peer that does not answer
                _abort(connection)
                return

    async def _command(self, verb: str, channel: str) -> None:
        connection = self._subscriber
        if connection is None:
            return
        try:
            await self._send(connection, verb, [channel])
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(error)
            _abort(connection)

    async def _send(self, connection: Connection, verb: str, channels: Iterable[str]) -> None:
        async with self._writing:
            await connection.send_command(verb, *[self._prefix + channel for channel in channels], check_health=False)

    async def _cut(self, why: str) -> None:
        self._trouble = why
        if self._subscriber is not None:
            _abort(self._subscriber)

    # speaking

    def _queue(self, channel: str, payload: bytes) -> None:
        self._outgoing.append((channel, payload))
        self._outgoing_bytes += len(payload) + NODE_BYTES
        while self._outgoing_bytes > self._queue_bytes and len(self._outgoing) > 1:
            _, oldest = self._outgoing.popleft()
            self._outgoing_bytes -= len(oldest) + NODE_BYTES
            self._dropped += 1
        self._something.set()

    async def _keep_publishing(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._connected() as connection:
                    self._publishing = True
                    pause = FIRST_PAUSE_SECONDS
                    await self._speak(connection)
            except (RedisError, OSError, TimeoutError) as error:
                self._lost(error)
            finally:
                self._publishing = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _speak(self, connection: Connection) -> None:
        while True:
            await self._something.wait()
            batch: list[tuple[str, str, bytes]] = []
            size = 0
            while self._outgoing and len(batch) < BATCH_COMMANDS and size < BATCH_BYTES:
                channel, payload = self._outgoing.popleft()
                size += len(payload) + NODE_BYTES
                batch.append(("PUBLISH", self._prefix + channel, self._node + payload))
            self._outgoing_bytes -= size
            if not self._outgoing:
                self._something.clear()
            answered = 0
            try:
                await connection.send_packed_command(connection.pack_commands(batch), check_health=False)
                for _ in batch:
                    await connection.read_response()
                    answered += 1
            except BaseException:
                # what was not answered may or may not have gone out; sending it again would be at least once
                self._dropped += len(batch) - answered
                raise

    # both

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        connection: Connection = self._pool.make_connection()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()
            yield connection
        finally:
            _abort(connection)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await connection.disconnect(nowait=True)

    def _lost(self, error: BaseException) -> None:
        if self._ready.is_set():
            log.warning("bus disconnected", extra={"reason": str(error) or repr(error)})
        self._trouble = self._trouble or str(error) or type(error).__name__


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run *work* while the block runs, and end it with the block.

    A TaskGroup would wrap what the block raises into a group, and the callers tell failures apart by their kind.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _abort(connection: Connection) -> None:
    """End the transport now, whatever waits in it."""
    writer = connection._writer
    if writer is not None:
        writer.transport.abort()
