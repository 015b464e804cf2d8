"""LiveStreams: stored events with positions, relayed to whoever follows a stream on this node, resumed from a position.

A stream is a room's chat, somebody's inbox, and whatever later has events in an order. Truth is the log; the bus is a
hint: whoever hears position n+2 reads n+1 from the log (RULES T1 to T6).
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import orjson

from rooms import replication
from rooms.errors import Overloaded, RoomError, Unavailable
from rooms.ports import Bus
from storage.conversations import Conversations
from storage.keys import Epoch, Position, StreamKey
from storage.streams import StreamEvent, StreamLog
from storage.update_log import Head

log = logging.getLogger(__name__)

T = TypeVar("T")

COMPARE_SECONDS = 2.0
"""How often the heads of open streams are compared with the log while other nodes are alive (RULE T5)."""
SILENT_SECONDS = 3.5
"""A node unheard for this long is gone."""
READ_EVENTS = 200
READS_AT_ONCE = 4
RETRY_SECONDS = 0.5
"""The pause before a stream that could not be read is read again."""
OPEN_SECONDS = 10.0
CLOSE_SECONDS = 5.0
"""How long closing waits for what was begun to be committed and relayed."""

_HEADER = struct.Struct(">IQ")


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds of the streams of one node."""

    max_streams: int = 50_000
    max_recovered_events: int = 200
    """A client that lacks more is not recovered: the state is smaller."""


@dataclass(frozen=True, slots=True, eq=False)
class Happened:
    """One stored event on its way to those who follow; `frames` keeps what each protocol made of it, encoded once."""

    key: StreamKey
    event: StreamEvent
    frames: dict[str, bytes] = field(default_factory=dict)


class Listener(Protocol):
    """Who follows a stream. No method waits."""

    def take(self, happened: Happened) -> bool:
        """Take the next event; False: it was not taken and nothing more comes until `Subscription.start`."""

    def lost(self) -> None:
        """The subscription has ended from our side; whoever followed has to subscribe anew."""


@dataclass(frozen=True, slots=True)
class Since:
    """The last event that a client has."""

    epoch: int
    position: int


class Subscription:
    """One listener's way through one stream: what it was given stands at `position`, and the next is `position + 1`.

    `recovered` holds what came after the client's position, or is None: then the client needs the state at `position`.
    Nothing is handed over before `start`, so that an answer can be written first.
    """

    def __init__(
        self,
        streams: LiveStreams,
        stream: _Stream,
        listener: Listener,
        epoch: Epoch,
        position: Position,
        recovered: Sequence[StreamEvent] | None,
    ) -> None:
        self.key = stream.key
        self.epoch = epoch
        self.position = position
        self.recovered = recovered
        self.following = False
        self.closed = False
        self._streams = streams
        self._stream = stream
        self._listener = listener
        self._resuming = False

    def start(self) -> None:
        """Hand over what comes after `position`, at once when nothing is between, else from the log."""
        if self.closed or self.following or self._resuming:
            return
        if self.position >= self._stream.head:
            self.following = True
            return
        self._resuming = True
        self._streams.background(self._resume())

    def close(self) -> None:
        """Hand over nothing more; the last one to leave closes the stream."""
        if not self.closed:
            self.closed = True
            self.following = False
            self._streams.release(self._stream, self)

    def offer(self, happened: Happened) -> None:
        """The stream has an event; taken only when it is the next one."""
        if self.following and happened.event.position == self.position + 1:
            self._hand(happened)

    def end(self) -> None:
        """It cannot go on: the listener is told, and has to subscribe anew."""
        if not self.closed:
            self.close()
            try:
                self._listener.lost()
            except Exception:
                log.exception("a listener failed at its end", extra={"stream": self.key.name})

    def _hand(self, happened: Happened) -> bool:
        if self.closed:
            return False
        try:
            taken = self._listener.take(happened)
        except Exception:
            log.exception("a listener failed", extra={"stream": self.key.name})
            self.end()
            return False
        if taken:
            self.position = happened.event.position
        else:
            self.following = False
        return taken

    async def _resume(self) -> None:
        """Read the log from `position` until the stream is reached, or the listener takes no more."""
        try:
            while not self.closed:
                if self.position >= self._stream.head:  # no await between this look and following
                    self.following = True
                    return
                rows = await self._streams.read(self._stream, self.position)
                if not rows:
                    # the log answers for less than it did: an older replica, or a restored database
                    raise Unavailable("The stream's head is ahead of its log.")
                for row in rows:
                    if row.epoch != self.epoch or not self._hand(Happened(self.key, row)):
                        return
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a subscription could not go on", extra={"stream": self.key.name})
            self.end()
        finally:
            self._resuming = False


