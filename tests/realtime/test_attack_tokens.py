"""Tokens on live sockets."""

from __future__ import annotations

from pathlib import Path

from rooms.permissions import Role
from tests.harness.raw_socket import raw_socket
from tests.realtime.serving import SECRET, serving


async def test_a_token_that_ends_sooner_than_the_first_of_its_connection_ends_it(tmp_path: Path) -> None:
    """Contract 3: every namespace may bring its own token, and none outlives it."""
    async with serving(tmp_path, LUNEO_SECRET=SECRET) as served:
        ada = await served.person("ada", Role.OWNER)
        assert (await ada.post("/api/v1/designs", {"product": "mug", "id": "spring"})).status == 201
        long, short = served.token("ada", Role.OWNER), served.token("ben", Role.VIEWER, rooms=["spring"], seconds=2)
        async with raw_socket(served.url) as socket:
            await socket.connect("/chat", {"token": long})
            assert (await socket.next()).kind == 0
            await socket.connect("/yjs|spring", {"token": short})
            assert (await socket.next()).kind == 0
            await socket.ended()
