"""Bad networks between providers and a node (RULES O3, O6, P9): slow, late, in pieces, silent, cut."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.flows.test_crowds import MB, ROOM, filled
from tests.harness.designer import Designers
from tests.harness.node import Node
from tests.harness.proxy import Proxy


@pytest.fixture
async def quick_node(tmp_path: Path) -> AsyncIterator[Node]:
    """One node that pings every second and waits a second for the answer."""
    async with Node(tmp_path / "data", LUNEO_PING_SECONDS="1", LUNEO_PING_TIMEOUT_SECONDS="1") as node:
        yield node


async def test_a_document_that_takes_longer_than_a_ping_arrives_at_once(quick_node: Node, designers: Designers) -> None:
    """RULE O6: 1 MB in three seconds, where a ping waits for one; nobody is ended, and nothing is sent twice."""
    async with aiohttp.ClientSession() as session:
        await filled(quick_node, session, 2 * MB)
    async with Proxy(quick_node.url, down_bytes_per_second=2 * MB // 3) as slow:
        await designers.open("ada", slow.url, ROOM)
        await designers.open("ben", quick_node.url, ROOM)
        await designers.ready("ben")
        await designers.equal("ada", "ben", within=20)
        assert slow.carried_bytes < 3 * MB
        assert (await designers.report("ada"))["events"] == ["connect"]


async def test_providers_converge_through_a_network_that_halves_and_delays(node: Node, designers: Designers) -> None:
    """Promise 2: every packet in two pieces, 100 ms each way, 64 KB a second; and cut with RST in between."""
    async with (
        Proxy(node.url, down_bytes_per_second=64_000, up_bytes_per_second=64_000, halves=True) as narrow,
        Proxy(node.url, delay_seconds=0.1, halves=True) as late,
    ):
        for number, (name, url) in enumerate({"ada": narrow.url, "ben": late.url, "cleo": node.url}.items()):
            await designers.open(name, url, ROOM)
            await designers.ready(name)
            await designers.do("hammer", name=name, seed=number + 1, every=10)
        for _ in range(3):
            before = (await designers.report("cleo"))["marks"]
            while (await designers.report("cleo"))["marks"] < before + 10:
                pass
            narrow.reset()
            late.reset()
        await designers.do("rest", names=["ada", "ben", "cleo"])
        await designers.equal("ada", "ben", "cleo", within=30)


async def test_who_is_behind_a_cable_that_was_pulled_goes_and_comes_back(
    quick_node: Node, designers: Designers
) -> None:
    """RULES P9, O6: gone within ping interval and timeout and half a second more; its edits come when it is back."""
    async with Proxy(quick_node.url) as cable:
        client = await designers.open("ada", cable.url, ROOM)
        await designers.open("ben", quick_node.url, ROOM)
        await designers.ready("ada", "ben")
        await designers.do("presence", name="ada", state={"cursor": 1})
        await designers.sees("ben", client, key="cursor", value=1)
        cable.swallow()
        pulled_at = time.monotonic()
        await designers.edit("ada", "map", key="made", value="in the dark")
        await designers.misses("ben", client, within=10)
        assert time.monotonic() - pulled_at < 2.0 + 1.0
        cable.reset()
        cable.carry()
        await designers.equal("ada", "ben")
        assert (await designers.do("look", name="ben"))["content"]["el"] == {"made": "in the dark"}
        await designers.sees("ben", client, key="cursor", value=1)
