"""The scenarios: each starts servers of its own, and yields figures."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pycrdt

from bench import updates
from bench.measuring import Figure, Generator, percentile, say
from storage.database import open_database
from tests.harness.node import Node
from tests.harness.processes import children, resident_bytes, until
from tests.harness.wire import Wire

HOST = "127.0.0.1"
OURS = "luneo"
RIVAL = "npm y-socket.io"
NO_FSYNC = "none, memory only"
MARKER = re.compile(rb"m\d+-\d{6}\.")
WINDOW = 200


class Rival(Node):
    """The npm package's own server, under the same harness."""

    command = ("bench/rival.mjs",)
    program = "node"


@asynccontextmanager
async def a_node(kind: type[Node] = Node, **env: str) -> AsyncIterator[Node]:
    with tempfile.TemporaryDirectory(prefix="luneo-bench-") as directory:
        async with kind(Path(directory) / "data", **env) as node:
            yield node


async def fsync_of(node: Node) -> str:
    """The durability mode, as the storage layer reads it from the node's own database."""
    async with open_database(f"sqlite+aiosqlite:///{node.database}") as database:
        return database.fsync_mode


async def latency(rounds: int, seconds: float = 6.0, people: int = 10, rate: float = 5.0) -> AsyncIterator[Figure]:
    """A room of ten, all of whom edit: from the write of an edit to its arrival at each peer, and to its own ack."""
    for server, kind in ((OURS, Node), (RIVAL, Rival)):
        figures: dict[str, Figure] = {}
        count = int(seconds * rate)
        for turn in range(rounds):
            say(f"latency in a room of {people}: {server}, round {turn + 1} of {rounds}")
            async with a_node(kind) as node, Generator() as generator:
                fsync = NO_FSYNC if kind is Rival else await fsync_of(node)
                to_peer, to_ack, lost = await _room(node, people, count, rate, acks=kind is Node)
            measured = {
                "edit to peer p50": percentile(to_peer, 0.5),
                "edit to peer p99": percentile(to_peer, 0.99),
            }
            if to_ack:
                measured |= {
                    "edit to durable ack p50": percentile(to_ack, 0.5),
                    "edit to durable ack p99": percentile(to_ack, 0.99),
                }
            for name, value in measured.items():
                figure = figures.setdefault(name, Figure(name, "ms", server, fsync))
                figure.note = f"{people} people, {people * rate:.0f} edits/s, {lost} deliveries lost"
                share = 0.99 if name.endswith("p99") else 0.5
                figure.add(value * 1000, generator_bound=generator.bound(value * 1000, share))
        for figure in figures.values():
            yield figure


async def _room(
    node: Node, people: int, count: int, rate: float, *, acks: bool
) -> tuple[list[float], list[float], int]:
    """Seconds from edit to each peer and to the ack, without the first second; and how many deliveries never came."""
    prepared = [updates.marked(1000 + number, count) for number in range(people)]
    sent: dict[bytes, float] = {}
    to_peer: list[float] = []
    to_ack: list[float] = []
    warm_until = time.perf_counter() + 1.0
    wires = [await Wire.join(HOST, node.port, "bench-room") for _ in range(people)]
    deliveries = 0

    def hear(own: bytes) -> Callable[[bytes, float], None]:
        def heard(update: bytes, moment: float) -> None:
            nonlocal deliveries
            for marker in MARKER.findall(update):
                if not marker.startswith(own):
                    deliveries += 1
                    if sent[marker] > warm_until:
                        to_peer.append(moment - sent[marker])

        return heard

    async def write(wire: Wire, own: tuple[list[bytes], list[bytes]], offset: float) -> None:
        await asyncio.sleep(offset)
        began = time.perf_counter()
        for number, (update, marker) in enumerate(zip(*own, strict=True)):
            frames = wire.update(update, number if acks else None)
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            sent[marker] = time.perf_counter()
            wire.write(frames)

    for number, wire in enumerate(wires):
        wire.on_update = hear(b"m%d-" % (1000 + number))
    await asyncio.gather(
        *(
            write(wire, own, number / people / rate)
            for number, (wire, own) in enumerate(zip(wires, prepared, strict=True))
        )
    )
    expected = people * count * (people - 1)

    def complete() -> bool:
        return deliveries >= expected and not (acks and any(len(wire.acks) < count for wire in wires))

    with contextlib.suppress(AssertionError):  # what is lost is counted
        await until(complete, "every delivery", within=5)
    for wire, (_, markers) in zip(wires, prepared, strict=True):
        to_ack += [
            moment - sent[markers[number]]
            for number, (answer, moment) in wire.acks.items()
            if answer["ok"] and sent[markers[number]] > warm_until
        ]
        wire.close()
    return to_peer, to_ack, max(0, expected - deliveries)


async def upload(node: Node, room: str, prepared: list[bytes]) -> None:
    """Write many updates through one connection, at most `WINDOW` unanswered."""
    wire = await Wire.join(HOST, node.port, room)
    for start in range(0, len(prepared), WINDOW):
        some = prepared[start : start + WINDOW]
        wire.write(b"".join(wire.update(update, start + number) for number, update in enumerate(some)))
        await wire.answer(start + len(some) - 1, within=60)
    wire.close()


