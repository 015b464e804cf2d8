"""Rooms against clients that leave, lie or pile up: what waits is bounded, and what is closed takes nobody in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from realtime.bus import LocalBus
from rooms.errors import RoomError
from rooms.inbox import Submission
from rooms.inspection import cut, inspect
from rooms.metrics import Metrics
from rooms.permissions import ALLOWED, Grant, Role, User
from rooms.ports import Announced, Relayed, Said
from rooms.registry import RoomRegistry
from rooms.room import Room, RoomLimits
from rooms.workers import Workers
from storage.database import open_database
from storage.keyframes import Keyframes
from storage.keys import BrandId, DesignId, DocumentKey, Position, UserId
from storage.migration import migrate
from storage.update_log import UpdateLog

KEY = DocumentKey(BrandId("acme"), DesignId("spring"))
GAP = bytes.fromhex("0101c8010004006400016100")
"""Client 200 builds on client 100, of whom nobody knows."""


class Listener:
    """A peer that keeps what it was told."""

    def __init__(self, name: str) -> None:
        user = User(UserId(name), name.title(), KEY.brand, Role.EDITOR)
        self.id = name
        self.grant = Grant(user, user.role, ALLOWED[user.role])
        self.rows: list[bytes] = []
        self.asked: list[int] = []
        self.told: list[str] = []

    def send_updates(self, relayed: Relayed) -> None:
        self.rows += relayed.updates

    def send_presence(self, announced: Announced) -> None: ...

    def send_said(self, said: Said) -> None: ...

    def ask(self, question: int, state_vector: bytes) -> None:
        self.asked.append(question)

    def warn(self, code: str, message: str, elements: Sequence[str]) -> None:
        self.told.append(code)

    def refuse(self, code: str, message: str) -> None:
        self.told.append(code)

    def rejoin(self, code: str, message: str) -> None:
        self.told.append(code)


@pytest.fixture
async def rooms(tmp_path: Path) -> AsyncIterator[RoomRegistry]:
    async with AsyncExitStack() as stack:
        url = f"sqlite+aiosqlite:///{tmp_path / 'luneo.sqlite3'}"
        await migrate(url)
        database = await stack.enter_async_context(open_database(url))
        yield await stack.enter_async_context(
            RoomRegistry(
                update_log=await stack.enter_async_context(UpdateLog(database)),
                keyframes=Keyframes(database),
                workers=await stack.enter_async_context(Workers(count=1)),
                bus=await stack.enter_async_context(LocalBus()),
                metrics=Metrics(),
                room_limits=RoomLimits(parked_bytes=1000),
            )
        )


async def submit(room: Room, peer: Listener, update: bytes) -> asyncio.Future[Position | RoomError]:
    answer: asyncio.Future[Position | RoomError] = asyncio.get_running_loop().create_future()
    settle: Callable[[Position | RoomError], None] = answer.set_result
    room.submit(Submission(peer, update, settle))
    return answer


def text(client: int, clock: int, content: bytes) -> bytes:
    """One string of *client* in the root `t`; under 128 in every number."""
    return bytes([1, 1, client, clock, 4, 1, 1, ord("t"), len(content)]) + content + b"\x00"


async def test_updates_that_wait_for_an_answer_are_bounded_in_bytes(rooms: RoomRegistry) -> None:
    """What is read of an update may be many times as large as the update."""
    room = await rooms.open(KEY)
    eve, ada = Listener("eve"), Listener("ada")
    room.attach(eve)
    room.attach(ada)
    large = GAP[:-3] + bytes([100]) + b"x" * 100 + b"\x00"
    answers = [await submit(room, eve, large) for _ in range(20)]
    async with asyncio.timeout(5):
        refused = await answers[-1]
    assert isinstance(refused, RoomError)
    assert (refused.code, refused.retryable) == ("overloaded", True)
    room.detach(eve.id)
    async with asyncio.timeout(5):
        assert all([isinstance(await answer, RoomError) for answer in answers])
        first = await submit(room, ada, large)
        while not ada.asked:  # there is room again for who comes next
            await asyncio.sleep(0.01)
    assert not first.done()


async def test_a_closed_room_sends_away_who_comes_in_too_late(rooms: RoomRegistry) -> None:
    """Rule D7: it would hear nothing, and not know it."""
    room = await rooms.open(KEY)
    await room.close()
    late = Listener("late")
    room.attach(late)
    assert late.told == ["unavailable"]
    assert late.id not in room.peers


async def test_what_is_known_already_is_cut_off_before_it_is_logged_and_relayed(rooms: RoomRegistry) -> None:
    """Rule I9."""
    room = await rooms.open(KEY)
    ada, eve = Listener("ada"), Listener("eve")
    room.attach(ada)
    assert await (await submit(room, ada, text(5, 0, b"ab"))) == 1
    forged = text(5, 0, b"XYc")
    assert await (await submit(room, eve, forged)) == 2
    assert ada.rows == [cut(forged, {5: 2})]
    assert inspect(ada.rows[0]).structs == {5: ((2, 3),)}
