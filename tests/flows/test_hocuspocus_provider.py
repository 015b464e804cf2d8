"""What the npm Hocuspocus providers really send and make of our answers: recorded bytes, and live ones of two majors.

The recordings and how they were made: tests/fixtures/hocuspocus/README.md.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from realtime.auth import make_token
from realtime.settings import Settings
from rooms.permissions import Role
from tests.harness.designer import Designers, yjs_reads
from tests.harness.node import Node
from tests.harness.processes import eventually
from tests.harness.raw_hocuspocus import Message, RawHocuspocus, hocuspocus
from tests.harness.reading import read_sqlite
from tests.harness.recordings import has_stored

RECORDINGS = sorted((Path(__file__).parents[1] / "fixtures" / "hocuspocus").glob("*/*.json"))
MAJORS = ("hocuspocus", "hocuspocus-2")
SECRET = "a secret of this test and of no other place"


# -- recordings ---------------------------------------------------------------------------------------------------


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def connections(recording: dict[str, Any]) -> list[list[bytes]]:
    """What the client said, connection by connection: each begins where a note says that it was cut."""
    parts: list[list[bytes]] = [[]]
    for frame in recording["frames"]:
        if "cut" in frame.get("note", "") and "comes back" in frame["note"]:
            parts.append([])
        elif frame.get("from") == "client":
            parts[-1].append(bytes.fromhex(frame["hex"]))
    return parts


def address_and_kind(frame: bytes) -> tuple[str, tuple[int, ...]]:
    end = 1 + frame[0]
    return frame[1:end].decode(), tuple(frame[end : end + 2])


class Playback:
    """One recording on one connection after another: sends the client's frames, keeps what the server says."""

    def __init__(self, socket: RawHocuspocus) -> None:
        self.socket = socket
        self.heard: list[Message] = []

    async def play(self, frames: list[bytes]) -> None:
        """Send what the client sent; its answers wait for the server's question, as the client did."""
        for frame in frames:
            if len(frame) > 1:
                address, kind = address_and_kind(frame)
                if kind == (0, 1):
                    await self.hear("step1", address)
            self.socket.raw.send(frame)

    async def hear(self, what: str, address: str) -> Message:
        while True:
            found = next((m for m in self.heard if (m.what, m.address) == (what, address)), None)
            if found is not None:
                self.heard.remove(found)
                return found
            self.heard.append(await self.socket.next())


def of(path: Path) -> dict[str, Any]:
    recording: dict[str, Any] = json.loads(path.read_text())
    return recording


@pytest.mark.parametrize("path", RECORDINGS, ids=named)
async def test_a_recorded_provider_is_answered_and_its_document_is_stored(node: Node, path: Path) -> None:
    """Rules F1 to F9, D2: every byte of the recording; one SyncStatus for each message that brings an update."""
    recording = of(path)
    for frames in connections(recording):
        async with hocuspocus(node.url) as socket:
            playback = Playback(socket)
            await playback.play(frames)
            heard = [*playback.heard, *await socket.all()]
            kinds = [address_and_kind(frame)[1] for frame in frames if len(frame) > 1]
            updates = sum(kind in ((0, 1), (0, 2)) for kind in kinds)

            async def answered(
                socket: RawHocuspocus = socket, heard: list[Message] = heard, owed: int = updates
            ) -> bool:
                heard += await socket.all()
                return sum(message.what == "status" for message in heard) == owed

            if path.stem not in ("leave", "sessions"):
                await eventually(answered, f"{updates} SyncStatus")
            assert all(message.body == 1 for message in heard if message.what == "status")
            # its own clock comes back where it was raised (P11)
            assert {message.what for message in heard} <= {
                *("scope", "step1", "step2", "status", "update", "stateless", "awareness")
            }
            assert not [message.fact for message in heard if message.what == "stateless"]
    await has_stored(node, recording)


# -- live providers -----------------------------------------------------------------------------------------------


async def test_both_majors_and_y_socket_io_share_a_room_through_a_kill_and_a_restart(
    node: Node, designers: Designers
) -> None:
    """Rules F1 to F9, D2: edits before, while the server is away, and after; all and the log end equal."""
    names = {"ada": "hocuspocus", "ben": "hocuspocus-2", "cleo": "stock", "dana": "acked"}
    clients: dict[str, int] = {}
    for name, kind in names.items():
        clients[name] = await designers.open(name, node.url, "together", kind=kind)
    await designers.ready(*names)
    for name in names:
        await designers.do("presence", name=name, state={"user": {"name": name}, "at": 1})
    for name in names:
        for other in names:
            if other != name:
                await designers.sees(name, clients[other], key="at", value=1)
    for index, name in enumerate(names):
        await designers.do("hammer", name=name, seed=7 + index, every=7)
    await asyncio.sleep(0.7)
    await node.kill()
    await designers.do("until-gone", names=list(names), within=10)
    await asyncio.sleep(0.2)
    await node.start()
    await designers.ready(*names)
    await asyncio.sleep(0.3)
    assert await node.stop() == 0
    await asyncio.sleep(0.2)
    await node.start()
    await designers.ready(*names)
    await designers.do("rest", names=list(names))
    digest = await designers.equal(*names)
    await designers.acked(*names)
    stored = read_sqlite(node.database, "together")
    assert stored.is_gapless()
    assert (await yjs_reads(stored.rows))["digest"] == digest
    # Who moves is seen again. Twice: providers keep the clocks that they had heard, and the first was one above ours.
    for at in (2, 3):
        for name in names:
            await designers.do("presence", name=name, state={"user": {"name": name}, "at": at})
    for name in names:
        for other in names:
            if other != name:
                await designers.sees(name, clients[other], key="at", value=3)
    assert not [refused for name in names for refused in (await designers.report(name))["refused"]]


