"""Whether the node lives, whether it may be sent work, and what it counts."""

from __future__ import annotations

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from realtime.errors import NotAuthenticated
from realtime.http.parts import Parts
from realtime.http.routes import Reply, Route, json_response, text, thing
from rooms.errors import NotPermitted
from rooms.permissions import Role
from storage.errors import StorageError


async def get_healthz(request: web.Request, parts: Parts) -> web.StreamResponse:
    return json_response({"status": "alive"})


async def get_readyz(request: web.Request, parts: Parts) -> web.StreamResponse:
    checks = {
        "database": await _database_answers(parts),
        "bus": parts.bus.health.connected,
        "workers": parts.workers.ready > 0,
        "not_draining": not parts.draining,
    }
    ready = all(checks.values())
    return json_response({"status": "ready" if ready else "not ready", "checks": checks}, status=200 if ready else 503)


async def _database_answers(parts: Parts) -> bool:
    try:
        await parts.database.ping()
    except StorageError:
        return False
    return True


async def get_metrics(request: web.Request, parts: Parts) -> web.StreamResponse:
    # in open mode everybody is an admin, so only this machine is let in by what it is
    if not parts.security.is_local(request):
        if parts.authenticator.is_open:
            raise NotAuthenticated("Metrics are for this machine.")
        user = await parts.who(request)
        if user.role is not Role.ADMIN:
            raise NotPermitted(user.role.value, "read the metrics of the node")
    body = generate_latest(parts.metrics.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})


_STATUS = thing(status=text("alive, ready or not ready"))

ROUTES = (
    Route(
        "GET",
        "/healthz",
        get_healthz,
        "Is the process alive",
        tag="Operation",
        reply=Reply("It is", {"application/json": _STATUS}),
        is_public=True,
    ),
    Route(
        "GET",
        "/readyz",
        get_readyz,
        "May the node be sent work",
        "503 while the database, the bus or the workers do not answer, and while it drains.",
        "Operation",
        reply=Reply("It may", {"application/json": _STATUS}),
        is_public=True,
    ),
    Route(
        "GET",
        "/metrics",
        get_metrics,
        "What the node counts, for Prometheus",
        "For this machine, or an admin's token.",
        "Operation",
        reply=Reply("Metrics", {"text/plain": {"type": "string"}}),
        errors=("not_permitted",),
    ),
)
