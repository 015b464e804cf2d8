"""What the npm y-websocket provider really sends, in two major versions, played against a real node byte for byte.

The recordings and how they were made: tests/fixtures/ywebsocket/README.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.node import Node
from tests.harness.raw_websocket import RawWebSocket, raw_websocket
from tests.harness.recordings import has_stored

RECORDINGS: dict[str, dict[str, Any]] = {
    f"{path.parent.name} {path.stem}": json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[1] / "fixtures" / "ywebsocket").glob("*/*.json"))
}
"""By major version and scenario."""
HEARTBEAT = bytes((102, 1, 0))


def connections(recording: dict[str, Any]) -> list[list[dict[str, str]]]:
    """The frames of each connection."""
    found: list[list[dict[str, str]]] = []
    for frame in recording["frames"]:
        if frame.get("note") == "a connection":
            found.append([])
        found[-1].append(frame)
    return found


async def play(socket: RawWebSocket, frames: list[dict[str, str]]) -> list[bytes]:
    """Send what the client sent, in its order, and return all that the node said until everything of it was decided.

    A step 2 is sent once the node has asked for it.
    """
    heard: list[bytes] = []
    for frame in frames:
        if frame.get("from") != "client":
            continue
        message = bytes.fromhex(frame["hex"])
        while message[:2] == b"\x00\x01" and not any(said[:2] == b"\x00\x00" for said in heard):
            heard.append(await socket.message())
        socket.send(message)
    socket.send(HEARTBEAT)
    while not heard or heard[-1] != HEARTBEAT:
        heard.append(await socket.message())
    return heard


@pytest.mark.parametrize("name", RECORDINGS)
async def test_a_recorded_provider_is_answered_and_its_document_is_stored(node: Node, name: str) -> None:
    """Rules Y2 to Y5: every frame of the recording, cut and return included."""
    recording = RECORDINGS[name]
    played = connections(recording)
    assert len(played) == len(recording["paths"])
    for frames, address in zip(played, recording["paths"], strict=True):
        async with raw_websocket(node.url + address) as socket:
            heard = await play(socket, frames)
        assert heard[0][:2] == b"\x00\x00"  # Y2: the node asks first,
        assert [said[:2] for said in heard].count(b"\x00\x01") == 1  # Y3: answers the one step 1 once,
        assert not any(said[0] == 2 for said in heard)  # and refuses nothing
    await has_stored(node, recording)


def test_both_majors_say_the_same() -> None:
    """So a server that serves one serves the other; they differ in when they come back."""
    said: dict[str, set[str]] = {}
    for name, recording in RECORDINGS.items():
        said.setdefault(name[2:], set()).add(json.dumps([recording["frames"], recording["state"]]))
    assert {scenario: len(each) for scenario, each in said.items()} == dict.fromkeys(said, 1)
    assert len(RECORDINGS) == 2 * len(said) == 12
