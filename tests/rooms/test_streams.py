"""Streams: every event once and in order, whatever the bus does; state and later events are a fresh read."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from realtime.bus import LocalBus
from rooms import replication, streams
from rooms.errors import Overloaded, Unavailable
from rooms.streams import Happened, LiveStreams, Since, StreamLimits, Subscription, decode, encode
from storage.conversations import Conversations
from storage.database import Database
from storage.keys import BrandId, Position, StreamKey
from storage.models import stream_heads
from storage.streams import StreamEvent, StreamLog
from storage.update_log import Head
from tests.harness.budget import budget
from tests.harness.processes import until

KEY = StreamKey(BrandId("acme"), "chat:spring")


class UnrulyBus:
    """A bus that loses, doubles, delays and reorders until it `is_calm`; `settle` delivers what it kept."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._listeners: dict[str, list[Callable[[bytes], None]]] = {}
        self._delayed: list[tuple[str, bytes]] = []
        self.reconnected: list[Callable[[], None]] = []
        self.is_calm = False

    async def subscribe(self, channel: str, listener: Callable[[bytes], None]) -> None:
        await asyncio.sleep(0)
        self._listeners.setdefault(channel, []).append(listener)

    async def unsubscribe(self, channel: str, listener: Callable[[bytes], None]) -> None:
        await asyncio.sleep(0)
        if listener in self._listeners.get(channel, []):
            self._listeners[channel].remove(listener)

    def publish(self, channel: str, payload: bytes) -> None:
        fate = 1.0 if self.is_calm else self._random.random()
        if fate < 0.3:
            return
        times = 2 if fate < 0.45 else 1
        if fate < 0.7:
            self._delayed += [(channel, payload)] * times
            return
        for _ in range(times):
            self._deliver(channel, payload)
        if self._delayed and self._random.random() < 0.5:
            self._deliver(*self._delayed.pop(self._random.randrange(len(self._delayed))))

    def _deliver(self, channel: str, payload: bytes) -> None:
        for listener in list(self._listeners.get(channel, [])):
            asyncio.get_running_loop().call_soon(listener, payload)

    def settle(self) -> None:
        self._random.shuffle(self._delayed)
        for channel, payload in self._delayed:
            self._deliver(channel, payload)
        self._delayed.clear()

    def on_reconnect(self, listener: Callable[[], None]) -> None:
        self.reconnected.append(listener)

    @property
    def channels(self) -> list[str]:
        return [channel for channel, listeners in self._listeners.items() if listeners]


class Reader:
    """A client: a place in the stream, and what it was told; it is slow now and then."""

    def __init__(self) -> None:
        self.node: LiveStreams | None = None
        self.subscription: Subscription | None = None
        self.since: Since | None = None
        self.said: list[str] = []
        self.is_slow = False
        self.was_lost = False

    def take(self, happened: Happened) -> bool:
        if self.is_slow:
            return False
        event = happened.event
        assert self.since is not None
        assert event.position == self.since.position + 1, "a gap, a repetition or another order"
        self._add(event)
        return True

    def lost(self) -> None:
        self.was_lost = True

    def _add(self, event: StreamEvent) -> None:
        self.said.append(event.body["text"])
        self.since = Since(event.epoch, event.position)

    async def come(self, node: LiveStreams, log: StreamLog, key: StreamKey) -> None:
        """Subscribe as a client does: with the last place, and with the state where that is not enough."""
        self.go()
        subscription = await node.subscribe(key, self, self.since)
        if subscription.recovered is None:
            events = await log.before(key, Position(subscription.position + 1), 500)
            self.said = [event.body["text"] for event in events]
        else:
            for event in subscription.recovered:
                self._add(event)
        self.since = Since(subscription.epoch, subscription.position)
        self.subscription, self.node = subscription, node
        subscription.start()

    def go(self) -> None:
        if self.subscription is not None:
            self.subscription.close()
            self.subscription = None

    def hurry(self) -> None:
        self.is_slow = False
        if self.subscription is not None:
            self.subscription.start()


@asynccontextmanager
async def nodes(
    database: Database, bus: Any, number: int = 2, limits: StreamLimits | None = None
) -> AsyncIterator[list[LiveStreams]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                LiveStreams(
                    stream_log=StreamLog(database),
                    conversations=Conversations(database),
                    bus=bus,
                    node=bytes([place]) * replication.NODE_ID_BYTES,
                    limits=limits,
                )
            )
            for place in range(number)
        ]


