"""LiveMetrics: the board "live": what happens on all nodes, second by second, for whoever watches.

Every node that hears of a watcher tells the others once a second what it counted; a board adds counters and merges
histograms, it never averages percentiles. What belongs to a brand is counted by brand and goes to its boards only.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import orjson
from prometheus_client.samples import Sample as Measured

from rooms.errors import NotPermitted, Overloaded
from rooms.metrics import LATENCY_BUCKETS_SECONDS, Metrics
from rooms.permissions import Role, User
from rooms.ports import Bus
from rooms.room import Room
from rooms.streams import Since
from storage.keys import BrandId, DocumentKey, UserId

log = logging.getLogger(__name__)

CHANNEL: Final = "metrics"
LIVE: Final = "live"
TICKED: Final = "metrics:ticked"
LAG_STEP_SECONDS: Final = 0.1
"""How finely the loop's lag is looked at while somebody watches."""
STALE_SECONDS: Final = 3.0
"""A node, or another node's watcher, unheard for this long does not count any more."""
ROOMS_PER_TURN: Final = 500
"""Rooms counted in one turn of the loop."""
MAX_BRANDS: Final = 10_000
MAX_BOARDS: Final = 256
MAX_NODES: Final = 256
MAX_NAMED: Final = 2000
"""Rooms, and people, of a brand that a node names to the others, as hashes, so that who is on two nodes counts once;
beyond it they are counted by node and added."""
EPOCH_BITS: Final = 48

