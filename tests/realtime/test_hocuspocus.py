"""The Hocuspocus wire, message by message: one real server, real sockets, a real log, real workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pycrdt
import pytest

from realtime.protocols import hocuspocus as module
from realtime.protocols.connection import SocketLimits
from rooms.inspection import read_varuint
from rooms.permissions import User
from storage.keys import DesignId, DocumentKey, Position, UserId
from tests.harness.live_server import BRAND, Server, live_server
from tests.harness.processes import until
from tests.harness.raw_hocuspocus import (
    AUTH,
    AWARENESS,
    BROADCAST_STATELESS,
    CLOSE,
    PING,
    PONG,
    QUERY_AWARENESS,
    STATELESS,
    STEP1,
    SYNC,
    SYNC_REPLY,
    hocuspocus,
    message,
    number,
)
from tests.harness.raw_websocket import BINARY, frame
from tests.harness.writer import Writer

LIMITS = SocketLimits(join_seconds=0.5, join_bytes=4096, max_documents=3, max_frame_bytes=200_000)
EMPTY = b"\x00\x00"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with live_server(tmp_path, LIMITS) as server:
        yield server


def key(design: str = "spring") -> DocumentKey:
    return DocumentKey(BRAND, DesignId(design))


async def rows(server: Server, design: str = "spring") -> int:
    return len(await server.log.read(key(design), Position(0)))


def only(server: Server) -> Any:
    """The one socket of the server."""
    (socket,) = server.raw.open
    return socket


def presence(client: int, clock: int, state: object) -> bytes:
    raw = json.dumps(state).encode()
    assert client < 128
    assert len(raw) < 128
    return bytes((1, client, clock, len(raw))) + raw


def states_of(data: bytes) -> dict[int, Any]:
    """Client id → state of an awareness update."""
    found: dict[int, Any] = {}
    count, at = read_varuint(data, 0)
    for _ in range(count):
        client, at = read_varuint(data, at)
        _clock, at = read_varuint(data, at)
        length, at = read_varuint(data, at)
        found[client] = json.loads(data[at : at + length])
        at += length
    return found


@pytest.mark.parametrize("path", ["/hocuspocus", "/hocuspocus/"])
async def test_a_provider_joins_and_its_updates_are_durable_before_they_are_said_to_be(
    server: Server, path: str
) -> None:
    """Rules F1, F3, F8, F9: the very order of a stock provider, and the answers in upstream's order."""
    async with hocuspocus(server.url, path) as ada, hocuspocus(server.url) as ben:
        ada.token("spring")
        ada.step1("spring")
        ada.send("spring", AWARENESS, presence(7, 1, {"user": {"name": "ada"}}))
        assert (await ada.next()).body == "read-write"
        assert [(await ada.next()).what for _ in range(2)] == ["step1", "step2"]
        ada.step2("spring")
        status = await ada.until("status")
        assert (status.address, status.body) == ("spring", 1)
        await ben.join("spring")
        mine, theirs = Writer(), Writer()
        ada.update("spring", mine.set("a", "one"))
        assert (await ada.until("status")).body == 1
        assert await rows(server) == 1
        theirs.apply((await ben.until("update")).body)
        assert theirs.value == {"a": "one"}


async def test_every_step_2_and_every_update_is_answered_once_whatever_it_brings(server: Server) -> None:
    """Rules F9, D5: also a repetition, an empty update, and several updates that were merged into one message."""
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        mine = Writer()
        first = mine.set("a", "1")
        merged = pycrdt.merge_updates(mine.set("b", "2"), mine.set("c", "3"))
        for update in (first, first, EMPTY, merged, merged):
            ada.update("spring", update)
        ada.step2("spring", mine.doc.get_update())
        ada.step2("spring")
        for _ in range(7):
            assert (await ada.next()).body == 1
        assert await ada.all() == []
        assert await rows(server) == 2


