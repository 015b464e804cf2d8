"""Hostile clients of a document: each costs itself, and nobody beside it notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from realtime.outbox import OutboxLimits
from realtime.pace import BYTE_SECONDS, FRAME_SECONDS, Pace
from realtime.protocols.connection import SocketLimits
from realtime.protocols.socketio_wire import MAX_STOCK_CONNECTS
from storage.keys import Position
from tests.harness.live_server import Server, live_server
from tests.harness.raw_socket import RawSocket, raw_socket
from tests.harness.writer import Writer
from tests.realtime.test_document_sockets import EMPTY, KEY, ROOM, join, sync

TEXT = bytes.fromhex("0101640004010174016100")
"""Client 100 writes "a" into the root `t`: a string, which is nobody's parent."""
CHILD_OF_TEXT = bytes.fromhex("0101c8010004006400016100")
"""Client 200 hangs "a" on client 100's string: a gap while that is unknown, and a wrong parent once it is there."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with live_server(tmp_path, SocketLimits(max_documents=3)) as server:
        yield server


async def test_an_answer_that_makes_a_waiting_update_impossible_ends_its_sender_and_not_the_room(
    server: Server,
) -> None:
    """Rules D6, D7, I4."""
    async with raw_socket(server.url) as ada, raw_socket(server.url) as eve:
        await join(ada)
        await join(eve)
        room = await server.rooms.open(KEY)
        await eve.emit(ROOM, "sync-update", CHILD_OF_TEXT, number=1)
        question = await eve.until("sync-step-1")
        assert question.number is not None
        await eve.acknowledge(ROOM, question.number, TEXT)
        [answer] = await eve.acknowledged(1)
        assert (answer["ok"], answer["code"]) == (False, "wrong_parent")
        await ada.emit(ROOM, "sync-update", Writer().set("a", "one"), number=1)
        assert (await ada.acknowledged(1))[0]["ok"]
        assert await server.rooms.open(KEY) is room


async def test_a_state_asked_for_while_old_rows_are_on_their_way_mixes_no_positions(server: Server) -> None:
    """Rules S1, S4, S5: what is sent under a position is that position's row, in whatever order a client asks."""
    async with raw_socket(server.url) as ada, raw_socket(server.url) as ben:
        await join(ada)
        mine = Writer()
        await sync(ada, mine)
        for index in range(45):
            await ada.emit(ROOM, "sync-update", mine.set(f"k{index}", "v"), number=index + 1)
            await ada.acknowledged(index + 1)
        room = await server.rooms.open(KEY)
        async with asyncio.timeout(10):
            while room.history.prefix.position < 2:
                await asyncio.sleep(0.01)
        await join(ben)
        async with AsyncExitStack() as held:
            for _ in range(4):  # every connection for reads: the log cannot be asked now
                await held.enter_async_context(server.log._database.reading())
            await ben.emit(ROOM, "sync-step-1", EMPTY[:1], {"epoch": 1, "position": 1}, number=1)
            await ben.acknowledged(1)
            await ben.emit(ROOM, "sync-step-1", EMPTY[:1], number=2)
            await ben.acknowledged(2)
        rows = {row.position: row.update for row in await server.log.read(KEY, Position(0))}
        await ada.emit(ROOM, "sync-update", mine.set("last", "v"), number=99)
        await ada.acknowledged(99)
        rows = {row.position: row.update for row in await server.log.read(KEY, Position(0))}
        while True:
            event = await ben.until("sync-update")
            assert event.data[1] == rows[event.data[2]["from"]]
            if event.data[2]["from"] == 46:
                break


async def fill(server: Server, socket: RawSocket) -> Any:
    """Make the room's state large, and ask for it without reading until it waits in the server's memory."""
    writer = Writer()
    for index in range(10):
        await socket.emit(ROOM, "sync-update", writer.set(f"k{index}", "x" * 90_000), number=index)
        await socket.acknowledged(index)
    [connection] = server.live.connections
    for number in range(100, 200):
        await socket.emit(ROOM, "sync-step-1", EMPTY[:1], number=number)
        await asyncio.sleep(0.01)
        if connection.outbox.congested:
            return connection
    raise AssertionError("the server never waited for the reader")


async def test_who_asks_for_much_and_reads_nothing_is_cut_though_nobody_edits(server: Server) -> None:
    """Rule O3; pongs that were never asked for do not help."""
    server.live.sockets.outbox_limits = OutboxLimits(stall_seconds=0.3)
    async with raw_socket(server.url) as eve:
        await join(eve)
        connection = await fill(server, eve)
        await eve.ws.send_str("3")
        async with asyncio.timeout(10):
            while server.live.connections:
                await asyncio.sleep(0.02)
        assert connection.outbox.closing
        room = await server.rooms.open(KEY)
        assert not len(room.peers)


