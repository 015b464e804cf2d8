"""What `realtime/protocols/socketio_wire.py` assumes of python-socketio, and what it does in Engine.IO's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from realtime.protocols.connection import SocketLimits
from tests.harness.live_server import Server, live_server
from tests.harness.raw_socket import raw_socket

ROOM = "/yjs|spring"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    limits = SocketLimits(ping_interval_seconds=0.2, ping_timeout_seconds=0.4)
    async with live_server(tmp_path, limits) as server:
        yield server


async def test_pings_go_on_while_only_document_frames_are_sent(server: Server) -> None:
    """Engine.IO's clients leave when no ping came for interval + timeout."""
    async with raw_socket(server.url) as ada:
        await ada.connect(ROOM, {"token": "editor"})
        loop = asyncio.get_running_loop()
        until = loop.time() + 1.5
        number = 0
        while loop.time() < until:
            number += 1
            await ada.emit(ROOM, "sync-step-1", b"\x00", number=number)
            await ada.acknowledged(number)
        assert not ada.ws.closed


async def test_a_client_that_answers_no_ping_is_ended_and_freed(server: Server) -> None:
    """Within ping interval and timeout; its place in the room goes with it."""
    async with raw_socket(server.url) as ada:
        await ada.connect(ROOM, {"token": "editor"})
        await ada.next()
        async with asyncio.timeout(5):
            while not server.live.connections:
                await asyncio.sleep(0.01)
            while server.live.connections:  # nobody reads, so no pong is sent
                await asyncio.sleep(0.02)
        assert not [peer for room in server.rooms.rooms for peer in room.peers]


async def test_the_environ_of_a_stock_namespace_leads_to_the_connection_below(server: Server) -> None:
    seen: list[Any] = []

    async def connect(sid: str, environ: dict[str, Any], auth: object) -> None:
        seen.append(server.live.connection_of(environ))

    server.live.on("connect", connect, namespace="/chat")
    async with raw_socket(server.url) as ada:
        await ada.connect("/chat", {"token": "editor"})
        assert (await ada.next()).kind == 0
        assert seen == list(server.live.connections)


async def test_compression_is_not_negotiated_though_offered(server: Server) -> None:
    """It costs four times the memory of a connection."""
    async with aiohttp.ClientSession() as session:
        url = server.url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        async with session.ws_connect(url, compress=15) as ws:
            assert ws.compress == 0


async def test_an_aborted_transport_frees_everything(server: Server) -> None:
    """No task, no connection and no peer stays behind."""
    tasks = len(asyncio.all_tasks())
    async with raw_socket(server.url) as ada:
        await ada.connect(ROOM, {"token": "editor"})
        await ada.next()
        next(iter(server.live.connections)).outbox.abort()
        await ada.ended()
    async with asyncio.timeout(5):
        while server.live.connections or server.live.eio.connections:
            await asyncio.sleep(0.01)
        while len(asyncio.all_tasks()) > tasks + 3:
            await asyncio.sleep(0.01)


async def test_events_of_one_connection_are_handled_one_after_another(server: Server) -> None:
    """With the stock default, two events of a client may finish in the other order."""
    order: list[int] = []

    async def count(sid: str, number: int) -> None:
        await asyncio.sleep(0.05 if number == 1 else 0)
        order.append(number)

    server.live.on("count", count, namespace="/chat")
    server.live.on("connect", lambda sid, environ, auth: None, namespace="/chat")
    async with raw_socket(server.url) as ada:
        await ada.connect("/chat", {"token": "editor"})
        await ada.next()
        await ada.ws.send_str('42/chat,["count",1]')
        await ada.ws.send_str('42/chat,7["count",2]')
        await ada.acknowledged(7)
        assert order == [1, 2]
