"""Designs, members, users, assets, keyframes and secrets, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from storage.assets import Asset, Assets
from storage.database import Database, open_database
from storage.designs import Designs
from storage.errors import DesignExists, DesignNotFound, InvalidCursor, InvalidValue
from storage.inboxes import Inboxes
from storage.keyframes import Keyframe, Keyframes
from storage.keys import BrandId, DesignId, DocumentKey, Epoch, Position, UserId
from storage.memberships import Memberships
from storage.pages import Page
from storage.secrets import Secrets
from storage.users import StoredUser, Users

ACME = BrandId("acme")
RIVAL = BrandId("rival")
ADA = UserId("ada")
BEN = UserId("ben")
SPRING = DesignId("spring")

T = TypeVar("T")


async def all_pages(page: Callable[[str | None], Awaitable[Page[T]]]) -> list[T]:
    rows: list[T] = []
    cursor: str | None = None
    while True:
        found = await page(cursor)
        rows += found.rows
        cursor = found.next
        if cursor is None:
            return rows


async def test_a_design_is_made_once_and_its_owner_is_a_member(two_databases: tuple[Database, Database]) -> None:
    """Ten at once through two nodes: one of them makes it."""
    designs = [Designs(database) for database in two_databases]
    made = await asyncio.gather(
        *(designs[n % 2].create(ACME, SPRING, f"Spring {n}", "mug", UserId(f"user-{n}")) for n in range(10)),
        return_exceptions=True,
    )
    winners = [design for design in made if not isinstance(design, BaseException)]
    assert len(winners) == 1
    assert [error.deleted for error in made if isinstance(error, DesignExists)] == [False] * 9
    assert await designs[0].get(ACME, SPRING) == winners[0]
    members = await Memberships(two_databases[0]).of_design(ACME, SPRING)
    assert [(member.user_id, member.role) for member in members] == [(winners[0].owner, "owner")]


async def test_a_deleted_design_is_gone_and_its_id_stays_taken(database: Database) -> None:
    designs = Designs(database)
    await designs.create(ACME, SPRING, "Spring", "mug", ADA)
    await designs.delete(ACME, SPRING)
    assert await designs.get(ACME, SPRING) is None
    assert (await designs.list(ACME)).rows == (await designs.list(ACME, ADA)).rows == []
    with pytest.raises(DesignExists) as refused:
        await designs.create(ACME, SPRING, "Again", "mug", ADA)
    assert refused.value.deleted
    for change in (designs.delete(ACME, SPRING), designs.update(ACME, SPRING, title="Back")):
        with pytest.raises(DesignNotFound):
            await change


async def test_a_design_of_another_brand_answers_like_one_that_does_not_exist(database: Database) -> None:
    """Rule D1: reading, changing, deleting, members; and the id is free there."""
    designs, members = Designs(database), Memberships(database)
    mine = await designs.create(ACME, SPRING, "Spring", "mug", ADA)
    assert await designs.get(RIVAL, SPRING) is None
    assert (await designs.list(RIVAL)).rows == []
    assert await members.role(RIVAL, SPRING, ADA) is None
    refusals = []
    for id in (SPRING, DesignId("absent")):
        for change in (designs.delete(RIVAL, id), designs.update(RIVAL, id, title="Taken over")):
            with pytest.raises(DesignNotFound) as refused:
                await change
            refusals.append((refused.value.code, refused.value.message))
    assert len(set(refusals)) == 1
    await designs.create(RIVAL, SPRING, "Theirs", "mug", BEN)
    assert await designs.get(ACME, SPRING) == mine


async def test_a_change_moves_a_design_to_the_front_and_a_preview_does_not(database: Database) -> None:
    designs = Designs(database)
    made = await designs.create(ACME, SPRING, "Spring", "mug", ADA)
    previewed = await designs.update(ACME, SPRING, preview_position=Position(7))
    assert previewed == dataclasses.replace(made, preview_position=Position(7))
    assert (await designs.update(ACME, SPRING, preview_position=Position(3))).preview_position == 7
    renamed = await designs.update(ACME, SPRING, title="Summer", product="shirt")
    assert (renamed.title, renamed.product) == ("Summer", "shirt")
    assert renamed.updated_at >= made.updated_at
    await designs.touch({DocumentKey(ACME, SPRING): renamed.updated_at + 60})
    await designs.touch({DocumentKey(ACME, SPRING): renamed.updated_at + 30})
    await designs.touch({DocumentKey(ACME, DesignId("absent")): 1.0})
    assert await designs.get(ACME, SPRING) == dataclasses.replace(renamed, updated_at=renamed.updated_at + 60)


async def test_a_list_is_read_on_where_it_ended_whatever_changed_meanwhile(database: Database) -> None:
    """Keyset paging: equal times, a new design and a changed one in between; nothing is left out or comes twice."""
    designs = Designs(database)
    for number in range(9):
        id = DesignId(f"d{number}")
        await designs.create(ACME, id, id, "mug", ADA if number % 2 else BEN)
        await designs.touch({DocumentKey(ACME, id): 4e9 + number // 3})
    first = await designs.list(ACME, limit=4)
    assert [design.id for design in first.rows] == ["d8", "d7", "d6", "d5"]
    await designs.create(ACME, DesignId("new"), "New", "mug", ADA)
    await designs.touch({DocumentKey(ACME, DesignId("new")): 5e9})
    await designs.touch({DocumentKey(ACME, DesignId("d7")): 5e9})
    rest = await all_pages(lambda cursor: designs.list(ACME, cursor=cursor or first.next, limit=2))
    assert [design.id for design in rest] == ["d4", "d3", "d2", "d1", "d0"]
    mine = await all_pages(lambda cursor: designs.list(ACME, BEN, cursor, 1))
    assert [design.id for design in mine] == ["d8", "d6", "d4", "d2", "d0"]


@pytest.mark.parametrize("cursor", ["", "x", "bmFuIGE", "bmFuAA", "é", "A" * 1000, "MS4wIGEAYg"])
async def test_a_cursor_that_was_not_made_here_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        await Designs(database).list(ACME, cursor=cursor)
    with pytest.raises(InvalidCursor):
        await Inboxes(database).list(ACME, ADA, cursor)


async def test_a_role_is_given_changed_and_taken(database: Database) -> None:
    members = Memberships(database)
    await members.put(ACME, SPRING, ADA, "editor")
    await members.put(ACME, SPRING, BEN, "viewer")
    await members.put(ACME, SPRING, BEN, "commenter")
    assert await members.role(ACME, SPRING, BEN) == "commenter"
    assert [member.user_id for member in await members.of_design(ACME, SPRING)] == [ADA, BEN]
    assert [await members.remove(ACME, SPRING, BEN) for _ in range(2)] == [True, False]
    assert await members.role(ACME, SPRING, BEN) is None


async def test_an_older_sight_of_a_user_changes_nothing(database: Database) -> None:
    users = Users(database)
    ada = StoredUser(ACME, ADA, "Ada", "#ff8800", "", "en", 100.0)
    await users.see(ada)
    await users.see(dataclasses.replace(ada, name="Ada L.", seen_at=200.0))
    await users.see(dataclasses.replace(ada, name="Old", seen_at=150.0))
    found = await users.find(ACME, [ADA, BEN])
    assert {id: user.name for id, user in found.items()} == {ADA: "Ada L."}
    assert await users.get(RIVAL, ADA) is None


async def test_the_same_bytes_are_one_asset_of_their_first_uploader(database: Database) -> None:
    assets = Assets(database)
    first = Asset(ACME, "a" * 64, "image/png", 640, 480, 12345, "logo.png", ADA, 100.0)
    assert await assets.put(first) == first
    assert await assets.put(dataclasses.replace(first, name="copy.png", uploaded_by=BEN, at=200.0)) == first
    assert await assets.get(RIVAL, first.sha256) is None
    others = [dataclasses.replace(first, sha256=f"{number:064x}") for number in range(5)]
    for other in others:
        await assets.put(other)
    listed = await all_pages(lambda cursor: assets.list(ACME, cursor, 2))
    assert [asset.sha256 for asset in listed] == [first.sha256, *(asset.sha256 for asset in reversed(others))]
    assert set(await assets.find(ACME, [first.sha256, "f" * 64])) == {first.sha256}


async def test_keyframes_are_added_and_the_newest_epoch_wins(database: Database) -> None:
    """Rule D4: every keyframe stays; a late one of an old epoch is never the newest."""
    keyframes = Keyframes(database)
    key = DocumentKey(ACME, SPRING)
    assert await keyframes.newest(key) is None
    frames = {
        (epoch, position): Keyframe(Epoch(epoch), Position(position), f"{epoch}.{position}".encode(), b"summary")
        for epoch, position in ((1, 10), (2, 30), (1, 20), (1, 40))
    }
    for frame in frames.values():
        await keyframes.put(key, frame)
    await keyframes.put(key, dataclasses.replace(frames[2, 30], state=b"of another node, later"))
    assert await keyframes.newest(key) == frames[2, 30]
    assert await keyframes.at_or_before(key, Position(29)) == frames[1, 20]
    assert await keyframes.at_or_before(key, Position(9)) is None
    assert await keyframes.newest(DocumentKey(RIVAL, SPRING)) is None


async def test_all_nodes_get_the_same_secret(two_databases: tuple[Database, Database]) -> None:
    made = iter(range(100))
    secrets = [Secrets(database) for database in two_databases]
    values = await asyncio.gather(
        *(secrets[n % 2].ensure("cookie", lambda: f"key {next(made)}".encode()) for n in range(6))
    )
    assert len(set(values)) == 1
    assert await secrets[1].get("cookie") == values[0]
    assert await secrets[0].get("other") is None


async def test_what_a_database_cannot_hold_is_refused_in_our_words(postgres_url: str) -> None:
    async with open_database(postgres_url) as database:
        with pytest.raises(InvalidValue):
            await Designs(database).create(ACME, SPRING, "a\0b", "mug", ADA)
        with pytest.raises(InvalidValue):
            await Designs(database).create(ACME, SPRING, "x", "m" * 65, ADA)
        assert await Designs(database).get(ACME, SPRING) is None
