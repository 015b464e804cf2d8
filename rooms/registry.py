"""RoomRegistry: opens a room once, supervises it, closes it when empty."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rooms import replication
from rooms.errors import Overloaded, RoomError, Unavailable
from rooms.history import EMPTY_UPDATE
from rooms.inbox import Submission
from rooms.metrics import Metrics
from rooms.permissions import Grant
from rooms.ports import Announced, Bus, Relayed, Said, WorkerPort
from rooms.room import Room, RoomLimits
from rooms.turns import Turns
from storage.keyframes import Keyframes
from storage.keys import DocumentKey, Position
from storage.update_log import UpdateLog

log = logging.getLogger(__name__)

OPEN_SECONDS = 15.0
"""How long opening a room may take before whoever asked gets a retryable refusal."""
HEARTBEAT_SECONDS = 1.0
SILENT_SECONDS = 3.5
"""A node unheard for this long is gone, and its people with it."""
COMPARE_SECONDS = 2.0
"""How often the heads of open rooms are compared with the log (RULE B2)."""
SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RegistryLimits:
    """Bounds of a node's rooms; each has its setting in `realtime/settings.py`."""

    max_rooms: int = 20_000
    """0: no limit."""
    idle_seconds: float = 60.0
    """How long an empty room stays open for whoever comes back; 0 closes at the next sweep."""


class _Visitor:
    """A peer without a connection: a plain request that submits one update and hears nothing."""

    def __init__(self, room: Room, grant: Grant) -> None:
        self.id = f"request-{os.urandom(8).hex()}"
        self.grant = grant
        self._room = room

    def send_updates(self, relayed: Relayed) -> None: ...

    def send_presence(self, announced: Announced) -> None: ...

    def send_said(self, said: Said) -> None: ...

    def ask(self, question: int, state_vector: bytes) -> None:
        """It cannot be asked: answer with nothing, so that what waited is refused."""
        self._room.submit(Submission(self, EMPTY_UPDATE, lambda _: None, answers=question))

    def warn(self, code: str, message: str, elements: Sequence[str]) -> None: ...

    def refuse(self, code: str, message: str) -> None: ...

    def rejoin(self, code: str, message: str) -> None: ...


