"""Many who join the same design at once: what one of them costs, the others do not cost again (RULE S11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pycrdt
import pytest

from realtime.protocols.connection import SocketLimits
from rooms.inspection import decode_state_vector, encode_state_vector
from tests.harness.live_server import Server, live_server
from tests.harness.processes import until
from tests.harness.raw_socket import RawSocket, raw_socket
from tests.harness.writer import Writer
from tests.realtime.test_document_sockets import KEY, ROOM, join

CROWD = 12


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with live_server(tmp_path, SocketLimits()) as server:
        yield server


async def folded(server: Server, ada: RawSocket) -> Writer:
    """A room whose keyframe is 100 KB and more; returns who wrote it."""
    await join(ada)
    writer = Writer()
    for index in range(21):
        await ada.emit(ROOM, "sync-update", writer.set(f"k{index}", f"{index} " * 2500), number=index)
        assert (await ada.acknowledged(index))[0]["ok"]
    room = await server.rooms.open(KEY)
    # Nothing else is to ask the worker while requests are counted.
    await until(lambda: room.history.prefix.position >= 20 and room.audited == room.head, "a keyframe and an audit")
    return writer


async def test_what_many_lack_is_cut_once(server: Server) -> None:
    """RULE S11: one request to a worker, however many ask and however they spell what they have."""
    async with AsyncExitStack() as stack:
        ada = await stack.enter_async_context(raw_socket(server.url))
        writer = await folded(server, ada)
        sockets = [await stack.enter_async_context(raw_socket(server.url)) for _ in range(CROWD)]
        for socket in sockets:
            await join(socket)
        [(client, clock)] = decode_state_vector(writer.doc.get_state()).items()
        requests = server.workers.counts.requests
        for number, socket in enumerate(sockets):  # half of what there is, and edits of their own that nobody knows
            vector = encode_state_vector({client: clock // 2, 1000 + number: 7})
            await socket.emit(ROOM, "sync-step-1", vector, number=1)
        answers = [await socket.acknowledged(1) for socket in sockets]
        for update, place in answers:
            assert place["position"] >= 20
            doc: pycrdt.Doc[Any] = pycrdt.Doc()
            doc.apply_update(update)
            assert len(update) < 100_000, "the whole state was sent"
        assert server.workers.counts.requests - requests == 1
        # and again, as a client does that asks every few seconds
        for number in range(2, 20):
            await ada.emit(ROOM, "sync-step-1", encode_state_vector({client: clock // 2}), number=number)
            assert (await ada.acknowledged(number))[0] == answers[0][0]
        assert server.workers.counts.requests - requests == 1


async def test_who_asks_for_ever_other_differences_leaves_workers_to_the_others(server: Server) -> None:
    """RULE S11: a small number of different ones is under way in a room; the rest waits for its turn."""
    async with AsyncExitStack() as stack:
        ada = await stack.enter_async_context(raw_socket(server.url))
        writer = await folded(server, ada)
        sockets = [await stack.enter_async_context(raw_socket(server.url)) for _ in range(CROWD)]
        for socket in sockets:
            await join(socket)
        [(client, clock)] = decode_state_vector(writer.doc.get_state()).items()
        longest = 0

        def look() -> bool:
            nonlocal longest
            longest = max(longest, server.workers.queue_depth + server.workers.running)
            return False

        async def watch() -> None:
            while not look():
                await asyncio.sleep(0)

        watching = asyncio.ensure_future(watch())
        for number, socket in enumerate(sockets):
            await socket.emit(ROOM, "sync-step-1", encode_state_vector({client: clock - 1 - number}), number=1)
        for socket in sockets:
            assert (await socket.acknowledged(1))[1]["position"] >= 20
        watching.cancel()
        assert 1 <= longest <= 2


async def test_a_state_vector_that_is_none_ends_its_sender_whatever_its_size(server: Server) -> None:
    """RULES S6, S11: small ones are read on the loop, large ones by a worker; a large honest one is answered."""
    async with raw_socket(server.url) as ada:
        await folded(server, ada)
        many = encode_state_vector(dict.fromkeys(range(1, 20000), 1))
        async with raw_socket(server.url) as ben:
            await join(ben)
            await ben.emit(ROOM, "sync-step-1", many, number=1)
            assert len((await ben.acknowledged(1))[0]) > 100_000
        for vector in (b"\x05\x01", many + b"\x00"):
            async with raw_socket(server.url) as eve:
                await join(eve)
                await eve.emit(ROOM, "sync-step-1", vector, number=1)
                assert (await eve.until("refused")).data[1]["code"] == "malformed_update"