async def test_a_late_joiner_gets_everything_in_one_step_2_and_the_rows_after_it(server: Server) -> None:
    """Rule F8."""
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        mine = Writer()
        for index in range(45):
            ada.update("spring", mine.set(f"k{index}", "v"))
        for _ in range(45):
            assert (await ada.until("status")).body == 1
        room = await server.rooms.open(key())
        await until(lambda: room.history.prefix.position > 0, "a keyframe")
        async with hocuspocus(server.url) as ben:
            ben.token("spring")
            ben.step1("spring")
            assert (await ben.next()).what == "scope"
            theirs = Writer()
            assert (await ben.next()).what == "step1"
            theirs.apply((await ben.next()).body)
            for _ in range(room.history.prefix.position, 45):
                theirs.apply((await ben.until("update")).body)
            assert theirs.value == mine.value


# -- who may what -------------------------------------------------------------------------------------------------


async def test_a_reader_is_told_so_and_keeps_its_presence_when_it_writes(server: Server) -> None:
    """Rules F7, F10: SyncStatus 0 and a fact in words; what brings nothing new is acknowledged to a reader too."""
    async with hocuspocus(server.url) as ada, hocuspocus(server.url) as ben:
        await ada.join("spring")
        assert await ben.join("spring", "viewer") == "readonly"
        ben.send("spring", AWARENESS, presence(9, 1, {"looks": True}))
        await ada.until("awareness")
        ben.update("spring", Writer().set("a", "no"))
        assert (await ben.until("status")).body == 0
        fact = (await ben.until("stateless")).fact
        assert (fact["type"], fact["code"]) == ("refused", "not_permitted")
        ben.step2("spring", Writer().set("b", "no"))
        assert (await ben.until("status")).body == 0
        ben.update("spring", EMPTY)
        assert (await ben.until("status")).body == 1
        mine = Writer()
        ada.update("spring", mine.set("a", "yes"))
        theirs = Writer()
        theirs.apply((await ben.until("update")).body)
        assert theirs.value == {"a": "yes"}
        ben.update("spring", mine.doc.get_update())
        assert (await ben.until("status")).body == 1
        ada.send("spring", QUERY_AWARENESS)
        assert 9 in states_of((await ada.until("awareness")).body)
        assert await rows(server) == 1


@pytest.mark.parametrize("token", ["", "nobody"])
async def test_a_wrong_token_is_refused_for_its_document_and_the_others_live_on(server: Server, token: str) -> None:
    """Rules F5, F6: with a code and a sentence; what the provider still sends for it is passed over."""

    async def admit(headers: object, given: str | None) -> Any:
        return await type(server.door).admit(server.door, {}, None if given == "nobody" else given)

    async with hocuspocus(server.url) as ada:
        server.door.admit = admit  # type: ignore[method-assign,assignment]
        await ada.join("spring")
        ada.token("other", token)
        ada.step1("other")
        denied = await ada.next()
        assert (denied.address, denied.what) == ("other", "denied")
        assert denied.body.startswith("not_authenticated: ")
        ada.update("other", Writer().set("a", "lost"))
        ada.send("other", AWARENESS, presence(1, 1, {}))
        assert await ada.all() == []
        assert not only(server)._entrances
        # A token that holds lets it in all the same, on the same socket.
        assert await ada.join("other", "viewer") == "readonly"


async def test_a_name_that_is_no_designs_is_refused_and_a_failing_door_closes_the_transport(server: Server) -> None:
    """Rules F1, F6, RULINGS 10: permanent is PermissionDenied, passing is a closed transport."""
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        for name in ("no design", "", "x" * 65, "spring/2", "größe"):
            ada.token(name)
            denied = await ada.next()
            assert (denied.address, denied.what) == (name, "denied")
            assert denied.body.startswith("not_found: ")
        server.door.failing = True
        ada.token("other")
        closed = await ada.raw.closed()
        assert closed.code == 1013
        assert closed.reason.startswith("unavailable: ")


