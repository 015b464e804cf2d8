"""What is acknowledged is on disk, whatever comes between (rules D2, D5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooms.faults import PLACES
from tests.harness.designer import Designers, yjs_reads
from tests.harness.node import Node
from tests.harness.processes import eventually
from tests.harness.reading import read_sqlite
from tests.harness.wire import Wire

EDIT = bytes.fromhex("0101690028010265 6c066265666f7265017d0100".replace(" ", ""))
"""Client 105 sets el.before = 1."""


@pytest.mark.parametrize("place", PLACES)
async def test_an_update_that_comes_twice_at_once_is_acknowledged_only_when_it_is_stored(
    tmp_path: Path, place: str
) -> None:
    """Rule D2, D5: the second brings nothing new beside the first, and still nothing is durable before the commit."""
    fault = {"LUNEO_TESTING": "1", "LUNEO_FAULT": f"kill:{place}:1"}
    async with Node(tmp_path / "data", **fault) as node:
        wire = await Wire.join("127.0.0.1", node.port, "twice")
        wire.write(wire.update(EDIT, 1) + wire.update(EDIT, 2))
        await wire.closed
        acknowledged = [number for number, (answer, _) in wire.acks.items() if answer["ok"]]
        assert await node.ended() == -9
        stored = read_sqlite(node.database, "twice").rows
        assert len(stored) == (0 if place == "after-inspection" else 1)
        assert not acknowledged or stored, f"acknowledged {acknowledged}, and nothing is in the database"


@pytest.mark.parametrize("place", PLACES)
async def test_killed_between_inspection_commit_and_acknowledgement_nothing_acknowledged_is_lost(
    tmp_path: Path, designers: Designers, place: str
) -> None:
    """Rule D2: the client sends again what it does not know to be durable, and it is there once."""
    async with Node(tmp_path / "data") as node:
        await node.stop()
        await node.start(LUNEO_TESTING="1", LUNEO_FAULT=f"kill:{place}:3")
        client = await designers.open("ada", node.url, "killed", kind="acked")
        await designers.ready("ada")
        for number in range(2):
            await designers.edit("ada", "map", key=f"k{number}", value=number)
            await designers.acked("ada")
        await designers.edit("ada", "map", key="k2", value=2)
        assert await node.ended() == -9
        await designers.do("until-gone", names=["ada"], within=10)
        acked = (await designers.report("ada"))["acked"]
        assert len(acked) == 2
        seen = await yjs_reads(read_sqlite(node.database, "killed").rows)
        assert seen["clocks"][str(client)] == (2 if place == "after-inspection" else 3)
        await node.start()
        await designers.ready("ada")
        await designers.acked("ada")
        digest = await designers.digest("ada")

        async def stored() -> bool:  # the answer to the node's own question is not acknowledged to anybody
            return bool((await yjs_reads(read_sqlite(node.database, "killed").rows))["digest"] == digest)

        await eventually(stored, "the database holds what ada holds")
        seen = await yjs_reads(read_sqlite(node.database, "killed").rows)
        assert seen["content"]["el"] == {"k0": 0, "k1": 1, "k2": 2}
