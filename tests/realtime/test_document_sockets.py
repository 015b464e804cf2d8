"""The y-socket.io wire, frame by frame: one real server, real sockets, a real log, real workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pycrdt
import pytest

from realtime.protocols.connection import SocketLimits
from realtime.protocols.peer import DocumentPeer
from rooms.errors import RoomError
from rooms.permissions import ALLOWED, Grant, Role, User
from storage.keys import DesignId, DocumentKey, Position, UserId
from tests.harness.live_server import BRAND, Server, live_server
from tests.harness.processes import until
from tests.harness.raw_socket import RawSocket, raw_socket
from tests.harness.writer import Writer
from tests.rooms.test_presence import entries, frame

EMPTY = b"\x00\x00"
ROOM = "/yjs|spring"
KEY = DocumentKey(BRAND, DesignId("spring"))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with live_server(tmp_path, SocketLimits(join_seconds=0.5, max_documents=3)) as server:
        yield server


async def join(socket: RawSocket, role: str = "editor", room: str = ROOM) -> int:
    """Join and return the number of the server's question."""
    await socket.connect(room, {"token": role})
    connected = await socket.next()
    assert (connected.kind, connected.namespace) == (0, room), connected
    question = await socket.next()
    assert question.data[0] == "sync-step-1"
    assert question.number is not None
    return question.number


async def sync(socket: RawSocket, writer: Writer, *resume: object, number: int = 0) -> dict[str, int]:
    await socket.emit(ROOM, "sync-step-1", writer.doc.get_state(), *resume, number=number)
    update, place = await socket.acknowledged(number)
    writer.apply(update)
    return dict(place)


async def test_an_update_is_acknowledged_with_its_position_and_reaches_the_other_with_it(server: Server) -> None:
    """Rules S1 to S4, S7."""
    async with raw_socket(server.url) as ada, raw_socket(server.url) as ben:
        await join(ada)
        await join(ben)
        mine, theirs = Writer(), Writer()
        assert await sync(ada, mine) == {"epoch": 1, "position": 0}
        await sync(ben, theirs)
        await ada.emit(ROOM, "sync-update", mine.set("a", "one"), number=7)
        assert await ada.acknowledged(7) == [{"ok": True, "position": 1}]
        event = await ben.until("sync-update")
        assert event.data[2] == {"epoch": 1, "from": 1, "to": 1}
        theirs.apply(event.data[1])
        assert theirs.value == {"a": "one"}
        rows = await server.log.read(KEY, Position(0))
        assert [(row.position, row.user_id) for row in rows] == [(1, "user-editor")]


async def test_a_late_joiner_gets_everything_and_a_returning_one_only_the_rows_it_lacks(server: Server) -> None:
    """Rules S1, S5: rows after the position of the answer follow in the same write."""
    async with raw_socket(server.url) as ada:
        await join(ada)
        mine = Writer()
        await sync(ada, mine)
        for index in range(3):
            await ada.emit(ROOM, "sync-update", mine.set(f"k{index}", "v"), number=index + 1)
            await ada.acknowledged(index + 1)
        async with raw_socket(server.url) as ben:
            await join(ben)
            theirs = Writer()
            place = await sync(ben, theirs)
            for position in range(place["position"] + 1, 4):
                event = await ben.until("sync-update")
                assert event.data[2]["from"] == position
                theirs.apply(event.data[1])
            assert theirs.value == mine.value
        async with raw_socket(server.url) as ben:
            await join(ben)
            assert await sync(ben, Writer(), {"epoch": 1, "position": 2}) == {"epoch": 1, "position": 2}
            event = await ben.until("sync-update")
            assert event.data[2] == {"epoch": 1, "from": 3, "to": 3}
        async with raw_socket(server.url) as ben:
            await join(ben)
            # Beyond the head, or of another epoch: not recovered, the whole state is sent.
            assert (await sync(ben, Writer(), {"epoch": 1, "position": 9}))["position"] < 9
            assert (await sync(ben, Writer(), {"epoch": 2, "position": 1}, number=2))["epoch"] == 1


