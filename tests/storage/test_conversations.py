"""Questions about many streams at once, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from storage.conversations import Conversations
from storage.database import Database
from storage.designs import Designs
from storage.keys import BrandId, DesignId, StreamKey, UserId
from storage.memberships import Memberships
from storage.pages import MAX_PAGE
from storage.streams import StreamLog
from storage.update_log import EMPTY, Head

ACME, UMBRELLA = BrandId("acme"), BrandId("umbrella")
SPRING, SUMMER = StreamKey(ACME, "chat:spring"), StreamKey(ACME, "chat:summer")
FOREIGN = StreamKey(UMBRELLA, "chat:spring")


async def test_the_heads_of_many_streams_are_read_at_once(database: Database) -> None:
    log, conversations = StreamLog(database), Conversations(database)
    for key, times in ((SPRING, 3), (FOREIGN, 1)):
        for _ in range(times):
            await log.append(key, "said", {}, "ada")
    many = [StreamKey(ACME, f"chat:d{number}") for number in range(600)]
    heads = await conversations.heads([SPRING, *many, FOREIGN, SUMMER])
    assert heads[SPRING] == Head(EMPTY.epoch, (await log.head(SPRING)).position)
    assert (heads[SPRING].position, heads[FOREIGN].position) == (3, 1)
    assert {heads[key] for key in [SUMMER, *many]} == {EMPTY}
    assert await conversations.heads([]) == {}


async def test_authors_are_named_with_the_last_speaker_first(database: Database) -> None:
    log, conversations = StreamLog(database), Conversations(database)
    for user in ("ada", "ben", "ada", "carl", "ben"):
        await log.append(SPRING, "said", {}, user)
    await log.append(FOREIGN, "said", {}, "eve")
    assert await conversations.authors(SPRING) == ["ben", "carl", "ada"]
    assert await conversations.last_authors([SPRING, SUMMER, FOREIGN]) == {
        SPRING: ["ben", "carl", "ada"],
        SUMMER: [],
        FOREIGN: ["eve"],
    }
    assert await conversations.last_authors([]) == {}
    with pytest.raises(ValueError, match="at most"):
        await conversations.last_authors([StreamKey(ACME, f"{number}") for number in range(MAX_PAGE + 1)])


async def test_a_held_stream_makes_others_wait_for_the_commit(database: Database) -> None:
    log, conversations = StreamLog(database), Conversations(database)
    async with database.transaction() as connection:
        await conversations.hold(connection, SPRING)
        await conversations.hold(connection, SPRING)
        event = await log.append_within(connection, SPRING, "said", {}, "ada")
    assert event.position == 1
    assert (await log.append(SPRING, "said", {}, "ben")).position == 2


async def test_conversations_are_those_of_living_designs_of_the_brand_or_of_a_member(database: Database) -> None:
    designs, log, conversations = Designs(database), StreamLog(database), Conversations(database)
    for brand in (ACME, UMBRELLA):
        for id in ("spring", "summer", "silent", "deleted"):
            await designs.create(brand, DesignId(id), id.title(), "poster-a3", UserId("ada"))
    await Memberships(database).put(ACME, DesignId("summer"), UserId("ben"), "viewer")
    for id in ("summer", "spring", "deleted"):
        await log.append(StreamKey(ACME, f"chat:{id}"), "said", {"text": id}, "ada")
    await log.append(SPRING, "said", {"text": "again"}, "ben")
    await log.append(FOREIGN, "said", {"text": "foreign"}, "eve")
    await designs.delete(ACME, DesignId("deleted"))

    page = await conversations.list(ACME)
    assert [(row.design, row.position, row.body) for row in page.rows] == [
        ("spring", 2, {"text": "again"}),
        ("summer", 1, {"text": "summer"}),
    ]
    first = await conversations.list(ACME, limit=1)
    rest = await conversations.list(ACME, cursor=first.next, limit=1)
    assert [row.design for row in first.rows + rest.rows] == ["spring", "summer"]
    assert rest.next is None
    assert [row.design for row in (await conversations.list(ACME, UserId("ben"))).rows] == ["summer"]
    assert [row.body for row in (await conversations.list(UMBRELLA)).rows] == [{"text": "foreign"}]
