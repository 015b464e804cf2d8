"""Other nodes that die: whatever was heard of their people, and whenever, they go (rule P8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from realtime.bus import LocalBus
from rooms import replication
from rooms.metrics import Metrics
from rooms.registry import RoomRegistry
from rooms.room import Room
from rooms.workers import Workers
from storage.database import Database, open_database
from storage.keyframes import Keyframe, Keyframes
from storage.keys import DocumentKey
from storage.migration import migrate
from storage.update_log import UpdateLog
from tests.harness.processes import until
from tests.rooms.test_attack_rooms import KEY
from tests.rooms.test_presence import entries, frame

NODE = b"node-two"
SILENT_SECONDS = 0.3


class SlowKeyframes(Keyframes):
    """A database that answers when it is told to."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def newest(self, key: DocumentKey) -> Keyframe | None:
        self.asked.set()
        await self.may_answer.wait()
        return await super().newest(key)


class Node:
    """A node, and what it hears of another one over the bus."""

    def __init__(self, rooms: RoomRegistry, bus: LocalBus, keyframes: SlowKeyframes) -> None:
        self.rooms, self.keyframes, self._bus = rooms, keyframes, bus

    def hear_alive(self) -> None:
        self._bus.publish(replication.NODES_CHANNEL, replication.encode_alive(NODE))

    def hear_people(self, clock: int) -> None:
        self._bus.publish(replication.channel(KEY), replication.encode_presence(NODE, frame((7, clock, {}))))


@pytest.fixture
async def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    monkeypatch.setattr("rooms.registry.HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("rooms.registry.SILENT_SECONDS", SILENT_SECONDS)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        url = f"sqlite+aiosqlite:///{tmp_path / 'luneo.sqlite3'}"
        await migrate(url)
        database = await enter(open_database(url))
        bus, keyframes = await enter(LocalBus()), SlowKeyframes(database)
        rooms = RoomRegistry(
            update_log=await enter(UpdateLog(database)),
            keyframes=keyframes,
            workers=await enter(Workers(count=1)),
            bus=bus,
            metrics=Metrics(),
        )
        yield Node(await enter(rooms), bus, keyframes)


def people(room: Room) -> set[int]:
    return set(entries(room.presence.states()))


async def test_a_node_that_died_before_its_first_heartbeat_was_heard(node: Node) -> None:
    room = await node.rooms.open(KEY)
    node.hear_people(1)
    await until(lambda: people(room) == {7}, "seen")
    await until(lambda: not people(room), "gone")


async def test_a_word_that_comes_after_the_silence_was_noticed(node: Node) -> None:
    """It was on its way longer than that, in Redis or in a socket; it may also be the node itself, which was stuck."""
    room = await node.rooms.open(KEY)
    node.hear_alive()
    node.hear_people(1)
    await until(lambda: people(room) == {7}, "seen")
    await until(lambda: not people(room), "gone")
    for clock in (1, 2):
        node.hear_people(clock)
        await until(lambda: people(room) == {7}, "seen")
    await until(lambda: not people(room), "gone")


async def test_a_node_whose_silence_is_noticed_while_the_room_is_opened(node: Node) -> None:
    node.keyframes.may_answer.clear()
    opening = asyncio.create_task(node.rooms.open(KEY))
    await node.keyframes.asked.wait()
    node.hear_alive()
    node.hear_people(1)
    await asyncio.sleep(SILENT_SECONDS * 2)  # the silence itself
    node.keyframes.may_answer.set()
    room = await opening
    await until(lambda: not people(room), "gone")


async def test_who_goes_on_talking_stays(node: Node) -> None:
    """Its heartbeats alone were lost."""
    room = await node.rooms.open(KEY)
    for clock in range(1, 12):
        node.hear_people(clock)
        await asyncio.sleep(SILENT_SECONDS / 4)
        assert people(room) == {7}


async def test_who_is_not_told_of_any_more_goes_though_the_node_lives(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule B1: the word that somebody left was lost on the bus."""
    monkeypatch.setattr("rooms.registry.SWEEP_SECONDS", 0.05)
    monkeypatch.setattr("rooms.presence.UNHEARD_SECONDS", 0.5)
    room = await node.rooms.open(KEY)
    node.hear_people(1)
    await until(lambda: people(room) == {7}, "seen")
    for _ in range(40):
        if not people(room):
            break
        node.hear_alive()
        await asyncio.sleep(0.1)
    assert not people(room)