class _Stream:
    """What this node knows of one open stream: how far it has heard, and who follows."""

    def __init__(self, key: StreamKey) -> None:
        self.key = key
        self.channel = f"s:{key.brand}/{key.name}"
        self.epoch = Epoch(1)
        self.head = Position(0)
        self.users = 0
        """Subscriptions, and those who are about to have one."""
        self.subscriptions: set[Subscription] = set()
        self.opening: asyncio.Future[None] | None = None
        self.is_open = False
        self.wanted = False
        """Somebody said that the log may be ahead."""
        self.reading = False
        self.listen: Callable[[bytes], None] = lambda message: None


class LiveStreams:
    """All open streams of one node. Use as `async with`; a stream is open while somebody follows it.

    Args:
        node: the node's id in `replication`, so that its own heartbeat is not taken for a neighbour's.
    """

    def __init__(
        self,
        *,
        stream_log: StreamLog,
        conversations: Conversations,
        bus: Bus,
        node: bytes,
        limits: StreamLimits | None = None,
    ) -> None:
        self.limits = limits or StreamLimits()
        self._log = stream_log
        self._conversations = conversations
        self._bus = bus
        self._node = node
        self._streams: dict[StreamKey, _Stream] = {}
        self._neighbours: dict[bytes, float] = {}
        self._doubtful = False
        self._turns = asyncio.Semaphore(READS_AT_ONCE)
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._chores: list[asyncio.Task[None]] = []
        self._closing = False
        self._closed = False

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        await self._bus.subscribe(replication.NODES_CHANNEL, self._hear_node)
        self._bus.on_reconnect(self.compare_soon)
        self._chores.append(self._tasks.create_task(self._compare_for_ever()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        assert self._tasks is not None
        for stream in list(self._streams.values()):
            for subscription in list(stream.subscriptions):
                subscription.end()
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_SECONDS)
        for task in [*self._running, *self._chores]:
            task.cancel()
        self._closed = True
        await self._bus.unsubscribe(replication.NODES_CHANNEL, self._hear_node)
        await self._tasks.__aexit__(None, None, None)

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, key: object) -> bool:
        return key in self._streams

    def followers(self, key: StreamKey) -> int:
        """How many subscriptions this node has for a stream."""
        stream = self._streams.get(key)
        return len(stream.subscriptions) if stream is not None else 0

    # -- following -----------------------------------------------------------------------------------------------

    async def subscribe(self, key: StreamKey, listener: Listener, since: Since | None = None) -> Subscription:
        """Come in at *since*, or at the head where that cannot be.

        The position is read before any state can be, so state and what follows have no gap between them; what stands
        in both is told twice, and events are made to bear that.

        Raises:
            Unavailable: the log or the bus did not answer; nothing is held.
            Overloaded: the node has `max_streams` open.

        Source: docs/protocol.md, T2 and T3.
        """
        stream = await self._open(key)
        try:
            recovered = await self._recover(stream, since) if since is not None else None
            if recovered is not None and since is not None:
                epoch = Epoch(since.epoch)
                position = recovered[-1].position if recovered else Position(since.position)
            else:
                head = await self._log.head(key)
                epoch, position = head.epoch, head.position
            self._learn_of(stream, Head(epoch, position))
            subscription = Subscription(self, stream, listener, epoch, position, recovered)
            stream.subscriptions.add(subscription)
            return subscription
        except BaseException as error:
            self.release(stream, None)
            if isinstance(error, RoomError | asyncio.CancelledError):
                raise
            log.warning("a stream could not be read", extra={"stream": key.name}, exc_info=error)
            raise Unavailable("The messages could not be read. Try again in a moment.") from error

    async def _recover(self, stream: _Stream, since: Since) -> list[StreamEvent] | None:
        """What came after *since*; None when it is of another epoch, beyond the head, or too long ago."""
        # The head first: what is written between the two questions is among the rows.
        head = await self._log.head(stream.key)
        if since.epoch != head.epoch or not 0 <= since.position <= head.position:
            return None
        maximum = self.limits.max_recovered_events
        if head.position - since.position > maximum:
            return None
        rows = await self._log.read(stream.key, Position(since.position), maximum + 1)
        if len(rows) > maximum or (rows and rows[0].position != since.position + 1):
            return None
        if any(row.epoch != since.epoch for row in rows):
            return None
        return rows

    async def read(self, stream: _Stream, after: Position) -> list[StreamEvent]:
        """A run of events after a position; the stream hears of them too."""
        async with self._turns:
            rows = await self._log.read(stream.key, after, READ_EVENTS)
        if rows:
            self._learn_of(stream, Head(rows[-1].epoch, rows[-1].position))
        return rows

    async def _open(self, key: StreamKey) -> _Stream:
        if self._closing or self._tasks is None:
            raise Unavailable("The server is restarting. Come back in a moment.")
        stream = self._streams.get(key)
        if stream is None:
            if len(self._streams) >= self.limits.max_streams:
                raise Overloaded(
                    f"This server has {self.limits.max_streams} streams open (max_streams). Try again soon."
                )
            stream = self._streams[key] = _Stream(key)
            stream.listen = lambda message, stream=stream: self._heard(stream, message)  # type: ignore[misc]
            stream.opening = asyncio.get_running_loop().create_future()
            stream.opening.add_done_callback(lambda future: future.cancelled() or future.exception())
            self.background(self._do_open(stream))
        stream.users += 1
        try:
            if stream.opening is not None:
                # Shielded: who stops waiting does not stop the others.
                await asyncio.shield(stream.opening)
        except BaseException:
            self.release(stream, None)
            raise
        return stream

    async def _do_open(self, stream: _Stream) -> None:
        """Subscribe first, then read: every subscription reads its position after this, and nothing falls between."""
        opening = stream.opening
        assert opening is not None
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._bus.subscribe(stream.channel, stream.listen)
                head = await self._log.head(stream.key)
        except BaseException as error:
            if self._streams.get(stream.key) is stream:
                del self._streams[stream.key]
            await self._bus.unsubscribe(stream.channel, stream.listen)
            opening.set_exception(Unavailable("The messages could not be read. Try again in a moment."))
            if isinstance(error, asyncio.CancelledError):
                raise
            log.warning("opening a stream failed", extra={"stream": stream.key.name}, exc_info=error)
            return
        stream.epoch, stream.head = head.epoch, head.position
        stream.is_open = True
        stream.opening = None
        opening.set_result(None)

    def release(self, stream: _Stream, subscription: Subscription | None) -> None:
        """One user of a stream fewer; called by `Subscription.close`."""
        if subscription is not None:
            stream.subscriptions.discard(subscription)
        stream.users -= 1
        if stream.users == 0 and self._streams.get(stream.key) is stream and stream.is_open:
            # Out of the table at once: who comes now opens a stream of its own, with a listener of its own.
            del self._streams[stream.key]
            self.background(self._bus.unsubscribe(stream.channel, stream.listen))
        elif stream.users == 0 and stream.opening is not None:
            stream.opening.add_done_callback(lambda _: self._leave_unused(stream))

    def _leave_unused(self, stream: _Stream) -> None:
        if stream.users == 0 and self._streams.get(stream.key) is stream:
            del self._streams[stream.key]
            self.background(self._bus.unsubscribe(stream.channel, stream.listen))

    # -- relaying ------------------------------------------------------------------------------------------------

    def publish(self, key: StreamKey, event: StreamEvent) -> None:
        """Tell everybody who follows, here and on other nodes; after the commit only (RULE T1)."""
        stream = self._streams.get(key)
        if stream is not None:
            self._hear(stream, event)
        self._bus.publish(f"s:{key.brand}/{key.name}", encode(event))

    def doubt(self) -> None:
        """A commit may have happened unheard: compare all heads at the next turn, alone or not."""
        self._doubtful = True

    async def finishing(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* to its end even if the caller stops waiting: what is committed must also be relayed."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            try:
                result = await work
            except asyncio.CancelledError:
                if not answer.done():
                    answer.set_exception(Unavailable("The server is restarting. Come back in a moment."))
                raise
            except Exception as error:
                if answer.done():
                    log.warning("work failed after its caller had left", exc_info=error)
                else:
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        if self._closing or self._tasks is None:
            work.close()
            raise Unavailable("The server is restarting. Come back in a moment.")
        self.background(run())
        return await answer

    def _heard(self, stream: _Stream, message: bytes) -> None:
        """The bus brought something; what it says is believed only where it fits."""
        try:
            epoch, position = _HEADER.unpack_from(message)
            if not stream.is_open or (epoch == stream.epoch and position <= stream.head):
                return  # known; or whoever opens it reads the head after this
            self._hear(stream, decode(message))
        except (struct.error, ValueError, TypeError, KeyError):
            log.warning("not a stream's message", extra={"stream": stream.key.name, "bytes": len(message)})

    def _hear(self, stream: _Stream, event: StreamEvent) -> None:
        if not stream.is_open:
            return
        if event.epoch != stream.epoch or event.position > stream.head + 1:
            self._read_on(stream)
        elif event.position == stream.head + 1:
            self._advance(stream, event)

    def _advance(self, stream: _Stream, event: StreamEvent) -> None:
        stream.head = event.position
        happened = Happened(stream.key, event)
        for subscription in list(stream.subscriptions):
            subscription.offer(happened)

    def _learn_of(self, stream: _Stream, head: Head) -> None:
        """The log reaches to *head*: read on where that is news."""
        if stream.is_open and (head.epoch != stream.epoch or head.position > stream.head):
            self._read_on(stream)

    def _read_on(self, stream: _Stream) -> None:
        if not stream.is_open or self._closing:
            return
        stream.wanted = True
        if not stream.reading:
            stream.reading = True
            self.background(self._read_log(stream))

    async def _read_log(self, stream: _Stream) -> None:
        """Advance over what the log has, for as long as somebody says that there is more."""
        try:
            while stream.wanted and stream.users:
                stream.wanted = False
                try:
                    async with self._turns:
                        rows = await self._log.read(stream.key, stream.head, READ_EVENTS)
                except Exception:
                    log.exception("reading a stream failed", extra={"stream": stream.key.name})
                    stream.wanted = True
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if any(row.epoch != stream.epoch for row in rows):
                    self._renew(stream, rows[-1])
                    continue
                for row in rows:
                    if row.position == stream.head + 1:
                        self._advance(stream, row)
                if len(rows) == READ_EVENTS:
                    stream.wanted = True
        finally:
            stream.reading = False

    def _renew(self, stream: _Stream, last: StreamEvent) -> None:
        """History was cut: whoever follows comes back and is given the new state (RULE T3)."""
        stream.epoch, stream.head = last.epoch, last.position
        stream.wanted = True
        for subscription in list(stream.subscriptions):
            if subscription.epoch != last.epoch:
                subscription.end()
            else:  # it came in after the cut was stored and before it was heard of
                subscription.following = False
                subscription.start()

    # -- chores --------------------------------------------------------------------------------------------------

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* beside everything else; what it dies of is logged, and costs nobody else."""
        if self._tasks is None or self._closed:
            work.close()
            return
        task = self._tasks.create_task(_guard(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def compare_soon(self) -> None:
        """Messages may have been missed: read every open stream on."""
        for stream in list(self._streams.values()):
            self._read_on(stream)

    def _hear_node(self, message: bytes) -> None:
        heard = replication.decode(message)
        if isinstance(heard, replication.HeardAlive) and heard.node != self._node:
            self._neighbours[heard.node] = time.monotonic()

    async def _compare_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_SECONDS)
            now = time.monotonic()
            self._neighbours = {node: at for node, at in self._neighbours.items() if now - at < SILENT_SECONDS}
            if self._neighbours or self._doubtful:
                self._doubtful = False
                try:
                    await self.compare()
                except asyncio.CancelledError:
                    raise
                except Exception:
                    self._doubtful = True
                    log.exception("comparing the heads of streams failed")

    async def compare(self) -> None:
        """Read on every open stream whose log is ahead of what was heard (RULE T5)."""
        streams = dict(self._streams)
        if streams:
            for key, head in (await self._conversations.heads(streams.keys())).items():
                self._learn_of(streams[key], head)


async def _guard(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("background work of the streams failed")


def encode(event: StreamEvent) -> bytes:
    """An event as nodes tell it one another: where it stands, then JSON."""
    body = [event.kind, event.body, event.user_id, event.client_message_id, event.at]
    return _HEADER.pack(event.epoch, event.position) + orjson.dumps(body)


def decode(message: bytes) -> StreamEvent:
    """Raises ValueError, TypeError or struct.error for what is none."""
    epoch, position = _HEADER.unpack_from(message)
    kind, body, user_id, client_message_id, at = orjson.loads(message[_HEADER.size :])
    return StreamEvent(Epoch(epoch), Position(position), kind, body, user_id, client_message_id, at)
