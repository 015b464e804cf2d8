"""A soak: one busy room for a quarter of an hour, at about half of what it can bear; nothing may creep.

Fifty are in the room and half of them write. Two more measure: one edits and times its acknowledgement and what the
other sees of it. In `make test` for some seconds, in `make prove` for fifteen minutes, with a table and bounds.
"""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pycrdt
import pytest

from tests.harness.budget import FULL, budget, write_table
from tests.harness.node import Node
from tests.harness.processes import children, until
from tests.harness.wire import TEXT, Wire, frame

ROOM = "soak"
PEOPLE = budget(12, 48)
WRITERS = PEOPLE // 2
UPDATES_PER_SECOND = budget(100, 2000)
"""Of all writers together; in full about half of what a room of fifty bears (docs/performance.md, soak50)."""
SECONDS = budget(4, 900)
SAMPLE_SECONDS = budget(1, 30)
PROBE_SECONDS = 0.1
WARM_SHARE = 0.2
"""The beginning, which is left out of the slopes: caches fill, the first keyframes are made."""
PAGE = resource.getpagesize()
PING, PONG = b"\x81\x012", frame(TEXT, "3")


class Sink(asyncio.Protocol):
    """Stays in the room and looks at nothing but the bytes: reading fifty times the same is the generator's cost."""

    def __init__(self, wire: Wire) -> None:
        self.received = 0
        self.ended = False
        self.transport = wire.transport
        self.transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if PING in data:
            self.transport.write(PONG)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True


class Writer:
    """Moves one layer, again and again."""

    def __init__(self, number: int) -> None:
        self.doc: pycrdt.Doc[pycrdt.Map[list[float]]] = pycrdt.Doc()
        self.elements: pycrdt.Map[list[float]] = self.doc.get("el", type=pycrdt.Map)
        self.key = f"layer-{number}"
        self.count = 0

    def move(self) -> bytes:
        before = self.doc.get_state()
        self.count += 1
        self.elements[self.key] = [float(self.count % 1920), float(self.count % 1080)]
        return self.doc.get_update(before)


@dataclass(frozen=True)
class Sample:
    """What an interval showed; times in milliseconds, memory in megabytes."""

    at: float
    updates: int
    ack_p50: float
    ack_p99: float
    seen_p50: float
    seen_p99: float
    memory: float


def memory_mb(node: Node) -> float:
    """Resident memory of the node and its workers."""
    pages = 0
    for pid in (node.pid, *children(node.pid)):
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except FileNotFoundError:
            continue  # a worker that was replaced
    return pages * PAGE / 1e6


def quantile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def slope(samples: list[Sample], value: str) -> float:
    """Per minute, by least squares over all but the beginning."""
    late = samples[int(len(samples) * WARM_SHARE) :]
    line = statistics.linear_regression([one.at / 60 for one in late], [getattr(one, value) for one in late])
    return line.slope


@pytest.mark.prove
async def test_a_busy_room_stays_as_fast_and_as_small_as_it_was(node: Node) -> None:
    """Promise 1, rules D2, S10, O1: after a quarter of an hour an edit takes as long as at the beginning."""
    sinks = [Sink(await Wire.join("127.0.0.1", node.port, ROOM)) for _ in range(PEOPLE)]
    editor, reader = [await Wire.join("127.0.0.1", node.port, ROOM) for _ in range(2)]
    writers = [Writer(number) for number in range(WRITERS)]
    began_at: dict[bytes, float] = {}
    acks: list[float] = []
    seen: list[float] = []
    sent = asked = 0

    def see(update: bytes, moment: float) -> None:
        if (at := began_at.pop(update, None)) is not None:
            seen.append(moment - at)

    reader.on_update = see
    finish = time.perf_counter() + SECONDS

    async def write() -> None:
        """All writers in turn, as many as are due by the clock; who is late makes up for it."""
        nonlocal sent
        began = time.perf_counter()
        while (now := time.perf_counter()) < finish:
            due = int((now - began) * UPDATES_PER_SECOND)
            while sent < due:
                number = sent % WRITERS
                sinks[number].transport.write(editor.update(writers[number].move()))
                sent += 1
            await asyncio.sleep(0.005)

    async def probe() -> None:
        nonlocal asked
        own = Writer(PEOPLE)
        while time.perf_counter() < finish:
            update = own.move()
            began = began_at[update] = time.perf_counter()
            answer = await editor.acked(update)
            assert answer["ok"] is True, answer
            acks.append(time.perf_counter() - began)
            asked += 1
            await asyncio.sleep(PROBE_SECONDS)

    samples: list[Sample] = []

    async def sample() -> None:
        began, before = time.perf_counter(), 0
        while time.perf_counter() < finish - SAMPLE_SECONDS / 2:
            await asyncio.sleep(SAMPLE_SECONDS)
            if acks and seen:
                samples.append(
                    Sample(
                        at=time.perf_counter() - began,
                        updates=sent - before,
                        ack_p50=quantile(acks, 0.5),
                        ack_p99=quantile(acks, 0.99),
                        seen_p50=quantile(seen, 0.5),
                        seen_p99=quantile(seen, 0.99),
                        memory=memory_mb(node),
                    )
                )
            before = sent
            acks.clear()
            seen.clear()
            editor.acks.clear()

    async with asyncio.TaskGroup() as group:
        for work in (write(), probe(), sample()):
            group.create_task(work)

    assert not any(sink.ended for sink in sinks), "somebody was cut"
    assert min(sink.received for sink in sinks) > 0
    await until(lambda: rows(node) == sent + asked, "every update in the log", 30)
    write_table(
        "soak",
        "Soak",
        f"{PEOPLE} in one room, {WRITERS} of them write {UPDATES_PER_SECOND} updates a second together, {SECONDS} s; "
        f"two more measure. {sent + asked} updates, all in the log. Slopes after the first fifth, a minute: "
        f"acknowledgement p50 {slope(samples, 'ack_p50'):+.3f} ms, edit to peer p50 {slope(samples, 'seen_p50'):+.3f} "
        f"ms, memory {slope(samples, 'memory'):+.2f} MB. Times in milliseconds, memory of node and workers in MB.",
        ("at, s", "updates", "ack p50", "ack p99", "edit to peer p50", "edit to peer p99", "memory"),
        [
            (f"{one.at:.0f}", one.updates, *(f"{value:.1f}" for value in _figures(one)), f"{one.memory:.0f}")
            for one in samples
        ],
    )
    if FULL:
        minutes = SECONDS / 60
        middle = statistics.median(one.ack_p50 for one in samples)
        assert slope(samples, "ack_p50") * minutes < max(1.0, middle / 2), "acknowledgements slow down"
        assert slope(samples, "memory") < 4.0, "memory grows"


def _figures(one: Sample) -> Iterator[float]:
    yield from (one.ack_p50, one.ack_p99, one.seen_p50, one.seen_p99)


def rows(node: Node) -> int:
    with closing(sqlite3.connect(f"file:{node.database}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM updates WHERE document = ?", (ROOM,)).fetchone()
    return int(count)