_DASHBOARD_ROLES: Final = frozenset({Role.EDITOR, Role.OWNER, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """Times of the board; tests shorten them."""

    tick_seconds: float = 1.0
    kept_samples: int = 120
    linger_seconds: float = 120.0
    """A board goes on for this long without watchers, so that a reload finds its history without a hole."""


@dataclass(frozen=True, slots=True, eq=False)
class Ticked:
    """One sample of a board; `frames` keeps what each protocol made of it, encoded once."""

    brand: BrandId
    epoch: int
    position: int
    sample: dict[str, Any]
    frames: dict[str, bytes] = field(default_factory=dict)


class Watcher(Protocol):
    def take(self, ticked: Ticked) -> None:
        """Take a sample or lose it: the next one comes in a second (RULE T18). Never waits."""


class RoomsOfNode(Protocol):
    @property
    def rooms(self) -> Sequence[Room]: ...


@dataclass(slots=True)
class _Named:
    """Things counted by one node: their number, and who they are while they are few."""

    number: int
    hashes: list[int] | None

    @classmethod
    def of(cls, ids: Iterable[str]) -> _Named:
        unique = set(ids)
        if len(unique) > MAX_NAMED:
            return cls(len(unique), None)
        return cls(len(unique), [_hash(id) for id in unique])


def _hash(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=6).digest(), "big")


class Board:
    """The live board of one brand on this node: its last samples, and who watches."""

    def __init__(self, brand: BrandId, kept: int) -> None:
        self.brand = brand
        self.epoch = random.getrandbits(EPOCH_BITS) + 1
        self.position = 0
        self.watchers: set[Watcher] = set()
        self.samples: deque[Ticked] = deque(maxlen=kept)
        self.left_at = 0.0

    def after(self, since: Since | None) -> list[Ticked] | None:
        """The samples after *since*; None when it is of another board, or they are not all here any more."""
        if since is None or since.epoch != self.epoch or not 0 <= since.position <= self.position:
            return None
        missed = [ticked for ticked in self.samples if ticked.position > since.position]
        return missed if len(missed) == self.position - since.position else None

    def add(self, sample: dict[str, Any]) -> None:
        self.position += 1
        ticked = Ticked(self.brand, self.epoch, self.position, sample)
        self.samples.append(ticked)
        for watcher in list(self.watchers):
            try:
                watcher.take(ticked)
            except Exception:
                log.exception("a watcher failed")
                self.watchers.discard(watcher)


class LiveMetrics:
    """What this node counts, and the boards that are watched on it. Use as `async with`.

    Args:
        rooms: the node's rooms, for rooms and people of a brand.

    Source: docs/protocol.md, T17 to T20.
    """

    def __init__(
        self, *, metrics: Metrics, bus: Bus, node: bytes, rooms: RoomsOfNode, limits: LiveLimits | None = None
    ) -> None:
        self.limits = limits or LiveLimits()
        self._metrics = metrics
        self._bus = bus
        self._node = node.hex()
        self._rooms = rooms
        self._started_at = time.monotonic()
        self._boards: dict[BrandId, Board] = {}
        self._sessions: dict[str, tuple[BrandId, UserId, str]] = {}
        """Who has joined a namespace of streams, and over which connection."""
        self._edits: Counter[BrandId] = Counter()
        self._messages: Counter[BrandId] = Counter()
        self._asked: dict[str, tuple[float, tuple[BrandId, ...]]] = {}
        """Other nodes with watchers: when they said so last, and of which brands."""
        self._others: dict[str, tuple[float, dict[str, Any]]] = {}
        """Other nodes' newest samples."""
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._bus.subscribe(CHANNEL, self._hear)
        self._task = asyncio.create_task(self._run(), name="live metrics")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._bus.unsubscribe(CHANNEL, self._hear)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # -- counting ------------------------------------------------------------------------------------------------

    def committed(self, key: DocumentKey, at: float, updates: int) -> None:
        """A room has committed so many updates: for `RoomRegistry(on_commit=…)`."""
        self._count(self._edits, key.brand, updates)

    def posted(self, key: DocumentKey) -> None:
        """A chat message was stored."""
        self._count(self._messages, key.brand, 1)

    def joined(self, session_id: str, connection_id: str, user: User) -> None:
        """A connection has joined a namespace of streams, as *user*."""
        self._sessions[session_id] = (user.brand, user.id, connection_id)

    def left(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    def _count(self, counter: Counter[BrandId], brand: BrandId, number: int) -> None:
        if brand not in counter and len(counter) >= MAX_BRANDS:
            counter.clear()  # rates of one interval are lost, memory is not
        counter[brand] += number

    # -- watching ------------------------------------------------------------------------------------------------

    def watch(self, user: User, watcher: Watcher) -> Board:
        """Let *watcher* have every further sample of the user's brand.

        Raises:
            NotPermitted: the role sees no dashboards (CONTRACT 3).
            Overloaded: the node has `MAX_BOARDS` boards.
        """
        if not user.is_guest and user.role not in _DASHBOARD_ROLES:
            raise NotPermitted(user.role.value, "see the brand's dashboards")
        board = self._boards.get(user.brand)
        if board is None:
            if len(self._boards) >= MAX_BOARDS:
                raise Overloaded(f"This server shows {MAX_BOARDS} boards and no more. Try again soon.")
            board = self._boards[user.brand] = Board(user.brand, self.limits.kept_samples)
        board.watchers.add(watcher)
        self._woken.set()
        return board

    def unwatch(self, board: Board, watcher: Watcher) -> None:
        board.watchers.discard(watcher)
        board.left_at = time.monotonic()

    @property
    def watchers(self) -> int:
        return sum(len(board.watchers) for board in self._boards.values())

    # -- ticking -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                await self._woken.wait()
                await self._while_watched()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("live metrics failed")
                await asyncio.sleep(self.limits.tick_seconds)

    async def _while_watched(self) -> None:
        before = _Counted(self._edits, self._messages, _buckets(self._metrics), time.monotonic())
        due = time.monotonic()
        while True:
            due = max(due + self.limits.tick_seconds, time.monotonic())
            lag = await self._pause_until(due)
            brands = self._wanted()
            if not brands:
                self._woken.clear()
                return
            if self._boards:
                self._publish({"watch": list(self._boards)})
            now = _Counted(self._edits, self._messages, _buckets(self._metrics), time.monotonic())
            sample = await self._sample(brands, before, now, lag)
            before = now
            self._publish({"sample": sample})
            samples = self._fresh(sample)
            for board in self._boards.values():
                board.add(combine(board.brand, samples, time.time()))

    async def _pause_until(self, due: float) -> float:
        """Sleep in small steps; returns by how much the worst of them came late, in seconds."""
        lag = 0.0
        while (left := due - time.monotonic()) > 0:
            step = min(LAG_STEP_SECONDS, left)
            began = time.monotonic()
            await asyncio.sleep(step)
            lag = max(lag, time.monotonic() - began - step)
        return lag

    def _wanted(self) -> set[BrandId]:
        """Brands with a board here or elsewhere; boards that nobody watched for long are dropped."""
        now = time.monotonic()
        for board in list(self._boards.values()):
            if not board.watchers and now - board.left_at > self.limits.linger_seconds:
                del self._boards[board.brand]
        self._asked = {node: asked for node, asked in self._asked.items() if now - asked[0] < STALE_SECONDS}
        return {*self._boards, *(brand for _, brands in self._asked.values() for brand in brands)}

    def _fresh(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        now = time.monotonic()
        self._others = {node: other for node, other in self._others.items() if now - other[0] < STALE_SECONDS}
        return [own, *(sample for _, sample in self._others.values())]

    async def _sample(self, brands: set[BrandId], before: _Counted, now: _Counted, lag: float) -> dict[str, Any]:
        """What this node counted since *before*, for the boards of *brands*."""
        here: dict[BrandId, _Here] = {brand: _Here() for brand in brands}
        for place, room in enumerate(self._rooms.rooms):
            if place % ROOMS_PER_TURN == ROOMS_PER_TURN - 1:
                await asyncio.sleep(0)
            found = here.get(room.key.brand)
            if found is not None and len(room.peers):
                found.rooms.add(room.key.id)
                for peer in room.peers:
                    found.people.add(peer.grant.user.id)
                    found.connections.add(peer.id.partition("/")[0])
        for brand, user_id, connection_id in self._sessions.values():
            found = here.get(brand)
            if found is not None:
                found.people.add(user_id)
                found.connections.add(connection_id)
        seconds = max(now.at - before.at, 1e-3)
        return {
            "node": self._node,
            "uptime_seconds": round(time.monotonic() - self._started_at, 1),
            "memory_bytes": memory_bytes(),
            "lag_seconds": lag,
            "acks": [max(0, after - earlier) for earlier, after in zip(before.buckets, now.buckets, strict=True)],
            "brands": {
                brand: {
                    "connections": len(found.connections),
                    "rooms": _named_json(_Named.of(found.rooms)),
                    "people": _named_json(_Named.of(found.people)),
                    "edits_per_second": max(0, now.edits[brand] - before.edits[brand]) / seconds,
                    "messages_per_second": max(0, now.messages[brand] - before.messages[brand]) / seconds,
                }
                for brand, found in here.items()
            },
        }

    # -- other nodes ---------------------------------------------------------------------------------------------

    def _publish(self, said: dict[str, Any]) -> None:
        self._bus.publish(CHANNEL, orjson.dumps({"node": self._node, **said}))

    def _hear(self, message: bytes) -> None:
        try:
            said = orjson.loads(message)
            node = said["node"]
            if node == self._node:
                return
            now = time.monotonic()
            if "watch" in said:
                brands = tuple(BrandId(brand) for brand in said["watch"][:MAX_BOARDS])
                if node in self._asked or len(self._asked) < MAX_NODES:
                    self._asked[node] = (now, brands)
                    self._woken.set()
            elif node in self._others or len(self._others) < MAX_NODES:
                self._others[node] = (now, said["sample"])
        except (ValueError, TypeError, KeyError):
            log.warning("not a message of the metrics", extra={"bytes": len(message)})


@dataclass(slots=True)
class _Here:
    """What of one brand is on this node."""

    rooms: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    connections: set[str] = field(default_factory=set)


class _Counted:
    """Totals at a moment."""

    def __init__(self, edits: Counter[BrandId], messages: Counter[BrandId], buckets: Sequence[int], at: float) -> None:
        self.edits = edits.copy()
        self.messages = messages.copy()
        self.buckets = buckets
        self.at = at


def combine(brand: BrandId, samples: Sequence[dict[str, Any]], at: float) -> dict[str, Any]:
    """One sample of a board from what each node said: counters are added, histograms merged (RULE T19).

    `connections`, `rooms`, `people` and the rates are the brand's; the rest is the service's.
    """
    own = [sample["brands"][brand] for sample in samples if brand in sample["brands"]]
    acks = [sum(counts) for counts in zip(*(sample["acks"] for sample in samples), strict=True)]
    return {
        "at": round(at, 3),
        "connections": sum(part["connections"] for part in own),
        "rooms": _together([part["rooms"] for part in own]),
        "people": _together([part["people"] for part in own]),
        "edits_per_second": round(sum(part["edits_per_second"] for part in own), 2),
        "messages_per_second": round(sum(part["messages_per_second"] for part in own), 2),
        "ack": {
            "count": sum(acks),
            "p50_ms": _milliseconds(quantile(acks, 0.5)),
            "p99_ms": _milliseconds(quantile(acks, 0.99)),
        },
        "memory_bytes": sum(sample["memory_bytes"] for sample in samples),
        "loop_lag_ms": _milliseconds(max(sample["lag_seconds"] for sample in samples)),
        "uptime_seconds": max(sample["uptime_seconds"] for sample in samples),
        "node_count": len(samples),
        "nodes": [
            {
                "id": sample["node"],
                "uptime_seconds": sample["uptime_seconds"],
                "memory_bytes": sample["memory_bytes"],
                "loop_lag_ms": _milliseconds(sample["lag_seconds"]),
            }
            for sample in sorted(samples, key=lambda sample: str(sample["node"]))
        ],
    }


def quantile(counts: Sequence[int], part: float) -> float | None:
    """The value, in seconds, below which *part* of what the buckets hold lies; None when they hold nothing.

    Within a bucket it is taken as evenly spread; what is above the last bound counts as that bound.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, below = part * total, 0
    for place, count in enumerate(counts):
        if count and below + count >= wanted:
            if place >= len(LATENCY_BUCKETS_SECONDS):
                break
            low = LATENCY_BUCKETS_SECONDS[place - 1] if place else 0.0
            return low + (LATENCY_BUCKETS_SECONDS[place] - low) * (wanted - below) / count
        below += count
    return LATENCY_BUCKETS_SECONDS[-1]


def memory_bytes() -> int:
    """What this process holds of the machine's memory; where the system does not say, the most it ever held."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _named_json(named: _Named) -> dict[str, Any]:
    return {"number": named.number, "hashes": named.hashes}


def _together(parts: Sequence[dict[str, Any]]) -> int:
    """How many there are on all nodes: each once where all are named, else added."""
    if any(part["hashes"] is None for part in parts):
        return sum(part["number"] for part in parts)
    return len({hash for part in parts for hash in part["hashes"]})


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _samples(collected: Iterable[Any]) -> list[Measured]:
    return [sample for metric in collected for sample in metric.samples]


def _value(collected: Iterable[Any]) -> float:
    return next(sample.value for sample in _samples(collected) if sample.name.endswith("_total"))


def _buckets(metrics: Metrics) -> list[int]:
    """How many acknowledgements each bucket of the histogram holds; Prometheus' own are cumulative."""
    cumulative = [int(s.value) for s in _samples(metrics.ack_seconds.collect()) if s.name.endswith("_bucket")]
    return [count - below for count, below in zip(cumulative, [0, *cumulative], strict=False)]