@pytest.mark.parametrize("kind", MAJORS)
@pytest.mark.parametrize(("place", "in_log"), [("after-inspection", 1), ("after-commit", 2), ("before-ack", 2)])
async def test_a_provider_counts_a_change_as_unsynced_until_it_is_committed(
    tmp_path: Path, designers: Designers, kind: str, place: str, in_log: int
) -> None:
    """Rules F9, D2: the server dies between inspection and acknowledgement of the second edit."""
    async with Node(tmp_path / "data", LUNEO_TESTING="1") as node:
        await node.restart(LUNEO_FAULT=f"kill:{place}:2")
        await designers.open("ada", node.url, "unsynced", kind=kind)
        await designers.ready("ada")
        await designers.edit("ada", "map", key="a", value=1)
        await designers.acked("ada")
        await designers.edit("ada", "map", key="b", value=2)
        assert await node.ended() == -9
        await designers.do("until-gone", names=["ada"], within=10)
        assert (await designers.report("ada"))["unanswered"] == 1
        assert len(read_sqlite(node.database, "unsynced").rows) == in_log
        await node.start()
        await designers.ready("ada")
        await designers.acked("ada")
        assert (await yjs_reads(read_sqlite(node.database, "unsynced").rows))["digest"] == await designers.digest("ada")


async def test_a_flush_delay_sends_one_message_for_many_edits_and_one_status_clears_it(
    node: Node, designers: Designers
) -> None:
    """Rule F9: what the provider merges counts once."""
    await designers.open("ada", node.url, "flush", kind="hocuspocus", flushDelay=30)
    await designers.ready("ada")
    await designers.acked("ada")
    for index in range(10):
        await designers.edit("ada", "map", key=f"k{index}", value=index)
    await designers.acked("ada")
    rows = read_sqlite(node.database, "flush").rows
    assert len(rows) < 10
    assert (await yjs_reads(rows))["digest"] == await designers.digest("ada")


async def test_two_documents_and_one_document_twice_share_a_socket(node: Node, designers: Designers) -> None:
    """Rule F2: provider 4 with `sessionAwareness`; one leaves, the others stay."""
    await designers.open("ada", node.url, "spring", kind="hocuspocus", session=True)
    await designers.ready("ada")
    await designers.open("twin", node.url, "spring", kind="hocuspocus", share="ada", session=True)
    await designers.open("other", node.url, "autumn", kind="hocuspocus", share="ada")
    await designers.open("ben", node.url, "spring", kind="stock")
    await designers.ready("ada", "twin", "other", "ben")
    await designers.edit("ada", "map", key="a", value=1)
    await designers.edit("twin", "map", key="b", value=2)
    await designers.edit("other", "map", key="c", value=3)
    await designers.equal("ada", "twin", "ben")
    await designers.acked("ada", "twin", "other")
    await designers.do("close", name="twin")
    await designers.edit("ben", "map", key="d", value=4)
    await designers.equal("ada", "ben")
    await designers.do("stateless", name="other", payload="nobody hears")
    await designers.do("cut", names=["ada"])
    await designers.edit("ada", "map", key="e", value=5)
    await designers.ready("ada", "other")
    await designers.equal("ada", "ben")
    assert (await designers.report("ada"))["stateless"] == []


async def test_a_stateless_message_reaches_the_other_major_in_the_room(node: Node, designers: Designers) -> None:
    """Rule F12."""
    for name, kind in zip(("ada", "ben"), MAJORS, strict=True):
        await designers.open(name, node.url, "said", kind=kind)
    await designers.ready("ada", "ben")
    for name, other in (("ada", "ben"), ("ben", "ada")):
        await designers.do("stateless", name=name, payload=f"hello {other}")

        async def heard(name: str = name, other: str = other) -> bool:
            return f"hello {other}" in (await designers.report(other))["stateless"]

        await eventually(heard, "the message")
        assert (await designers.report(name))["stateless"] != [f"hello {other}"]


# -- closed mode --------------------------------------------------------------------------------------------------


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Node]:
    async with Node(tmp_path / "data", LUNEO_SECRET=SECRET) as node:
        yield node


def token(user: str, role: Role, seconds: float = 600, made: float | None = None) -> str:
    settings = Settings.read({"LUNEO_SECRET": SECRET})
    name = user.title()
    return make_token(settings, user=user, name=name, brand="acme", role=role, rooms=["*"], seconds=seconds, now=made)


