"""What plain requests are made of: the parts of a node, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram

from realtime.auth import Authenticator, Identity
from realtime.bus import BusHealth
from realtime.security import Security
from realtime.settings import Settings
from rooms.access import Access
from rooms.assets import ImageStore
from rooms.permissions import Grant, User
from rooms.renders import Renders
from storage.database import Database
from storage.designs import Designs
from storage.keys import DocumentKey, Position
from storage.memberships import Memberships
from storage.users import Users

NEW_GUEST = web.RequestKey("luneo_new_guest", User)
"""A guest who was made for this request, and is to get a cookie with its answer (open mode only)."""


class RoomsPort(Protocol):
    """What plain requests need of the rooms; `rooms.registry.RoomRegistry` is one."""

    async def state(self, key: DocumentKey) -> tuple[Position, list[bytes]]:
        """The head, and updates that together are everything up to it."""

    async def difference(self, key: DocumentKey, state_vector: bytes) -> tuple[Position, bytes]:
        """The head, and one update with all that *state_vector* lacks of it."""

    async def submit(self, grant: Grant, key: DocumentKey, update: bytes, origin: str = "http") -> Position:
        """Take one update and return its place in the log, once it is durable."""

    def delete(self, key: DocumentKey) -> None:
        """The design was deleted: its room empties, on every node."""


class HealthyBus(Protocol):
    @property
    def health(self) -> BusHealth: ...


class ReadyWorkers(Protocol):
    @property
    def ready(self) -> int: ...


class HttpMetrics:
    """What is counted of plain requests; labels are route templates, never addresses."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "luneo_http_requests", "Plain requests answered", ["route", "method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "luneo_http_request_seconds", "From a request's headers to its answer", ["route"], registry=registry
        )


@dataclass(slots=True, kw_only=True)
class Parts:
    """The parts of one node, as the composition root opened them."""

    settings: Settings
    authenticator: Authenticator
    security: Security
    database: Database
    bus: HealthyBus
    workers: ReadyWorkers
    designs: Designs
    memberships: Memberships
    users: Users
    access: Access
    images: ImageStore
    renders: Renders
    rooms: RoomsPort
    metrics: HttpMetrics
    draining: bool = False
    """Set when the node is told to stop: it is not ready any more, and takes no new sockets."""

    async def identify(self, request: web.Request) -> Identity:
        """Who asks, and how they showed it; a guest nobody has seen before is remembered with the answer.

        Raises NotAuthenticated.
        """
        identity = await self.authenticator.identify(request.headers)
        if identity.user.is_guest and identity.shown_by == "nothing":
            request[NEW_GUEST] = identity.user
        return identity

    async def who(self, request: web.Request) -> User:
        """Who asks. Raises NotAuthenticated."""
        return (await self.identify(request)).user


def set_session_cookie(
    parts: Parts, request: web.Request, response: web.StreamResponse, value: str, seconds: int
) -> None:
    """HttpOnly, for this host only, not sent along by other sites' writes (RULE A2)."""
    response.set_cookie(
        parts.authenticator.cookie_name,
        value,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="Lax",
        secure=parts.security.is_https(request),
    )
