"""Who am I: the session of a browser, and the role a guest looks as."""

from __future__ import annotations

import dataclasses
import time

from aiohttp import web

from realtime.auth import GUEST_SECONDS, MAX_COOKIE_BYTES, MAX_NAME_CHARACTERS
from realtime.errors import NotAuthenticated, RequestError
from realtime.http.parts import NEW_GUEST, Parts, set_session_cookie
from realtime.http.reading import json_object, known_fields, text_field
from realtime.http.routes import Body, Reply, Route, json_response, number, text, thing
from rooms.permissions import ALLOWED, Role, User


def user_json(user: User) -> dict[str, object]:
    return {
        "id": user.id,
        "name": user.name,
        "brand": user.brand,
        "role": user.role.value,
        "color": user.color,
        "avatar": user.avatar,
        "locale": user.locale,
        "guest": user.is_guest,
    }


def _answer(parts: Parts, user: User) -> web.Response:
    return json_response(
        {
            "mode": "open" if parts.authenticator.is_open else "closed",
            "user": user_json(user),
            "role": user.role.value,
            "roles": [role.value for role in Role] if user.is_guest else [user.role.value],
            "allowed": sorted(ALLOWED[user.role]),
            "expires_at": user.expires_at or None,
        }
    )


async def get_session(request: web.Request, parts: Parts) -> web.StreamResponse:
    return _answer(parts, await parts.who(request))


async def post_session(request: web.Request, parts: Parts) -> web.StreamResponse:
    body = await json_object(request, parts.settings.max_json_bytes, parts.settings.request_seconds)
    if parts.authenticator.is_open:
        return await _look_as(request, parts, body)
    known_fields(body, "token")
    token = body.get("token")
    if not isinstance(token, str) or not token:
        raise NotAuthenticated("`token` is missing: the token that is to become this browser's session.")
    user = await parts.authenticator.check(token)
    if len(token) > MAX_COOKIE_BYTES:
        raise RequestError(
            f"A browser keeps {MAX_COOKIE_BYTES} bytes of a session; this token is longer. Send it with each request.",
            code="token_too_long",
        )
    response = _answer(parts, user)
    set_session_cookie(parts, request, response, token, max(1, int(user.expires_at - time.time())))
    return response


async def _look_as(request: web.Request, parts: Parts, body: object) -> web.StreamResponse:
    if not isinstance(body, dict):
        raise RequestError("The body must be a JSON object.", code="invalid_json")
    known_fields(body, "role", "name", "token")
    guest = (await parts.identify(request)).user
    if body.get("role") is not None:
        try:
            guest = dataclasses.replace(guest, role=Role(str(body["role"])))
        except ValueError:
            raise RequestError(f"`role` must be one of {', '.join(Role)}.", field="role") from None
    name = text_field(body, "name", MAX_NAME_CHARACTERS)
    if name:
        guest = dataclasses.replace(guest, name=name)
    response = _answer(parts, guest)
    request.pop(NEW_GUEST, None)  # the cookie below is the newer one
    set_session_cookie(parts, request, response, parts.authenticator.guest_cookie(guest), GUEST_SECONDS)
    return response


async def delete_session(request: web.Request, parts: Parts) -> web.StreamResponse:
    response = web.Response(status=204)
    response.del_cookie(
        parts.authenticator.cookie_name,
        path="/",
        httponly=True,
        samesite="Lax",
        secure=parts.security.is_https(request),
    )
    return response


USER = thing(
    "a person, as their token or cookie says",
    id=text("stable within the brand"),
    name=text("for people"),
    brand=text("the wall between tenants"),
    role=text("what they may do at most", enum=[role.value for role in Role]),
    color=text("#rrggbb"),
)
SESSION = thing(
    mode=text("`open`: everybody is a guest of this machine; `closed`: a token says who", enum=["open", "closed"]),
    user=USER,
    role=text("as in `user`"),
    roles={"type": "array", "items": {"type": "string"}, "description": "the roles this session may look as"},
    allowed={"type": "array", "items": {"type": "string"}, "description": "what the role may do at most"},
    expires_at=number("seconds since 1970; null: does not end"),
)

ROUTES = (
    Route(
        "GET",
        "/api/v1/session",
        get_session,
        "Who am I",
        "In open mode a new visitor becomes a guest here, by a cookie.",
        "Session",
        reply=Reply("The session", {"application/json": SESSION}),
        errors=("token_expired",),
    ),
    Route(
        "POST",
        "/api/v1/session",
        post_session,
        "Begin a session, or look as somebody else",
        "Closed mode: exchange a token for an HttpOnly cookie. Open mode: change the guest's role or name.",
        "Session",
        body=Body(
            "`token` in closed mode; `role`, `name` in open mode",
            {"application/json": thing(token=text("a JWT"), role=text("a role"), name=text("a name"))},
        ),
        reply=Reply("The session", {"application/json": SESSION}),
        errors=("token_expired", "token_too_long", "foreign_origin"),
        is_public=True,
    ),
    Route(
        "DELETE",
        "/api/v1/session",
        delete_session,
        "End this browser's session",
        tag="Session",
        reply=Reply("The cookie is gone", status=204),
        is_public=True,
    ),
)