async def test_what_was_folded_into_a_keyframe_is_sent_as_one_update(server: Server) -> None:
    """Rules S1, D4."""
    async with raw_socket(server.url) as ada:
        await join(ada)
        mine = Writer()
        await sync(ada, mine)
        for index in range(45):
            await ada.emit(ROOM, "sync-update", mine.set(f"k{index}", "v"), number=index + 1)
        for index in range(45):
            assert (await ada.acknowledged(index + 1))[0]["position"] == index + 1
        room = await server.rooms.open(KEY)
        async with asyncio.timeout(10):
            while room.history.prefix.position == 0:
                await asyncio.sleep(0.02)
        async with raw_socket(server.url) as ben:
            await join(ben)
            theirs = Writer()
            place = await sync(ben, theirs)
            assert place["position"] == room.history.prefix.position >= 20
            for _ in range(place["position"], 45):
                theirs.apply((await ben.until("sync-update")).data[1])
            assert theirs.value == mine.value
        assert len(await server.log.read(KEY, Position(0))) == 45


async def test_what_is_known_is_acknowledged_and_not_logged_again(server: Server) -> None:
    """Rule D5, a viewer's too."""
    async with raw_socket(server.url) as ada, raw_socket(server.url) as ben:
        await join(ada)
        mine = Writer()
        await sync(ada, mine)
        update = mine.set("a", "one")
        for number in (1, 2):
            await ada.emit(ROOM, "sync-update", update, number=number)
            assert (await ada.acknowledged(number))[0] == {"ok": True, "position": 1}
        await join(ben, "viewer")
        await ben.emit(ROOM, "sync-update", mine.doc.get_update(), number=3)
        assert (await ben.acknowledged(3))[0] == {"ok": True, "position": 1}
        assert len(await server.log.read(KEY, Position(0))) == 1


async def test_a_viewers_edit_is_refused_with_a_code_and_the_connection_stays(server: Server) -> None:
    """Rules S3, S6: and nothing of it is logged or relayed."""
    async with raw_socket(server.url) as ada, raw_socket(server.url) as ben:
        await join(ada, "viewer")
        await join(ben)
        mine, theirs = Writer(), Writer()
        await sync(ada, mine)
        await sync(ben, theirs)
        await ada.emit(ROOM, "sync-update", mine.set("a", "one"), number=1)
        answer = (await ada.acknowledged(1))[0]
        assert (answer["ok"], answer["code"], answer["retryable"]) == (False, "not_permitted", False)
        assert (await ada.until("refused")).data[1]["code"] == "not_permitted"
        await ben.emit(ROOM, "sync-update", theirs.set("b", "two"))
        mine_now = Writer()
        mine_now.apply((await ada.until("sync-update")).data[1])
        assert mine_now.value == {"b": "two"}
        assert len(await server.log.read(KEY, Position(0))) == 1


async def test_a_gap_is_asked_for_once_and_what_comes_fills_it(server: Server) -> None:
    """Rule D6: two updates, the first of them lost on the way."""
    async with raw_socket(server.url) as ada:
        await join(ada)
        mine = Writer()
        await sync(ada, mine)
        mine.set("a", "lost on the way")
        await ada.emit(ROOM, "sync-update", mine.set("a", "builds on it"), number=5)
        question = await ada.until("sync-step-1")
        assert question.number is not None
        await ada.acknowledge(ROOM, question.number, mine.doc.get_update(question.data[1]))
        assert (await ada.acknowledged(5))[0]["ok"] is True
        reader = Writer()
        async with raw_socket(server.url) as ben:
            await join(ben)
            await sync(ben, reader)
            while reader.value != mine.value:
                reader.apply((await ben.until("sync-update")).data[1])


async def test_a_gap_that_its_sender_cannot_fill_ends_the_client_for_good(server: Server) -> None:
    """Rules D6, S6."""
    async with raw_socket(server.url) as ada:
        await join(ada)
        mine = Writer()
        await sync(ada, mine)
        mine.set("a", "lost")
        await ada.emit(ROOM, "sync-update", mine.set("a", "builds on it"), number=5)
        question = await ada.until("sync-step-1")
        assert question.number is not None
        await ada.acknowledge(ROOM, question.number, EMPTY)
        assert (await ada.acknowledged(5))[0]["code"] == "missing_history"
        assert (await ada.until("refused")).data[1]["code"] == "missing_history"
        assert (await ada.next()).kind == 1
        assert await server.log.read(KEY, Position(0)) == []


