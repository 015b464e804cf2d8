"""The bus: one contract for the in-process one and for Redis, and what only a bus that can lose must promise."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TypeAlias

import pytest

from realtime.bus import LocalBus
from realtime.redis_bus import BusUnreachable, RedisBus
from tests.harness.processes import until
from tests.harness.servers import RedisServer

AnyBus: TypeAlias = LocalBus | RedisBus
NodePair: TypeAlias = tuple[AnyBus, AnyBus]


@pytest.fixture(params=["local", "redis"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[NodePair]:
    """The buses of two nodes; in one process they are the same one."""
    async with AsyncExitStack() as stack:
        if request.param == "local":
            local = await stack.enter_async_context(LocalBus())
            yield local, local
        else:
            server: RedisServer = request.getfixturevalue("redis")
            prefix = uuid.uuid4().hex
            yield (
                await stack.enter_async_context(RedisBus(server.url, prefix=prefix)),
                await stack.enter_async_context(RedisBus(server.url, prefix=prefix)),
            )


class Ear:
    """What one listener heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def __call__(self, payload: bytes) -> None:
        self.heard.append(payload)

    async def hears(self, *payloads: bytes) -> None:
        await until(lambda: len(self.heard) >= len(payloads), f"{len(payloads)} messages", within=5)
        assert self.heard == list(payloads)


async def test_everyone_who_listens_hears_in_order_and_nobody_else(pair: NodePair) -> None:
    """Rules B1, B3: raw bytes, one channel at a time, the order of one publisher kept."""
    here, there = pair
    near, far, other = Ear(), Ear(), Ear()
    await here.subscribe("doc:a", near)
    await there.subscribe("doc:a", far)
    await there.subscribe("doc:b", other)
    messages = [bytes([number]) * 3 + b"\x00\xff\r\n" for number in range(100)]
    for message in messages:
        here.publish("doc:a", message)
    await far.hears(*messages)
    await near.hears(*messages)
    there.publish("doc:b", b"end")
    await other.hears(b"end")


async def test_what_is_published_after_subscribe_returned_is_never_missed(pair: NodePair) -> None:
    """Rule B4, a hundred times: subscribe, then read, then follow leaves no hole."""
    here, there = pair
    for number in range(100):
        ear = Ear()
        await there.subscribe(f"doc:{number}", ear)
        here.publish(f"doc:{number}", b"first")
        await ear.hears(b"first")


async def test_a_listener_that_left_hears_nothing_and_the_one_beside_it_still_does(pair: NodePair) -> None:
    here, there = pair
    stays, leaves = Ear(), Ear()
    await there.subscribe("doc", stays)
    await there.subscribe("doc", leaves)
    await there.unsubscribe("doc", leaves)
    await there.unsubscribe("doc", leaves)
    await there.unsubscribe("never", leaves)
    here.publish("doc", b"one")
    await stays.hears(b"one")
    await there.unsubscribe("doc", stays)
    await there.subscribe("doc", leaves)
    here.publish("doc", b"two")
    await leaves.hears(b"two")
    assert stays.heard == [b"one"]


async def test_many_come_and_go_at_once_and_the_last_word_holds(pair: NodePair) -> None:
    """A room closes while it is opened again: whoever subscribed last listens."""
    here, there = pair
    ear = Ear()
    for _ in range(30):
        async with asyncio.TaskGroup() as group:
            group.create_task(there.subscribe("doc", ear))
            group.create_task(there.unsubscribe("doc", ear))
            group.create_task(there.subscribe("doc", ear))
    here.publish("doc", b"heard once")
    await ear.hears(b"heard once")


async def test_a_listener_that_fails_keeps_nobody_else_from_hearing(
    pair: NodePair, caplog: pytest.LogCaptureFixture
) -> None:
    """RULINGS 20: failure stays small, and is logged."""
    here, there = pair
    ear = Ear()

    def fails(payload: bytes) -> None:
        raise RuntimeError("on purpose")

    await there.subscribe("doc", fails)
    await there.subscribe("doc", ear)
    here.publish("doc", b"one")
    here.publish("doc", b"two")
    await ear.hears(b"one", b"two")
    assert "listener failed" in caplog.text


async def test_a_publisher_is_never_called_back_within_its_own_publish(pair: NodePair) -> None:
    here, _ = pair
    ear = Ear()
    await here.subscribe("doc", ear)
    here.publish("doc", b"x")
    assert ear.heard == []
    await ear.hears(b"x")


async def test_over_its_bound_the_oldest_are_dropped_and_counted() -> None:
    """Rule B3."""
    async with LocalBus(queue_bytes=1000) as bus:
        ear = Ear()
        await bus.subscribe("doc", ear)
        for number in range(20):
            bus.publish("doc", bytes([number]) * 100)
        await until(lambda: ear.heard, "messages")
        assert ear.heard == [bytes([number]) * 100 for number in range(10, 20)]
        assert bus.health.dropped == 10


@pytest.fixture
async def redis_pair() -> AsyncIterator[tuple[RedisServer, RedisBus, RedisBus]]:
    """Two nodes on a Redis of their own, which the test may stop."""
    with RedisServer() as server:
        async with (
            RedisBus(server.url, heartbeat_seconds=0.1) as here,
            RedisBus(server.url, heartbeat_seconds=0.1) as there,
        ):
            yield server, here, there


async def healthy(*buses: RedisBus) -> None:
    await until(lambda: all(bus.health.connected for bus in buses), "the buses to be connected", within=20)


