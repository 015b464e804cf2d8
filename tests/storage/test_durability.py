"""What was acknowledged is there, whoever was killed (rule D2); the rows are counted without our own reader."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing

import pytest

from storage.database import migrate, open_database
from storage.errors import AppendFailed
from storage.keys import BrandId, DesignId, DocumentKey
from storage.update_log import Entry, UpdateLog
from tests.harness.servers import PostgresServer

ROUNDS = 20 if os.environ.get("LUNEO_PROVE") == "full" else 2
ACKS = 60
MAX_TRIES = 200

# Appends to six documents at once, some entries a time, and prints what was acknowledged: document, position, text.
NODE = """
import asyncio, itertools, sys
from storage.database import open_database
from storage.keys import DocumentKey
from storage.update_log import Entry, UpdateLog
async def write(log, document, life):
    for number in itertools.count():
        texts = [f"{life}.{number}.{part}" for part in range(1 + number % 3)]
        placed = await log.append(DocumentKey("acme", document), [Entry(text.encode(), "ada") for text in texts])
        for position, text in enumerate(texts, start=placed.first):
            print(document, position, text)
        sys.stdout.flush()
async def main(url, life):
    async with open_database(url) as database, UpdateLog(database) as log:
        await asyncio.gather(*(write(log, f"d{number}", life) for number in range(6)))
asyncio.run(main(*sys.argv[1:]))
"""

_SELECT = "SELECT document, position, data FROM updates WHERE brand = 'acme' ORDER BY document, position"


def rows(url: str, postgres: PostgresServer | None) -> dict[tuple[str, int], str]:
    if postgres is None:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return {(document, position): data.decode() for document, position, data in connection.execute(_SELECT)}
    text = postgres.execute(_SELECT.replace("data", "encode(data, 'escape')"), url.rpartition("/")[2])
    parts = (line.split("|") for line in text.splitlines())
    return {(document, int(position)): data for document, position, data in parts}


def assert_gapless(found: Iterable[tuple[str, int]]) -> None:
    """Rule D3."""
    positions: dict[str, list[int]] = {}
    for document, position in found:
        positions.setdefault(document, []).append(position)
    for each in positions.values():
        assert each == list(range(1, len(each) + 1))


@pytest.mark.prove
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_acknowledged_update_outlives_a_killed_node(kind: str, request: pytest.FixtureRequest) -> None:
    """Rules D2, D3: kill -9 in the middle of appends, again and again on the same database."""
    postgres = request.getfixturevalue("postgres") if kind == "postgresql" else None
    url: str = request.getfixturevalue("postgres_url" if kind == "postgresql" else "sqlite_url")
    acknowledged: dict[tuple[str, int], str] = {}
    for life in range(ROUNDS):
        with subprocess.Popen([sys.executable, "-c", NODE, url, str(life)], stdout=subprocess.PIPE) as node:
            assert node.stdout is not None
            lines = [node.stdout.readline() for _ in range(ACKS + 7 * life)]
            os.kill(node.pid, signal.SIGKILL)
            lines += [line for line in node.stdout if line.endswith(b"\n")]
        for line in lines:
            document, position, text = line.decode().split()
            assert (document, int(position)) not in acknowledged
            acknowledged[document, int(position)] = text
        found = rows(url, postgres)
        assert {place: found.get(place) for place in acknowledged} == acknowledged
        assert_gapless(found)
        # An append is one transaction: of what was not acknowledged, too, there is all or nothing.
        texts = set(found.values())
        for text in texts:
            life_and_number = text.rpartition(".")[0]
            parts = 1 + int(life_and_number.split(".")[1]) % 3
            assert {f"{life_and_number}.{part}" for part in range(parts)} <= texts


async def test_every_acknowledged_update_outlives_a_killed_database() -> None:
    """Rules D2, D3: PostgreSQL is killed under a node that goes on by itself once it is back, without a gap."""
    key = DocumentKey(BrandId("acme"), DesignId("spring"))
    acknowledged: dict[int, str] = {}
    refused = asyncio.Event()
    is_back = asyncio.Event()

    async def write(log: UpdateLog, writer: int) -> None:
        """Send one text after another, each until it is taken, to the first that is taken after the restart."""
        for number in itertools.count():
            for _ in range(MAX_TRIES):
                is_last = is_back.is_set()
                try:
                    placed = await log.append(key, [Entry(f"{writer}.{number}".encode(), "ada")])
                except AppendFailed:
                    refused.set()
                    await asyncio.sleep(0.02)
                else:
                    acknowledged[placed.first] = f"{writer}.{number}"
                    break
            else:
                raise AssertionError("the log did not come back")
            if is_last:
                return

    with PostgresServer(fsync=True) as server:
        url = server.create_database()
        await migrate(url)
        async with open_database(url) as database, UpdateLog(database) as log:
            assert database.fsync_mode == "postgresql fsync=on synchronous_commit=on"
            async with asyncio.TaskGroup() as group:
                for writer in range(4):
                    group.create_task(write(log, writer))
                while len(acknowledged) < ACKS:
                    await asyncio.sleep(0)
                await asyncio.to_thread(server.kill)
                await refused.wait()
                server.start()  # not in a thread: a server ends with the thread that started it
                is_back.set()
            found = rows(url, server)
    assert_gapless(found)
    assert {position: found[key.id, position] for position in acknowledged} == acknowledged
