"""Who falls silent without closing anything: a hung machine, a lost network (rule P, RULINGS 11)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.designer import Designers
from tests.harness.node import Node


@pytest.fixture
async def quick_node(tmp_path: Path) -> AsyncIterator[Node]:
    """One node that pings every second and waits a second for the answer."""
    async with Node(tmp_path / "data", LUNEO_PING_SECONDS="1", LUNEO_PING_TIMEOUT_SECONDS="1") as node:
        yield node


async def test_a_silent_designers_cursor_goes_after_the_ping_and_its_time_limit(
    quick_node: Node, designers: Designers
) -> None:
    """Rule P: its process is stopped, its socket stays open; its edits stay, its presence goes."""
    async with Designers() as hung:
        client = await hung.open("ada", quick_node.url, "silent")
        await designers.open("ben", quick_node.url, "silent")
        await hung.ready("ada")
        await designers.ready("ben")
        await hung.edit("ada", "map", key="made", value="before")
        await hung.do("presence", name="ada", state={"cursor": 1})
        await designers.sees("ben", client, key="cursor", value=1)
        hung.freeze()
        await designers.misses("ben", client, within=10)
    look = await designers.do("look", name="ben")
    assert look["content"]["el"] == {"made": "before"}


async def test_a_frozen_server_is_left_and_found_again_with_everything(quick_node: Node, designers: Designers) -> None:
    """Promise 1: the server hangs, the clients notice by themselves; what was under way is stored once it goes on."""
    await designers.open("ada", quick_node.url, "silent", kind="acked")
    await designers.open("ben", quick_node.url, "silent")
    await designers.ready("ada", "ben")
    quick_node.freeze()
    await designers.edit("ada", "map", key="made", value="while it hung")
    await designers.do("until-gone", names=["ada", "ben"], within=20)
    await designers.edit("ben", "map", key="also", value="offline")
    quick_node.thaw()
    await designers.ready("ada", "ben")
    await designers.equal("ada", "ben")
    look = await designers.do("look", name="ben")
    assert look["content"]["el"] == {"made": "while it hung", "also": "offline"}
