"""Two nodes on one PostgreSQL and one Redis: the bus may go and come back, a node may die; the log is the truth."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.harness.cluster import Cluster
from tests.harness.designer import Designers, missing, yjs_reads
from tests.harness.processes import eventually
from tests.harness.reading import read_postgresql
from tests.harness.servers import RedisServer

ROOM = "across"


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that this test may stop."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def cluster(tmp_path: Path, postgres_url: str, own_redis: RedisServer) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path, 2, postgres_url, own_redis.url, "across") as cluster:
        yield cluster


@pytest.fixture
async def ada_and_ben(cluster: Cluster, designers: Designers) -> Designers:
    """ada on the first node, ben on the second."""
    for name, node in zip(("ada", "ben"), cluster.nodes, strict=True):
        await designers.open(name, node.url, ROOM, kind="acked")
    await designers.ready("ada", "ben")
    return designers


async def test_without_redis_edits_are_acknowledged_and_cross_by_the_log(
    cluster: Cluster, ada_and_ben: Designers, own_redis: RedisServer
) -> None:
    """Rules B1, B2: the bus is a hint; heads of open rooms are compared with the log every two seconds."""
    own_redis.kill()
    for turn in range(3):
        for name in ("ada", "ben"):
            await ada_and_ben.edit(name, "text", place=0.5, insert=f"{name} {turn} ")
        await ada_and_ben.acked("ada", "ben")
        await ada_and_ben.equal("ada", "ben", within=15)
    own_redis.start()
    await ada_and_ben.edit("ada", "map", key="redis", value="is back")
    digest = await ada_and_ben.equal("ada", "ben", within=15)
    stored = await read_postgresql(cluster.database_url, ROOM)
    assert stored.is_gapless()
    assert (await yjs_reads(stored.rows))["digest"] == digest


async def test_a_paused_redis_holds_up_no_acknowledgement(
    cluster: Cluster, ada_and_ben: Designers, own_redis: RedisServer
) -> None:
    """Rule B1: what is committed is acknowledged, whatever the bus does."""
    own_redis.pause()
    try:
        await ada_and_ben.do("hammer", name="ada", seed=5, every=5)
        await ada_and_ben.do("hammer", name="ben", seed=6, every=5)
        started = time.monotonic()
        while time.monotonic() - started < 2:
            await ada_and_ben.edit("ada", "map", key="x", value=time.monotonic())
        await ada_and_ben.do("rest", names=["ada", "ben"])
        await ada_and_ben.acked("ada", "ben", within=10)
    finally:
        own_redis.resume()
    await ada_and_ben.equal("ada", "ben", within=20)


async def test_when_a_node_dies_its_people_leave_the_others_and_nothing_acknowledged_is_lost(
    cluster: Cluster, ada_and_ben: Designers
) -> None:
    """Rules D2, B1; RULINGS 18: a node's silence ends its people."""
    ada = int((await ada_and_ben.report("ada"))["client"])
    await ada_and_ben.do("presence", name="ada", state={"cursor": 1})
    await ada_and_ben.sees("ben", ada, key="cursor", value=1)
    await ada_and_ben.do("hammer", name="ada", seed=7, every=5)
    await ada_and_ben.do("hammer", name="ben", seed=8, every=5)
    await ada_and_ben.edit("ada", "text", place=0, insert="before the end of node 1 ")
    await ada_and_ben.acked("ada")
    await cluster.nodes[0].kill()
    await ada_and_ben.do("rest", names=["ada", "ben"])
    await ada_and_ben.misses("ben", ada, within=8)
    acked = (await ada_and_ben.report("ada"))["acked"]
    read = await yjs_reads((await read_postgresql(cluster.database_url, ROOM)).rows)
    assert not [ack for ack in acked if missing(ack, read)]
    await cluster.nodes[0].start()
    await ada_and_ben.ready("ada", "ben")
    await ada_and_ben.sees("ben", ada, key="cursor", value=1)
    digest = await ada_and_ben.equal("ada", "ben")
    assert (await yjs_reads((await read_postgresql(cluster.database_url, ROOM)).rows))["digest"] == digest


async def test_hocuspocus_providers_of_two_nodes_share_a_room_and_hear_each_other(
    cluster: Cluster, designers: Designers
) -> None:
    """Rules F9, F12, P8: updates, presence and stateless messages cross, whatever the major."""
    ada = await designers.open("ada", cluster.nodes[0].url, "said", kind="hocuspocus")
    ben = await designers.open("ben", cluster.nodes[1].url, "said", kind="hocuspocus-2")
    await designers.ready("ada", "ben")
    for name in ("ada", "ben"):
        await designers.edit(name, "map", key=name, value=1)
        await designers.do("presence", name=name, state={"at": name})
        await designers.do("stateless", name=name, payload=f"from {name}")
    await designers.equal("ada", "ben")
    await designers.acked("ada", "ben")
    await designers.sees("ada", ben, key="at", value="ben")
    await designers.sees("ben", ada, key="at", value="ada")
    for name, other in (("ada", "ben"), ("ben", "ada")):

        async def heard(name: str = name) -> list[str]:
            return list((await designers.report(name))["stateless"])

        assert await eventually(heard, "a message of the other node") == [f"from {other}"]