async def say(log: StreamLog, node: LiveStreams, text: str, key: StreamKey = KEY) -> StreamEvent:
    event = await log.append(key, "said", {"text": text}, "ada")
    node.publish(key, event)
    return event


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(0, 1)),
        st.tuples(st.just("say both"), st.integers(2, 4)),
        st.tuples(st.just("repeat"), st.integers(0, 1)),
        st.tuples(st.just("come"), st.integers(0, 3)),
        st.tuples(st.just("go"), st.integers(0, 3)),
        st.tuples(st.just("slow"), st.integers(0, 3)),
        st.tuples(st.just("hurry"), st.integers(0, 3)),
        st.tuples(st.just("settle"), st.just(0)),
        st.tuples(st.just("yield"), st.integers(1, 5)),
    ),
    min_size=5,
    max_size=40,
)


@pytest.mark.prove
@settings(
    max_examples=budget(25, 400),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, seed=st.integers(0, 2**32))
async def test_every_follower_has_every_event_once_and_in_order_whatever_the_bus_does(
    database: Database, steps: list[tuple[str, int]], seed: int
) -> None:
    """Rules T1 to T5: loss, doubling, delay, reordering, slow readers, and returning with the last place."""
    key = StreamKey(BrandId(f"brand-{seed}-{os.urandom(4).hex()}"), "chat:spring")
    bus, log, said = UnrulyBus(seed), StreamLog(database), 0
    readers = [Reader() for _ in range(4)]
    async with nodes(database, bus, limits=StreamLimits(max_recovered_events=5)) as both:

        async def speak(node: LiveStreams) -> None:
            nonlocal said
            said += 1
            await say(log, node, f"{said}", key)

        for step, argument in steps:
            reader = readers[argument % 4]
            match step:
                case "say":
                    await speak(both[argument])
                case "say both":
                    await asyncio.gather(*(speak(both[n % 2]) for n in range(argument)))
                case "repeat":  # as a message that is sent again does
                    for event in (await log.read(key, Position(0), 500))[-2:]:
                        both[argument].publish(key, event)
                case "come":
                    await reader.come(both[(argument + said) % 2], log, key)
                case "go":
                    reader.go()
                case "slow":
                    reader.is_slow = True
                case "hurry":
                    reader.hurry()
                case "settle":
                    bus.settle()
                case "yield":
                    for _ in range(argument):
                        await asyncio.sleep(0)

        bus.settle()
        for reader in readers:
            reader.hurry()
        for node in both:
            await node.compare()
        fresh = [event.body["text"] for event in await log.read(key, Position(0), 500)]
        here = [reader for reader in readers if reader.subscription is not None]
        assert len(fresh) == said
        await until(lambda: all(reader.said == fresh for reader in here), f"{fresh}; {[r.said for r in here]}")
        for reader in here:
            assert not reader.was_lost
            reader.go()
        assert (len(both[0]), len(both[1])) == (0, 0)
        await until(lambda: bus.channels == [replication.NODES_CHANNEL], "every channel to be left")


async def test_what_was_lost_is_read_from_the_log_when_the_next_is_heard(database: Database) -> None:
    """Rules T1, B1: n+2 is heard, n+1 is read; nobody waits for the comparison of heads."""
    log = StreamLog(database)
    async with LocalBus() as bus, nodes(database, bus, 1) as (node,):
        ada = Reader()
        await ada.come(node, log, KEY)
        for text in ("lost", "lost too"):
            await log.append(KEY, "said", {"text": text}, "ben")
        event = await log.append(KEY, "said", {"text": "heard"}, "ben")
        bus.publish("s:acme/chat:spring", encode(event))
        await until(lambda: ada.said == ["lost", "lost too", "heard"], "what was lost", within=1.0)
        ada.go()


async def test_a_stream_behind_the_log_does_not_tell_a_newcomer_twice(database: Database) -> None:
    """Rule T2: ben comes in at what this node has not heard of yet, and then it arrives."""
    log = StreamLog(database)
    async with LocalBus() as bus, nodes(database, bus, 1) as (node,):
        ada, ben = Reader(), Reader()
        await ada.come(node, log, KEY)
        event = await log.append(KEY, "said", {"text": "on its way"}, "carl")
        await ben.come(node, log, KEY)
        node.publish(KEY, event)
        await say(log, node, "next")
        await until(lambda: ada.said == ben.said == ["on its way", "next"], "both")
        assert not ben.was_lost
        ada.go()
        ben.go()