async def cold_open(rounds: int, layers: int = 2000, edits: int = 20_000) -> AsyncIterator[Figure]:
    """From the TCP connection to a document with all its layers, after a restart; then once more, warm."""
    say(f"cold open: preparing {edits} edits of {layers} layers")
    prepared = updates.design(layers, edits)
    async with a_node() as node:
        fsync = await fsync_of(node)
        await upload(node, "large", prepared)
        note = f"{layers} layers, {edits} edits"
        cold, warm = (Figure(name, "ms", OURS, fsync, note=note) for name in ("cold open", "warm open"))
        for turn in range(rounds):
            say(f"cold open: round {turn + 1} of {rounds}")
            await node.restart()
            for figure in (cold, warm):
                doc: pycrdt.Doc[pycrdt.Map[object]] = pycrdt.Doc()
                async with Generator() as generator:
                    began = time.perf_counter()
                    wire = await Wire.join(HOST, node.port, "large")
                    rows: list[bytes] = []
                    wire.on_update = lambda update, moment, rows=rows: rows.append(update)  # type: ignore[misc]
                    state = wire.joined.result()
                    # The rows after the state are in the same write; an empty edit's ack comes after them.
                    await wire.acked(b"\x00\x00")
                    took = (time.perf_counter() - began) * 1000
                figure.add(took, generator_bound=generator.bound(took))
                doc.apply_update(state)
                for row in rows:
                    doc.apply_update(row)
                layer_map: pycrdt.Map[object] = doc.get("el", type=pycrdt.Map)
                found = len(layer_map)
                if found != layers:
                    raise RuntimeError(f"opened a design with {found} layers instead of {layers}")
                wire.close()
    yield cold
    yield warm


async def render(rounds: int, layers: int = 50, width: int = 1200) -> AsyncIterator[Figure]:
    """From the request to the last byte of a PNG that nobody has asked for before."""
    async with a_node() as node, aiohttp.ClientSession() as session:
        fsync = await fsync_of(node)
        body = {"title": "Bench", "product": "tshirt", "id": "picture"}
        async with session.post(f"{node.url}/api/v1/designs", json=body) as response:
            response.raise_for_status()
        recorded = updates.poster(layers)
        await upload(node, "picture", recorded.updates)
        figure = Figure(
            f"render of {layers} layers, {width} px", "ms", OURS, fsync, note="nothing cached, PNG over HTTP"
        )
        again = Figure("the same render, cached", "ms", OURS, fsync)
        address = f"{node.url}/api/v1/designs/picture/render?view=front&format=png&width={width}"
        for turn in range(rounds):
            say(f"render: round {turn + 1} of {rounds}")
            recorded.updates.clear()
            recorded.el["layer-001"]["xf"] = [float(turn), 10.0, 60.0, 60.0, 0, 0, 0, 0]
            await upload(node, "picture", recorded.updates)
            for one in (figure, again):
                async with Generator() as generator:
                    began = time.perf_counter()
                    async with session.get(address) as response:
                        picture = await response.read()
                    took = (time.perf_counter() - began) * 1000
                one.add(took, generator_bound=generator.bound(took))
                if response.status != 200 or not picture.startswith(b"\x89PNG"):
                    raise RuntimeError(f"{response.status}: {picture[:200]!r}")
    yield figure
    yield again


async def memory(rounds: int, connections: int = 500, rooms: int = 500) -> AsyncIterator[Figure]:
    """What an idle connection and an open room cost in the server's memory (proportional set size, workers too)."""
    each = Figure("memory per idle connection", "KB", OURS, "", note=f"{connections} in one room")
    room_cost = Figure("memory per open room", "KB", OURS, "", note=f"{rooms} with one connection, which is taken off")
    for turn in range(rounds):
        say(f"memory: round {turn + 1} of {rounds}")
        async with a_node() as node:
            each.fsync = room_cost.fsync = await fsync_of(node)
            update = updates.marked(5, 1)[0][0]
            first = await Wire.join(HOST, node.port, "idle-0")
            await first.acked(update)
            empty = await _settled(node)
            wires = [first, *[await Wire.join(HOST, node.port, "idle-0") for _ in range(connections)]]
            with_connections = await _settled(node)
            per_connection = (with_connections - empty) / connections
            for number in range(rooms):
                wire = await Wire.join(HOST, node.port, f"room-{number}")
                await wire.acked(update)
                wires.append(wire)
            with_rooms = await _settled(node)
            each.add(per_connection / 1024)
            room_cost.add(((with_rooms - with_connections) / rooms - per_connection) / 1024)
            for wire in wires:
                wire.close()
    yield each
    yield room_cost


async def _settled(node: Node) -> int:
    """The memory of the node and all below it, once it does not grow any more."""
    last = 0

    def steady() -> bool:
        nonlocal last
        before, last = last, resident_bytes([node.pid, *children(node.pid)])
        return abs(last - before) < 256 * 1024

    await until(steady, "memory that does not change", within=20, every=0.5)
    return last
