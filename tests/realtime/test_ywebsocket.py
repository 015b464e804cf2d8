"""The y-websocket wire, frame by frame: one real server, real sockets, a real log, real workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pycrdt
import pytest

from realtime.outbox import OutboxLimits
from realtime.protocols.connection import SocketLimits
from realtime.protocols.refusals import REMEMBER_SECONDS, REMEMBERED, TOLD, Refusals
from rooms.errors import Unavailable
from rooms.permissions import Role
from storage.keys import DesignId, DocumentKey, Position
from tests.harness.lib0 import Reader
from tests.harness.live_server import BRAND, Server, live_server
from tests.harness.processes import until
from tests.harness.raw_socket import raw_socket
from tests.harness.raw_websocket import BINARY, CLOSE, PING, RawWebSocket, Refused, frame, raw_websocket
from tests.harness.writer import Writer
from tests.realtime import test_document_sockets as ysocketio
from tests.realtime.serving import SECRET, serving

KEY = DocumentKey(BRAND, DesignId("spring"))
QUERY = b"\x03"
NOBODY = b"\x01\x01\x00"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with live_server(tmp_path, SocketLimits()) as server:
        yield server


def varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))


def sync(step: int, data: bytes) -> bytes:
    return bytes((0, step)) + varint(len(data)) + data


def step_1(state_vector: bytes = b"\x00") -> bytes:
    return sync(0, state_vector)


def update(data: bytes) -> bytes:
    return sync(2, data)


def presence(client: int, clock: int, cursor: str) -> bytes:
    text = b'{"cursor":"%b"}' % cursor.encode()
    data = b"\x01" + bytes((client, clock, len(text))) + text
    return b"\x01" + varint(len(data)) + data


def read(message: bytes) -> tuple[str, bytes]:
    """What kind of message it is, and its bytes."""
    kinds = {b"\x00\x00": "step 1", b"\x00\x01": "step 2", b"\x00\x02": "update", b"\x02\x00": "denied"}
    name, at = (kinds[message[:2]], 2) if message[0] != 1 else ("presence", 1)
    reader = Reader(message, at)
    body = reader.some()
    assert reader.ended, message
    return name, body


class Client:
    """One connection that reads and says what y-websocket does."""

    def __init__(self, socket: RawWebSocket) -> None:
        self.socket = socket

    def say(self, message: bytes) -> None:
        self.socket.send(message)

    async def until(self, kind: str, seconds: float = 10.0) -> bytes:
        """The bytes of the next message of this kind; others are passed over."""
        while True:
            name, data = read(await self.socket.message(seconds))
            if name == kind:
                return data

    async def sync(self, writer: Writer) -> None:
        """Ask for everything and take it."""
        self.say(step_1(writer.doc.get_state()))
        writer.apply(await self.until("step 2"))

    async def settled(self) -> None:
        """Wait until everything that was sent before is durable or refused (y-sweet's 102)."""
        self.say(b"\x66\x01\x07")
        while await self.socket.message() != b"\x66\x01\x07":
            pass


@asynccontextmanager
async def client(server: Server, token: str = "editor", room: str = "spring", **options: Any) -> AsyncIterator[Client]:
    """Connect and take the server's question."""
    query = f"?token={token}" if token else ""
    async with raw_websocket(f"{server.url}/yjs/{room}{query}", **options) as socket:
        yield Client(socket)


# -- joining -----------------------------------------------------------------------------------------------------


async def test_who_joins_is_asked_and_answered_as_y_websocket_does_byte_for_byte(server: Server) -> None:
    """Rules Y2, Y3: the smallest room there is."""
    async with client(server) as ada:
        assert await ada.socket.message() == b"\x00\x00\x01\x00"
        ada.say(step_1())
        assert await ada.socket.message() == b"\x00\x01\x02\x00\x00"


async def test_an_edit_reaches_the_others_of_this_protocol_and_of_y_socket_io(server: Server) -> None:
    """Rules Y3, S7: one room, and a sole sender of a tick hears nothing of it."""
    async with (
        client(server) as ada,
        client(server, "viewer") as ben,
        raw_socket(server.url) as eve,
    ):
        mine, theirs, hers = Writer(), Writer(), Writer()
        await ada.sync(mine)
        await ben.sync(theirs)
        await ysocketio.join(eve)
        await ysocketio.sync(eve, hers)
        ada.say(update(mine.set("a", "one")))
        theirs.apply(await ben.until("update"))
        event = await eve.until("sync-update")
        assert event.data[2] == {"epoch": 1, "from": 1, "to": 1}
        hers.apply(event.data[1])
        await eve.emit(ysocketio.ROOM, "sync-update", hers.set("b", "two"), number=1)
        assert (await eve.acknowledged(1))[0]["ok"] is True
        mine.apply(await ada.until("update"))  # hers, since ada's own was not sent back
        theirs.apply(await ben.until("update"))
        assert mine.value == theirs.value == hers.value == {"a": "one", "b": "two"}
        rows = await server.log.read(KEY, Position(0))
        assert [row.user_id for row in rows] == ["user-editor", "user-editor"]


async def test_a_late_joiner_gets_the_state_of_a_position_and_the_rows_after_it(server: Server) -> None:
    """Rules Y3, D4: what was folded into a keyframe comes as one update, the rest as rows in the same write."""
    async with client(server) as ada:
        mine = Writer()
        await ada.sync(mine)
        for index in range(45):
            ada.say(update(mine.set(f"k{index}", "v")))
        await ada.settled()
        room = await server.rooms.open(KEY)
        await until(lambda: room.history.prefix.position > 0, "a keyframe")
        async with client(server) as ben:
            theirs = Writer()
            await ben.sync(theirs)
            for _ in range(room.history.prefix.position, 45):
                theirs.apply(await ben.until("update"))
            assert theirs.value == mine.value
            # and asked again, while it follows
            ben.say(step_1(theirs.doc.get_state()))
            theirs.apply(await ben.until("step 2"))
            ada.say(update(mine.set("k0", "new")))
            while theirs.value != mine.value:
                theirs.apply(await ben.until("update"))


async def test_a_large_document_is_cut_to_what_the_joiner_lacks(server: Server) -> None:
    """Rules Y3, W8: by a worker, while the connection waits; what was sent behind the question is not lost."""
    async with client(server) as ada:
        mine = Writer()
        await ada.sync(mine)
        for index in range(25):
            ada.say(update(mine.set(f"k{index}", "x" * 2000)))
        await ada.settled()
        room = await server.rooms.open(KEY)
        await until(lambda: room.history.prefix.position >= 20, "a keyframe")
        async with client(server) as ben:
            ben.socket.write(
                frame(BINARY, step_1(mine.doc.get_state())) + frame(BINARY, update(mine.set("last", "one")))
            )
            assert len(await ben.until("step 2")) < 2000
            await ben.settled()
        rows = await server.log.read(KEY, Position(0))
        assert len(rows) == 26


@pytest.mark.parametrize("path", ["spring", "spring/", "%73pring", "sprin%67/"])
async def test_the_address_is_percent_decoded_and_may_end_with_a_slash(server: Server, path: str) -> None:
    """Rule Y1."""
    async with client(server, room=path) as ada:
        await ada.sync(Writer())
        assert [room.key for room in server.rooms.rooms] == [KEY]


# -- the server's questions --------------------------------------------------------------------------------------


async def test_what_a_returning_client_did_offline_comes_with_its_answer(server: Server) -> None:
    """Rules Y4, D5: and what the room has already is not logged again."""
    mine = Writer()
    first = mine.set("a", "one")
    async with client(server) as ada:
        ada.say(update(first))
        await ada.settled()
    mine.set("b", "two")
    async with client(server) as ada:
        vector = await ada.until("step 1")
        ada.say(sync(1, mine.doc.get_update(vector)))
        await ada.settled()
        ada.say(sync(1, mine.doc.get_update()))  # unasked: an update like any other
        await ada.settled()
    assert len(await server.log.read(KEY, Position(0))) == 2


async def test_a_gap_is_asked_for_once_and_answers_are_taken_in_order(server: Server) -> None:
    """Rules Y4, D6."""
    async with client(server) as ada, client(server) as ben:
        mine, theirs = Writer(), Writer()
        await ben.sync(theirs)
        assert await ada.until("step 1") == b"\x00"
        lost = mine.set("a", "lost on the way")
        ada.say(update(mine.set("b", "builds on it")))
        assert await ada.until("step 1") == b"\x00"
        ada.say(sync(1, b"\x00\x00"))  # the answer to the first question, which is open still: it fills nothing
        ada.say(sync(1, mine.doc.get_update()))
        while theirs.value != mine.value:
            theirs.apply(await ben.until("update"))
        await ada.settled()  # it stays
        assert lost not in [row.update for row in await server.log.read(KEY, Position(0))]


async def test_a_client_that_cannot_provide_what_it_builds_on_is_refused_for_good(server: Server) -> None:
    """Rules Y8, D6: 4409, and nothing of it is stored."""
    async with client(server) as ada:
        mine = Writer()
        mine.set("a", "never sent")
        await ada.until("step 1")
        ada.say(update(mine.set("b", "builds on it")))
        await ada.until("step 1")
        ada.say(sync(1, b"\x00\x00"))
        ada.say(sync(1, b"\x00\x00"))
        assert (await ada.until("denied")).startswith(b"missing_history: ")
        closing = await ada.socket.closed()
        assert (closing.code, closing.reason.split(":")[0]) == (4409, "missing_history")
    assert await server.log.read(KEY, Position(0)) == []


async def test_y_sweets_heartbeat_comes_back_when_what_was_before_it_is_durable(server: Server) -> None:
    """Rule Y5."""
    async with client(server, "viewer") as ada:
        ada.say(b"\x66\x02\x80\x01")
        assert await ada.socket.message() == b"\x00\x00\x01\x00"
        assert await ada.socket.message() == b"\x66\x02\x80\x01"
    async with client(server) as ben:
        ben.say(update(Writer().set("a", "one")))
        await ben.settled()
        assert len(await server.log.read(KEY, Position(0))) == 1
        ben.say(b"\x66" + varint(65) + bytes(65))
        assert (await ben.socket.closed()).code == 4400


# -- presence ----------------------------------------------------------------------------------------------------


async def test_presence_is_relayed_asked_for_and_taken_back_when_its_connection_ends(server: Server) -> None:
    """Rules P1 to P9, Y10."""
    async with client(server, "viewer") as ben:
        ben.say(QUERY)
        await ben.until("step 1")
        assert await ben.socket.message() == NOBODY
        async with client(server) as ada:
            ada.say(presence(5, 3, "here"))
            seen = await ben.until("presence")
            assert b'"cursor":"here"' in seen
            assert b'"id":"user-editor"' in seen
            ben.say(QUERY)
            assert b'"cursor":"here"' in await ben.until("presence")
            async with client(server, "viewer") as late:
                assert b'"cursor":"here"' in await late.until("presence")  # Y2
        assert (await ben.until("presence", 1.0)).endswith(b"\x04null")


async def test_what_every_client_repeats_of_others_is_ignored(server: Server) -> None:
    """Rule P2: stock clients announce again what they hear."""
    async with client(server) as ada, client(server, "viewer") as ben:
        ada.say(presence(5, 3, "here"))
        heard = await ben.until("presence")
        ben.say(presence(6, 1, "ben"))
        while b'"ben"' not in await ada.until("presence"):
            pass
        ben.say(b"\x01" + varint(len(heard)) + heard)
        await ben.settled()
        with pytest.raises(TimeoutError):
            await ada.until("presence", 0.2)


# -- refusals ----------------------------------------------------------------------------------------------------


async def test_a_viewer_is_told_and_keeps_reading_and_being_present(server: Server) -> None:
    """Rule Y9: nothing of it is logged or relayed."""
    async with client(server, "viewer") as ada, client(server) as ben:
        mine, theirs = Writer(), Writer()
        await ada.sync(Writer())
        await ben.sync(theirs)
        ada.say(update(mine.set("a", "one")))
        assert (await ada.until("denied")).startswith(b"not_permitted: A viewer may not edit here.")
        ada.say(presence(5, 3, "still here"))
        assert b"still here" in await ben.until("presence")
        ben.say(update(theirs.set("b", "two")))
        seen = Writer()
        seen.apply(await ada.until("update"))
        assert seen.value == {"b": "two"}
        assert len(await server.log.read(KEY, Position(0))) == 1


async def test_what_is_not_part_of_the_protocol_is_said_and_not_punished(server: Server) -> None:
    """Rule Y9: kinds of message of other servers, and presence that cannot be taken (P1)."""
    async with client(server) as ada:
        for message in (b"\x02\x00\x00", b"\x7dchat", b"\x80\x01"):
            ada.say(message)
            assert (await ada.until("denied")).startswith(b"unknown_message: ")
        ada.say(b"\x01\x07\x05garbag")
        assert (await ada.until("denied")).startswith(b"malformed_presence: ")
        await ada.sync(Writer())


@pytest.mark.parametrize(
    ("message", "code", "word"),
    [
        (b"", 4400, "malformed_message"),
        (b"\x00", 4400, "malformed_message"),
        (b"\x00\x03\x00", 4400, "malformed_message"),
        (b"\x00\x02\x05\x00", 4400, "malformed_message"),
        (b"\x00\x02\x02\x00\x00\x00", 4400, "malformed_message"),
        (b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 4400, "malformed_message"),
        (sync(0, b"\x05\x01"), 4400, "malformed_update"),
        (update(b"\x07garbage"), 4400, "malformed_update"),
        (update(bytes(100_001)), 4413, "limit_exceeded"),
    ],
)
async def test_what_cannot_be_read_is_refused_for_good_and_nobody_else_notices(
    server: Server, message: bytes, code: int, word: str
) -> None:
    """Rule Y8."""
    async with client(server) as ben, client(server) as ada:
        await ben.sync(Writer())
        await ada.until("step 1")
        ada.say(message)
        denied = await ada.until("denied")
        closing = await ada.socket.closed()
        assert closing.code == code
        assert closing.reason.startswith(word + ": ")
        assert denied.decode().startswith(closing.reason)
        ben.say(update(Writer().set("a", "one")))
        await ben.settled()
        assert len(await server.log.read(KEY, Position(0))) == 1


async def test_a_message_that_is_too_large_ends_the_connection_before_it_is_read(tmp_path: Path) -> None:
    """Rule Y1: 1009; and text is none of this protocol: 1003."""
    async with live_server(tmp_path, SocketLimits(max_frame_bytes=10_000)) as server:
        async with client(server) as ada:
            ada.socket.write(frame(BINARY, bytes(10_001))[:200])
            assert (await ada.socket.closed()).code == 1009
        async with client(server) as ada:
            ada.socket.send(b"hello", opcode=1)
            assert (await ada.socket.closed()).code == 1003


async def test_a_permanent_refusal_at_the_door_comes_by_message_and_code(server: Server) -> None:
    """Rules Y8, A3: a browser is told no status of a handshake, so the upgrade is made."""
    for token, room, code, word in (
        ("", "spring", 4401, b"not_authenticated: Send a token."),
        ("editor", "no/such", 4404, b"not_found: "),
        ("editor", "x" * 65, 4404, b"not_found: "),
        ("editor", quote("straße"), 4404, b"not_found: "),
    ):
        async with client(server, token, room) as ada:
            assert (await ada.until("denied")).startswith(word)
            assert (await ada.socket.closed()).code == code
    assert server.rooms.rooms == []


async def test_a_failure_at_the_door_upgrades_nothing_so_that_clients_wait_longer_each_time(tmp_path: Path) -> None:
    """Rule Y7: the database does not answer, then the node drains."""
    async with serving(tmp_path) as node:
        async with raw_websocket(f"{node.url}/yjs/spring"):
            pass

        async def fails(*_: object) -> None:
            raise Unavailable("The design could not be read.")

        rooms: Any = node.parts.rooms
        opening, rooms.open = rooms.open, fails
        with pytest.raises(Refused) as refused:
            async with raw_websocket(f"{node.url}/yjs/spring"):
                pass
        assert (refused.value.status, "Retry-After" in refused.value.head) == (503, True)
        rooms.open = opening
        node.parts.draining = True
        with pytest.raises(Refused) as refused:
            async with raw_websocket(f"{node.url}/yjs/spring"):
                pass
        assert (refused.value.status, b'"draining"' in refused.value.body) == (503, True)


async def test_who_was_refused_again_and_again_is_refused_at_the_handshake(tmp_path: Path) -> None:
    """Rule Y8: an older client comes back ten times a second after a close, and seldom after a failed handshake."""
    async with serving(tmp_path, LUNEO_SECRET=SECRET) as node:
        good, bad = node.token(rooms=("spring",), role=Role.ADMIN), node.token(rooms=("other",))
        await (await node.browser(node.token("olga", Role.OWNER))).post(
            "/api/v1/designs", {"product": "poster-a3", "id": "spring", "title": "Spring"}
        )

        async def come(token: str) -> int:
            async with raw_websocket(f"{node.url}/yjs/spring?token={token}") as socket:
                got = await socket.next()
                return got.code if got.opcode == CLOSE else (await socket.closed()).code if got.payload[0] == 2 else 0

        for _ in range(TOLD):
            assert await come(bad) == 4403
        with pytest.raises(Refused) as refused:
            await come(bad)
        assert (refused.value.status, b'"not_a_member"' in refused.value.body) == (403, True)
        assert await come(good) == 0  # of the same address, to the same design


def test_refusals_are_forgotten_in_time_and_bounded_in_number() -> None:
    """Rule Y8."""
    now = 0.0
    refusals = Refusals(clock=lambda: now)
    for _ in range(TOLD):
        refusals.check(b"ada")
        refusals.note(b"ada", "not_found", "There is no such design.")
    with pytest.raises(Exception, match="no such design"):
        refusals.check(b"ada")
    now = REMEMBER_SECONDS + 1
    refusals.check(b"ada")
    for caller in range(REMEMBERED + 10):
        refusals.note(b"%d" % caller, "not_found", "")
    assert len(refusals._refused) == REMEMBERED


async def test_plain_requests_are_told_what_the_address_is_for(tmp_path: Path) -> None:
    """Rule Y1; and Host and Origin are checked as for every handshake (A6, A7)."""
    async with serving(tmp_path) as node:
        browser = await node.browser()
        answer = await browser.get("/yjs/spring")
        assert (answer.status, answer.code, answer.headers["Upgrade"]) == (426, "websocket_required", "websocket")
        for headers, status in (({"Origin": "http://evil.example"}, 403), ({"Host": "evil.example"}, 421)):
            with pytest.raises(Refused) as refused:
                async with raw_websocket(f"{node.url}/yjs/spring", headers=headers):
                    pass
            assert refused.value.status == status


async def test_live_connections_are_counted_until_they_end(tmp_path: Path) -> None:
    """Rule L3."""
    async with serving(tmp_path, LUNEO_MAX_CONNECTIONS="2") as node:
        url = f"{node.url}/yjs/spring"
        async with raw_websocket(url):
            async with raw_websocket(url):
                with pytest.raises(Refused) as refused:
                    async with raw_websocket(url):
                        pass
                assert refused.value.status == 429
            rooms: Any = node.parts.rooms
            gauge = rooms._metrics.connections.labels("y-websocket")._value
            await until(lambda: gauge.get() == 1, "one connection")
            async with raw_websocket(url):
                pass


# -- passing -----------------------------------------------------------------------------------------------------


async def test_a_draining_node_sends_everybody_away_with_1012(server: Server) -> None:
    """Rules Y7, H15."""
    async with client(server) as ada, client(server) as ben:
        for one in (ada, ben):
            await one.sync(Writer())
        server.raw.close_all()
        for one in (ada, ben):
            assert (await one.socket.closed()).code == 1012


async def test_a_room_that_fails_asks_its_peers_to_come_back(server: Server) -> None:
    """Rules Y7, D7."""
    async with client(server) as ada:
        await ada.sync(Writer())
        room = await server.rooms.open(KEY)
        object.__setattr__(room, "history", None)
        ada.say(update(Writer().set("a", "one")))
        assert (await ada.socket.closed()).code == 1013
    async with client(server) as ada:
        ada.say(update(Writer().set("a", "again")))
        await ada.settled()
        assert len(await server.log.read(KEY, Position(0))) in (1, 2)


async def test_a_token_that_ends_closes_as_passing_and_is_then_refused_for_good(tmp_path: Path) -> None:
    """Rules Y7, Y8; ruling 41."""
    async with serving(tmp_path, LUNEO_SECRET=SECRET) as node:
        await (await node.browser(node.token("olga", Role.OWNER))).post(
            "/api/v1/designs", {"product": "poster-a3", "id": "spring", "title": "Spring"}
        )
        url = f"{node.url}/yjs/spring?token={node.token(rooms=('spring',), seconds=2)}"
        async with raw_websocket(url) as socket:
            closing = await socket.closed()
            assert (closing.code, closing.reason.split(":")[0]) == (4500, "token_expired")
        async with raw_websocket(url) as socket:
            closing = await socket.closed()
            assert (closing.code, closing.reason.split(":")[0]) == (4401, "token_expired")


async def test_everybody_leaves_a_deleted_design_for_good(server: Server) -> None:
    """Rules Y8, D10."""
    async with client(server) as ada, client(server, "viewer") as ben:
        for one in (ada, ben):
            await one.sync(Writer())
        server.rooms.delete(KEY)
        for one in (ada, ben):
            assert (await one.until("denied")).startswith(b"deleted: ")
            assert (await one.socket.closed()).code == 4404


async def test_no_token_of_an_address_reaches_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rule A9."""
    caplog.set_level(logging.DEBUG)
    async with serving(tmp_path, LUNEO_SECRET=SECRET) as node:
        good, bad = node.token(rooms=("*",)), node.token(rooms=("*",))[:-4] + "AAAA"
        for token in (good, bad, *([bad] * TOLD)):
            try:
                async with raw_websocket(f"{node.url}/yjs/spring?token={token}") as socket:
                    socket.send(b"")
                    await socket.ended(0.5)
            except (Refused, TimeoutError):
                continue
    lines = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "/yjs/spring" in lines
    for token in (good, bad):
        for part in token.split("."):
            assert part not in lines


# -- readers -----------------------------------------------------------------------------------------------------


async def test_a_slow_reader_is_sent_the_log_again_in_place(tmp_path: Path) -> None:
    """Rules O2, Y6: it gets every row, in order, on the same connection."""
    bounds = OutboxLimits(soft_bytes=50_000, low_bytes=10_000)
    unpaced = SocketLimits(burst_seconds=60)
    async with live_server(tmp_path, unpaced, bounds) as server, client(server) as ada, client(server) as slow:
        mine, theirs = Writer(), Writer()
        await ada.sync(mine)
        await slow.sync(theirs)
        transport: Any = slow.socket.writer.transport
        transport.pause_reading()
        for index in range(150):
            ada.say(update(mine.set(f"k{index}", "x" * 90_000)))
            if index % 10 == 9:
                await ada.settled()
        transport.resume_reading()
        for _ in range(150):
            theirs.apply(await slow.until("update"))
        assert theirs.value == mine.value
        assert server.live.metrics.slow_peers.labels("behind")._value.get() >= 1


async def test_updates_of_one_tick_leave_in_one_write(server: Server) -> None:
    """Rule S7: encoded once for all who speak this protocol."""
    async with client(server) as ada, client(server) as eve, client(server, "viewer") as ben:
        writers = [Writer(), Writer()]
        for one, writer in zip((ada, eve), writers, strict=True):
            await one.sync(writer)
        await ben.sync(Writer())
        (room,) = server.rooms.rooms
        peer = next(peer.id for peer in room.peers if peer.grant.role is Role.VIEWER)
        transport: Any = next(socket for socket in server.raw.open if socket.id == peer).transport
        log: Any = server.log
        gate = asyncio.Event()
        written: list[bytes] = []
        append, write = log.append, transport.write

        async def append_later(*arguments: Any) -> Any:
            await gate.wait()
            return await append(*arguments)

        def note(data: bytes) -> None:
            written.append(data)
            write(data)

        log.append, transport.write = append_later, note
        for index in range(21):  # the first is under way while the others come
            (ada, eve)[index % 2].say(update(writers[index % 2].set(f"k{index}", "v")))
            await asyncio.sleep(0.01)
        gate.set()
        for _ in range(21):
            await ben.until("update")
        assert [data.count(b"\x01v") for data in written] == [1, 20]


async def test_a_silent_client_hears_something_before_its_watchdog_ends_it(tmp_path: Path) -> None:
    """Rule Y6: with each ping, an awareness update of nobody."""
    async with (
        live_server(tmp_path, SocketLimits(ping_interval_seconds=0.3, ping_timeout_seconds=5)) as server,
        client(server) as ada,
    ):
        await ada.sync(Writer())
        for _ in range(3):
            assert (await ada.socket.next()).opcode == PING
            assert (await ada.socket.next()).payload == NOBODY
            ada.socket.send(b"", opcode=10)


async def test_many_connections_end_at_once_and_leave_nothing(server: Server) -> None:
    """Rules P9, L3: rooms, the registry and the wheel forget them."""
    async with AsyncExitStack() as stack:
        for index in range(100):
            one = await stack.enter_async_context(client(server, room=f"room-{index % 5}"))
            one.say(presence(5 + index % 100, 1, "here"))
            await one.sync(Writer())
        assert len(server.raw.open) == 100
        began = time.perf_counter()
    await until(lambda: not server.raw.open, "all forgotten")
    assert time.perf_counter() - began < 10
    assert [len(room.peers) for room in server.rooms.rooms] == [0] * 5
    assert [len(room.presence) for room in server.rooms.rooms] == [0] * 5
    assert server.raw._wheel._slots == {}


async def test_a_document_of_text_is_the_same_for_both_protocols(server: Server) -> None:
    """Rule Y3: bytes travel as they came."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    text = doc.get("note", type=pycrdt.Text)
    text += "naïve 🙂 text"
    async with client(server) as ada:
        ada.say(update(doc.get_update()))
        await ada.settled()
    (row,) = await server.log.read(KEY, Position(0))
    assert row.update == doc.get_update()
