"""A node of conversations without pages, and talkers who connect to it with the stock Socket.IO client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import socketio
from aiohttp import web

from realtime.auth import Authenticator, make_token
from realtime.bus import LocalBus
from realtime.door import Door
from realtime.namespaces import register
from realtime.namespaces.requests import RequestLimits, RequestNamespace
from realtime.outbox import OutboxLimits
from realtime.protocols.connection import SocketLimits
from realtime.protocols.socketio_wire import LiveServer
from realtime.redis_bus import RedisBus
from realtime.settings import Settings
from rooms.access import Access
from rooms.chat import Chat, ChatLimits, people_in_rooms
from rooms.live_metrics import LiveLimits, LiveMetrics
from rooms.metrics import Metrics
from rooms.notifications import Notifications
from rooms.permissions import Role
from rooms.registry import RoomRegistry
from rooms.streams import LiveStreams, StreamLimits
from rooms.workers import Workers
from storage.conversations import Conversations
from storage.database import Database, open_database
from storage.designs import Designs
from storage.inboxes import Inboxes
from storage.keyframes import Keyframes
from storage.keys import BrandId, DesignId, UserId
from storage.memberships import Memberships
from storage.streams import StreamLog
from storage.update_log import UpdateLog
from storage.users import Users
from tests.harness.processes import until

SECRET = "tests-of-conversations-need-a-secret-too"
BRAND = "acme"
NAMESPACES = ("/chat", "/notifications", "/metrics")
SECONDS = 10.0


@dataclass(kw_only=True)
class TalkLimits:
    chat: ChatLimits = field(default_factory=lambda: ChatLimits(burst=1000, per_second=1000))
    requests: RequestLimits = field(default_factory=lambda: RequestLimits(burst=1000, per_second=1000))
    streams: StreamLimits = field(default_factory=StreamLimits)
    live: LiveLimits = field(default_factory=lambda: LiveLimits(tick_seconds=0.05, linger_seconds=0.5))
    outbox: OutboxLimits = field(default_factory=OutboxLimits)


@dataclass
class TalkNode:
    """One node, with its parts in reach."""

    url: str
    settings: Settings
    database: Database
    server: LiveServer
    metrics: Metrics
    rooms: RoomRegistry
    streams: LiveStreams
    live: LiveMetrics
    namespaces: tuple[RequestNamespace, ...]

    def token(self, user: str, *, brand: str = BRAND, role: Role = Role.EDITOR, **more: Any) -> str:
        return make_token(self.settings, user=user, name=user.title(), brand=brand, role=role, **more)

    async def design(self, id: str, owner: str, *members: str, brand: str = BRAND, role: Role = Role.EDITOR) -> str:
        await Designs(self.database).create(BrandId(brand), DesignId(id), id.title(), "poster-a3", UserId(owner))
        for member in members:
            await Memberships(self.database).put(BrandId(brand), DesignId(id), UserId(member), role.value)
        return id

    @property
    def sessions(self) -> int:
        return sum(len(namespace.sessions) for namespace in self.namespaces)


@asynccontextmanager
async def talk_node(
    database_url: str,
    *,
    bus: LocalBus | RedisBus | None = None,
    limits: TalkLimits | None = None,
    workers: Workers | None = None,
    open_mode: bool = False,
) -> AsyncIterator[TalkNode]:
    """Start a node on a free port; closed mode, unless *open_mode*.

    Args:
        workers: needed where documents are opened; conversations need none.
    """
    limits = limits or TalkLimits()
    settings = Settings() if open_mode else Settings(secrets=(SECRET,))
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        database = await enter(open_database(database_url))
        own_bus = bus if bus is not None else await enter(LocalBus())
        metrics = Metrics()
        designs, memberships, users = Designs(database), Memberships(database), Users(database)
        access = await stack.enter_async_context(Access(designs, memberships, users, default_product="poster-a3"))
        stream_log, conversations = StreamLog(database), Conversations(database)
        counted: list[LiveMetrics] = []
        rooms = await enter(
            RoomRegistry(
                update_log=await enter(UpdateLog(database)),
                keyframes=Keyframes(database),
                workers=workers or Workers(1),
                bus=own_bus,
                metrics=metrics,
                on_commit=lambda key, at, updates: counted[0].committed(key, at, updates),
            )
        )
        streams = await enter(
            LiveStreams(
                stream_log=stream_log,
                conversations=conversations,
                bus=own_bus,
                node=rooms.node,
                limits=limits.streams,
            )
        )
        live = await enter(LiveMetrics(metrics=metrics, bus=own_bus, node=rooms.node, rooms=rooms, limits=limits.live))
        counted.append(live)
        notifications = Notifications(
            database=database,
            stream_log=stream_log,
            streams=streams,
            conversations=conversations,
            inboxes=Inboxes(database),
        )
        chat = Chat(
            stream_log=stream_log,
            streams=streams,
            conversations=conversations,
            notifications=notifications,
            memberships=memberships,
            users=users,
            metrics=metrics,
            present=people_in_rooms(rooms),
            everyone=settings.is_open,
            limits=limits.chat,
            on_post=live.posted,
        )
        server = LiveServer(
            door=Door(Authenticator(settings, b"c" * 32, None), access, rooms),
            metrics=metrics,
            limits=SocketLimits(join_seconds=2.0),
            outbox_limits=limits.outbox,
        )
        namespaces = register(
            server,
            access=access,
            streams=streams,
            chat=chat,
            notifications=notifications,
            live=live,
            limits=limits.requests,
        )
        app = web.Application()
        server.attach(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield TalkNode(url, settings, database, server, metrics, rooms, streams, live, namespaces)


class Talker:
    """One stock client; facts are kept in the order in which they came."""

    def __init__(self) -> None:
        self.client = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        for namespace in NAMESPACES:
            self.client.on("*", self._hear, namespace=namespace)

    async def connect(self, url: str, token: str | None = None, namespaces: tuple[str, ...] = NAMESPACES) -> Self:
        await self.client.connect(
            url,
            auth={"token": token} if token else None,
            transports=["websocket"],
            namespaces=list(namespaces),
            wait_timeout=SECONDS,
        )
        return self

    async def ask(self, request: str, body: object = None) -> dict[str, Any]:
        """Send a request to the namespace its noun belongs to, and return the answer."""
        namespace = {"chat": "/chat", "inbox": "/notifications"}.get(request.partition(":")[0], "/metrics")
        answer = await self.client.call(request, {} if body is None else body, namespace=namespace, timeout=SECONDS)
        assert isinstance(answer, dict), answer
        return answer

    async def do(self, request: str, body: object = None) -> dict[str, Any]:
        """The same, for a request that must succeed."""
        answer = await self.ask(request, body)
        assert answer["ok"], answer
        return answer

    def facts(self, name: str) -> list[dict[str, Any]]:
        return [fact for event, fact in self.heard if event == name]

    def texts(self) -> list[str]:
        return [fact["message"]["text"] for fact in self.facts("chat:posted")]

    async def hears(self, name: str, number: int = 1) -> list[dict[str, Any]]:
        """Wait until so many facts of a name have come, and return them."""
        await until(lambda: len(self.facts(name)) >= number, f"{number} {name}; heard {self.heard}")
        return self.facts(name)

    async def leave(self) -> None:
        await self.client.disconnect()

    async def _hear(self, event: str, fact: dict[str, Any]) -> None:
        self.heard.append((event, fact))


@asynccontextmanager
async def talkers(node: TalkNode, *names: str, **more: Any) -> AsyncIterator[tuple[Talker, ...]]:
    """Connect each of *names* to all namespaces, and let them leave at the end."""
    came: list[Talker] = []
    try:
        for name in names:
            talker = await Talker().connect(node.url, node.token(name, **more))
            came.append(talker)
        yield tuple(came)
    finally:
        for talker in came:
            await talker.leave()


async def _serve(database_url: str) -> None:
    async with talk_node(database_url) as node:
        print(node.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":  # a node of its own, to be killed: it prints its address and serves until then
    asyncio.run(_serve(sys.argv[1]))