@pytest.mark.parametrize(
    ("update", "code"),
    [
        (bytes.fromhex("e5b7cc59c62a"), "malformed_update"),
        (b"\xff" * 40, "malformed_update"),
        (b"", "malformed_update"),
        (b"\x00\x00" + b"x" * 100_000, "limit_exceeded"),
    ],
)
async def test_garbage_costs_its_sender_and_not_a_neighbour(server: Server, update: bytes, code: str) -> None:
    """Rule S6: refused for good; the neighbour in the same room goes on."""
    async with raw_socket(server.url) as ada, raw_socket(server.url) as ben:
        await join(ada)
        await join(ben)
        theirs = Writer()
        await sync(ben, theirs)
        await ada.emit(ROOM, "sync-update", update, number=1)
        assert (await ada.acknowledged(1))[0]["code"] == code
        assert (await ada.until("refused")).data[1]["code"] == code
        assert (await ada.next()).kind == 1
        await ben.emit(ROOM, "sync-update", theirs.set("b", "two"), number=2)
        assert (await ben.acknowledged(2))[0]["ok"] is True


async def test_presence_is_relayed_and_taken_back_when_its_connection_ends(server: Server) -> None:
    """Rule P: a killed client's cursor is gone at once, and seen at once when it comes back."""

    def state(client: int, clock: int, cursor: str) -> bytes:
        text = b'{"cursor":"%b"}' % cursor.encode()
        return bytes((1, client, clock, len(text))) + text

    async with raw_socket(server.url) as ben:
        await join(ben, "viewer")
        async with raw_socket(server.url) as ada:
            await join(ada)
            await ada.emit(ROOM, "awareness-update", state(5, 3, "here"))
            seen = (await ben.until("awareness-update")).data[1]
            assert b'"cursor":"here"' in seen
            assert b'"id":"user-editor"' in seen
        gone = (await ben.until("awareness-update", 1.0)).data[1]
        assert gone.endswith(b"\x04null")
        async with raw_socket(server.url) as ada:
            await join(ada)
            await ada.emit(ROOM, "awareness-update", state(5, 3, "back"))
            assert b'"cursor":"back"' in (await ben.until("awareness-update", 1.0)).data[1]


async def test_presence_that_cannot_be_taken_is_said_and_the_connection_stays(server: Server) -> None:
    """Rule P1."""
    async with raw_socket(server.url) as ada:
        await join(ada)
        await ada.emit(ROOM, "awareness-update", b"\x05garbage")
        assert (await ada.until("refused")).data[1]["code"] == "malformed_presence"
        await ada.emit(ROOM, "sync-update", Writer().set("a", "one"), number=1)
        assert (await ada.acknowledged(1))[0]["ok"] is True


async def test_refusals_at_the_door_are_permanent_and_failures_are_passing(server: Server) -> None:
    """Rule S6: CONNECT_ERROR is for good; whatever is passing closes the transport."""
    async with raw_socket(server.url) as ada:
        await ada.connect(ROOM)
        refused = await ada.next()
        assert (refused.kind, refused.data["message"]) == (4, "Unauthorized")
        assert refused.data["data"]["code"] == "not_authenticated"
        await ada.connect("/yjs|no/such", {"token": "editor"})
        assert (await ada.next()).kind == 4
    server.door.failing = True
    async with raw_socket(server.url) as ada:
        await ada.connect(ROOM, {"token": "editor"})
        await ada.ended()


async def test_a_room_that_fails_asks_its_peers_to_come_back_and_is_opened_anew(server: Server) -> None:
    """Rule D7: its neighbour does not notice."""
    async with raw_socket(server.url) as ada, raw_socket(server.url) as ben:
        await join(ada)
        await join(ben, room="/yjs|other")
        room = await server.rooms.open(KEY)
        object.__setattr__(room, "history", None)  # whatever breaks a room's memory
        await ada.emit(ROOM, "sync-update", Writer().set("a", "one"), number=1)
        await ada.ended()
        await ben.emit("/yjs|other", "sync-update", Writer().set("a", "one"), number=1)
        assert (await ben.acknowledged(1))[0]["ok"] is True
    async with raw_socket(server.url) as ada:
        await join(ada)
        await ada.emit(ROOM, "sync-update", Writer().set("a", "again"), number=1)
        assert (await ada.acknowledged(1))[0]["ok"] is True


