"""Starting over what cannot be served: a sentence, and nothing was changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import DatabaseMisconfigured
from tests.realtime.serving import SECRET, serving


async def test_a_second_node_on_one_sqlite_file_does_not_start_until_the_first_has_ended(tmp_path: Path) -> None:
    """Rules B2, L1: neither would hear of the other, and their rooms would drift apart."""
    async with serving(tmp_path, LUNEO_SECRET=SECRET):
        with pytest.raises(DatabaseMisconfigured, match="Another node serves"):
            async with serving(tmp_path, LUNEO_SECRET=SECRET):
                pass
    async with serving(tmp_path, LUNEO_SECRET=SECRET):
        pass


@pytest.mark.parametrize("damage", [0, 100], ids=["no database", "a damaged one"])
async def test_a_damaged_database_is_named_and_left_as_it_is(tmp_path: Path, damage: int) -> None:
    """Rule L1."""
    file = tmp_path / "luneo.sqlite3"
    async with serving(tmp_path, LUNEO_SECRET=SECRET):
        pass
    broken = bytearray(file.read_bytes())
    broken[damage : damage + 8000] = b"\x5a" * 8000
    file.write_bytes(broken)
    with pytest.raises(DatabaseMisconfigured, match=r"luneo\.sqlite3 is damaged"):
        async with serving(tmp_path, LUNEO_SECRET=SECRET):
            pass
    assert file.read_bytes() == broken