class RoomRegistry:
    """All open rooms of one node. Use as `async with`; leaving it closes every room and asks peers to come back."""

    def __init__(
        self,
        *,
        update_log: UpdateLog,
        keyframes: Keyframes,
        workers: WorkerPort,
        bus: Bus,
        metrics: Metrics,
        room_limits: RoomLimits | None = None,
        limits: RegistryLimits | None = None,
        overwrite_names: bool = False,
        sole_writer: bool = False,
        on_commit: Callable[[DocumentKey, float, int], None] = lambda key, at, updates: None,
    ) -> None:
        self.node = os.urandom(replication.NODE_ID_BYTES)
        self._log = update_log
        self._keyframes = keyframes
        self._workers = workers
        self._bus = bus
        # A node that is alone has nobody to tell: what it published of its rooms would only come back to it.
        self._room_bus = None if sole_writer else bus
        self._metrics = metrics
        self._room_limits = room_limits or RoomLimits()
        self._limits = limits or RegistryLimits()
        self._overwrite_names = overwrite_names
        self._sole_writer = sole_writer
        self._on_commit = on_commit
        self._turns = Turns()
        self._rooms: dict[DocumentKey, Room] = {}
        self._opening: dict[DocumentKey, asyncio.Task[Room]] = {}
        self._runs: dict[DocumentKey, asyncio.Task[None]] = {}
        self._nodes: dict[bytes, float] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._chores: list[asyncio.Task[None]] = []
        self._closing = False

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        await self._bus.subscribe(replication.NODES_CHANNEL, self._hear_node)
        self._bus.on_reconnect(self._compare_soon)
        for chore in (self._sweep, self._beat, self._compare):
            self._chores.append(self._tasks.create_task(self._forever(chore)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        assert self._tasks is not None
        for chore in self._chores:
            chore.cancel()
        for opening in self._opening.values():
            opening.cancel()
        for room in list(self._rooms.values()):
            await self._close(room, "draining", "The server is restarting.")
        await self._bus.unsubscribe(replication.NODES_CHANNEL, self._hear_node)
        await self._tasks.__aexit__(kind, error, trace)

    def __len__(self) -> int:
        return len(self._rooms)

    @property
    def rooms(self) -> list[Room]:
        return list(self._rooms.values())

    async def open(self, key: DocumentKey) -> Room:
        """The room of *key*, opened once however many ask at the same moment.

        Raises:
            Unavailable: it could not be read; a document that cannot be read is never shown as an empty one.
            Overloaded: the node has `max_rooms` open.
        """
        room = self._rooms.get(key)
        if room is not None and not room.closed:
            room.emptied_at = time.monotonic()
            return room
        if self._closing or self._tasks is None:
            raise Unavailable("The server is restarting. Come back in a moment.")
        opening = self._opening.get(key)
        if opening is None:
            if self._limits.max_rooms and len(self._rooms) + len(self._opening) >= self._limits.max_rooms:
                raise Overloaded(
                    f"This server has {self._limits.max_rooms} designs open and takes no more. Try again soon."
                )
            opening = self._opening[key] = asyncio.create_task(self._open(key))
            opening.add_done_callback(lambda task: self._opening.pop(key, None))
        # Shielded: who stops waiting does not stop the others.
        return await asyncio.shield(opening)

    async def _open(self, key: DocumentKey) -> Room:
        assert self._tasks is not None
        room = Room(
            key,
            update_log=self._log,
            keyframes=self._keyframes,
            workers=self._workers,
            bus=self._room_bus,
            node=self.node,
            limits=self._room_limits,
            metrics=self._metrics,
            background=self._tasks,
            on_commit=self._on_commit,
            on_node=self._hear_of_node,
            overwrite_names=self._overwrite_names,
            turns=self._turns,
        )
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await room.load()
        except BaseException as error:
            await room.close()
            if isinstance(error, RoomError | asyncio.CancelledError):
                raise
            log.exception("opening a room failed", extra={"room": key.id})
            raise Unavailable("The design could not be read. Try again in a moment.") from error
        for node in room.heard_nodes - self._nodes.keys():
            room.node_silent(node)  # it fell silent while the room was read
        room.emptied_at = time.monotonic()  # from when it can be entered, however long it took to read
        self._rooms[key] = room
        self._runs[key] = self._tasks.create_task(self._supervise(room))
        self._metrics.rooms.set(len(self._rooms))
        return room

    async def _supervise(self, room: Room) -> None:
        """Run a room; whatever it dies of ends it alone (RULE D7)."""
        try:
            await room.run()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log.exception("room failed", extra={"room": room.key.id})
            self._metrics.room_failures.inc()
            if not isinstance(error, Exception):
                log.error("the failure was no Exception", extra={"kind": type(error).__name__})
            await self._close(room, "room_failed", "This design had to be opened anew.", running=False)

    async def _close(self, room: Room, code: str, message: str, *, running: bool = True) -> None:
        if self._rooms.get(room.key) is room:
            del self._rooms[room.key]
            run = self._runs.pop(room.key, None)
            if running and run is not None:
                run.cancel()
        self._metrics.rooms.set(len(self._rooms))
        try:
            await room.close()
        except Exception:
            log.exception("closing a room failed", extra={"room": room.key.id})
        for peer in room.peers:
            peer.rejoin(code, message)

    # -- plain requests ------------------------------------------------------------------------------------------

    async def state(self, key: DocumentKey) -> tuple[Position, list[bytes]]:
        """The head and everything up to it: a prefix's state and the rows after it, for a worker to put together."""
        room = await self.open(key)
        return room.head, room.history.pieces()

    async def difference(self, key: DocumentKey, state_vector: bytes) -> tuple[Position, bytes]:
        """The head, and one update with all that *state_vector* lacks of it.

        Raises:
            InvalidUpdate: not a state vector.
        """
        room = await self.open(key)
        head, pieces = room.head, room.history.pieces()
        _, (update,) = await self._workers.call(
            "difference", {}, [*pieces, state_vector], deadline_seconds=OPEN_SECONDS
        )
        return head, update

    async def submit(self, grant: Grant, key: DocumentKey, update: bytes, origin: str = "http") -> Position:
        """Take one update from a request and return its place in the log, once it is durable (RULE D2)."""
        room = await self.open(key)
        done: asyncio.Future[Position] = asyncio.get_running_loop().create_future()

        def settle(result: Position | RoomError) -> None:
            if done.cancelled():
                return
            if isinstance(result, RoomError):
                done.set_exception(result)
            else:
                done.set_result(result)

        visitor = _Visitor(room, grant)
        async with asyncio.timeout(OPEN_SECONDS):
            await room.place()
            submission = Submission(visitor, update, settle, origin=origin)
            await room.read_ahead(submission)
            room.submit(submission)
            try:
                return await done
            finally:
                room.detach(visitor.id)

    def delete(self, key: DocumentKey) -> None:
        """The design was deleted in the database: its room empties, here and on every node that hears (RULE D10)."""
        room = self._rooms.get(key)
        if room is not None:
            room.delete()
        if self._room_bus is not None:
            self._room_bus.publish(replication.channel(key), replication.encode_deleted(self.node))

    # -- chores --------------------------------------------------------------------------------------------------

    async def _forever(self, chore: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            try:
                await chore()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("a chore of the rooms failed", extra={"chore": chore.__name__})
                await asyncio.sleep(COMPARE_SECONDS)

    async def _sweep(self) -> None:
        """Close rooms that stayed empty, and cut peers who do not answer."""
        await asyncio.sleep(SWEEP_SECONDS)
        now = time.monotonic()
        for room in self.rooms:
            room.expire_presence()
            if not len(room.peers) and now - room.emptied_at > self._limits.idle_seconds:
                await self._close(room, "idle", "The design was closed.")
            for peer in room.peers:
                if room.question_unanswered(peer.id, now):
                    peer.rejoin("no_answer", "A question about missing edits was not answered in time.")

    async def _beat(self) -> None:
        self._bus.publish(replication.NODES_CHANNEL, replication.encode_alive(self.node))
        await asyncio.sleep(HEARTBEAT_SECONDS)
        now = time.monotonic()
        for node, heard_at in list(self._nodes.items()):
            if now - heard_at > SILENT_SECONDS:
                del self._nodes[node]
                for room in self.rooms:
                    room.node_silent(node)

    def _hear_node(self, message: bytes) -> None:
        heard = replication.decode(message)
        if isinstance(heard, replication.HeardAlive) and heard.node != self.node:
            self._hear_of_node(heard.node)

    def _hear_of_node(self, node: bytes) -> None:
        """A node is there, since it says something: its heartbeat, or who is connected to it.

        From each word on its silence is measured. A heartbeat may have been lost, and a word may be late: of a node
        that died before its first heartbeat, or whose silence was noticed already. Its people are to go all the same.
        """
        self._nodes[node] = time.monotonic()

    async def _compare(self) -> None:
        await asyncio.sleep(COMPARE_SECONDS)
        if self._sole_writer:
            return
        rooms = self.rooms
        for start in range(0, len(rooms), 500):
            some = rooms[start : start + 500]
            heads = await self._log.heads([room.key for room in some])
            for room in some:
                head = heads.get(room.key)
                if head is not None and head.position > room.head:
                    room.catch_up()

    def _compare_soon(self) -> None:
        for room in self.rooms:
            room.catch_up()
