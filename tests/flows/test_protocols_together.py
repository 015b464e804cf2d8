"""Unmodified npm providers of every protocol in one room: through kills, cuts and refusals they end the same."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import aiohttp
import pytest

from realtime.auth import make_token
from realtime.settings import Settings
from rooms.permissions import Role
from tests.harness.budget import SEED, budget
from tests.harness.designer import Designers, yjs_reads
from tests.harness.node import Node
from tests.harness.processes import eventually
from tests.harness.reading import read_sqlite

ROOM = "all-together"
KINDS = {
    "ada": "stock",
    "ben": "y-websocket",
    "cleo": "y-websocket-2",
    "dora": "acked",
    "emil": "y-websocket",
    "fay": "hocuspocus",
    "gus": "hocuspocus-2",
}
"""Who comes with what; a protocol more is a line more."""
NAMES = tuple(KINDS)
ROUNDS = budget(2, 20)
SECRET = "a secret of at least thirty-two bytes"


@pytest.mark.prove
async def test_providers_of_all_protocols_end_equal_though_the_server_is_killed(
    tmp_path: Path, designers: Designers
) -> None:
    """Rules Y2 to Y5, F8, D2: everybody edits and is cut; SIGKILL, and a restart, in between."""
    chance = random.Random(SEED)
    async with Node(tmp_path / "data", LUNEO_KEYFRAME_ROWS="40") as node:
        clients = {name: await designers.open(name, node.url, ROOM, kind=kind) for name, kind in KINDS.items()}
        await designers.ready(*NAMES)
        for name in NAMES:
            await designers.do("presence", name=name, state={"user": {"name": name}})
            await designers.do("hammer", name=name, seed=chance.randrange(1, 2**31), every=15)
        for _ in range(ROUNDS):
            await asyncio.sleep(chance.uniform(0.1, 0.4))
            await designers.do("cut", names=chance.sample(NAMES, 2))
            await asyncio.sleep(chance.uniform(0.1, 0.4))
            await node.kill()
            await designers.do("until-gone", names=NAMES, within=10)
            await asyncio.sleep(0.1)  # edits without a connection
            await node.start()
            await designers.ready(*NAMES)
        await designers.do("rest", names=NAMES)
        digest = await designers.equal(*NAMES)
        for name, client in clients.items():
            for other in NAMES:
                if other != name:
                    await designers.sees(other, client)  # P11: who came back is seen, though nobody moved,
        await designers.do("close", name="ben")
        await designers.misses("cleo", clients["ben"])  # and it is taken back when its owner leaves
        await designers.misses("ada", clients["ben"])

        async def stored() -> bool:
            return bool((await yjs_reads(read_sqlite(node.database, ROOM).rows))["digest"] == digest)

        assert await eventually(stored, "the same document in the log")


@pytest.mark.parametrize("kind", ["y-websocket", "y-websocket-2"])
async def test_what_was_done_offline_reaches_the_others_and_the_other_way(node: Node, kind: str) -> None:
    """Rules Y3, Y4: by the answers to both questions, whichever protocol the others speak."""
    async with Designers() as designers:
        await designers.open("ada", node.url, ROOM)
        await designers.open("ben", node.url, ROOM, kind=kind, connect=False)
        await designers.ready("ada")
        await designers.edit("ada", "text", place=0, insert="héllo 🙂 ")
        await designers.edit("ben", "text", place=0, insert="from far away ")
        await designers.edit("ben", "map", key="colour", value="#ff0000")
        await designers.do("connect", name="ben")
        await designers.equal("ada", "ben")
        await designers.do("disconnect", name="ben")
        await designers.edit("ben", "erase", place=0, length=3)
        await designers.edit("ada", "nested", key="layer", field="xf", value=[1, 2])
        await designers.do("connect", name="ben")
        await designers.equal("ada", "ben")


async def test_a_refusal_for_good_stops_a_new_client_and_holds_an_old_one_off(
    tmp_path: Path, designers: Designers
) -> None:
    """Rule Y8: 3.x stops at the code; 2.x comes back, and soon no upgrade is made for it."""
    settings = Settings.read({"LUNEO_SECRET": SECRET})
    async with Node(tmp_path / "data", LUNEO_SECRET=SECRET) as node:
        token = make_token(
            settings, user="ada", name="Ada", brand="acme", role=Role.EDITOR, rooms=["other"], seconds=60
        )
        for name, kind in (("new", "y-websocket"), ("old", "y-websocket-2")):
            await designers.open(name, node.url, ROOM, kind=kind, token=token, backoff=100)

        async def stopped() -> list[str]:
            return [event for event in (await designers.report("new"))["events"] if event.startswith("closed")]

        assert (await eventually(stopped, "the new one stopped"))[0].startswith("closed 4404 not_found: ")
        assert (await designers.report("new"))["refused"][0].startswith("not_found: ")
        await asyncio.sleep(1.0)
        new, old = await designers.report("new"), await designers.report("old")
        assert new["opened"] == 1
        assert old["opened"] <= 3 < len(old["events"])
        assert set(old["closes"]) <= {4404, 1006}
        assert any("404" in event for event in old["events"])  # it failed at the handshake, with the status


@pytest.mark.parametrize("kind", ["y-websocket", "y-websocket-2"])
async def test_a_viewer_is_told_and_keeps_reading(tmp_path: Path, designers: Designers, kind: str) -> None:
    """Rule Y9: with the sentence on its console."""
    settings = Settings.read({"LUNEO_SECRET": SECRET})
    async with Node(tmp_path / "data", LUNEO_SECRET=SECRET) as node:

        def token(user: str, role: Role) -> str:
            return make_token(settings, user=user, name=user, brand="acme", role=role, rooms=["*"], seconds=60)

        await make_design(node, token("olga", Role.OWNER))
        await designers.open("editor", node.url, ROOM, token=token("ada", Role.EDITOR))
        viewer = await designers.open("viewer", node.url, ROOM, kind=kind, token=token("vic", Role.VIEWER))
        await designers.ready("editor", "viewer")
        await designers.edit("viewer", "map", key="mine", value=1)

        async def told() -> list[str]:
            return list((await designers.report("viewer"))["refused"])

        assert (await eventually(told, "the refusal"))[0].startswith("not_permitted: A viewer may not edit here.")
        await designers.edit("editor", "map", key="theirs", value=2)
        await designers.do("presence", name="viewer", state={"looks": True})
        await designers.sees("editor", viewer, key="looks", value=True)

        async def reads() -> bool:
            return "theirs" in str((await designers.do("look", name="viewer"))["content"])

        await eventually(reads, "the editor's edit at the viewer")
        assert "mine" not in str((await designers.do("look", name="editor"))["content"])


async def make_design(node: Node, token: str) -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.post(f"{node.url}/api/v1/designs", json={"product": "poster-a3", "id": ROOM}) as answer,
    ):
        assert answer.status == 201, await answer.text()
