"""A live server without the HTTP side: real sockets, log and workers; the door lets in whoever names a role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from realtime.bus import LocalBus
from realtime.errors import NotAuthenticated
from realtime.outbox import OutboxLimits
from realtime.protocols.connection import SocketLimits
from realtime.protocols.hocuspocus import Hocuspocus
from realtime.protocols.socketio_wire import LiveServer
from realtime.protocols.websocket import WebSockets
from realtime.protocols.ywebsocket import YWebsocket
from rooms.errors import Unavailable
from rooms.metrics import Metrics
from rooms.permissions import ALLOWED, Grant, Role, User
from rooms.registry import RoomRegistry
from rooms.room import Room, RoomLimits
from rooms.workers import Workers
from storage.database import open_database
from storage.keyframes import Keyframes
from storage.keys import BrandId, DesignId, DocumentKey, UserId
from storage.migration import migrate
from storage.update_log import UpdateLog

BRAND = BrandId("acme")


class PlainDoor:
    """Lets in whoever names a role as token; what it decides is asked of the real one in test_access."""

    def __init__(self, rooms: RoomRegistry) -> None:
        self.rooms = rooms
        self.failing = False

    async def admit(self, headers: Mapping[str, str], token: str | None) -> User:
        if token is None:
            raise NotAuthenticated("Send a token.")
        return User(UserId(f"user-{token}"), token.title(), BRAND, Role(token))

    async def enter(self, user: User, design: str) -> tuple[Room, Grant]:
        if self.failing:
            raise Unavailable("The design could not be read.")
        room = await self.rooms.open(DocumentKey(user.brand, DesignId(design)))
        return room, Grant(user, user.role, ALLOWED[user.role])


@dataclass
class Server:
    url: str
    rooms: RoomRegistry
    live: LiveServer
    raw: WebSockets
    door: PlainDoor
    log: UpdateLog
    workers: Workers


@asynccontextmanager
async def live_server(
    directory: Path, limits: SocketLimits, outbox_limits: OutboxLimits | None = None
) -> AsyncIterator[Server]:
    """One server on a free port, with small bounds."""
    async with AsyncExitStack() as stack:
        url = f"sqlite+aiosqlite:///{directory / 'luneo.sqlite3'}"
        await migrate(url)
        database = await stack.enter_async_context(open_database(url))
        log = await stack.enter_async_context(UpdateLog(database))
        bus = await stack.enter_async_context(LocalBus())
        workers = await stack.enter_async_context(Workers(count=1))
        metrics = Metrics()
        rooms = await stack.enter_async_context(
            RoomRegistry(
                update_log=log,
                keyframes=Keyframes(database),
                workers=workers,
                bus=bus,
                metrics=metrics,
                room_limits=RoomLimits(max_update_bytes=100_000, keyframe_rows=20, audit_after_seconds=0.2),
            )
        )
        door = PlainDoor(rooms)
        live = LiveServer(
            door=door,
            metrics=metrics,
            limits=limits,
            outbox_limits=outbox_limits or OutboxLimits(),
            namespaces=["/chat"],
        )
        raw = WebSockets(metrics=metrics, limits=limits, outbox_limits=outbox_limits or OutboxLimits())
        app = web.Application()
        live.attach(app)
        YWebsocket(door, raw).attach(app)
        Hocuspocus(door, raw).attach(app)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(raw.all_closed)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield Server(f"http://127.0.0.1:{port}", rooms, live, raw, door, log, workers)