async def test_a_token_sent_again_brings_its_own_rights(server: Server) -> None:
    """Rule F6: the scope is said again; somebody else's token ends the document."""
    people = {"one": "editor", "two": "viewer", "three": "editor"}

    async def admit(headers: object, given: str | None) -> Any:
        user = await type(server.door).admit(server.door, {}, people.get(given or "", given))
        return replace(user, id=UserId("ada")) if given in people else user

    server.door.admit = admit  # type: ignore[method-assign,assignment]
    async with hocuspocus(server.url) as ada:
        assert await ada.join("spring", "one") == "read-write"
        mine = Writer()
        ada.update("spring", mine.set("a", "1"))
        assert (await ada.until("status")).body == 1
        ada.token("spring", "two")
        assert (await ada.next()).body == "readonly"
        refused = mine.set("b", "2")
        ada.update("spring", refused)
        assert (await ada.next()).body == 0
        assert (await ada.next()).fact["code"] == "not_permitted"
        ada.token("spring", "three")
        assert (await ada.next()).body == "read-write"
        # The next edit builds on the refused one: the room asks, and the provider brings all it has.
        ada.update("spring", mine.set("c", "3"))
        question = await ada.next()
        assert question.what == "step1"
        ada.step2("spring", mine.doc.get_update(question.body))
        assert {(await ada.until("status")).body for _ in range(2)} == {1}
        theirs = Writer()
        for row in await server.log.read(key(), Position(0)):
            theirs.apply(row.update)
        assert theirs.value == {"a": "1", "b": "2", "c": "3"}
        ada.token("spring", "viewer")
        assert (await ada.next()).fact["code"] == "not_authenticated"
        assert (await ada.next()).what == "denied"


async def test_garbage_ends_its_document_for_good_and_the_others_of_the_socket_live_on(server: Server) -> None:
    """Rules F10, I1: SyncStatus 0, the fact, PermissionDenied."""
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        await ada.join("autumn")
        ada.update("spring", b"\x01\x01\x07\xff\xff")
        assert (await ada.next()).body == 0
        assert (await ada.next()).fact["code"] == "malformed_update"
        denied = await ada.next()
        assert (denied.address, denied.what) == ("spring", "denied")
        ada.update("spring", Writer().set("a", "1"))
        ada.update("autumn", Writer().set("a", "1"))
        status = await ada.next()
        assert (status.address, status.body) == ("autumn", 1)
        assert await rows(server, "spring") == 0


async def test_a_deleted_design_is_refused_and_the_socket_stays(server: Server) -> None:
    """Rules D10, F10."""
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        await ada.join("autumn")
        (await server.rooms.open(key())).delete()
        assert (await ada.next()).fact["code"] == "deleted"
        assert (await ada.next()).what == "denied"
        assert await ada.all() == []


# -- addresses ----------------------------------------------------------------------------------------------------


async def test_one_document_twice_on_one_socket(server: Server) -> None:
    """Rule F2: each address is a client of its own."""
    one, two = "spring\0one", "spring\0two"
    async with hocuspocus(server.url) as ada, hocuspocus(server.url) as ben:
        await ada.join(one)
        await ada.join(two)
        await ben.join("spring")
        mine = Writer()
        ada.update(one, mine.set("a", "1"))
        assert (await ada.until("status", one)).body == 1
        assert (await ben.until("update")).address == "spring"
        ben.update("spring", Writer().set("b", "2"))
        for address in (one, two):
            await ada.until("update", address)
        ada.send(one, CLOSE)
        ben.update("spring", Writer().set("c", "3"))
        assert (await ada.until("update")).address == two