async def test_a_connection_that_joins_nothing_or_too_much_ends(server: Server) -> None:
    """Rule O5."""
    async with raw_socket(server.url) as ada:
        await ada.ended()
    async with raw_socket(server.url) as ada:
        for index in range(3):
            await join(ada, room=f"/yjs|room-{index}")
        await ada.connect("/yjs|room-3", {"token": "editor"})
        await ada.ended()


async def test_everybody_leaves_a_deleted_design_for_good(server: Server) -> None:
    """Rule D10: what is sent afterwards is not stored."""
    async with raw_socket(server.url) as ada, raw_socket(server.url) as ben:
        await join(ada)
        await join(ben, "viewer")
        server.rooms.delete(KEY)
        for socket in (ada, ben):
            assert (await socket.until("refused")).data[1]["code"] == "deleted"
            assert (await socket.next()).kind == 1
        user = User(UserId("ada"), "Ada", BRAND, Role.EDITOR)
        grant = Grant(user, user.role, ALLOWED[user.role])
        with pytest.raises(RoomError, match="deleted"):
            await server.rooms.submit(grant, KEY, Writer().set("a", "late"))
        assert await server.log.read(KEY, Position(0)) == []


async def test_a_flood_before_a_namespace_is_joined_ends_the_connection(server: Server) -> None:
    """Rule O5."""
    async with raw_socket(server.url) as ada:
        for _ in range(3):
            await ada.ws.send_str("4" + "2" + '["x","' + "x" * 30_000 + '"]')
        await ada.ended(0.4)


async def test_binary_events_of_other_namespaces_end_the_connection(server: Server) -> None:
    """Rule O1: stock packets hold attachments without a bound."""
    async with raw_socket(server.url) as ada:
        await ada.connect("/chat")
        await ada.ws.send_str('4599999999-/chat,["x",{"_placeholder":true,"num":0}]')
        await ada.ended()


