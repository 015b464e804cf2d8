"""One raw WebSocket, byte by byte, with a protocol that sends back what it is told; and what it leans on in aiohttp."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from realtime.frames import websocket_frame
from realtime.outbox import OutboxLimits
from realtime.protocols.connection import SocketLimits
from realtime.protocols.websocket import WebSocket, WebSockets
from rooms.metrics import Metrics
from tests.harness.processes import until
from tests.harness.raw_websocket import BINARY, CLOSE, PING, PONG, TEXT, Frame, Refused, frame, raw_websocket

LIMITS = SocketLimits(max_frame_bytes=300_000, join_seconds=30, join_bytes=1_000_000)


class Echo(WebSocket):
    """Sends back what it is told; what begins with `wait` only when the test says so."""

    protocol = "echo"
    idle_frame = b"\x82\x01i"

    def __init__(self, sockets: WebSockets, request: web.Request, gate: asyncio.Event) -> None:
        super().__init__(sockets, request)
        self.gate = gate
        self.ends = 0

    def receive(self, message: bytes) -> Coroutine[None, None, None] | None:
        match message:
            case b"join":
                self.joined()
            case b"fail":
                raise ValueError("as the test asked")
            case b"wait then fail":
                return self._wait(message, fails=True)
            case b"wait":
                return self._wait(message)
        self.outbox.write(websocket_frame(BINARY, message))
        return None

    async def _wait(self, message: bytes, *, fails: bool = False) -> None:
        await self.gate.wait()
        if fails:
            raise ValueError("as the test asked")
        self.outbox.write(websocket_frame(BINARY, message))

    def ended(self) -> None:
        self.ends += 1


@dataclass
class Served:
    url: str
    sockets: WebSockets
    metrics: Metrics
    runner: web.AppRunner
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    made: list[Echo] = field(default_factory=list)

    @property
    def count(self) -> float:
        return float(self.metrics.connections.labels("echo")._value.get())


@asynccontextmanager
async def serving(limits: SocketLimits = LIMITS, outbox: OutboxLimits | None = None) -> AsyncIterator[Served]:
    metrics = Metrics()
    sockets = WebSockets(metrics=metrics, limits=limits, outbox_limits=outbox or OutboxLimits())
    app = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.02)  # as a real one asks who is there, and reads its room
        socket = Echo(sockets, request, node.gate)
        response = sockets.take(request, socket)
        node.made.append(socket)
        return response

    app.router.add_route("*", "/echo", handle)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    node = Served(f"http://127.0.0.1:{runner.addresses[0][1]}/echo", sockets, metrics, runner)
    try:
        yield node
    finally:
        sockets.close_all()
        await runner.cleanup()
        await sockets.all_closed()
        await asyncio.sleep(0)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


# -- the handshake -----------------------------------------------------------------------------------------------


async def test_the_handshake_is_answered_as_the_rfc_says_and_no_extension_is_agreed_on(served: Served) -> None:
    headers = {
        "Sec-WebSocket-Extensions": "permessage-deflate",
        "Sec-WebSocket-Protocol": "yjs, other",
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "WebSocket",
    }
    async with raw_websocket(served.url, headers=headers) as socket:
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in socket.head  # of RFC 6455, 1.3
        assert "Extensions" not in socket.head
        assert "Sec-WebSocket-Protocol: yjs\r\n" in socket.head


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-WebSocket-Version": "12"},
        {"Sec-WebSocket-Key": "dGhlIHNhbXBsZQ=="},
        {"Sec-WebSocket-Key": "***"},
        {"Upgrade": "h2c"},
        {"Upgrade": ""},
        {"Connection": "keep-alive"},
        {"Content-Length": "5"},
    ],
)
async def test_what_is_no_handshake_is_refused_and_upgrades_nothing(served: Served, headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        async with raw_websocket(served.url, headers=headers, behind=b"hello" if "Content-Length" in headers else b""):
            pass
    assert refused.value.status == 500  # the exception is RequestError: its status is the application's to give
    assert served.count == 0


async def test_what_comes_behind_the_handshake_is_read_first(served: Served) -> None:
    async with raw_websocket(served.url, behind=frame(BINARY, b"one") + frame(BINARY, b"two")[:4]) as socket:
        assert await socket.next() == Frame(BINARY, b"one")
        socket.write(frame(BINARY, b"two")[4:])
        assert await socket.next() == Frame(BINARY, b"two")


async def test_much_behind_the_handshake_makes_aiohttp_pause_and_is_read_all_the_same(served: Served) -> None:
    many = b"".join(frame(BINARY, bytes((n % 256,)) * 1000) for n in range(600))
    async with raw_websocket(served.url, behind=many) as socket:
        for n in range(600):
            assert await socket.next() == Frame(BINARY, bytes((n % 256,)) * 1000)


def of_aiohttp() -> list[object]:
    return [found for found in gc.get_objects() if isinstance(found, RequestHandler | web.Request)]


async def test_nothing_of_aiohttp_is_kept_for_a_connection_that_was_taken(served: Served) -> None:
    tasks = len(asyncio.all_tasks())
    before = {id(found) for found in of_aiohttp()}  # of other tests
    async with raw_websocket(served.url) as socket:
        socket.send(b"x")
        await socket.next()
        gc.collect()
        assert served.runner.server is not None
        assert served.runner.server.connections == []
        assert not [found for found in of_aiohttp() if id(found) not in before]
        assert len(asyncio.all_tasks()) == tasks
        assert served.count == 1
    await until(lambda: served.count == 0, "the connection forgotten")
    assert (served.made[0].ends, len(served.sockets.open)) == (1, 0)


async def test_a_client_that_goes_during_its_handshake_leaves_nothing(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.runner.addresses[0][1])
    writer.write(HANDSHAKE)
    await writer.drain()
    writer.transport.abort()
    async with raw_websocket(served.url) as other:  # its handshake is after the other's
        other.send(b"x")
        assert await other.next() == Frame(BINARY, b"x")
        await until(lambda: served.count == 1, "the connection forgotten")


HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


# -- frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 300_000])
async def test_a_message_of_any_size_comes_as_it_was_sent_whatever_the_reads(served: Served, size: int) -> None:
    message = bytes(n * 7 % 256 for n in range(size))
    async with raw_websocket(served.url) as socket:
        masked = bytearray(frame(BINARY, message))
        at = len(masked) - size
        masked[at - 4 : at] = b"\x01\x02\x03\x04"
        for index in range(size):
            masked[at + index] ^= (1, 2, 3, 4)[index % 4]
        cut = at - 2
        for part in (masked[:1], masked[1:cut], masked[cut : at + size // 2], masked[at + size // 2 :]):
            socket.write(bytes(part))
            await socket.writer.drain()
            await asyncio.sleep(0.005)
        assert await socket.next() == Frame(BINARY, message)


def fragment(opcode: int, payload: bytes, *, fin: bool = False) -> bytes:
    whole = bytearray(frame(opcode, payload))
    if not fin:
        whole[0] &= 0x7F
    return bytes(whole)


async def test_fragments_are_joined_and_control_frames_between_them_are_answered(served: Served) -> None:
    async with raw_websocket(served.url) as socket:
        socket.write(fragment(BINARY, b"a") + frame(PING, b"p") + fragment(0, b"") + fragment(0, b"b", fin=True))
        assert await socket.next() == Frame(PONG, b"p")
        assert await socket.next() == Frame(BINARY, b"ab")
        socket.send(b"c")
        assert await socket.next() == Frame(BINARY, b"c")


BROKEN = {
    "unmasked": (b"\x82\x01a", 1002),
    "reserved bit": (bytes((0xC2,)) + frame(BINARY, b"a")[1:], 1002),
    "unknown data frame": (frame(3, b"a"), 1002),
    "unknown control frame": (frame(11, b""), 1002),
    "fragmented ping": (fragment(PING, b""), 1002),
    "long ping": (frame(PING, bytes(126)), 1002),
    "continuation of nothing": (frame(0, b"a"), 1002),
    "message within a message": (fragment(BINARY, b"a") + frame(BINARY, b"b"), 1002),
    "close code of one byte": (frame(CLOSE, b"a"), 1002),
    "text": (frame(TEXT, b"a"), 1003),
    "too large": (frame(BINARY, bytes(300_001))[:14], 1009),
    "too large in parts": (fragment(BINARY, bytes(200_000)) + fragment(0, bytes(100_001))[:14], 1009),
    "absurd": (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(4), 1009),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_breaks_the_protocol_is_closed_with_its_code_and_nobody_else_notices(
    served: Served, name: str
) -> None:
    data, code = BROKEN[name]
    async with raw_websocket(served.url) as other, raw_websocket(served.url) as socket:
        socket.write(data)
        assert (await socket.closed()).code == code
        other.send(b"x")
        assert await other.next() == Frame(BINARY, b"x")
        await until(lambda: served.count == 1, "the connection forgotten")


async def test_messages_are_taken_in_order_while_one_of_them_has_to_wait(served: Served) -> None:
    """Rule O4: what comes meanwhile is not read, and nothing is lost."""
    async with raw_websocket(served.url) as socket:
        socket.send(b"join")
        assert await socket.next() == Frame(BINARY, b"join")
        socket.write(frame(BINARY, b"1") + frame(BINARY, b"wait") + frame(BINARY, b"2"))
        assert await socket.next() == Frame(BINARY, b"1")
        sent = 0
        while sent < 100 and not socket.writer.transport.get_write_buffer_size():
            socket.send(bytes(100_000))
            await asyncio.sleep(0.005)
            sent += 1
        assert socket.writer.transport.get_write_buffer_size(), "the server read on while it waited"
        with pytest.raises(TimeoutError):
            await socket.next(0.05)
        served.gate.set()
        assert await socket.next() == Frame(BINARY, b"wait")
        assert await socket.next() == Frame(BINARY, b"2")
        for _ in range(sent):
            assert len((await socket.next()).payload) == 100_000


@pytest.mark.parametrize("message", [b"fail", b"wait then fail"])
async def test_a_failure_of_ours_ends_the_one_connection(served: Served, message: bytes) -> None:
    served.gate.set()
    async with raw_websocket(served.url) as other, raw_websocket(served.url) as socket:
        socket.send(message)
        await socket.ended()
        other.send(b"x")
        assert await other.next() == Frame(BINARY, b"x")


async def test_who_sends_without_end_is_read_slowly_and_loses_nothing() -> None:
    """Rule S9."""
    async with serving(replace(LIMITS, burst_seconds=0.01, share=0.2)) as served, raw_websocket(served.url) as socket:
        began = asyncio.get_running_loop().time()
        for n in range(4000):  # 160 ms of the loop's time, by the rule
            socket.send(b"%d" % n)
        for n in range(4000):
            assert await socket.next() == Frame(BINARY, b"%d" % n)
        assert asyncio.get_running_loop().time() - began > 0.3


# -- the life of a connection ------------------------------------------------------------------------------------


async def test_a_client_that_closes_is_answered_with_its_code(served: Served) -> None:
    async with raw_websocket(served.url) as socket:
        socket.send((1000).to_bytes(2, "big") + b"bye", CLOSE)
        assert (await socket.next()).payload == (1000).to_bytes(2, "big")
        assert await socket.reader.read() == b""
    await until(lambda: served.count == 0, "the connection forgotten")
    assert served.made[0].ends == 1


async def test_all_are_sent_away_with_a_code_that_is_not_lost_though_they_are_writing(served: Served) -> None:
    async with raw_websocket(served.url) as socket:
        socket.send(b"x")
        await socket.next()
        served.sockets.close_all()
        for _ in range(50):
            socket.send(bytes(1000))
        assert (await socket.closed()).code == 1012
    await until(lambda: served.count == 0, "the connection forgotten")
    assert served.made[0].ends == 1


async def test_who_does_not_answer_a_close_frame_is_ended_all_the_same(served: Served) -> None:
    async with raw_websocket(served.url) as socket:
        socket.send(b"x")
        await socket.next()
        served.made[0].close(4400, "a reason that is too long for a frame " * 9)
        closing = await socket.next()
        assert (closing.code, len(closing.payload)) == (4400, 125)
        await socket.ended(8)
    await until(lambda: served.count == 0, "the connection forgotten")


async def test_who_joins_nothing_is_ended() -> None:
    """Rule O5: in time, and in bytes."""
    async with serving(replace(LIMITS, join_seconds=0.3, join_bytes=1000)) as served:
        async with raw_websocket(served.url) as silent, raw_websocket(served.url) as joined:
            joined.send(b"join")
            await joined.next()
            await silent.ended(5)
            joined.send(bytes(5000))
            assert len((await joined.next()).payload) == 5000
        async with raw_websocket(served.url) as large:
            large.send(bytes(1100))
            await large.ended(5)


async def test_a_silent_connection_is_pinged_and_then_ended_and_one_that_answers_stays() -> None:
    """Rules Y6, P9: within interval and timeout."""
    limits = replace(LIMITS, ping_interval_seconds=0.6, ping_timeout_seconds=0.4)
    async with (
        serving(limits) as served,
        raw_websocket(served.url) as silent,
        raw_websocket(served.url) as alive,
    ):
        for socket in (silent, alive):
            socket.send(b"join")
            await socket.next()
        pings = 0
        while pings < 3:
            got = await alive.next()
            if got.opcode == PING:
                pings += 1
                alive.send(got.payload, PONG)
                assert await alive.next() == Frame(BINARY, b"i")  # the watchdog's frame, with each ping
        await silent.ended(5)
        alive.send(b"x")
        assert await alive.next() == Frame(BINARY, b"x")
        assert served.count == 1


async def test_a_token_that_ends_closes_its_connection_as_passing(served: Served) -> None:
    """Ruling 41."""
    async with raw_websocket(served.url) as socket:
        socket.send(b"join")
        await socket.next()
        served.made[0].expires_at(time.time() + 0.3)
        closing = await socket.closed(5)
        assert closing.code == 4500
        assert closing.reason.startswith("token_expired")


async def test_who_does_not_read_is_cut_at_the_bound() -> None:
    """Rule O3."""
    bounds = OutboxLimits(low_bytes=1000, soft_bytes=10_000, hard_bytes=2_000_000, stall_seconds=20)
    async with serving(outbox=bounds) as served, raw_websocket(served.url) as socket:
        socket.send(b"join")
        await socket.next()
        while not served.made[0].transport.is_closing():
            served.made[0].outbox.write(websocket_frame(BINARY, bytes(100_000)))
            await asyncio.sleep(0)
        await until(lambda: served.count == 0, "the connection forgotten")