async def test_a_document_that_is_left_is_free_and_can_be_entered_again(server: Server) -> None:
    """Rule F11: its presence goes at once; what the older provider sends after its CLOSE is passed over."""
    async with hocuspocus(server.url) as ada, hocuspocus(server.url) as ben:
        await ben.join("spring", "owner")
        await ada.join("spring")
        ada.send("spring", AWARENESS, presence(5, 1, {"here": True}))
        await ben.until("awareness")
        ada.send("spring", CLOSE)
        ada.send("spring", AWARENESS, presence(5, 2, {"ghost": True}))
        ada.update("spring", Writer().set("a", "ghost"))
        assert states_of((await ben.until("awareness")).body) == {5: None}
        for _ in range(20):
            await ada.join("spring")
            ada.send("spring", CLOSE, "")  # with a reason, as one version has it
        await ada.join("autumn")
        room = await server.rooms.open(key())
        await until(lambda: len(room.peers) == 1, "the end of all but one")
        (socket,) = [s for s in server.raw.open if len(s._documents) == 1 and b"autumn" in s._documents]  # type: ignore[attr-defined]
        assert not socket._entrances  # type: ignore[attr-defined]
        assert await rows(server) == 0


async def test_what_was_under_way_when_a_document_was_left_is_not_acknowledged_to_its_successor(server: Server) -> None:
    """Rules F9, F11: a provider counts what it has sent itself; the update is stored all the same."""
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        ada.update("spring", Writer().set("a", "1"))
        ada.send("spring", CLOSE)
        ada.token("spring")
        assert (await ada.next()).what == "scope"
        ada.update("spring", EMPTY)
        assert (await ada.next()).body == 1
        assert await ada.all() == []
        assert await rows(server) == 1


async def test_a_provider_that_leaves_takes_its_presence_back_and_is_believed(server: Server) -> None:
    """Rule P: `null` is honoured while the document stays open."""
    async with hocuspocus(server.url) as ada, hocuspocus(server.url) as ben:
        await ben.join("spring", "owner")
        await ada.join("spring")
        ada.send("spring", AWARENESS, presence(5, 1, {"here": True}))
        assert states_of((await ben.until("awareness")).body)[5]["here"]
        ada.send("spring", AWARENESS, presence(5, 2, None))
        assert states_of((await ben.until("awareness")).body) == {5: None}
        assert await ada.all() == []


async def test_more_documents_than_a_connection_may_have_are_refused_one_by_one(server: Server) -> None:
    """Rule F5: the bound is LUNEO_MAX_DOCUMENTS_PER_CONNECTION."""
    async with hocuspocus(server.url) as ada:
        for name in ("one", "two", "three"):
            await ada.join(name)
        ada.token("four")
        denied = await ada.next()
        assert (denied.address, denied.what) == ("four", "denied")
        assert denied.body.startswith("limit_exceeded: ")
        ada.send("one", CLOSE)
        assert await ada.join("four") == "read-write"


# -- before the token ---------------------------------------------------------------------------------------------


class SlowDoor:
    """Lets nobody through before it is told to."""

    def __init__(self, server: Server) -> None:
        self.open = asyncio.Event()
        self.asked = 0
        self._admit = server.door.admit
        server.door.admit = self.admit  # type: ignore[method-assign]

    async def admit(self, headers: Any, token: str | None) -> Any:
        self.asked += 1
        await self.open.wait()
        return await self._admit(headers, token)


async def test_what_comes_while_a_token_is_looked_at_is_taken_in_order_however_much_it_is(server: Server) -> None:
    """Rules F4, O4: over the bound the connection is not read meanwhile, and nothing is lost; others go on."""
    door = SlowDoor(server)
    mine = Writer()
    updates = [mine.set(f"k{index}", "v" * 1000) for index in range(600)]
    async with hocuspocus(server.url) as ada:
        ada.token("spring")
        ada.step1("spring", b"\x00")
        for update in updates:
            ada.update("spring", update)
        await until(lambda: door.asked == 1, "a token at the door")
        (socket,) = server.raw.open
        await until(lambda: socket._is_waiting, "a connection that is not read")
        assert socket._queued_bytes <= module.MAX_QUEUED_BYTES  # type: ignore[attr-defined]
        assert socket._queued_frames <= module.MAX_QUEUED_FRAMES  # type: ignore[attr-defined]
        door.open.set()
        assert (await ada.next()).what == "scope"
        for _ in updates:
            assert (await ada.until("status")).body == 1
        assert (socket._queued_bytes, socket._queued_frames) == (0, 0)  # type: ignore[attr-defined]
    theirs = Writer()
    for row in await server.log.read(key(), Position(0)):
        theirs.apply(row.update)
    assert theirs.value == mine.value


