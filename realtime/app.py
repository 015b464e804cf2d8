"""The composition root: opens the parts of a node in order, and closes them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from canvas.products import PRODUCTS
from realtime.auth import Authenticator, Jwks
from realtime.bus import LocalBus
from realtime.door import Door
from realtime.http.parts import HttpMetrics, Parts
from realtime.http.server import build_app
from realtime.loop_watch import LoopWatch
from realtime.namespaces import register
from realtime.outbox import OutboxLimits
from realtime.protocols.connection import SocketLimits
from realtime.protocols.hocuspocus import Hocuspocus
from realtime.protocols.socketio_wire import LiveServer
from realtime.protocols.websocket import WebSockets
from realtime.protocols.ywebsocket import YWebsocket
from realtime.redis_bus import RedisBus
from realtime.security import Security
from realtime.settings import Settings
from rooms.access import Access
from rooms.assets import AssetLimits, ImageStore
from rooms.chat import Chat, ChatLimits, people_in_rooms
from rooms.live_metrics import LiveMetrics
from rooms.metrics import Metrics
from rooms.notifications import Notifications
from rooms.recency import Recency
from rooms.registry import RegistryLimits, RoomRegistry
from rooms.renders import RenderLimits, Renders
from rooms.room import RoomLimits
from rooms.streams import LiveStreams
from rooms.workers import Workers
from storage.assets import Assets
from storage.blobs import Blobs
from storage.conversations import Conversations
from storage.database import Database, migrate, open_database, sole_node
from storage.designs import Designs
from storage.inboxes import Inboxes
from storage.keyframes import Keyframes
from storage.keys import DocumentKey
from storage.memberships import Memberships
from storage.secrets import Secrets
from storage.streams import StreamLog
from storage.update_log import UpdateLog
from storage.users import Users

log = logging.getLogger(__name__)

COOKIE_KEY = "guest-cookies"
COOKIE_KEY_BYTES = 32
FRAME_OVERHEAD_BYTES = 64 * 1024
"""What a frame may hold beside its update: the event's name, an acknowledgement's number."""
MAX_HEADERS = 64
IDLE_SECONDS = 75.0
"""A connection that is kept for further requests is closed after this; proxies give up theirs after 60."""
BACKLOG = 1024


class PortTaken(Exception):
    """Somebody else listens there, or may not; the sentence is for whoever starts the node."""


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket that does not listen yet, so that nobody is let in before everything is open.

    Args:
        shared: several processes bind the same port, and the kernel spreads the connections.

    Raises:
        PortTaken: the address is in use, is none of this machine's, or may not be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortTaken(f"HOST={host} is no address of this machine ({error.strerror}).") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"Port {port} of {host} is in use: another program listens there. Stop it, or choose another PORT."
            ) from None
        raise PortTaken(f"Port {port} of {host} cannot be used ({error.strerror}). Choose another PORT.") from None
    return bound


def address_of(settings: Settings, bound: socket.socket) -> str:
    """The address a browser takes."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{bound.getsockname()[1]}"