async def test_nothing_is_handed_over_before_the_start(database: Database) -> None:
    """Rule T2: an answer can be written first; what came meanwhile follows from the log."""
    log = StreamLog(database)
    async with LocalBus() as bus, nodes(database, bus, 1) as (node,):
        ada = Reader()
        ada.since = Since(1, 0)
        subscription = await node.subscribe(KEY, ada, ada.since)
        for text in ("one", "two"):
            await say(log, node, text)
        assert ada.said == []
        subscription.start()
        await say(log, node, "three")
        await until(lambda: ada.said == ["one", "two", "three"], "all three in order")
        assert not ada.was_lost
        subscription.close()


async def test_what_is_stored_while_a_position_is_read_follows_it(database: Database) -> None:
    """Rules T2, T3: between reading the head and coming in."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    class SlowLog(StreamLog):
        async def head(self, key: StreamKey) -> Head:
            head = await super().head(key)
            entered.set()
            await go_on.wait()
            return head

    log = StreamLog(database)
    async with (
        LocalBus() as bus,
        LiveStreams(
            stream_log=SlowLog(database), conversations=Conversations(database), bus=bus, node=b"\0" * 8
        ) as node,
    ):
        ada = Reader()
        for times in range(2):  # while the stream is opened, and while it is open
            coming = asyncio.create_task(ada.come(node, log, KEY))
            await entered.wait()
            text = f"meanwhile {times}"
            await say(log, node, text)
            go_on.set()
            await coming
            await until(lambda text=text: ada.said[-1:] == [text], text)  # type: ignore[misc]
            entered.clear()
            go_on.clear()
            other = Reader()
            keeping = asyncio.create_task(other.come(node, log, KEY))
            await entered.wait()
            go_on.set()
            await keeping
            ada.go()
            entered.clear()
            go_on.clear()
        assert ada.said == ["meanwhile 0", "meanwhile 1"]


async def test_a_lost_last_message_is_found_when_other_nodes_exist(database: Database) -> None:
    """Rule T5: nobody hears of it; heads are compared while a neighbour is heard."""
    bus, log = UnrulyBus(1), StreamLog(database)
    async with nodes(database, bus) as (one, two):
        ada = Reader()
        await ada.come(one, log, KEY)
        event = await log.append(KEY, "said", {"text": "unheard"}, "ben")  # written by two, and nothing arrives
        bus.is_calm = True
        bus.publish(replication.NODES_CHANNEL, replication.encode_alive(b"neighbor"))
        await until(lambda: ada.said == ["unheard"], "the unheard event", within=3 * streams.COMPARE_SECONDS)
        assert (event.position, len(two)) == (1, 0)
        ada.go()


async def test_after_a_reconnection_of_the_bus_every_stream_is_read_on(database: Database) -> None:
    """Rule T5."""
    bus, log = UnrulyBus(1), StreamLog(database)
    async with nodes(database, bus, 1) as (node,):
        ada = Reader()
        await ada.come(node, log, KEY)
        await log.append(KEY, "said", {"text": "unheard"}, "ben")
        for reconnected in bus.reconnected:
            reconnected()
        await until(lambda: ada.said == ["unheard"], "the unheard event", within=1.0)
        ada.go()


async def test_a_listener_that_fails_costs_only_itself(database: Database) -> None:
    """Rule T6."""
    log = StreamLog(database)

    class Broken(Reader):
        def take(self, happened: Happened) -> bool:
            raise ValueError("broken")

        def lost(self) -> None:
            self.was_lost = True
            raise ValueError("broken to the end")

    async with LocalBus() as bus, nodes(database, bus, 1) as (node,):
        broken, ada = Broken(), Reader()
        await broken.come(node, log, KEY)
        await ada.come(node, log, KEY)
        await say(log, node, "hello")
        assert ada.said == ["hello"]
        assert broken.was_lost
        assert node.followers(KEY) == 1
        ada.go()
        assert KEY not in node


async def test_what_is_no_message_of_a_stream_is_passed_over(database: Database) -> None:
    """Rule B1: whatever arrives on the channel, nothing but the log is told."""
    log = StreamLog(database)
    async with LocalBus() as bus, nodes(database, bus, 1) as (node,):
        ada = Reader()
        await ada.come(node, log, KEY)
        event = await log.append(KEY, "said", {"text": "true"}, "ben")
        for message in (b"", b"\x00", encode(event)[:-1], encode(event)[:12] + b"{}", b"\xff" * 40):
            bus.publish("s:acme/chat:spring", message)
        bus.publish("s:acme/chat:spring", encode(event))
        await until(lambda: ada.said == ["true"], "the event")
        assert decode(encode(event)) == event
        ada.go()


async def test_a_brand_is_a_wall(database: Database) -> None:
    """Rule D1: the same design id in two brands is two chats."""
    log = StreamLog(database)
    async with LocalBus() as bus, nodes(database, bus, 1) as (node,):
        ada, eve = Reader(), Reader()
        foreign = StreamKey(BrandId("umbrella"), KEY.name)
        await ada.come(node, log, KEY)
        await eve.come(node, log, foreign)
        await say(log, node, "ours")
        await say(log, node, "theirs", foreign)
        assert (ada.said, eve.said) == (["ours"], ["theirs"])
        ada.go()
        eve.go()


async def test_history_that_is_cut_sends_everybody_for_the_new_state(database: Database) -> None:
    """Rule T3: an event of another epoch does not follow what they have."""
    log = StreamLog(database)
    async with LocalBus() as bus, nodes(database, bus, 1) as (node,):
        ada = Reader()
        await say(log, node, "old")
        await ada.come(node, log, KEY)
        async with database.transaction() as connection:
            await connection.execute(update(stream_heads).values(epoch=2))
        await say(log, node, "new")
        await until(lambda: ada.was_lost, "the end of the old epoch")
        ada.was_lost = False
        await ada.come(node, log, KEY)
        assert ada.since == Since(2, 2)
        await say(log, node, "newer")
        await until(lambda: ada.said == ["old", "new", "newer"], "what follows in the new epoch")
        ada.go()


async def test_streams_are_bounded_and_a_closing_node_opens_none(database: Database) -> None:
    """Rule T6."""
    log = StreamLog(database)
    async with LocalBus() as bus:
        async with nodes(database, bus, 1, StreamLimits(max_streams=1)) as (node,):
            ada, ben = Reader(), Reader()
            await ada.come(node, log, KEY)
            with pytest.raises(Overloaded):
                await ben.come(node, log, StreamKey(BrandId("acme"), "chat:summer"))
        assert ada.was_lost
        with pytest.raises(Unavailable):
            await ben.come(node, log, KEY)


async def test_a_stream_that_many_open_at_once_is_opened_once(database: Database) -> None:
    """Rule T6: whoever stops waiting does not stop the others, and nothing is left of them."""
    log, bus = StreamLog(database), UnrulyBus(3)
    bus.is_calm = True
    async with nodes(database, bus, 1) as (node,):
        readers = [Reader() for _ in range(8)]
        coming = [asyncio.create_task(reader.come(node, log, KEY)) for reader in readers]
        await asyncio.sleep(0)
        for task in coming[::2]:
            task.cancel()
        await asyncio.wait(coming)
        await say(log, node, "hello")
        here = [reader for reader in readers if reader.subscription is not None]
        assert len(here) >= 4
        await until(lambda: all(reader.said == ["hello"] for reader in here), "everybody to hear")
        for reader in here:
            reader.go()
        assert len(node) == 0
        await until(lambda: bus.channels == [replication.NODES_CHANNEL], "the channel to be left")


async def test_work_that_was_begun_is_relayed_though_its_caller_left(database: Database) -> None:
    """Rule T1: what is committed is also told."""
    log = StreamLog(database)
    async with LocalBus() as bus, nodes(database, bus, 1) as (node,):
        ada, begun, go_on = Reader(), asyncio.Event(), asyncio.Event()
        await ada.come(node, log, KEY)

        async def work() -> None:
            begun.set()
            await go_on.wait()
            await say(log, node, "told")

        caller = asyncio.create_task(node.finishing(work()))
        await begun.wait()
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        go_on.set()
        await until(lambda: ada.said == ["told"], "the event")
        ada.go()