async def test_too_much_without_any_token_closes_the_connection(server: Server) -> None:
    """Rule F4: messages for an address wait for its token within a bound; the close is a passing one."""
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        for _ in range(module.MAX_QUEUED_FRAMES + 1):
            ada.send("other", AWARENESS, b"\x00")
        assert (await ada.raw.closed()).code == 1013
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        for _ in range(10):
            ada.update("other", b"\x00" * 10_000)
        assert (await ada.raw.closed()).code == 1013


async def test_who_names_nobody_may_send_little(tmp_path: Path) -> None:
    """Rules F4, L4: whole messages or not; a token makes it more at once, whatever comes in the same write."""
    async with live_server(tmp_path, replace(LIMITS, join_seconds=30)) as server:
        async with hocuspocus(server.url) as ada:
            ada.update("spring", b"\x00" * 5000)
            await ada.raw.ended(5)
        async with hocuspocus(server.url) as ada:  # half of a message without an end
            ada.raw.write(b"\x82\xfe\xff\xff" + bytes(4) + b"x" * 5000)
            await ada.raw.ended(5)
        async with hocuspocus(server.url) as ada:
            many = b"".join(number(2**31 + client) + b"\x01" for client in range(1000))
            token, step1 = message("spring", AUTH, 0, "editor"), message("spring", SYNC, STEP1, number(1000) + many)
            ada.raw.write(frame(BINARY, token) + frame(BINARY, step1))
            assert (await ada.next()).what == "scope"
            await ada.until("step2")


async def test_who_names_nobody_may_stay_briefly(server: Server) -> None:
    """Rules F4, O5."""
    async with hocuspocus(server.url) as ada:
        await ada.raw.ended(3)
    async with hocuspocus(server.url) as ada:
        ada.send("spring", AWARENESS, b"\x00")
        await ada.raw.ended(3)
    await until(lambda: not server.raw.open, "the end of all sockets")


async def test_a_provider_that_sends_no_token_is_known_by_its_handshake_or_waits_for_one(server: Server) -> None:
    """Rules F4, F6, A3: providers before 3 begin with step 1 when they have no token."""

    async def admit(headers: Mapping[str, str], given: str | None) -> User:
        return await type(server.door).admit(server.door, {}, given or headers.get("Cookie"))

    server.door.admit = admit  # type: ignore[method-assign,assignment]
    async with hocuspocus(server.url, Cookie="viewer") as ada:
        ada.step1("spring")
        assert (await ada.next()).body == "readonly"
        assert [(await ada.next()).what for _ in range(2)] == ["step1", "step2"]
        ada.token("autumn", "")
        assert (await ada.next()).body == "readonly"
    mine = Writer()
    async with hocuspocus(server.url) as ada:
        ada.step1("spring")
        ada.update("spring", mine.set("a", "1"))
        ada.send("spring", AWARENESS, presence(3, 1, {}))
        ada.token("spring")
        ada.update("spring", mine.set("b", "2"))
        assert (await ada.next()).body == "read-write"
        assert [(await ada.next()).what for _ in range(2)] == ["step1", "step2"]
        assert [(await ada.until("status")).body for _ in range(2)] == [1, 1]
    async with hocuspocus(server.url) as ada:
        ada.token("autumn")
        ada.step1("spring")
        await ada.until("scope", "autumn")
        denied = await ada.until("denied", "spring", 3)
        assert denied.body == "not_authenticated: Send a token."


async def test_a_document_whose_token_never_comes_is_refused_and_the_others_stay(server: Server) -> None:
    """Rule F4."""
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        ada.send("other", AWARENESS, b"\x00")
        denied = await ada.next(3)
        assert (denied.address, denied.what) == ("other", "denied")
        assert await ada.all() == []


