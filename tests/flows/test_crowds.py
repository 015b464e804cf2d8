"""A crowd that joins one large design at once (RULE S11): what it costs the node in memory and in time."""

from __future__ import annotations

import asyncio
import io
import re
from typing import Any

import aiohttp
import pycrdt
import pytest

from tests.harness.budget import FULL, budget
from tests.harness.node import Node
from tests.harness.processes import eventually, resident_bytes, until
from tests.harness.wire import Wire, event

ROOM = "festival"
MB = 1024 * 1024


async def filled(node: Node, session: aiohttp.ClientSession, size: int) -> None:
    """Make the design *size* bytes large, and wait until it is one keyframe."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    text = doc.get("note", type=pycrdt.Text)
    url = f"{node.url}/api/v1/designs/{ROOM}/update"
    for start in range(0, size, 2 * MB):
        before = doc.get_state()
        text.insert(len(text), "many letters, " * (min(2 * MB, size - start) // 14))
        headers = {"Content-Type": "application/octet-stream"}
        async with session.post(url, data=io.BytesIO(doc.get_update(before)), headers=headers) as response:
            assert response.status == 200, await response.text()

    async def is_folded() -> bool:
        return await metric(node, session, "luneo_keyframes_total") > 0

    await eventually(is_folded, "a keyframe")


async def metric(node: Node, session: aiohttp.ClientSession, name: str) -> float:
    async with session.get(f"{node.url}/metrics") as response:
        found = re.search(rf"^{name} (\S+)$", await response.text(), re.MULTILINE)
    assert found, name
    return float(found[1])


class Deaf(Wire):
    """Asks for the state and reads nothing of it; a ping is not answered either."""

    asked = False

    def _text(self, text: str, moment: float) -> None:
        if text.startswith("40"):
            self.asked = True
            self.write(event(self.room, "sync-step-1", b"\x00", 0))
            self.transport.pause_reading()
        else:
            super()._text(text, moment)


async def test_who_joins_a_large_design_costs_no_copy_of_it(node: Node) -> None:
    """RULE S11: 24 connections that ask for 8 MB and do not read it hold the same bytes, folded or not."""
    async with aiohttp.ClientSession() as session:
        await filled(node, session, 8 * MB)
        reader = await Wire.join("127.0.0.1", node.port, ROOM)
        before = resident_bytes([node.pid])
        deaf = [await Deaf.connect("127.0.0.1", node.port, ROOM) for _ in range(24)]
        await until(lambda: all(isinstance(one, Deaf) and one.asked for one in deaf), "everybody asked")
        await asyncio.sleep(1.0)  # until all were answered, which nobody can see who does not read
        assert resident_bytes([node.pid]) - before < 40 * MB
        for one in deaf:
            one.close()
        reader.close()


@pytest.mark.prove
async def test_a_crowd_that_joins_at_once_does_not_hold_up_the_loop(node: Node) -> None:
    """RULE S11: 50 people, 1 MB each. Bounds in time are asserted in full (RULINGS 44)."""
    async with aiohttp.ClientSession() as session:
        await filled(node, session, MB)
        longest = []
        for _ in range(budget(1, 9)):
            wires = [await Wire.connect("127.0.0.1", node.port, ROOM, hold=True) for _ in range(50)]
            await metric(node, session, "luneo_loop_lag_max_seconds")
            for wire in wires:
                wire.release()
            async with asyncio.timeout(20):
                await asyncio.gather(*(wire.joined for wire in wires))
            longest.append(await metric(node, session, "luneo_loop_lag_max_seconds"))
            for wire in wires:
                wire.close()
        print("longest pieces of the loop:", [f"{seconds * 1000:.1f} ms" for seconds in longest])
        if FULL:
            assert sorted(longest)[len(longest) // 2] < 0.010
