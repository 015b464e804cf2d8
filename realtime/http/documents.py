"""Documents by plain requests: Yjs updates out and in."""

from __future__ import annotations

import base64
import binascii

from aiohttp import web

from realtime.errors import RequestError
from realtime.http.designs import enter
from realtime.http.parts import Parts
from realtime.http.reading import whole
from realtime.http.routes import DESIGN_ID, Body, Parameter, Reply, Route, integer, json_response, thing
from rooms.permissions import Action

MAX_STATE_VECTOR_CHARACTERS = 6000
"""About 300 clients; who has more asks without a state vector, and gets everything."""
EMPTY_STATE_VECTOR = b"\x00"
BYTES = "application/octet-stream"


async def get_update(request: web.Request, parts: Parts) -> web.StreamResponse:
    entry = await enter(request, parts, Action.SEE)
    state_vector = _state_vector(request.query.get("sv"))
    position, update = await parts.rooms.difference(entry.key, state_vector)
    return web.Response(
        body=update, content_type=BYTES, headers={"Luneo-Position": str(position), "Cache-Control": "no-store"}
    )


def _state_vector(raw: str | None) -> bytes:
    if raw is None or raw == "":
        return EMPTY_STATE_VECTOR
    if len(raw) > MAX_STATE_VECTOR_CHARACTERS:
        raise RequestError(f"`sv` may have {MAX_STATE_VECTOR_CHARACTERS} characters; leave it away.", field="sv")
    try:
        return base64.b64decode(raw + "=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("`sv` must be a state vector in base64url.", field="sv") from None


async def post_update(request: web.Request, parts: Parts) -> web.StreamResponse:
    # whether something new may come from this user is the room's to say: nothing new is never an edit (D5)
    entry = await enter(request, parts, Action.SEE, make=True)
    if request.content_type != BYTES:
        raise RequestError(f"Send one Yjs v1 update as {BYTES}.", code="unsupported_media_type")
    limit = parts.settings.max_update_bytes
    update = await whole(request, "LUNEO_MAX_UPDATE_BYTES", limit, parts.settings.request_seconds)
    position = await parts.rooms.submit(entry.grant, entry.key, update)
    return json_response({"position": position})


ROUTES = (
    Route(
        "GET",
        "/api/v1/designs/{id}/update",
        get_update,
        "The document as a Yjs update",
        "The header `Luneo-Position` says up to which position of the log.",
        "Documents",
        parameters=(DESIGN_ID, Parameter("sv", "a state vector in base64url: only what it lacks is sent")),
        reply=Reply("One Yjs v1 update", {BYTES: {"type": "string", "format": "binary"}}),
        errors=("not_found", "not_a_member", "invalid_request", "unavailable"),
    ),
    Route(
        "POST",
        "/api/v1/designs/{id}/update",
        post_update,
        "Edit the document",
        "Answered once the update is durable. In open mode an unknown design is made.",
        "Documents",
        parameters=(DESIGN_ID,),
        body=Body("One Yjs v1 update", {BYTES: {"type": "string", "format": "binary"}}),
        reply=Reply("Its place in the log", {"application/json": thing(position=integer("gapless, from 1"))}),
        errors=("not_found", "not_a_member", "not_permitted", "limit_exceeded", "invalid_update", "unavailable"),
    ),
)