async def test_who_is_sent_away_and_does_not_read_is_gone_all_the_same(server: Server) -> None:
    """Rules O3, P9: a transport that is closed over unread bytes ends when nobody reads them."""
    server.live.sockets.outbox_limits = OutboxLimits(stall_seconds=0.3)
    async with raw_socket(server.url) as eve:
        await join(eve)
        connection = await fill(server, eve)
        connection.outbox.close()
        async with asyncio.timeout(10):
            while server.live.connections:
                await asyncio.sleep(0.02)
        assert not len((await server.rooms.open(KEY)).peers)


@pytest.mark.parametrize("packets", [["40/nowhere,"], ["40/chat,", "41/chat,"]])
async def test_who_asks_for_namespaces_without_end_is_cut(server: Server, packets: list[str]) -> None:
    """python-engineio queues its answers without a bound for somebody who does not read them."""
    async with raw_socket(server.url) as eve:
        await join(eve)
        for _ in range(MAX_STOCK_CONNECTS + 1):
            for packet in packets:
                await eve.ws.send_str(packet)
        await eve.ended(3)


async def test_what_waits_for_the_answer_of_somebody_who_has_gone_does_not_wait(server: Server) -> None:
    """Rule D6: a question to nobody would keep what waits for as long as the room is open."""
    async with raw_socket(server.url) as ada:
        await join(ada)
        room = await server.rooms.open(KEY)
        async with raw_socket(server.url) as eve:
            await join(eve)
            async with server.log._database.transaction():  # nothing is committed now, so that the room falls behind
                await eve.emit(ROOM, "sync-update", Writer().set("a", "one"))
                await eve.emit(ROOM, "sync-update", CHILD_OF_TEXT)
                await eve.ws.close()
                async with asyncio.timeout(5):
                    while len(server.live.connections) > 1:
                        await asyncio.sleep(0.01)
        for number in (1, 2):  # the second is looked at after all that eve had sent, and its end
            await ada.emit(ROOM, "sync-update", Writer().set("b", "two"), number=number)
            assert (await ada.acknowledged(number))[0]["ok"]
        assert not room._questions


@pytest.mark.parametrize("packet", ["5", "2probe", "6", "9", ""])
async def test_engine_packets_that_are_no_business_of_a_client_end_the_connection(server: Server, packet: str) -> None:
    """Each UPGRADE would be answered from a queue without a bound."""
    async with raw_socket(server.url) as eve:
        await join(eve)
        await eve.ws.send_str(packet)
        await eve.ended(3)


def test_a_connection_is_read_at_its_share_of_the_loop_once_its_burst_is_used() -> None:
    """Rule S9."""
    now = 0.0
    pace = Pace(burst_seconds=1.0, share=0.25, clock=lambda: now)
    frame = round((0.5 - FRAME_SECONDS) / BYTE_SECONDS)  # costs half a second of the loop
    pace.count(frame)
    pace.count(frame)
    assert pace.pause_seconds() == pytest.approx(0, abs=1e-3)
    pace.count(frame)
    assert pace.pause_seconds() == pytest.approx(2.0, abs=1e-3)  # half a second at a quarter of the loop
    now = 2.0
    assert pace.pause_seconds() == pytest.approx(0, abs=1e-3)
    now = 1000.0
    pace.count(frame)
    pace.count(frame)
    assert pace.pause_seconds() == pytest.approx(0, abs=1e-3)  # a long rest brings one burst, not more


async def test_who_floods_is_read_later_than_its_neighbours_and_loses_nothing(tmp_path: Path) -> None:
    """Rules D7, S9: a flood costs its sender time, in its room and beside it."""
    async with (
        live_server(tmp_path, SocketLimits(burst_seconds=0.01, share=0.05)) as server,
        raw_socket(server.url) as eve,
    ):
        await join(eve)
        for _ in range(1500):
            await eve.emit(ROOM, "sync-update", EMPTY)
        await eve.emit(ROOM, "sync-update", Writer().set("eve", "one"), number=1)
        flood = asyncio.ensure_future(eve.acknowledged(1))
        for room in (ROOM, "/yjs|autumn"):
            async with raw_socket(server.url) as ada:
                await join(ada, room=room)
                mine = Writer()
                for number in range(3):
                    await ada.emit(room, "sync-update", mine.set("a", str(number)), number=number)
                    assert (await ada.acknowledged(number))[0]["ok"]
                assert not flood.done()
        assert (await flood)[0]["ok"]
