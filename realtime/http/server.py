"""The aiohttp application of plain requests: every answer passes here, and so does every failure."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from realtime.auth import GUEST_SECONDS
from realtime.errors import Draining, answer
from realtime.http import assets, catalogue, conversations, designs, docs, documents, health, pages, renders, session
from realtime.http.parts import NEW_GUEST, Parts, set_session_cookie
from realtime.http.routes import Handler, Route
from realtime.logs import bound
from realtime.protocols.websocket import TakenOver
from realtime.security import AddressLimit, add_page_headers
from realtime.security import Handler as Next

log = logging.getLogger(__name__)

SOCKET_PATHS = ("/socket.io", "/yjs/", "/hocuspocus")
QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
UNKNOWN_ROUTE = "other"

ROUTES: tuple[Route, ...] = (
    *session.ROUTES,
    *designs.ROUTES,
    *documents.ROUTES,
    *renders.ROUTES,
    *assets.ROUTES,
    *conversations.ROUTES,
    *catalogue.ROUTES,
    *health.ROUTES,
    *pages.ROUTES,
)
"""Every plain request there is, but those that describe it."""


def build_app(parts: Parts, more: Sequence[Route] = ()) -> web.Application:
    """The application; sockets are attached to it by the composition root.

    Args:
        more: further routes, described like the others.
    """
    limit = AddressLimit(parts.settings.max_connections_per_address, parts.settings.max_connections)
    app = web.Application(
        middlewares=[_answering(parts), _checking(parts, limit)],
        client_max_size=parts.settings.max_json_bytes,
    )
    app.on_response_prepare.append(_with_headers)
    routes = [*ROUTES, *more]
    for route in [*routes, *docs.describe(routes)]:
        app.router.add_route(route.method, route.path, _handler(parts, route.handler))
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, _handler(parts, route.handler))
    return app


def _handler(parts: Parts, handler: Handler) -> Next:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request, parts)

    return handle


async def _with_headers(request: web.Request, response: web.StreamResponse) -> None:
    add_page_headers(response)


def _remember_guest(parts: Parts, request: web.Request, response: web.StreamResponse) -> None:
    """Give a guest who was made for this request the cookie by which they are known again (RULE A2)."""
    guest = request.get(NEW_GUEST)
    if guest is None or response.prepared or response.status >= 400:
        return
    if "immutable" not in response.headers.get("Cache-Control", ""):
        set_session_cookie(parts, request, response, parts.authenticator.guest_cookie(guest), GUEST_SECONDS)


def _answering(parts: Parts) -> Middleware:
    """Turn every failure into a problem, count and log every answer; the outermost."""

    @web.middleware
    async def middleware(request: web.Request, handler: Next) -> web.StreamResponse:
        started = time.perf_counter()
        address = parts.security.peer_address(request)
        with bound(address=address):
            try:
                response = await handler(request)
                _remember_guest(parts, request, response)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if isinstance(error, web.HTTPException) and error.status < 400:
                    raise
                if request.transport is None or isinstance(error, ConnectionError):
                    raise  # nobody is there to be answered
                failure = answer(error)
                response = pages.failure_page(request, parts, failure) or failure.problem()
            route = _template(request)
            seconds = time.perf_counter() - started
            is_socket = isinstance(response, web.WebSocketResponse | TakenOver)
            parts.metrics.requests.labels(route, request.method, str(response.status)).inc()
            if not is_socket:
                parts.metrics.seconds.labels(route).observe(seconds)
            # the path without its query: a token may stand in it (RULE A9)
            log.log(
                logging.DEBUG if request.path in QUIET_PATHS else logging.INFO,
                _event(response),
                extra={
                    "method": request.method,
                    "path": request.path[:200],
                    "status": response.status,
                    "ms": round(seconds * 1000, 1),
                },
            )
            return response

    return middleware


def _event(response: web.StreamResponse) -> str:
    match response:
        case TakenOver():
            return "socket opened"
        case web.WebSocketResponse():
            return "socket ended"
        case _:
            return "request answered"


def _template(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else UNKNOWN_ROUTE


def _checking(parts: Parts, limit: AddressLimit) -> Middleware:
    """Host, Origin, draining and the number of connections, before any handler is asked."""

    security = parts.security

    @web.middleware
    async def middleware(request: web.Request, handler: Next) -> web.StreamResponse:
        security.check_request(request, SOCKET_PATHS)
        if not security.opens_socket(request, SOCKET_PATHS):
            return await handler(request)
        if parts.draining:
            raise Draining
        release = limit.hold(security.peer_address(request))
        try:
            response = await handler(request)
        except BaseException:
            release()
            raise
        if isinstance(response, TakenOver):
            response.socket.until_lost(release)
        else:
            release()
        return response

    return middleware
