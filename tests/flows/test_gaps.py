"""An update that was lost on the way, and everything that builds on it (rule D6)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pycrdt
import pytest

from realtime.protocols.connection import SocketLimits
from rooms.errors import RoomError
from rooms.inbox import Submission
from rooms.permissions import ALLOWED, Grant, Role, User
from rooms.ports import Announced, Relayed, Said
from storage.keys import DesignId, DocumentKey, UserId
from tests.harness.designer import yjs_reads
from tests.harness.live_server import BRAND, live_server
from tests.harness.node import Node
from tests.harness.raw_socket import raw_socket
from tests.harness.reading import read_sqlite

ROOM = "/yjs|offline"


@pytest.mark.parametrize("count", [3, 2000])
async def test_however_much_was_done_offline_nobody_is_refused_because_one_frame_was_lost(
    node: Node, count: int
) -> None:
    """Rule D6: a stock client sends what it buffered offline before it can be asked for what the cut has swallowed."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc["note"] = note = pycrdt.Text()
    note += "swallowed by the cut "
    updates: list[bytes] = []
    observing = doc.observe(lambda event: updates.append(event.update))
    for number in range(count):
        note += f"{number} "
    doc.unobserve(observing)
    async with raw_socket(node.url) as socket:
        await socket.connect(ROOM)
        first = await socket.until("sync-step-1")
        for number, update in enumerate(updates):
            await socket.emit(ROOM, "sync-update", update, number=number)
        question = await socket.until("sync-step-1")
        assert first.number is not None
        assert question.number is not None
        assert question.number > first.number
        await socket.acknowledge(ROOM, question.number, doc.get_update(question.data[1]))
        for number in range(count):
            assert (await socket.acknowledged(number))[0]["ok"] is True, number
    stored = await yjs_reads(read_sqlite(node.database, "offline").rows)
    assert stored["content"]["note"] == str(note)


async def test_an_answer_that_leaves_the_gap_open_ends_the_client_for_good_and_is_said_once(node: Node) -> None:
    """Rules D6, S6: one `refused` and one DISCONNECT, however much waited."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc["note"] = note = pycrdt.Text()
    note += "lost"
    updates: list[bytes] = []
    observing = doc.observe(lambda event: updates.append(event.update))
    for _ in range(5):
        note += "x"
    doc.unobserve(observing)
    async with raw_socket(node.url) as socket:
        await socket.connect(ROOM)
        await socket.until("sync-step-1")
        for number, update in enumerate(updates):
            await socket.emit(ROOM, "sync-update", update, number=number)
        question = await socket.until("sync-step-1")
        assert question.number is not None
        await socket.acknowledge(ROOM, question.number, b"\x00\x00")
        assert (await socket.acknowledged(0))[0]["code"] == "missing_history"
        assert (await socket.until("refused")).data[1]["code"] == "missing_history"
        rest = []
        packet = await socket.next()
        while packet.kind != 1:
            rest.append(packet)
            packet = await socket.next()
        assert not [packet for packet in rest if packet.kind == 2 and packet.data[0] == "refused"]
    assert read_sqlite(node.database, "offline").rows == []


class Gone:
    """A peer whose connection ended while its last update waited in the inbox."""

    id = "gone"

    def __init__(self) -> None:
        user = User(UserId("ada"), "Ada", BRAND, Role.EDITOR)
        self.grant = Grant(user, user.role, ALLOWED[user.role])
        self.asked: list[int] = []

    def send_updates(self, relayed: Relayed) -> None: ...

    def send_presence(self, announced: Announced) -> None: ...

    def send_said(self, said: Said) -> None: ...

    def ask(self, question: int, state_vector: bytes) -> None:
        self.asked.append(question)

    def warn(self, code: str, message: str, elements: Sequence[str]) -> None: ...

    def refuse(self, code: str, message: str) -> None: ...

    def rejoin(self, code: str, message: str) -> None: ...


async def test_who_has_left_is_not_asked_and_nothing_waits_for_it(tmp_path: Path) -> None:
    """Rule D6: a question to nobody would be kept, with all that waits for it, for as long as the room is open."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc["note"] = note = pycrdt.Text("lost")
    before = doc.get_state()
    note += "x"
    settled: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    async with live_server(tmp_path, SocketLimits()) as server:
        room = await server.rooms.open(DocumentKey(BRAND, DesignId("spring")))
        gone = Gone()
        room.submit(Submission(gone, doc.get_update(before), settled.set_result))
        async with asyncio.timeout(10):
            answer = await settled
    assert isinstance(answer, RoomError)
    assert answer.code == "missing_history"
    assert gone.asked == []
