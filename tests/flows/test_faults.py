"""Many rooms at once on real nodes while networks and processes fail: all converge, nothing acknowledged is lost.

Each seed is a room with a script of its own: who edits, says presence, is cut, stalls, repeats. Rooms share a node,
since a node that dies takes all of them: a batch of seeds has a plan of faults, drawn from its first seed. After each
death of a node, and before it comes back, the rows are read by code of our own and by yjs: whatever was acknowledged
is in them.

To repeat a batch of the full proof: LUNEO_PROVE=full LUNEO_SEED={its first seed} pytest -x tests/flows/test_faults.py
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pycrdt
import pytest

from rooms.faults import PLACES
from tests.harness.budget import FULL, SEED, budget, write_table
from tests.harness.designer import summary
from tests.harness.judge import Judge
from tests.harness.node import Node
from tests.harness.processes import children, until
from tests.harness.reading import Stored, read_all_postgresql, read_all_sqlite, read_live_sqlite
from tests.harness.replica import KINDS, Replica
from tests.harness.servers import PostgresServer, RedisServer

ROOMS = int(os.environ.get("LUNEO_ROOMS", budget(6, 40)))
"""Seeds of a batch."""
BATCHES = budget(1, 25)
CLUSTER_EVERY = 8
"""Every so many batches there are two nodes, on PostgreSQL and Redis."""
FRESH_EVERY = 5
"""Batches after which a node starts on an empty directory."""
STEPS = (20, 60)
PAUSE_SECONDS = 0.06
SETTLE_SECONDS = 20.0
RENEWALS = 2
"""How often all may have to renew their presence until everybody is seen: what clients do every 15 s (RULE P11)."""
RENEWAL_SECONDS = 1.5
SILENCE_SECONDS = 8.0
"""A node that fell silent takes its people with it after 3.5 s (RULE P8)."""
SETTINGS = {
    "LUNEO_TESTING": "1",
    "LUNEO_WORKERS": "1",
    "LUNEO_KEYFRAME_ROWS": "6",
    "LUNEO_KEYFRAME_BYTES": "20000",
    "LUNEO_ROOM_IDLE_SECONDS": "0",
    "LUNEO_OUTBOX_BYTES": "8192",
}
ENDS = ("rst", "fin", "half", "torn")
DOINGS = {
    "edit": 30,
    "burst": 8,
    "bulk": 3,
    "presence": 10,
    "repeat": 8,
    "everything": 3,
    "cut": 8,
    "leave": 5,
    "return": 8,
    "stall": 5,
    "read on": 5,
    "slow": 4,
    "fast": 3,
    "reload": 4,
}


@dataclass(frozen=True)
class Step:
    """What one client does, after a pause; *number* is where its own chance begins."""

    pause: float
    who: int
    doing: str
    number: int


@dataclass(frozen=True)
class Fault:
    """What happens to a node (`kill`, `stop`, `worker`, or a place of `rooms.faults` that is reached so often)."""

    after: float
    what: str
    node: int
    nth: int


def script(seed: int) -> tuple[list[str], list[Step]]:
    """The kinds of a room's clients, and what they do."""
    chance = random.Random(seed)
    kinds = [chance.choice(list(KINDS)) for _ in range(chance.randint(2, 4))]
    steps = [
        Step(
            chance.expovariate(1 / PAUSE_SECONDS),
            chance.randrange(len(kinds)),
            chance.choices(list(DOINGS), list(DOINGS.values()))[0],
            chance.randrange(2**31),
        )
        for _ in range(chance.randint(*STEPS))
    ]
    return kinds, steps


def plan(first_seed: int, nodes: int) -> list[Fault]:
    """What a batch's nodes suffer."""
    chance = random.Random(f"plan {first_seed}")
    faults = [
        Fault(chance.uniform(0.1, 1.0), what, chance.randrange(nodes), chance.randint(3, 80))
        for what in (
            *chance.choices(("kill", "kill", "stop", *PLACES), k=chance.randint(1, budget(1, 2))),
            *["worker"] * chance.randint(0, budget(1, 3)),
        )
    ]
    chance.shuffle(faults)
    return faults