async def test_a_redis_that_was_killed_and_came_back_is_followed_again(
    redis_pair: tuple[RedisServer, RedisBus, RedisBus],
) -> None:
    """Rules B2, B4, B5: channels are subscribed again before the listeners are told that something may be missing."""
    server, here, there = redis_pair
    ear, late, near = Ear(), Ear(), Ear()
    told: list[list[bytes]] = []
    await healthy(here, there)
    await there.subscribe("doc", ear)
    await here.subscribe("doc", near)
    there.on_reconnect(lambda: told.append(list(ear.heard)))
    here.publish("doc", b"before")
    await ear.hears(b"before")
    server.kill()
    await until(lambda: not here.health.connected and not there.health.connected, "both to notice", within=10)
    async with asyncio.timeout(1):  # neither waits for a server that is not there
        await there.subscribe("late", late)
        await there.unsubscribe("nothing", late)
    here.publish("doc", b"meanwhile")
    await near.hears(b"before", b"meanwhile")
    server.start()
    await healthy(here, there)
    assert told
    here.publish("doc", b"after")
    here.publish("late", b"for late")
    await until(lambda: b"after" in ear.heard, "the message after the restart")
    await until(lambda: late.heard == [b"for late"], "the channel that was subscribed meanwhile")
    assert sorted(ear.heard, key=[b"before", b"meanwhile", b"after"].index) == ear.heard
    assert len(set(ear.heard)) == len(ear.heard)


async def test_a_redis_that_hangs_is_noticed_without_any_word_from_tcp(
    redis_pair: tuple[RedisServer, RedisBus, RedisBus],
) -> None:
    """Rule B5: the heartbeat. The connection stays open all the time."""
    server, here, there = redis_pair
    await healthy(here, there)
    told: list[int] = []
    there.on_reconnect(lambda: told.append(1))
    ear = Ear()
    await there.subscribe("doc", ear)
    server.pause()
    await until(lambda: not there.health.connected, "the silence to be noticed", within=10)
    server.resume()
    await healthy(here, there)
    assert told
    here.publish("doc", b"after")
    await until(lambda: b"after" in ear.heard, "the message after the silence")


async def test_subscribe_returns_only_when_redis_has_said_so(
    redis_pair: tuple[RedisServer, RedisBus, RedisBus],
) -> None:
    """Rule B4: a Redis that answers late makes the subscriber wait, not miss."""
    server, here, there = redis_pair
    await healthy(here, there)
    ear = Ear()
    server.pause()
    subscribing = asyncio.get_running_loop().create_task(there.subscribe("doc", ear))
    try:
        for _ in range(100):
            await asyncio.sleep(0)
        assert not subscribing.done()
    finally:
        server.resume()
    await subscribing
    await healthy(here, there)
    here.publish("doc", b"after")
    await until(lambda: b"after" in ear.heard, "the message after")


async def test_who_subscribes_in_the_middle_of_a_reconnection_is_not_forgotten(
    redis_pair: tuple[RedisServer, RedisBus, RedisBus],
) -> None:
    """Rule B5: after the channels to be subscribed again were counted, and before they all were."""
    server, here, there = redis_pair
    await healthy(here, there)
    crowd, late = Ear(), Ear()
    for number in range(3000):
        await there.subscribe(f"room:{number}", crowd)
    await command(server, "CLIENT KILL TYPE pubsub")
    await until(lambda: not there._ready.is_set(), "the loss to be noticed", every=0)
    await until(lambda: there._subscriber is not None and there._confirmed, "the first of them", every=0)
    assert not there._ready.is_set()
    await there.subscribe("late", late)
    await healthy(here, there)
    here.publish("late", b"for late")
    await until(lambda: late.heard, "the message for the late one")


async def test_a_subscription_that_redis_forgot_is_noticed_and_made_again(
    redis_pair: tuple[RedisServer, RedisBus, RedisBus],
) -> None:
    """Rule B5: Redis closes subscribers that read too slowly; a node may not stay deaf."""
    server, here, there = redis_pair
    await healthy(here, there)
    ear = Ear()
    told: list[int] = []
    there.on_reconnect(lambda: told.append(1))
    await there.subscribe("doc", ear)
    await command(server, "CLIENT KILL TYPE pubsub")
    await until(lambda: told, "the reconnection", within=10)
    here.publish("doc", b"after")
    await until(lambda: b"after" in ear.heard, "the message after")


async def test_what_cannot_be_published_is_bounded_and_counted() -> None:
    """Rule B3: a Redis that is away for long costs a bounded queue, and nobody waits."""
    with RedisServer() as server:
        async with RedisBus(server.url, queue_bytes=10_000, heartbeat_seconds=0.1) as bus:
            await healthy(bus)
            server.kill()
            await until(lambda: not bus.health.connected, "the loss to be noticed", within=10)
            for _ in range(100):
                bus.publish("doc", b"x" * 1000)
            assert bus.health.dropped >= 90
            server.start()
            await healthy(bus)


async def test_installations_that_share_a_redis_do_not_hear_each_other(redis: RedisServer) -> None:
    async with RedisBus(redis.url, prefix="one") as one, RedisBus(redis.url, prefix="two") as two:
        mine, theirs = Ear(), Ear()
        await one.subscribe("doc", mine)
        await two.subscribe("doc", theirs)
        one.publish("doc", b"mine")
        two.publish("doc", b"theirs")
        await mine.hears(b"mine")
        await theirs.hears(b"theirs")


async def test_a_node_does_not_start_without_its_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address stops the start, with a sentence that names the variable."""
    monkeypatch.setattr("realtime.redis_bus.START_SECONDS", 0.5)
    with pytest.raises(BusUnreachable, match="LUNEO_REDIS_URL"):
        async with RedisBus("redis://127.0.0.1:1/0"):
            raise AssertionError("it must not open")


async def command(server: RedisServer, line: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(line.encode() + b"\r\n")
        async with asyncio.timeout(5):
            return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