async def test_an_address_that_is_left_before_it_is_entered_is_never_entered(server: Server) -> None:
    """Rule F11."""
    door = SlowDoor(server)
    async with hocuspocus(server.url) as ada:
        ada.token("spring")
        ada.step1("spring")
        await until(lambda: door.asked == 1, "a token at the door")
        ada.send("spring", CLOSE)
        ada.token("autumn")
        await until(lambda: door.asked == 2, "another token at the door")
        door.open.set()
        assert (await ada.next()).address == "autumn"
        assert not len((await server.rooms.open(key())).peers)


async def test_a_connection_whose_documents_have_all_ended_is_closed_after_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule F5: unless another is opened meanwhile."""
    monkeypatch.setattr(module, "EMPTY_SECONDS", 0.5)
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        ada.send("spring", CLOSE)
        await ada.join("autumn")
        await asyncio.sleep(0.8)
        assert await ada.all() == []
        ada.send("autumn", CLOSE)
        assert (await ada.raw.closed(5)).code == 4500


# -- other messages -----------------------------------------------------------------------------------------------


async def test_both_kinds_of_ping_are_answered(server: Server) -> None:
    """Rule F13."""
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        ada.raw.send(bytes((PING,)))
        assert (await ada.next()).what == "pong"
        ada.raw.send(bytes((PONG,)))
        ada.raw.send(b"hello", 9)
        frame = await ada.raw.next()
        assert (frame.opcode, frame.payload) == (10, b"hello")


async def test_a_provider_is_told_something_with_every_ping(tmp_path: Path) -> None:
    """Rule F13: its watchdog counts messages; one that names its version gets one byte, others presence of nobody."""
    limits = SocketLimits(ping_interval_seconds=0.4, ping_timeout_seconds=0.3)
    async with live_server(tmp_path, limits) as server, hocuspocus(server.url) as ada, hocuspocus(server.url) as ben:
        await ada.join("spring")
        ben.token("spring", version=None)
        assert (await ben.next()).what == "scope"
        for _ in range(2):
            assert (await ada.raw.next()).opcode == 9
            ada.raw.send(b"", 10)
            assert (await ada.raw.next()).payload == bytes((PING,))
            assert (await ben.raw.next()).opcode == 9
            ben.raw.send(b"", 10)
            nobody = await ben.next()
            assert (nobody.what, nobody.body) == ("awareness", b"\x00")


async def test_who_is_there_is_answered_also_when_nobody_is(server: Server) -> None:
    """Rule F14."""
    async with hocuspocus(server.url) as ada, hocuspocus(server.url) as ben:
        await ada.join("spring")
        ada.send("spring", QUERY_AWARENESS)
        assert (await ada.next()).body == b"\x00"
        await ben.join("spring", "owner")
        ben.send("spring", AWARENESS, presence(9, 1, {"user": {"name": "ben"}}))
        await ada.until("awareness")
        ada.send("spring", QUERY_AWARENESS)
        assert states_of((await ada.next()).body)[9]["user"]["id"] == "user-owner"


async def test_what_one_says_without_state_reaches_the_others_in_the_room_within_bounds(server: Server) -> None:
    """Rule F12."""
    async with hocuspocus(server.url) as ada, hocuspocus(server.url) as ben, hocuspocus(server.url) as eve:
        await ada.join("spring")
        await ben.join("spring\0session", "viewer")
        await eve.join("autumn")
        ada.send("spring", STATELESS, '{"type":"saved"}')
        heard = await ben.next()
        assert (heard.address, heard.what, heard.body) == ("spring\0session", "stateless", '{"type":"saved"}')
        for payload in ('{"type": "refused", "code": "x"}', ' {"\\u0074ype":"refus\\u0065d"}', "x" * 20_000):
            ada.send("spring", STATELESS, payload)
            assert (await ada.next()).fact["code"] in ("invalid_stateless", "limit_exceeded")
        for _ in range(25):
            ada.send("spring", STATELESS, "fast")
        codes = [message.fact["code"] for message in await ada.all()]
        assert set(codes) == {"rate_exceeded"}
        said = [message.body for message in await ben.all()]
        assert said == ["fast"] * (25 - len(codes))
        assert len(said) >= 19
        assert await eve.all() == []


async def test_messages_that_are_not_a_clients_are_said_and_cost_nothing_else(server: Server) -> None:
    """Rule F3: kinds of servers, and kinds to come."""
    async with hocuspocus(server.url) as ada, hocuspocus(server.url) as ben:
        await ada.join("spring")
        await ben.join("spring")
        for parts in ((SYNC_REPLY, 0, b"\x00"), (BROADCAST_STATELESS, "all"), (8, 1), (99,)):
            ada.send("spring", *parts)
            assert (await ada.next()).fact["code"] == "unknown_message"
        assert await ben.all() == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00",
        b"\x0b",
        b"\xff" * 12,
        b"\x06spr",
        b"\x06spring",
        b"\x06spring\x80",
        b"\x86\x00spring\x00\x00\x01\x00",
        message("spring", SYNC),
        message("spring", SYNC, 3, b"\x00"),
        message("spring", SYNC, STEP1, b"\x00") + b"\x00",
        message("spring", SYNC, STEP1) + b"\xff\x01",
        message("spring", AWARENESS) + b"\x05\x00",
        message("spring", STATELESS, b"\xff\xfe"),
        message("spring", AUTH, 2, "read-write"),
        message("spring", AUTH, 0) + b"\x09abc",
        message("x" * 300, AUTH, 0, "editor"),
    ],
)
async def test_what_is_no_message_ends_its_connection_and_nobody_elses(server: Server, garbage: bytes) -> None:
    """Rule F3, promise 4: before and after the token."""
    async with hocuspocus(server.url) as ben:
        await ben.join("spring")
        for joined in (True, False):
            async with hocuspocus(server.url) as ada:
                if joined:
                    await ada.join("spring")
                    ada.raw.send(garbage)
                    closed = await ada.raw.closed()
                    assert closed.code == 4400
                    assert closed.reason.startswith("malformed_message: ")
                else:
                    ada.raw.send(garbage)
                    ada.token("spring")
                    await ada.raw.ended()
        assert await ben.all() == []


async def test_a_message_over_the_bound_ends_the_connection(server: Server) -> None:
    """Rule F3."""
    async with hocuspocus(server.url) as ada:
        await ada.join("spring")
        ada.update("spring", b"\x00" * 300_000)
        while (frame := await ada.raw.next()).opcode != 8:
            pass
        assert frame.code == 1009


async def test_what_a_connection_had_is_gone_when_it_ends_in_the_middle_of_everything(server: Server) -> None:
    """Rule F11: documents, entrances, tasks and presence."""
    before = len(asyncio.all_tasks())
    door = SlowDoor(server)
    async with hocuspocus(server.url) as ada:
        door.open.set()
        await ada.join("spring")
        door.open.clear()
        ada.token("autumn")
        ada.step1("autumn")
        ada.send("winter", AWARENESS, b"\x00")
        await until(lambda: door.asked == 2, "a token at the door")
        ada.raw.abort()
    await until(lambda: not server.raw.open, "the end of the socket")
    await until(lambda: len(asyncio.all_tasks()) <= before + 1, "the end of its tasks")
    assert not len((await server.rooms.open(key())).peers)


async def test_a_stalled_reader_gets_the_log_again_once_it_reads(server: Server) -> None:
    """Rule O2, over Hocuspocus."""
    async with hocuspocus(server.url) as ada, hocuspocus(server.url) as ben:
        await ada.join("spring")
        await ben.join("spring")
        mine, theirs = Writer(), Writer()
        for index in range(120):
            ada.update("spring", mine.set(f"k{index}", "x" * 60_000))
            assert (await ada.until("status")).body == 1
        for _ in range(120):
            theirs.apply((await ben.until("update")).body)
        assert theirs.value == mine.value