def change(chance: random.Random) -> Any:
    """One edit, as what is done to a replica."""
    value = chance.choice([1, "two", [3, 4], None, True, 0.5])
    key = chance.choice("xyz")
    op = chance.choice(["set", "set", "unset", "nested", "insert", "insert", "insert", "erase", "push", "pull"])
    place, length = chance.random(), chance.randint(1, 5)
    text = "".join(chance.choices("abc de\n", k=chance.randint(1, 12)))

    def change(replica: Replica) -> None:
        at = int(place * (len(replica.note) + 1))
        index = int(place * (len(replica.list) + 1))
        match op:
            case "set":
                replica.map[key] = value
            case "unset" if key in replica.map:
                del replica.map[key]
            case "nested":
                inner = replica.map.get(key)
                if isinstance(inner, pycrdt.Map):
                    inner[text] = value
                else:
                    replica.map[key] = pycrdt.Map({"f": value})
            case "insert":
                replica.note.insert(at, text)
            case "erase" if at < len(replica.note):
                del replica.note[at : min(at + length, len(replica.note))]
            case "push":
                replica.list.insert(index, value)
            case "pull" if index < len(replica.list):
                del replica.list[index]

    return change


class World:
    """Nodes, their database, and the judge; what outlives a batch."""

    def __init__(self, nodes: list[Node], judge: Judge, database_url: str = "") -> None:
        self.nodes = nodes
        self.judge = judge
        self.database_url = database_url
        self.cookies: list[str] = []
        self.counts: Counter[str] = Counter()
        self.rooms: list[Room] = []
        self.up = asyncio.Event()
        """Whether all nodes run."""

    async def start(self) -> None:
        for node in self.nodes:
            await node.start()
        self.up.set()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            for _ in range(6):
                async with session.get(f"{self.nodes[0].url}/api/v1/session") as answer:
                    self.cookies.append(answer.headers["Set-Cookie"].partition(";")[0])

    async def kill(self) -> None:
        for node in self.nodes:
            await node.kill()

    async def read(self, rooms: Sequence[str]) -> list[Stored]:
        if self.database_url:
            return await read_all_postgresql(self.database_url, rooms)
        node = self.nodes[0]
        return await asyncio.to_thread(read_live_sqlite if node.running else read_all_sqlite, node.database, rooms)

    async def suffer(self, faults: Sequence[Fault]) -> None:
        """Let the nodes suffer what is planned; at the end all run."""
        for fault in faults:
            await asyncio.sleep(fault.after)
            node = self.nodes[fault.node]
            if fault.what == "worker":
                workers = children(node.pid)
                if workers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(workers[fault.nth % len(workers)], signal.SIGKILL)
                    self.counts["workers killed"] += 1
                continue
            await self._count_slow(node)
            self.up.clear()
            if fault.what == "stop":
                assert await node.stop() == 0
                self.counts["nodes stopped"] += 1
            else:
                await node.kill()
                self.counts["nodes killed by chance"] += 1
            await self.nothing_is_lost()
            if fault.what in PLACES:
                await node.start(LUNEO_FAULT=f"kill:{fault.what}:{fault.nth}")
                self.up.set()
                try:
                    status = await node.ended(within=3.0)
                except TimeoutError:  # there was nobody any more to bring it there
                    self.counts["places not reached"] += 1
                    await node.kill()
                else:
                    self.up.clear()
                    assert status == -signal.SIGKILL
                    self.counts[f"nodes killed {fault.what}"] += 1
                await self.nothing_is_lost()
            await node.start()
            self.up.set()

    async def nothing_is_lost(self) -> None:
        """Whatever was acknowledged up to now is in the rows, which are as good as a keyframe (RULES D2 to D4)."""
        acked = [list(room.acked) for room in self.rooms]
        stored = await self.read([room.name for room in self.rooms])
        for room, acknowledged, rows in zip(self.rooms, acked, stored, strict=True):
            if room.error is None:
                try:
                    await room.judged(rows, acknowledged)
                except AssertionError as error:
                    room.error = error
        self.counts["looks into the database"] += 1
        self.counts["acknowledged updates found"] += sum(map(len, acked))

    async def _count_slow(self, node: Node) -> None:
        """What would be lost with the process: who fell behind, and caught up in place (RULE O2)."""
        with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
            async with aiohttp.ClientSession() as session, session.get(f"{node.url}/metrics") as answer:
                text = await answer.text()
            for outcome, count in re.findall(r'luneo_slow_peers_total\{outcome="(\w+)"\} (\d+)', text):
                self.counts[f"clients {outcome}"] += int(count)

    async def batch(self, first_seed: int, faults: Sequence[Fault], seeds: Sequence[int]) -> None:
        """Play the seeds' rooms at once; raises what the first of them found."""
        self.rooms = [Room(self, seed) for seed in seeds]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.suffer(faults))
                for room in self.rooms:
                    group.create_task(room.play())
            await self.nothing_is_lost()
            async with asyncio.TaskGroup() as group:
                for room in self.rooms:
                    group.create_task(room.settle())
            for node in self.nodes:
                await self._count_slow(node)
        finally:
            for room in self.rooms:
                await room.close()
        for room in self.rooms:
            if room.error is not None:
                error = AssertionError(
                    f"seed {room.seed} of the batch LUNEO_SEED={first_seed} LUNEO_ROOMS={len(seeds)}"
                    f" LUNEO_PROVE={'full' if FULL else ''}: {room.error}"
                )
                error.add_note(f"faults: {faults}\n{room.told()}")
                raise error from room.error


