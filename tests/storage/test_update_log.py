"""The log's contract, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from storage import update_log
from storage.database import Database, open_database
from storage.errors import AppendFailed, AppendTooLarge, InvalidValue, LogClosed, LogFull
from storage.keys import BrandId, DesignId, DocumentKey, Epoch, Position
from storage.models import document_heads
from storage.update_log import EMPTY, Appended, Entry, UpdateLog

EXAMPLES = 200 if os.environ.get("LUNEO_PROVE") == "full" else 10
WAVES = 100 if os.environ.get("LUNEO_PROVE") == "full" else 3
DEADLINE_SECONDS = 10.0
UNHOLDABLE = 2**63
"""A client id that no database column can hold: the way to make one document's transaction fail."""

_brands = itertools.count()


def document(name: str, brand: str = "acme") -> DocumentKey:
    return DocumentKey(BrandId(brand), DesignId(name))


def change(data: bytes, *, client: int | None = 1) -> Entry:
    return Entry(data, "ada", "node1-7", client, "user")


async def everything(log: UpdateLog, key: DocumentKey) -> list[bytes]:
    """All updates of a document; the positions are looked at on the way."""
    rows = await log.read(key, Position(0))
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    return [row.update for row in rows]


@asynccontextmanager
async def held(database: Database, key: DocumentKey) -> AsyncIterator[None]:
    """Somebody else has a document's head: nothing can be appended to it meanwhile (on SQLite, to no document)."""
    async with database.transaction() as connection:
        await connection.execute(
            select(document_heads)
            .where(document_heads.c.brand == key.brand, document_heads.c.document == key.id)
            .with_for_update()
        )
        yield


async def test_a_document_without_rows_is_at_position_0_of_epoch_1(log: UpdateLog) -> None:
    """Rule D3."""
    assert await log.head(document("spring")) == EMPTY == (await log.heads([document("spring")]))[document("spring")]
    assert await log.read(document("spring"), Position(0)) == []


async def test_an_append_is_read_back_with_everything_that_was_said_of_it(log: UpdateLog) -> None:
    entry = Entry(b"\x00\x01\xff", "ada", "node1-7", 2**53 - 1, "image")
    assert await log.append(document("spring"), [entry, change(b"b", client=None)]) == Appended(
        Epoch(1), Position(1), Position(2)
    )
    first, second = await log.read(document("spring"), Position(0))
    assert Entry(first.update, first.user_id, first.connection, first.client, first.origin) == entry
    assert (first.epoch, first.position, second.position, second.client) == (1, 1, 2, None)
    assert 0 <= second.at - first.at < 1


