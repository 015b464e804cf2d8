"""Chat and inboxes where they meet documents, slow readers, crashes and each other."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator

import orjson
import pycrdt
import pytest

from realtime.auth import make_token
from realtime.outbox import OutboxLimits
from realtime.settings import Settings
from rooms.permissions import Role
from rooms.rates import MAX_REMEMBERED, Rate, RateExceeded, Rates
from rooms.streams import StreamLimits
from rooms.workers import Workers
from tests.harness.budget import ROOT, SEED, budget
from tests.harness.processes import die_with_parent, until
from tests.harness.raw_socket import RawSocket, raw_socket
from tests.harness.talkers import SECRET, Talker, TalkLimits, TalkNode, talk_node, talkers


@pytest.fixture
async def node(sqlite_url: str) -> AsyncIterator[TalkNode]:
    async with Workers(1) as workers, talk_node(sqlite_url, workers=workers) as node:
        await node.design("spring", "ada", "ben")
        yield node


async def enter_document(node: TalkNode, client: RawSocket, user: str) -> None:
    await client.connect("/yjs|spring", {"token": node.token(user, rooms=["spring"])})
    await client.until("sync-step-1")


async def test_who_is_in_the_room_can_be_mentioned(node: TalkNode) -> None:
    """Rule T12: present by a token of their own, without a membership and without a word."""
    async with talkers(node, "ada") as (ada,), raw_socket(node.url) as gus:
        body = {"design": "spring", "id": "m-1", "text": "Gus?", "mentions": ["gus"]}
        assert (await ada.ask("chat:post", body))["code"] == "unknown_people"
        await enter_document(node, gus, "gus")
        assert {person["id"] for person in (await ada.do("chat:people", {"design": "spring"}))["people"]} == {
            "ada",
            "ben",
            "gus",
        }
        await ada.do("chat:post", body)
    async with talkers(node, "gus") as (back,):
        state = (await back.do("inbox:subscribe"))["state"]
        assert [item["text"] for item in state["items"]] == ["Gus?"]
        # He has left, and the message that mentioned him is sent once more: it is the same one.
        await until(lambda: not [peer for room in node.rooms.rooms for peer in room.peers], "Gus to be gone")
    async with talkers(node, "ada") as (ada,):
        assert (await ada.do("chat:post", body))["message"]["position"] == 1


async def test_edits_of_a_brand_are_on_its_board_and_no_other(node: TalkNode) -> None:
    """Rules T17, T20."""
    async with (
        talkers(node, "ada") as (ada,),
        talkers(node, "eve", brand="umbrella") as (eve,),
        raw_socket(node.url) as ben,
    ):
        await enter_document(node, ben, "ben")
        await ada.do("metrics:subscribe", {"board": "live"})
        await eve.do("metrics:subscribe", {"board": "live"})
        await ada.hears("metrics:ticked")
        document: pycrdt.Doc[pycrdt.Map[str]] = pycrdt.Doc()
        elements = document.get("el", type=pycrdt.Map)
        for number in range(5):
            before = document.get_state()
            elements[f"e{number}"] = "x"
            await ben.emit("/yjs|spring", "sync-update", document.get_update(before), number=number)
            await ben.acknowledged(number)
        edits = await until(
            lambda: [
                tick["sample"]
                for tick in ada.facts("metrics:ticked")
                if tick["sample"]["edits_per_second"] and tick["sample"]["ack"]["count"]
            ],
            "edits on the board",
        )
        assert edits[0]["rooms"] == 1
        assert edits[0]["ack"]["p99_ms"] > 0
        assert edits[0]["people"] == 2
        await eve.hears("metrics:ticked", len(eve.facts("metrics:ticked")) + 2)
        for tick in eve.facts("metrics:ticked"):
            assert (tick["sample"]["edits_per_second"], tick["sample"]["rooms"], tick["sample"]["people"]) == (0, 0, 1)


async def test_a_reader_that_stalls_is_resent_what_it_missed_and_nobody_waits_for_it(sqlite_url: str) -> None:
    """Rule T6: what is written to it is bounded; once it reads it has every message once and in order."""
    outbox = OutboxLimits(low_bytes=4096, soft_bytes=64 * 1024, hard_bytes=1 << 20)
    limits = TalkLimits(outbox=outbox, streams=StreamLimits(max_recovered_events=1000))
    async with talk_node(sqlite_url, limits=limits) as node:
        await node.design("spring", "ada", "ben")
        async with raw_socket(node.url) as slow, talkers(node, "ada", "ben") as (ada, ben):
            await slow.connect("/chat", {"token": node.token("ben")})
            await slow.next()
            await slow.ws.send_str('42/chat,1["chat:subscribe",{"design":"spring"}]')
            await slow.acknowledged(1)
            await ben.do("chat:subscribe", {"design": "spring"})
            session = next(s for s in node.namespaces[0].sessions.values() if s.connection.id != _of(node, ben))
            # Small buffers of the system, so that few messages show what many do.
            for transport in (slow.ws.get_extra_info("socket"), session.connection.transport.get_extra_info("socket")):
                transport.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                transport.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            number = 0
            behind = node.metrics.slow_peers.labels("behind")
            while not behind._value.get():
                number += 1
                assert number < 3000, "it never fell behind"
                await ada.do("chat:post", {"design": "spring", "id": f"m-{number}", "text": f"{number} " + "🦊" * 3900})
            for _ in range(20):
                number += 1
                await ada.do("chat:post", {"design": "spring", "id": f"m-{number}", "text": f"{number} " + "🦊" * 3900})
            await ben.hears("chat:posted", number)
            assert not session.outbox.closing
            # Behind since then: what came later waits in the log, and not in memory.
            server_side = session.connection.transport
            assert server_side.get_write_buffer_size() < outbox.soft_bytes + 10_000
            for position in range(1, number + 1):
                packet = await slow.until("chat:posted")
                assert packet.data[1]["position"] == position


def _of(node: TalkNode, talker: Talker) -> str:
    return node.namespaces[0].sessions[talker.client.get_sid("/chat")].connection.id


@pytest.mark.prove
async def test_an_acknowledged_message_and_its_mention_survive_kill_9(sqlite_url: str) -> None:
    """Rules D2, T8: killed right after an acknowledgement, with more on the way; the database is read by itself."""
    generator = random.Random(SEED)
    acknowledged: list[str] = []
    prepared = False
    for round in range(budget(3, 30)):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.harness.talkers", sqlite_url),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        if not prepared:
            prepared = True
            _prepare(sqlite_url)
        token = make_token(Settings(secrets=(SECRET,)), user="ada", name="Ada", brand="acme", role=Role.EDITOR)
        async with raw_socket(url) as ada:
            await ada.connect("/chat", {"token": token})
            await ada.next()
            sent = generator.randint(5, 25)
            for number in range(sent):
                body = {"design": "spring", "id": f"r{round}-{number}", "text": "Ben!", "mentions": ["ben"]}
                await ada.ws.send_str(f'42/chat,{number}["chat:post",{orjson.dumps(body).decode()}]')
            for _ in range(generator.randint(1, sent)):
                packet = await ada.next()
                assert packet.data[0]["ok"], packet
                acknowledged.append(packet.data[0]["message"]["id"])
            process.kill()
        await process.wait()

    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as database:
        events = database.execute(
            "SELECT position, client_message_id FROM stream_events WHERE stream = 'chat:spring' ORDER BY position"
        ).fetchall()
        inbox = database.execute("SELECT count(*) FROM stream_events WHERE stream = 'inbox:ben'").fetchone()[0]
        items = database.execute("SELECT count(*), count(DISTINCT dedupe_key) FROM inbox_items").fetchone()
    assert [position for position, _ in events] == list(range(1, len(events) + 1))
    stored = [id for _, id in events]
    assert len(set(stored)) == len(stored)
    assert set(acknowledged) <= set(stored)
    assert (inbox, items) == (len(stored), (len(stored), len(stored)))


def _prepare(sqlite_url: str) -> None:
    """A design and its members, by hand."""
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as database, database:
        database.execute(
            "INSERT INTO designs (brand, id, title, product, owner, created_at, updated_at) "
            "VALUES ('acme', 'spring', 'Spring', 'poster-a3', 'ada', 1, 1)"
        )
        database.executemany(
            "INSERT INTO members (brand, design, user_id, role, at) VALUES ('acme', 'spring', ?, 'editor', 1)",
            [("ada",), ("ben",)],
        )


# -- rates ------------------------------------------------------------------------------------------------------------


def test_a_rate_lets_a_burst_through_and_then_so_many_per_second() -> None:
    """Rule T10."""
    now = 0.0
    rates = Rates(Rate("posts", burst=3, per_second=2.0), clock=lambda: now)
    for _ in range(3):
        rates.take("ada")
    with pytest.raises(RateExceeded) as refused:
        rates.take("ada")
    assert refused.value.fields == {"limit": "posts", "retry_after_seconds": 0.5}
    rates.take("ben")
    now = 0.49
    with pytest.raises(RateExceeded):
        rates.take("ada")
    now = 0.5
    rates.take("ada")
    now = 100.0
    for _ in range(3):
        rates.take("ada")
    with pytest.raises(RateExceeded):
        rates.take("ada")


def test_rates_forget_who_was_quiet_and_remember_a_bounded_number() -> None:
    """Rule T10: who is refused is not forgotten for it."""
    now = 0.0
    rates = Rates(Rate("posts", burst=1, per_second=1.0), clock=lambda: now)
    for number in range(MAX_REMEMBERED + 100):
        rates.take(number)
    assert len(rates) <= MAX_REMEMBERED
    with pytest.raises(RateExceeded):
        rates.take(MAX_REMEMBERED + 99)
    now = 10.0
    for _ in range(MAX_REMEMBERED):
        rates.take(f"quiet {now}")
        now += 2.0
    assert len(rates) < 10
