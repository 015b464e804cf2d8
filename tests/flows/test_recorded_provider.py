"""What the npm y-socket.io provider really sends, played against a real node byte for byte.

The recordings and how they were made: tests/fixtures/ysocketio/README.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.node import Node
from tests.harness.raw_socket import RawSocket, Received, raw_socket
from tests.harness.reading import read_sqlite
from tests.harness.recordings import has_stored

RECORDINGS = sorted((Path(__file__).parents[1] / "fixtures" / "ysocketio").glob("*.json"))
EMPTY = b"\x00\x00"


class Playback:
    """One recording on one connection after another: sends the client's frames, keeps what the server says."""

    def __init__(self, recording: dict[str, Any]) -> None:
        self.namespace = f"/yjs|{recording['room']}"
        self.frames: list[dict[str, str]] = recording["frames"]
        self.heard: list[Received] = []

    def connections(self) -> list[list[dict[str, str]]]:
        """The frames of each connection: every one begins with Engine.IO's handshake."""
        starts = [
            i for i, frame in enumerate(self.frames) if frame.get("from") == "server" and frame["hex"][:2] == "30"
        ]
        return [self.frames[start:end] for start, end in zip(starts, [*starts[1:], len(self.frames)], strict=True)]

    async def play(self, socket: RawSocket, frames: list[dict[str, str]]) -> None:
        """Send what the client sent, in its order; where it waited for the server's word, wait for it too."""
        for frame in frames[1:]:
            if frame.get("from") == "client":
                data = bytes.fromhex(frame["hex"])
                if frame["opcode"] == "text":
                    await self._wait_for_what_it_answers(socket, data.decode())
                    await socket.ws.send_str(data.decode())
                else:
                    await socket.ws.send_bytes(data)

    async def _wait_for_what_it_answers(self, socket: RawSocket, text: str) -> None:
        if text.startswith("451-") and "sync-step-1" in text:
            await self._hear(socket, lambda packet: packet.kind == 0)
        if text.startswith("461-"):
            number = int(text.partition(",")[2].partition("[")[0])
            await self._hear(socket, lambda p: p.kind == 5 and p.data[0] == "sync-step-1" and p.number == number)

    async def _hear(self, socket: RawSocket, is_it: Any) -> Received:
        """The first packet that *is_it*, of what came already or comes."""
        while True:
            for packet in self.heard:
                if is_it(packet):
                    return packet
            self.heard.append(await socket.next())

    async def answer(self, socket: RawSocket, number: int) -> Received:
        return await self._hear(socket, lambda packet: packet.kind == 6 and packet.number == number)


def of(name: str) -> dict[str, Any]:
    recording: dict[str, Any] = json.loads(next(path for path in RECORDINGS if path.stem == name).read_text())
    return recording


@pytest.mark.parametrize("name", [path.stem for path in RECORDINGS])
async def test_a_recorded_provider_is_answered_and_its_document_is_stored(node: Node, name: str) -> None:
    """Rules S1, S2, D2, D3: every frame of the recording, cut and return included."""
    recording = of(name)
    playback = Playback(recording)
    for number, frames in enumerate(playback.connections()):
        playback.heard.clear()
        async with raw_socket(node.url) as socket:
            await playback.play(socket, frames)
            answer = await playback.answer(socket, number)
            update, place = answer.data
            assert isinstance(update, bytes)
            assert place["epoch"] == 1
            kinds = [(packet.kind, packet.data[0] if packet.kind == 5 else None) for packet in playback.heard]
            assert kinds[0] == (0, None)  # S2: CONNECT is answered first,
            assert (5, "sync-step-1") in kinds  # with the server's own question,
            assert not any(kind == 4 or event == "refused" for kind, event in kinds)  # and nothing is refused
            if name != "leave":
                await socket.emit(playback.namespace, "sync-update", EMPTY, number=999)
                assert (await socket.acknowledged(999))[0]["ok"] is True
    await has_stored(node, recording)


async def test_a_provider_that_returns_says_twice_what_it_did_offline_and_it_is_stored_once(node: Node) -> None:
    """Rule D5: as `sync-update` from its buffer, and again in its answer to the server's `sync-step-1`."""
    playback = Playback(of("cut-and-return"))
    for number, frames in enumerate(playback.connections()):
        playback.heard.clear()
        async with raw_socket(node.url) as socket:
            await playback.play(socket, frames)
            await playback.answer(socket, number)
            await socket.emit(playback.namespace, "sync-update", EMPTY, number=999)
            assert (await socket.acknowledged(999))[0]["ok"] is True
    assert len(read_sqlite(node.database, "cut-and-return").rows) == 3


async def test_the_first_frame_of_a_provider_that_returns_takes_nobody_elses_presence_back(node: Node) -> None:
    """Rule P: it says `null` for whomever it had seen before the cut (RULINGS 33: a foreign id is ignored)."""
    playback = Playback(of("cut-and-return"))
    first, second = playback.connections()
    async with raw_socket(node.url) as ben:
        await ben.connect(playback.namespace)
        state = b'{"user":{"name":"ben"}}'
        await ben.emit(playback.namespace, "awareness-update", b"\x01\x85\x07\x02" + bytes((len(state),)) + state)
        async with raw_socket(node.url) as socket:
            await playback.play(socket, first)
        async with raw_socket(node.url) as socket:
            playback.heard.clear()
            await playback.play(socket, second)
            async with raw_socket(node.url) as third:
                await third.connect(playback.namespace)
                assert b'"ben"' in (await third.until("awareness-update")).data[1]
