"""Recordings of unmodified providers: what a node must have in its log once one was played to it."""

from __future__ import annotations

from typing import Any

from tests.harness.designer import yjs_reads
from tests.harness.node import Node
from tests.harness.processes import eventually
from tests.harness.reading import read_sqlite

THEIRS = "900"
"""The client that was there already when it was recorded: the node that a recording is played to has not seen it."""


async def has_stored(node: Node, recording: dict[str, Any]) -> None:
    """Wait until the log has all that the recorded client did, and see that it says the same to yjs."""
    wanted = await yjs_reads([bytes.fromhex(recording["state"])])

    async def stored() -> dict[str, Any] | None:
        rows = read_sqlite(node.database, recording["room"])
        assert rows.is_gapless()
        seen = await yjs_reads(rows.rows)
        own = {client: clock for client, clock in wanted["clocks"].items() if client != THEIRS}
        return seen if seen["clocks"] == own else None

    seen = await eventually(stored, f"all that was recorded in {recording['room']} in the log")
    assert seen is not None
    if THEIRS not in wanted["clocks"]:
        assert seen["content"] == wanted["content"]