class Room:
    """The room of one seed: its clients, its script, and what it finds."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.name = f"room-{seed}-{time.monotonic_ns()}"
        self.acked: list[bytes] = []
        self.error: BaseException | None = None
        self.kinds, self.steps = script(seed)
        self.everybody: list[Replica] = []
        self.here: list[Replica] = [self._somebody(f"{number}", kind) for number, kind in enumerate(self.kinds)]
        self.clients = [replica.client_id for replica in self.here]

    def _somebody(self, name: str, kind: str) -> Replica:
        chance = random.Random(f"{self.seed} {name} {len(self.everybody)}")
        ports = [node.port for node in self.world.nodes]
        cookie = self.world.cookies[len(self.everybody) % len(self.world.cookies)]
        replica = KINDS[kind](name, self.name, chance, cookie, lambda: chance.choice(ports), self.acked)
        self.everybody.append(replica)
        return replica

    async def play(self) -> None:
        for replica in self.here:
            replica.come()
        for step in self.steps:
            await asyncio.sleep(step.pause)
            if step.number % 3:  # a third of all is done whether the nodes run or not
                await self.world.up.wait()
            await self._do(step)

    async def _do(self, step: Step) -> None:
        replica, chance = self.here[step.who], random.Random(step.number)
        counts = self.world.counts
        counts[step.doing] += 1
        match step.doing:
            case "edit":
                replica.edit(change(chance))
            case "burst":
                for _ in range(chance.randint(3, 25)):
                    replica.edit(change(chance))
            case "bulk":  # enough to fill what the kernel holds for who does not read; over 32 KB is read in a worker
                for _ in range(chance.randint(1, 6)):
                    text = chance.choice("abc") * chance.randint(8_000, 40_000)
                    replica.edit(lambda one, text=text: one.list.append(text))  # type: ignore[misc]
            case "presence":
                replica.step(str(step.number))
            case "repeat":
                for _ in range(3):
                    replica.repeat()
            case "everything":
                replica.say_everything()
            case "cut":
                replica.cut(chance.choice(ENDS))
            case "leave":
                replica.go(chance.choice(ENDS))
            case "return":
                replica.come()
            case "stall":
                replica.pause()
            case "read on":
                replica.read_on()
            case "slow" | "fast":
                replica.slow = step.doing == "slow"
            case "reload":  # a page that is closed in whatever way, and opened anew
                await replica.end(chance.choice(ENDS))
                self.here[step.who] = self._somebody(replica.name, replica.kind)
                self.here[step.who].come()

    async def settle(self) -> None:
        if self.error is not None:
            return
        try:
            await self._settle()
        except (AssertionError, TimeoutError) as error:
            self.error = error
        except Exception as error:
            self.error = error

    async def _settle(self) -> None:
        """The network is well again: all come back, and one more; all have the same, and see each other."""
        counts = self.world.counts
        for replica in self.here:
            replica.slow = False
            replica.read_on()
            replica.come()
        await self._equal()
        self.here.append(self._somebody("late", self.kinds[0]))
        self.here[-1].come()
        await self._equal()
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:  # what is deleted already where it arrives is seen by nobody but the judge
            stored = (await self.world.read([self.name]))[0]
            try:
                await self.judged(stored, self.acked, self.here)
                break
            except AssertionError:
                if time.monotonic() > deadline - SETTLE_SECONDS + 5:
                    raise
                await asyncio.sleep(0.2)
        for replica in self.everybody:
            assert not replica.refused, f"{replica.kind} {replica.name} was refused: {replica.refused[:3]}"
            counts["connections"] += replica.connections
        renewals = await self._all_see_each_other()
        counts[f"presence complete after {renewals} renewals"] += 1
        counts["acknowledged"] += len(self.acked)
        counts["rows"] += len(stored.rows)
        counts["keyframes"] += len(stored.keyframes)
        counts["seeds"] += 1

    async def _equal(self) -> None:
        def equal() -> bool:
            return all(replica.connected for replica in self.here) and len({_brief(one) for one in self.here}) == 1

        try:
            await until(equal, "equal replicas", within=SETTLE_SECONDS, every=0.1)
        except AssertionError:
            looks = await self.world.judge.looks(*[[one.doc.get_update()] for one in self.here])
            states = {f"{one.name} {one.kind}": (one.connected, one.refused) for one in self.here}
            named = {f"{one.name} {one.kind}": look for one, look in zip(self.here, looks, strict=True)}
            raise AssertionError(f"not equal within {SETTLE_SECONDS} s: {states} {summary(named)}") from None

    async def judged(self, stored: Stored, acknowledged: Sequence[bytes], replicas: Sequence[Replica] = ()) -> None:
        """What the database has is gapless, whole, all that was acknowledged, and what *replicas* have."""
        assert stored.is_gapless(), f"gaps: {stored.positions}"
        pycrdt_reads: pycrdt.Doc[Any] = pycrdt.Doc()
        for row in stored.rows:
            pycrdt_reads.apply_update(row)
        rows, with_acknowledged, folded, by_pycrdt, *others = await self.world.judge.looks(
            stored.rows,
            [*stored.rows, *acknowledged],
            stored.from_keyframe(),
            [pycrdt_reads.get_update()],
            *[[replica.doc.get_update()] for replica in replicas],
        )
        assert not rows["pending"], "a gap was logged"
        looks = {"rows": rows, "rows and what was acknowledged": with_acknowledged}
        assert rows["digest"] == with_acknowledged["digest"], f"acknowledged and lost: {summary(looks)}"
        for part in ("content", "clocks"):
            looks = {"rows": rows, "keyframe and rows after it": folded}
            assert rows[part] == folded[part], f"a keyframe is not its rows: {summary(looks)}"
            looks = {"rows in yjs": rows, "rows in pycrdt": by_pycrdt}
            assert rows[part] == by_pycrdt[part], f"pycrdt reads something else: {summary(looks)}"
        for replica, look in zip(replicas, others, strict=True):
            looks = {"rows": rows, f"{replica.kind} {replica.name}": look}
            assert rows["digest"] == look["digest"], f"a replica is not the rows: {summary(looks)}"

    async def _all_see_each_other(self) -> int:
        """Wait until everybody sees those who are there, as they are, and nobody else (RULES P1 to P10)."""
        wanted = {one.client_id: json.loads(one.state) for one in self.here}

        def wrong() -> dict[str, Any]:
            found: dict[str, Any] = {}
            for one in self.here:
                seen = {
                    client: {key: value for key, value in json.loads(state).items() if key != "user"}
                    for client, state in one.people.items()
                }
                expected = {client: state for client, state in wanted.items() if client != one.client_id}
                if seen != expected:
                    found[f"{one.kind} {one.name}"] = {
                        "ghosts": [client for client in seen if client not in wanted],
                        "not seen": [client for client in expected if client not in seen],
                        "old": [client for client in expected if client in seen and seen[client] != expected[client]],
                    }
            return found

        for renewal in range(RENEWALS + 1):
            with contextlib.suppress(AssertionError):
                within = RENEWAL_SECONDS if renewal < RENEWALS else SILENCE_SECONDS
                await until(lambda: not wrong(), "presence", within=within, every=0.05)
                return renewal
            for one in self.here:
                one.renew()
        told = {one.client_id: (one.clock, one.connected, one.connections) for one in self.here}
        raise AssertionError(f"presence after {RENEWALS} renewals: {wrong()}; clocks and connections {told}")

    async def close(self) -> None:
        for replica in self.everybody:
            await replica.end()

    def told(self) -> str:
        """What a reader needs to see of a failed room."""
        steps = "\n".join(f"  {step.pause:.3f} {self.kinds[step.who]} {step.who}: {step.doing}" for step in self.steps)
        people = {one.client_id: f"{one.kind} {one.name}" for one in self.everybody}
        return f"clients: {people}\nsteps of seed {self.seed}:\n{steps}"


def _brief(replica: Replica) -> str:
    """What a document is, as far as it is cheap to see."""
    state = replica.doc.get_state()
    clocks = sorted(_pairs(state))
    content = (str(replica.note), replica.map.to_py(), replica.list.to_py())
    return json.dumps((clocks, content), sort_keys=True)


def _pairs(state_vector: bytes) -> list[tuple[int, int]]:
    numbers, value, shift = [], 0, 0
    for byte in state_vector:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    return list(zip(numbers[1::2], numbers[2::2], strict=True))


@contextlib.asynccontextmanager
async def _world(
    directory: Path, judge: Judge, postgres: PostgresServer | None = None, redis: RedisServer | None = None
) -> AsyncIterator[World]:
    """One node on SQLite; or two, on a PostgreSQL database of their own and Redis."""
    if postgres is None or redis is None:
        world = World([Node(directory / "data", **SETTINGS)], judge)
    else:
        url = postgres.create_database()
        shared = {
            **SETTINGS,
            "LUNEO_DATABASE_URL": url,
            "LUNEO_REDIS_URL": redis.url,
            "LUNEO_REDIS_PREFIX": directory.name,
            "LUNEO_BLOB_URL": str(directory / "blobs"),
        }
        world = World([Node(directory / f"node-{number}", **shared) for number in (1, 2)], judge, url)
    try:
        await world.start()
        yield world
    except BaseException as error:
        for node in world.nodes:
            error.add_note(f"The node at {node.url} said last:\n" + "\n".join(list(node.output)[-40:]))
        raise
    finally:
        await world.kill()


async def _smaller(world: World, first_seed: int, faults: Sequence[Fault], seed: int) -> str:
    """Play a seed that failed once more, alone, and say whether it fails so."""
    for node in world.nodes:
        if not node.running:
            await node.start()
    try:
        await world.batch(first_seed, faults, [seed])
    except AssertionError as error:
        return f"It fails alone too: {error}"
    return "Alone it does not fail."


async def _prove(batches: Sequence[int], two_nodes: bool, directory: Path, servers: tuple[Any, ...]) -> None:
    """Play whole batches; each is a row of the table."""
    async with Judge() as judge, contextlib.AsyncExitStack() as stack:
        for turn, number in enumerate(batches):
            if turn % FRESH_EVERY == 0:
                await stack.aclose()
                fresh = directory / f"{'two' if two_nodes else 'one'}-{number}"
                fresh.mkdir()
                world = await stack.enter_async_context(_world(fresh, judge, *servers))
            first_seed = SEED + number * ROOMS
            faults = plan(first_seed, len(world.nodes))
            before, began = world.counts.copy(), time.monotonic()
            try:
                await world.batch(first_seed, faults, range(first_seed, first_seed + ROOMS))
            except AssertionError as error:
                failed = next(room.seed for room in world.rooms if room.error is not None)
                error.add_note(await _smaller(world, first_seed, faults, failed))
                raise
            seen = world.counts - before
            row = Row(first_seed, len(world.nodes), " ".join(fault.what for fault in faults), seen)
            ROWS.append(row)
            _write_table()
            print(f"{time.monotonic() - began:.1f} s", *row.cells(), flush=True)


@dataclass(frozen=True)
class Row:
    """What was seen in one batch."""

    first_seed: int
    nodes: int
    faults: str
    seen: Counter[str]

    def cells(self) -> tuple[object, ...]:
        seen = self.seen
        return (
            f"{self.first_seed} to {self.first_seed + ROOMS - 1}",
            self.nodes,
            self.faults,
            seen["connections"],
            seen["clients behind"],
            seen["rows"],
            seen["keyframes"],
            seen["acknowledged"],
        )


HEADER = (
    "seeds",
    "nodes",
    "faults, in this order",
    "connections",
    "fell behind",
    "rows",
    "keyframes",
    "acknowledged",
)


@pytest.mark.prove
async def test_whatever_fails_nothing_acknowledged_is_lost_and_all_converge(tmp_path: Path) -> None:
    """Promises 1 and 2, RULES D2 to D6, S3, Y5, F9, O2, P1 to P9: one node on SQLite.

    `make prove` plays it at length, with two nodes below, and writes the table.
    """
    ROWS.clear()
    await _prove(range(BATCHES if not FULL else BATCHES - BATCHES // CLUSTER_EVERY), False, tmp_path, ())


@pytest.mark.prove
async def test_whatever_fails_nothing_acknowledged_is_lost_with_two_nodes(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer
) -> None:
    """The same, RULES B1, B2, P8: two nodes on PostgreSQL and Redis, of which one dies while the other goes on."""
    first = BATCHES - BATCHES // CLUSTER_EVERY if FULL else BATCHES
    await _prove(range(first, max(first + 1, BATCHES)), True, tmp_path, (postgres, redis))


def _write_table() -> None:
    """After each batch anew, so that a proof that is cut short has said what it saw."""
    counts: Counter[str] = sum((row.seen for row in ROWS), Counter())
    told = "\n".join(f"- {what}: {count}" for what, count in sorted(counts.items()))
    write_table(
        "model",
        "Model",
        f"{counts['seeds']} seeds, each a room of two to four clients of three protocols with a script of its own;"
        f" {ROOMS} rooms share a node, whose faults are drawn too. Clients are cut by RST, FIN, half of a close or"
        " within a frame, read nothing for a while, come slowly and in pieces, say again what they said, also"
        " over a later connection, and are replaced by new ones. After every death of a node the database is read"
        " before the node comes back: every update that was acknowledged (`{ok: true}`, SyncStatus, the echo of"
        " y-websocket) is in the rows, whose positions have no gaps. At the end all replicas, one who comes late, the"
        " rows as yjs and as pycrdt read them, and the newest keyframe with the rows after it are the same document,"
        " nobody was refused,"
        " and everybody sees those who are there, as they are, and nobody else. Anything else ends the"
        " proof.\n\nWhat was done and seen:\n\n" + told,
        HEADER,
        [row.cells() for row in ROWS],
    )


ROWS: list[Row] = []
"""Of both tests, for the one table."""