async def make(node: Node, design: str) -> None:
    headers = {"Authorization": f"Bearer {token('owner', Role.OWNER)}"}
    body = {"title": design, "product": "tshirt", "id": design}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{node.url}/api/v1/designs", json=body, headers=headers) as answer,
    ):
        assert answer.status == 201, await answer.text()


@pytest.mark.parametrize("kind", MAJORS)
async def test_a_provider_is_denied_with_a_reason_and_does_not_come_back_by_itself(
    closed: Node, designers: Designers, kind: str
) -> None:
    """Rules F6, A3, A10: no token, a wrong one, one that ended, and a design that is not there."""
    await make(closed, "spring")
    cases = {
        "none": (None, "spring", "not_authenticated"),
        "wrong": ("wrong", "spring", "not_authenticated"),
        "ended": (token("ada", Role.EDITOR, made=time.time() - 700), "spring", "token_expired"),
        "absent": (token("ada", Role.EDITOR), "autumn", "not_found"),
    }
    for name, (given, room, code) in cases.items():
        if kind == "hocuspocus-2" and given is None:
            continue  # it says nothing at all, and is denied when its time is up
        await designers.open(name, closed.url, room, kind=kind, token=given)

        async def denied(name: str = name) -> list[str]:
            return list((await designers.report(name))["denied"])

        (reason,) = await eventually(denied, "a refusal")
        assert reason.startswith(f"{code}: "), reason
        assert reason.endswith(".")


@pytest.mark.parametrize("kind", MAJORS)
async def test_a_reader_sees_and_is_seen_and_is_told_what_was_not_taken(
    closed: Node, designers: Designers, kind: str
) -> None:
    """Rules F7, F10: scope `readonly`, SyncStatus 0 keeps `hasUnsyncedChanges`, and a fact says why."""
    await make(closed, "spring")
    ada = await designers.open("ada", closed.url, "spring", kind="hocuspocus", token=token("ada", Role.EDITOR))
    ben = await designers.open("ben", closed.url, "spring", kind=kind, token=token("ben", Role.VIEWER))
    await designers.ready("ada", "ben")
    assert (await designers.report("ben"))["scopes"] == ["readonly"]
    await designers.acked("ben")  # its step 2 brought nothing new
    await designers.do("presence", name="ada", state={"user": {"name": "ada"}, "at": 1})
    await designers.do("presence", name="ben", state={"user": {"name": "ben"}, "at": 1})
    await designers.sees("ada", ben, key="at", value=1)
    await designers.sees("ben", ada, key="at", value=1)
    await designers.edit("ben", "map", key="b", value="no")

    async def refused() -> list[dict[str, Any]]:
        return list((await designers.report("ben"))["refused"])

    (fact,) = await eventually(refused, "a refusal")
    assert fact["code"] == "not_permitted"
    assert (await designers.report("ben"))["unanswered"] == 1
    await designers.edit("ada", "map", key="a", value="yes")

    async def seen() -> bool:
        return bool((await designers.do("look", name="ben"))["content"]["el"].get("a") == "yes")

    await eventually(seen, "ada's edit at ben's")
    await designers.do("presence", name="ben", state={"user": {"name": "ben"}, "at": 2})
    await designers.sees("ada", ben, key="at", value=2)
    assert "b" not in (await yjs_reads(read_sqlite(closed.database, "spring", "acme").rows))["content"]["el"]


async def test_a_provider_is_asked_for_a_new_token_before_the_old_one_ends_and_stays(
    closed: Node, designers: Designers
) -> None:
    """Rule F6: the new token's rights hold from then on; without one the transport is closed at the end."""
    await make(closed, "spring")
    await designers.open("ada", closed.url, "spring", kind="hocuspocus", token=token("ada", Role.EDITOR, seconds=4))
    await designers.open("ben", closed.url, "spring", kind="hocuspocus-2", token=token("ben", Role.EDITOR, seconds=4))
    await designers.ready("ada", "ben")
    await designers.do("token", name="ada", token=token("ada", Role.VIEWER, seconds=600))
    started = time.monotonic()

    async def read_only() -> bool:
        return bool((await designers.report("ada"))["scopes"] == ["read-write", "readonly"])

    await eventually(read_only, "the scope of the new token", within=6)
    assert time.monotonic() - started < 4.5

    async def denied() -> bool:
        return bool((await designers.report("ben"))["denied"])

    await eventually(denied, "the end of a token that was not renewed", within=15)
    assert (await designers.report("ben"))["denied"][0].startswith("token_expired: ")
    assert [event for event in (await designers.report("ben"))["events"] if event.startswith("close 4500")]
    report = await designers.report("ada")
    assert report["connected"]
    assert report["tokens"] == 2
    assert not [event for event in report["events"] if event.startswith("close")]
    await designers.edit("ada", "map", key="a", value="no")

    async def refused() -> bool:
        return bool((await designers.report("ada"))["refused"])

    await eventually(refused, "a refusal by the new role")