async def test_when_many_documents_are_busy_commits_begin_further_apart(
    log: UpdateLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule S10: so much later for each append of the last commit, up to a bound; after a pause at once."""
    monkeypatch.setattr(update_log, "COMMIT_SECONDS_PER_ROOM", 0.1)
    monkeypatch.setattr(update_log, "MAX_PAUSE_SECONDS", 0.3)
    began = time.perf_counter()
    await asyncio.gather(*(log.append(document(f"d{number}"), [change(b"1")]) for number in range(9)))
    await log.append(document("d0"), [change(b"2")])
    assert time.perf_counter() - began >= 0.3
    assert [await everything(log, document(f"d{number}")) for number in (0, 8)] == [[b"1", b"2"], [b"1"]]


async def test_positions_are_gapless_whichever_node_appends(two_logs: tuple[UpdateLog, UpdateLog]) -> None:
    """Rule D3: two nodes, four documents, all at once; every answer names the place of exactly its own rows."""
    documents = [document(f"design-{number}") for number in range(4)]
    answers: list[tuple[DocumentKey, Appended, list[bytes]]] = []

    async def write(node: int, key: DocumentKey) -> None:
        for number in range(15):
            rows = [f"{node} {number} {part}".encode() for part in range(1 + number % 3)]
            answers.append((key, await two_logs[node].append(key, map(change, rows)), rows))

    async with asyncio.TaskGroup() as group:
        for key in documents:
            for node in (0, 1):
                group.create_task(write(node, key))

    for key in documents:
        rows = await everything(two_logs[0], key)
        assert len(rows) == 2 * sum(1 + number % 3 for number in range(15))
        for other, placed, written in answers:
            if other == key:
                assert rows[placed.first - 1 : placed.last] == written
        assert (await two_logs[1].head(key)).position == len(rows)


async def test_two_nodes_lock_many_documents_in_one_order(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Rule D3: both want the same documents while somebody has the middle one; neither holds what the other waits for.
    A deadlock would be mended room by room, and so it is looked for in what was logged."""
    luck = random.Random(7)
    documents = [document(f"d{number}") for number in range(9)]
    async with _two_nodes(postgres_url) as (gate, first, second):
        await asyncio.gather(*(first.append(key, [change(b"0")]) for key in documents))
        for _ in range(WAVES):
            async with asyncio.TaskGroup() as group, held(gate, documents[4]):
                for log in (first, second):
                    for key in luck.sample(documents, 9):
                        group.create_task(log.append(key, [change(b"x")]))
                await _waiters(gate, 2)
        assert {head.position for head in (await first.heads(documents)).values()} == {1 + 2 * WAVES}
    assert _failures(caplog) == []


async def test_nobody_waits_for_a_new_document_while_holding_another(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Rule D3: one node is making the heads of x and y when another, which wants a and x, finds a there and x not."""
    a, x, y = document("a"), document("x"), document("y")
    async with (
        _two_nodes(postgres_url) as (gate, first, second),
        asyncio.TaskGroup() as group,
        _being_made(gate, y),
    ):
        async with _being_made(gate, a):
            for key in (a, x, y):
                group.create_task(first.append(key, [change(b"1")]))
            await _waiters(gate, 1)
        await _waiters(gate, 1)
        for key in (a, x):
            group.create_task(second.append(key, [change(b"2")]))
        await _waiters(gate, 2)
    assert _failures(caplog) == []


@asynccontextmanager
async def _two_nodes(url: str) -> AsyncIterator[tuple[Database, UpdateLog, UpdateLog]]:
    """A database to get in the way with, and two logs."""
    async with (
        open_database(url) as gate,
        open_database(url) as one,
        open_database(url) as other,
        UpdateLog(one) as first,
        UpdateLog(other) as second,
    ):
        yield gate, first, second


@asynccontextmanager
async def _being_made(database: Database, key: DocumentKey) -> AsyncIterator[None]:
    """Somebody else's transaction has made a document's head and is not committed."""
    async with database.transaction() as connection:
        await connection.execute(document_heads.insert().values(brand=key.brand, document=key.id, epoch=1, position=0))
        yield


async def _waiters(database: Database, count: int) -> None:
    """Until so many sessions of this PostgreSQL database wait for a lock."""
    statement = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(DEADLINE_SECONDS), database.reading() as connection:
        while (await connection.execute(statement)).scalar_one() != count:
            await asyncio.sleep(0)


def _failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("storage")]


async def test_what_waits_meanwhile_is_one_transaction(log: UpdateLog, database: Database) -> None:
    """Rule D2: forty rooms cost a few commits, not forty; the time of a row is the time of its transaction."""
    documents = [document(f"room-{number}") for number in range(40)]
    await asyncio.gather(*(log.append(key, [change(b"a")]) for key in documents))
    times = {(await log.read(key, Position(0)))[0].at for key in documents}
    assert len(times) <= 3


async def test_one_failing_document_fails_alone(log: UpdateLog) -> None:
    """Rule D7: its neighbours in the same transaction are committed, and its own next append is too."""
    await log.append(document("bad"), [change(b"before")])
    neighbours = [document(f"good-{number}") for number in range(10)]
    answers = await asyncio.gather(
        *(log.append(key, [change(b"x")]) for key in neighbours[:5]),
        log.append(document("bad"), [change(b"half"), change(b"poison", client=UNHOLDABLE)]),
        log.append(document("bad"), [change(b"after")]),
        *(log.append(key, [change(b"x")]) for key in neighbours[5:]),
        return_exceptions=True,
    )
    assert isinstance(answers[5], InvalidValue)
    assert [answer for answer in answers if isinstance(answer, BaseException)] == [answers[5]]
    assert await everything(log, document("bad")) == [b"before", b"after"]
    for key in neighbours:
        assert await everything(log, key) == [b"x"]


async def test_a_document_that_cannot_be_locked_costs_its_neighbours_one_wait(postgres_url: str) -> None:
    """Rule D7: while somebody sits on one head, the others go on; once it is free, it goes on too, without a gap."""
    async with open_database(postgres_url) as database, UpdateLog(database) as log:
        stuck, free = document("stuck"), document("free")
        await log.append(stuck, [change(b"1")])
        async with held(database, stuck), asyncio.TaskGroup() as group:
            failing = group.create_task(_failure(log, stuck))
            for number in range(20):
                await log.append(free, [change(str(number).encode())])
            assert isinstance(await failing, AppendFailed)
        assert (await log.append(stuck, [change(b"2")])).first == 2
        assert await everything(log, free) == [str(number).encode() for number in range(20)]


async def test_what_comes_while_a_room_is_apart_waits_behind_it(postgres_url: str) -> None:
    """Rule D3: three appends that failed with their batch, and a fourth one that came later, in that order."""
    async with open_database(postgres_url) as database, UpdateLog(database) as log:
        key = document("spring")
        await log.append(key, [change(b"0")])
        async with held(database, key):
            tasks = [asyncio.create_task(log.append(key, [change(data)])) for data in (b"1", b"2", b"3")]
            while not log._apart:
                await asyncio.sleep(0)
            tasks.append(asyncio.create_task(log.append(key, [change(b"4")])))
            await asyncio.sleep(0)
        assert [(await task).first for task in tasks] == [2, 3, 4, 5]
        assert await everything(log, key) == [b"0", b"1", b"2", b"3", b"4"]


async def _failure(log: UpdateLog, key: DocumentKey) -> BaseException:
    with pytest.raises(AppendFailed) as failed:
        await log.append(key, [change(b"never")])
    return failed.value


async def test_the_order_of_a_document_outlives_trouble(log: UpdateLog) -> None:
    """Rule D3: what is sent to a room while its batch is taken apart comes after what was sent before."""
    key = document("spring")

    async def send(number: int) -> None:
        poison = number % 7 == 3
        try:
            await log.append(key, [change(str(number).encode(), client=UNHOLDABLE if poison else 1)])
        except InvalidValue:
            assert poison

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(send(number))
            await asyncio.sleep(0)
    assert await everything(log, key) == [str(number).encode() for number in range(50) if number % 7 != 3]


async def test_a_caller_who_leaves_takes_nobody_along(two_databases: tuple[Database, Database]) -> None:
    """Rule D7: ten are in a commit and ten wait for the next; every other one leaves, and the rest are answered."""
    key = document("spring")
    async with UpdateLog(two_databases[0]) as log:
        await log.append(key, [change(b"first")])
        async with held(two_databases[1], key):
            waiting = [asyncio.create_task(log.append(key, [change(bytes([number]))])) for number in range(10)]
            while not log._waiting_appends or log._queue:
                await asyncio.sleep(0)
            waiting += [asyncio.create_task(log.append(key, [change(bytes([number]))])) for number in range(10, 20)]
            await asyncio.sleep(0)
            for task in waiting[::2]:
                task.cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        rows = await everything(log, key)
    for number, answer in enumerate(answers):
        if number % 2:
            assert isinstance(answer, Appended)
            assert rows[answer.first - 1] == bytes([number])
        else:
            assert isinstance(answer, asyncio.CancelledError)
    assert len(rows) == len(set(rows))
    assert not {bytes([number]) for number in range(10, 20, 2)} & set(rows)  # these had not been begun


async def test_a_full_queue_makes_its_callers_wait_and_then_refuses(
    two_databases: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update_log, "MAX_WAITING_APPENDS", 2)
    key = document("spring")
    async with UpdateLog(two_databases[0]) as log:
        await log.append(key, [change(b"0")])
        async with held(two_databases[1], key):
            inside = [asyncio.create_task(log.append(key, [change(data)])) for data in (b"1", b"2")]
            await asyncio.sleep(0)
            with monkeypatch.context() as hurry:
                hurry.setattr(update_log, "MAX_QUEUE_SECONDS", 0.05)
                with pytest.raises(LogFull):
                    await log.append(key, [change(b"refused")])
            patient = asyncio.create_task(log.append(key, [change(b"3")]))
            await asyncio.sleep(0)
            assert not patient.done()
        await asyncio.gather(*inside, patient)
        assert await everything(log, key) == [b"0", b"1", b"2", b"3"]


async def test_closing_commits_what_waits_and_takes_no_more(database: Database) -> None:
    """Rule D2: nobody who was in time is left without an answer."""
    async with UpdateLog(database) as log:
        waiting = [asyncio.create_task(log.append(document("spring"), [change(b"x")])) for _ in range(30)]
        await asyncio.sleep(0)
    assert [(await task).first for task in waiting] == list(range(1, 31))
    with pytest.raises(LogClosed):
        await log.append(document("spring"), [change(b"late")])


async def test_an_append_over_the_bound_is_refused_whole(log: UpdateLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_log, "MAX_WAITING_BYTES", 100)
    with pytest.raises(AppendTooLarge):
        await log.append(document("spring"), [change(b"x" * 60), change(b"x" * 60)])
    assert (await log.append(document("spring"), [change(b"x" * 100)])).first == 1


async def test_a_read_is_bounded_by_rows_and_by_bytes(log: UpdateLog) -> None:
    key = document("spring")
    await log.append(key, [change(b"x" * size) for size in (10, 20, 30, 500, 5)])

    async def sizes(after: int, rows: int, limit: int) -> list[int]:
        return [len(row.update) for row in await log.read(key, Position(after), rows, limit)]

    assert await sizes(0, 2, 1000) == [10, 20]
    assert await sizes(0, 10, 30) == [10, 20]
    assert await sizes(0, 10, 59) == [10, 20]
    assert await sizes(2, 10, 60) == [30]
    assert await sizes(3, 10, 60) == [500]  # the first row always comes, or a reader would stay where it is
    assert await sizes(4, 10, 60) == [5]
    assert await sizes(5, 10, 60) == []


async def test_positions_go_on_through_an_epoch(two_logs: tuple[UpdateLog, UpdateLog]) -> None:
    """Rule D3: a new epoch keeps the rows and the positions; the other node writes in it without being told."""
    key = document("spring")
    await two_logs[0].append(key, [change(b"1"), change(b"2")])
    assert await two_logs[0].raise_epoch(key) == await two_logs[1].head(key)
    assert await two_logs[1].append(key, [change(b"3")]) == Appended(Epoch(2), Position(3), Position(3))
    assert [(row.epoch, row.position) for row in await two_logs[0].read(key, Position(0))] == [(1, 1), (1, 2), (2, 3)]
    assert (await two_logs[0].raise_epoch(document("empty"))).position == 0


async def test_another_brand_has_another_log(log: UpdateLog) -> None:
    """Rule D1: the same id in another brand is another document, and looks like one that does not exist."""
    await log.append(document("spring"), [change(b"ours")])
    assert await log.head(document("spring", "rival")) == EMPTY
    assert await log.read(document("spring", "rival"), Position(0)) == []
    assert (await log.append(document("spring", "rival"), [change(b"theirs")])).first == 1
    assert await everything(log, document("spring")) == [b"ours"]


@pytest.mark.prove
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    waves=st.lists(
        st.lists(
            st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(1, 3), st.integers(0, 9)),
            min_size=1,
            max_size=8,
        ),
        max_size=5,
    ),
    limit_rows=st.integers(1, 7),
    limit_bytes=st.integers(1, 40),
)
async def test_any_appends_of_two_nodes_make_one_order_that_any_reader_sees(
    two_logs: tuple[UpdateLog, UpdateLog],
    waves: list[list[tuple[int, int, int, int]]],
    limit_rows: int,
    limit_bytes: int,
) -> None:
    """Rules D2, D3, D7: waves of concurrent appends, one in ten poisoned; read back in steps of any size."""
    brand = f"brand-{next(_brands)}"
    documents = [document(str(number), brand) for number in range(3)]
    model: dict[DocumentKey, dict[int, bytes]] = {key: {} for key in documents}

    async def write(node: int, key: DocumentKey, rows: list[bytes], poisoned: bool) -> None:
        entries = [change(row, client=UNHOLDABLE if poisoned else 1) for row in rows]
        try:
            placed = await two_logs[node].append(key, entries)
        except InvalidValue:
            assert poisoned
            return
        for position, row in enumerate(rows, start=placed.first):
            assert model[key].setdefault(position, row) is row
        assert placed.last == placed.first + len(rows) - 1

    for number, wave in enumerate(waves):
        async with asyncio.TaskGroup() as group:
            for index, (node, which, count, luck) in enumerate(wave):
                rows = [f"{number}.{index}.{part}".encode() for part in range(count)]
                group.create_task(write(node, documents[which], rows, luck == 0))

    for key in documents:
        seen: list[bytes] = []
        while found := await two_logs[0].read(key, Position(len(seen)), limit_rows, limit_bytes):
            assert [row.position for row in found] == list(range(len(seen) + 1, len(seen) + len(found) + 1))
            seen += [row.update for row in found]
        assert seen == [model[key][position] for position in range(1, len(model[key]) + 1)]
        # A wave is awaited before the next one: what was acknowledged earlier stands earlier.
        assert [int(row.split(b".")[0]) for row in seen] == sorted(int(row.split(b".")[0]) for row in seen)