async def test_long_polling_is_refused(server: Server) -> None:
    """Rule S8."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}/socket.io/?EIO=4&transport=polling") as response,
    ):
        assert response.status == 400


async def test_a_slow_reader_is_sent_the_log_again_in_place(server: Server) -> None:
    """Rule O2: while it does not read, presence and updates are not queued for it; then it gets every row, in order."""
    server.live.sockets.outbox_limits = replace(server.live.sockets.outbox_limits, soft_bytes=50_000, low_bytes=10_000)
    async with raw_socket(server.url) as ada, raw_socket(server.url) as slow:
        await join(ada)
        await join(slow)
        mine, theirs = Writer(), Writer()
        await sync(ada, mine)
        await sync(slow, theirs)
        # A client that does not read: the kernel's buffers fill, then the transport's.
        connection = slow.ws._response.connection
        assert connection is not None
        transport: Any = connection.transport
        transport.pause_reading()
        for index in range(150):
            await ada.emit(ROOM, "sync-update", mine.set(f"k{index}", "x" * 90_000), number=index + 1)
            assert (await ada.acknowledged(index + 1))[0]["ok"] is True
        transport.resume_reading()
        position = 0
        while position < 150:
            event = await slow.until("sync-update")
            assert event.data[2]["from"] == position + 1
            position = event.data[2]["to"]
            theirs.apply(event.data[1])
        assert theirs.value == mine.value
        behind = server.live.metrics.slow_peers.labels("behind")._value.get()
        assert behind >= 1


async def test_a_slow_reader_hears_in_the_end_who_has_left(server: Server) -> None:
    """Rules O2, P9: presence was dropped while it did not read; nobody stays on its screen who went meanwhile."""
    server.live.sockets.outbox_limits = replace(server.live.sockets.outbox_limits, soft_bytes=50_000, low_bytes=10_000)
    async with raw_socket(server.url) as ada, raw_socket(server.url) as slow:
        await join(slow, "customer")
        await slow.emit(ROOM, "awareness-update", frame((8, 1, {})))
        async with raw_socket(server.url) as ben:
            for socket, client in ((ada, 6), (ben, 7)):
                await join(socket)
                await socket.emit(ROOM, "awareness-update", frame((client, 1, {})))
            there: dict[int, Any] = {}
            while there.keys() != {6, 7}:
                there |= entries((await slow.until("awareness-update")).data[1])
                there.pop(8, None)
            connection = slow.ws._response.connection
            assert connection is not None
            transport: Any = connection.transport
            mine = Writer()
            await sync(ada, mine)
            await sync(slow, Writer())
            transport.pause_reading()
            (room,) = server.rooms.rooms
            (behind,) = [peer for peer in room.peers if peer.grant.user.id == "user-customer"]
            assert isinstance(behind, DocumentPeer)
            number = 0
            while not behind.outbox.congested:
                number += 1
                await ada.emit(ROOM, "sync-update", mine.set(f"k{number}", "x" * 90_000), number=number)
                assert (await ada.acknowledged(number))[0]["ok"] is True
        await until(lambda: len(room.presence) == 2, "ben is gone")
        await ada.emit(ROOM, "awareness-update", frame((6, 2, {"n": 2})))
        await until(lambda: b'"n":2' in (room.presence.states() or b""), "ada said more")
        await asyncio.sleep(0.1)  # the tick, of which it hears nothing
        transport.resume_reading()
        while there[7][1] is not None or there[6][1].get("n") != 2:
            there |= entries((await slow.until("awareness-update")).data[1])
        assert 8 not in there or there[8][0] == 1


async def test_whoever_passes_a_limit_of_the_schema_is_told_which_and_the_update_stays(server: Server) -> None:
    """Rule L6: too many layers, or too long a text, by a client that does not know our schema's limits."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    elements = doc.get("el", type=pycrdt.Map)

    def layer(index: int) -> pycrdt.Map[Any]:
        return pycrdt.Map({"t": "shape", "p": ["front", f"a{index:05}"]})

    def change(make: Any) -> bytes:
        before = doc.get_state()
        with doc.transaction():
            make()
        return doc.get_update(before)

    async def told(socket: RawSocket) -> dict[str, Any]:
        refused = await socket.until("refused")
        assert refused.data[1]["code"] == "limit_exceeded"
        assert refused.data[1]["permanent"] is False
        return dict(refused.data[1])

    async with raw_socket(server.url) as ada, raw_socket(server.url) as ben:
        await join(ada)
        await join(ben)
        for start in range(0, 5001, 500):
            some = {f"e{index:05}": layer(index) for index in range(start, min(start + 500, 5001))}
            many = change(lambda: elements.update(some))  # noqa: B023 - called at once
            await ada.emit(ROOM, "sync-update", many, number=start)
            assert (await ada.acknowledged(start))[0]["ok"]
        for socket in (ada, ben):
            warning = await told(socket)
            assert "5,000 layers" in warning["message"]
            assert warning["elements"] == ["e05000"]
        long = change(lambda: elements["e00000"].update({"t": "text", "txt": pycrdt.Text("x" * 10_001)}))
        await ada.emit(ROOM, "sync-update", long, number=9)
        assert (await ada.acknowledged(9))[0]["ok"]
        warning = await told(ben)
        assert "10,000 characters" in warning["message"]
        assert warning["elements"] == ["e00000"]

        # below the limit again, and above it anew: told again, but of the text, which did not change, not twice
        await ada.emit(ROOM, "sync-update", change(lambda: elements["e00001"].update({"del": True})), number=10)
        assert (await ada.acknowledged(10))[0]["ok"]
        room = await server.rooms.open(KEY)
        await until(lambda: room.audited == room.head, "the audit of the last change")
        await ada.emit(ROOM, "sync-update", change(lambda: elements["e00001"].update({"del": False})), number=11)
        assert (await ada.acknowledged(11))[0]["ok"]
        assert "layers" in (await told(ben))["message"]
        rows = await server.log.read(KEY, Position(0))
        assert len(rows) == 11 + 3