async def serve(
    settings: Settings, bound: socket.socket, stop: asyncio.Event, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Run one node on *bound* until *stop* is set; what opens first closes last.

    Raises:
        StorageError, BusUnreachable, Unavailable: a part did not open; what was open is closed again.
    """
    async with open_parts(settings) as (parts, sockets), listening(settings, parts, sockets, bound):
        # What is there now stays for good: a collection that walks all of it holds everybody up for 70 ms.
        gc.collect()
        gc.freeze()
        log.info("node ready", extra={"mode": "open" if settings.is_open else "closed", "pid": os.getpid()})
        on_ready()
        await stop.wait()
        log.info("node stopping")
        # not ready first, so that balancers look elsewhere; then the sockets, whose clients come back by themselves
        parts.draining = True


@dataclass(frozen=True, slots=True)
class Sockets:
    """The ways in that stay open: Socket.IO, and the protocols on raw WebSockets."""

    live: LiveServer
    raw: WebSockets
    ywebsocket: YWebsocket
    hocuspocus: Hocuspocus

    def attach(self, app: web.Application) -> None:
        self.live.attach(app)
        self.ywebsocket.attach(app)
        self.hocuspocus.attach(app)

    async def close_all(self) -> None:
        """Ask every client to come back, and wait for those that are told by a close frame."""
        self.live.close_all()
        self.raw.close_all()
        await self.raw.all_closed()


@contextlib.asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[tuple[Parts, Sockets]]:
    """Everything of a node but its port."""
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        url = settings.effective_database_url
        if not settings.is_postgresql and not settings.redis_url:
            stack.enter_context(sole_node(url))
        await migrate(url)
        database = await enter(open_database(url))
        blobs = Blobs(settings.blob_dir)
        await blobs.sweep()
        metrics = Metrics()
        await enter(LoopWatch(metrics, settings.loop_watch_seconds))
        cookie_key = await Secrets(database).ensure(COOKIE_KEY, lambda: os.urandom(COOKIE_KEY_BYTES))
        jwks = await enter(Jwks(settings.jwks_url)) if settings.jwks_url else None
        authenticator = Authenticator(settings, cookie_key, jwks)
        bus = _bus(settings)
        await stack.enter_async_context(bus)
        workers = await enter(
            Workers(settings.effective_worker_count, settings.worker_memory_bytes, max_queue=settings.worker_queue)
        )
        designs, users, memberships, assets = (
            Designs(database),
            Users(database),
            Memberships(database),
            Assets(database),
        )
        access = await enter(Access(designs, memberships, users, default_product=next(iter(PRODUCTS))))
        recency = await enter(Recency(designs))
        heard: list[Callable[[DocumentKey, float, int], None]] = [recency.edited]

        def committed(key: DocumentKey, at: float, updates: int) -> None:
            for hear in heard:
                hear(key, at, updates)

        rooms = await enter(
            RoomRegistry(
                update_log=await enter(UpdateLog(database)),
                keyframes=Keyframes(database),
                workers=workers,
                bus=bus,
                metrics=metrics,
                room_limits=_room_limits(settings),
                limits=RegistryLimits(settings.max_rooms, settings.room_idle_seconds),
                overwrite_names=not settings.is_open,
                # One node has an SQLite file for itself unless Redis joins it to others; a PostgreSQL may have many.
                sole_writer=not settings.is_postgresql and not settings.redis_url,
                on_commit=committed,
            )
        )
        images = ImageStore(assets, blobs, workers, _asset_limits(settings))
        renders = await enter(Renders(rooms, workers, assets, blobs, metrics, _render_limits(settings)))
        door, limits, outbox_limits = (
            Door(authenticator, access, rooms),
            _socket_limits(settings),
            _outbox_limits(settings),
        )
        live = LiveServer(door=door, metrics=metrics, limits=limits, outbox_limits=outbox_limits)
        raw = WebSockets(metrics=metrics, limits=limits, outbox_limits=outbox_limits)
        heard.append(await _open_talk(stack, settings, live, database, bus, rooms, metrics, access, memberships, users))
        parts = Parts(
            settings=settings,
            authenticator=authenticator,
            security=Security(settings),
            database=database,
            bus=bus,
            workers=workers,
            designs=designs,
            memberships=memberships,
            users=users,
            access=access,
            images=images,
            renders=renders,
            rooms=rooms,
            metrics=HttpMetrics(metrics.registry),
        )
        yield parts, Sockets(live, raw, YWebsocket(door, raw), Hocuspocus(door, raw))


async def _open_talk(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    live: LiveServer,
    database: Database,
    bus: RedisBus | LocalBus,
    rooms: RoomRegistry,
    metrics: Metrics,
    access: Access,
    memberships: Memberships,
    users: Users,
) -> Callable[[DocumentKey, float, int], None]:
    """Chat, notifications and the live board, on their namespaces; returns what wants to hear of commits."""
    stream_log, conversations = StreamLog(database), Conversations(database)
    streams = await stack.enter_async_context(
        LiveStreams(stream_log=stream_log, conversations=conversations, bus=bus, node=rooms.node)
    )
    board = await stack.enter_async_context(LiveMetrics(metrics=metrics, bus=bus, node=rooms.node, rooms=rooms))
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
        limits=ChatLimits(max_message_characters=settings.max_message_characters),
        on_post=board.posted,
    )
    register(live, access=access, streams=streams, chat=chat, notifications=notifications, live=board)
    return board.committed


def _bus(settings: Settings) -> RedisBus | LocalBus:
    if not settings.redis_url:
        return LocalBus(settings.bus_queue_bytes)
    return RedisBus(
        settings.redis_url,
        prefix=settings.redis_prefix,
        queue_bytes=settings.bus_queue_bytes,
        heartbeat_seconds=settings.bus_heartbeat_seconds,
    )


def _room_limits(settings: Settings) -> RoomLimits:
    return RoomLimits(
        max_update_bytes=settings.max_update_bytes,
        max_document_bytes=settings.max_document_bytes,
        inbox_updates=settings.max_inbox_updates,
        inbox_bytes=settings.max_inbox_bytes,
        keyframe_rows=settings.keyframe_rows,
        keyframe_bytes=settings.keyframe_bytes,
    )


def _asset_limits(settings: Settings) -> AssetLimits:
    return AssetLimits(
        settings.max_image_bytes, settings.max_image_pixels, settings.max_uploads, settings.worker_seconds
    )


def _render_limits(settings: Settings) -> RenderLimits:
    return RenderLimits(
        settings.max_renders, settings.render_seconds, settings.render_cache_bytes, settings.max_render_image_bytes
    )


def _socket_limits(settings: Settings) -> SocketLimits:
    return SocketLimits(
        max_frame_bytes=settings.max_update_bytes + FRAME_OVERHEAD_BYTES,
        max_documents=settings.max_documents_per_connection,
        join_seconds=settings.unauthenticated_seconds,
        join_bytes=settings.unauthenticated_bytes,
        ping_interval_seconds=settings.ping_seconds,
        ping_timeout_seconds=settings.ping_timeout_seconds,
    )


def _outbox_limits(settings: Settings) -> OutboxLimits:
    return OutboxLimits(soft_bytes=settings.outbox_bytes, hard_bytes=settings.max_outbox_bytes)


@contextlib.asynccontextmanager
async def listening(settings: Settings, parts: Parts, sockets: Sockets, bound: socket.socket) -> AsyncIterator[None]:
    """Answer on *bound* while the block runs; then stop listening, send the sockets away, let requests end."""
    app = build_app(parts)
    sockets.attach(app)
    runner = web.AppRunner(
        app,
        access_log=None,  # its lines hold the query string, where a token may stand
        keepalive_timeout=IDLE_SECONDS,
        # a token in an address or a header is the longest line there is
        max_line_size=settings.max_token_bytes + 1024,
        max_field_size=settings.max_token_bytes + 1024,
        max_headers=MAX_HEADERS,
        auto_decompress=False,
        shutdown_timeout=settings.drain_seconds,
    )
    await runner.setup()
    try:
        site = _Site(runner, bound, settings)
        await site.start()
        yield
        await site.stop()
        await sockets.close_all()
    finally:
        await runner.cleanup()


class _Site(web.SockSite):
    """A listening socket whose connections must send a whole first request within bounds of bytes and time.

    aiohttp alone gives a silent connection as long as it keeps an idle one, and a head of any number of small lines.
    """

    def __init__(self, runner: web.AppRunner, bound: socket.socket, settings: Settings) -> None:
        super().__init__(runner, bound, backlog=BACKLOG)
        self._settings = settings

    async def start(self) -> None:
        await web.BaseSite.start(self)
        loop = asyncio.get_running_loop()
        make = self._runner.server
        assert make is not None

        def connection() -> asyncio.Protocol:
            return _Guard(make(), self._settings.unauthenticated_bytes, self._settings.unauthenticated_seconds)

        self._server = await loop.create_server(connection, sock=self._sock, backlog=self._backlog)


class _Guard(asyncio.Protocol):
    """Stands before aiohttp's protocol until its first request is there, and then is out of the way (RULE L4)."""

    def __init__(self, behind: RequestHandler, max_bytes: int, seconds: float) -> None:
        self._behind = behind
        self._left = max_bytes
        self._seconds = seconds
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)
        self._behind.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._behind.data_received(data)
        # counted by aiohttp when the head of a request is whole, or is no request at all
        if self._behind._request_count:
            self._let_through()
            return
        self._left -= len(data)
        if self._left < 0 and self._transport is not None:
            self._transport.abort()

    def _let_through(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.set_protocol(self._behind)
        self._transport = None

    def eof_received(self) -> None:
        self._behind.eof_received()

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self._behind.connection_lost(exc)
