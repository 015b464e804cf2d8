"""Streams and inboxes, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.errors import BodyTooLarge, MessageConflict
from storage.inboxes import InboxCounts, Inboxes
from storage.keys import BrandId, Position, StreamKey, UserId
from storage.streams import MAX_BODY_BYTES, StreamEvent, StreamLog
from storage.update_log import EMPTY

EXAMPLES = 200 if os.environ.get("LUNEO_PROVE") == "full" else 10
ACME = BrandId("acme")
RIVAL = BrandId("rival")
ADA = UserId("ada")
BEN = UserId("ben")
CHAT = StreamKey(ACME, "chat:spring")
_brands = itertools.count()


async def post(log: StreamLog, text: str, id: str | None = None, user: UserId = ADA) -> StreamEvent:
    return await log.append(CHAT, "posted", {"text": text}, user, id)


async def test_events_are_read_back_as_they_were_written(database: Database) -> None:
    log = StreamLog(database)
    body = {"text": "a\0b \N{PARTY POPPER}", "mentions": ["ben"], "n": 2**53, "deep": {"none": None}}
    written = await log.append(CHAT, "posted", body, ADA, "m1")
    assert (written.epoch, written.position, written.body, written.repeated) == (1, 1, body, False)
    assert await log.read(CHAT, Position(0)) == [written]
    assert (await log.head(CHAT)).position == 1
    assert await log.head(StreamKey(ACME, "chat:other")) == EMPTY


async def test_a_message_sent_again_is_there_once(two_databases: tuple[Database, Database]) -> None:
    """Rule D3: twenty times at once, through two nodes, as after a lost answer; nobody sees it twice."""
    logs = [StreamLog(database) for database in two_databases]
    events = await asyncio.gather(*(post(logs[number % 2], "hello", "m1") for number in range(20)))
    assert {event.position for event in events} == {1}
    assert [event.repeated for event in events].count(False) == 1
    assert len(await logs[0].read(CHAT, Position(0))) == 1
    assert (await post(logs[0], "next", "m2")).position == 2


async def test_a_message_id_cannot_be_used_for_something_else(database: Database) -> None:
    log = StreamLog(database)
    await post(log, "hello", "m1")
    for text, user in (("other", ADA), ("hello", BEN)):
        with pytest.raises(MessageConflict):
            await post(log, text, "m1", user)
    assert len(await log.read(CHAT, Position(0))) == 1
    assert (await log.append(StreamKey(ACME, "chat:other"), "posted", {"text": "hello"}, BEN, "m1")).position == 1


async def test_a_body_over_the_bound_is_refused(database: Database) -> None:
    with pytest.raises(BodyTooLarge):
        await post(StreamLog(database), "x" * MAX_BODY_BYTES)
    assert await StreamLog(database).head(CHAT) == EMPTY


async def test_a_mention_commits_with_its_message_or_not_at_all(database: Database) -> None:
    """Rule D2: neither a message without its mention nor a mention without its message."""
    log, inboxes = StreamLog(database), Inboxes(database)

    async def mention(connection: AsyncConnection, event: StreamEvent) -> None:
        await inboxes.add(connection, ACME, BEN, "mention", f"{CHAT.name}:{event.position}", event.body)

    async def mention_and_fail(connection: AsyncConnection, event: StreamEvent) -> None:
        await mention(connection, event)
        raise RuntimeError("after the mention, before the commit")

    with pytest.raises(RuntimeError):
        await log.append(CHAT, "posted", {"text": "lost"}, ADA, "m1", also=mention_and_fail)
    assert await log.read(CHAT, Position(0)) == []
    assert await inboxes.counts(ACME, BEN) == InboxCounts(0, 0)

    for _ in range(2):  # the repetition has no effects of its own
        event = await log.append(CHAT, "posted", {"text": "kept"}, ADA, "m1", also=mention)
    assert event.position == 1
    assert [item.body for item in (await inboxes.list(ACME, BEN)).rows] == [{"text": "kept"}]


async def test_an_event_may_cause_events_of_other_streams(two_databases: tuple[Database, Database]) -> None:
    """Rule D3: messages of two nodes that tell the same people, all at once; every stream is gapless."""
    people = [StreamKey(ACME, f"inbox:{name}") for name in ("ada", "ben", "cleo")]

    async def tell(log: StreamLog, connection: AsyncConnection, event: StreamEvent) -> None:
        for key in people:
            await log.append_within(connection, key, "added", {"position": event.position}, event.user_id)

    async def write(log: StreamLog, room: int) -> None:
        for _ in range(6):
            await log.append(
                StreamKey(ACME, f"chat:{room}"), "posted", {}, ADA, also=lambda c, event: tell(log, c, event)
            )

    logs = [StreamLog(database) for database in two_databases]
    await asyncio.gather(*(write(logs[number % 2], number // 2) for number in range(6)))
    for key in people:
        assert [event.position for event in await logs[0].read(key, Position(0))] == list(range(1, 37))


async def test_a_stream_is_paged_back_from_any_position(database: Database) -> None:
    log = StreamLog(database)
    for number in range(1, 8):
        await post(log, str(number))

    async def texts(before: int, limit: int) -> list[str]:
        return [event.body["text"] for event in await log.before(CHAT, Position(before), limit)]

    assert await texts(8, 3) == ["5", "6", "7"]
    assert await texts(5, 3) == ["2", "3", "4"]
    assert await texts(2, 3) == ["1"]
    assert await texts(1, 3) == []
    assert [event.position for event in await log.read(CHAT, Position(4), 2)] == [5, 6]


async def test_another_brand_has_other_streams_and_inboxes(database: Database) -> None:
    """Rule D1."""
    log, inboxes = StreamLog(database), Inboxes(database)
    async with database.transaction() as connection:
        await log.append_within(connection, CHAT, "posted", {}, ADA, "m1")
        await inboxes.add(connection, ACME, BEN, "mention", "m1", {})
    foreign = StreamKey(RIVAL, CHAT.name)
    assert await log.head(foreign) == EMPTY
    assert await log.read(foreign, Position(0)) == []
    assert (await inboxes.list(RIVAL, BEN)).rows == []
    assert await inboxes.mark_read(RIVAL, BEN) == 0
    assert await inboxes.counts(ACME, BEN) == InboxCounts(unseen=1, unread=1)


async def test_the_same_cause_comes_into_an_inbox_once(two_databases: tuple[Database, Database]) -> None:
    inboxes = [Inboxes(database) for database in two_databases]

    async def add(number: int) -> bool:
        async with two_databases[number].transaction() as connection:
            return await inboxes[number].add(connection, ACME, BEN, "mention", "m1", {"n": number}) is not None

    assert sorted(await asyncio.gather(*(add(number % 2) for number in range(8)))) == [False] * 7 + [True]
    assert await inboxes[0].mark_read(ACME, BEN) == 1
    assert await add(0) is False  # read, and not new again


async def test_seen_and_read_are_counted_apart(database: Database) -> None:
    inboxes = Inboxes(database)
    async with database.transaction() as connection:
        items = [await inboxes.add(connection, ACME, BEN, "mention", str(n), {"n": n}) for n in range(5)]
        assert await inboxes.counts(ACME, BEN, connection=connection) == InboxCounts(unseen=5, unread=5)
    ids = [item.id for item in items if item is not None]
    assert await inboxes.mark_read(ACME, BEN, [ids[0], "unknown"]) == 1
    assert await inboxes.counts(ACME, BEN) == InboxCounts(unseen=4, unread=4)
    assert await inboxes.mark_seen(ACME, BEN) == 4
    assert await inboxes.counts(ACME, BEN) == InboxCounts(unseen=0, unread=4)
    assert await inboxes.mark_read(ACME, UserId("cleo"), ids) == 0
    assert await inboxes.mark_read(ACME, BEN) == 4
    assert await inboxes.mark_read(ACME, BEN) == 0
    assert await inboxes.counts(ACME, BEN) == InboxCounts(0, 0)
    assert all(item.seen_at and item.read_at for item in (await inboxes.list(ACME, BEN)).rows)


@pytest.mark.prove
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 6)), max_size=25))
async def test_any_messages_sent_in_any_order_are_in_their_stream_once(
    two_databases: tuple[Database, Database], sent: list[tuple[int, int, int]]
) -> None:
    """Rule D3: (node, stream, message), all at once and many of them again."""
    brand = BrandId(f"brand-{next(_brands)}")
    logs = [StreamLog(database) for database in two_databases]

    async def write(node: int, stream: int, message: int) -> StreamEvent:
        return await logs[node].append(StreamKey(brand, str(stream)), "posted", {"n": message}, ADA, f"m{message}")

    events = await asyncio.gather(*(write(*what) for what in sent))
    for stream in (0, 1):
        rows = await logs[0].read(StreamKey(brand, str(stream)), Position(0))
        assert [row.position for row in rows] == list(range(1, len(rows) + 1))
        assert sorted(row.body["n"] for row in rows) == sorted({message for _, s, message in sent if s == stream})
        answered = [event for event, (_, s, _) in zip(events, sent, strict=True) if s == stream]
        assert all(rows[event.position - 1] == event for event in answered)
