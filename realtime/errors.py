"""The one table from exceptions to codes and HTTP statuses, and the exceptions of this layer."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from rooms.errors import RoomError

log = logging.getLogger(__name__)

PROBLEM_TYPE = "application/problem+json"


class RequestError(RoomError):
    """What is wrong with a request before any room is asked; `status` is its HTTP status."""

    code = "invalid_request"

    def __init__(self, message: str, *, code: str = "", **fields: object) -> None:
        super().__init__(message)
        if code:
            self.code = code
        self.fields = fields


class NotAuthenticated(RequestError):
    """Nobody knows who this is: no token, or one that does not hold."""

    code = "not_authenticated"


class TokenExpired(NotAuthenticated):
    """The token was good once; the client has to get a new one."""

    code = "token_expired"


class ForeignHost(RequestError):
    """The Host header names a host this node does not answer to (RULE A6)."""

    code = "foreign_host"


class ForeignOrigin(RequestError):
    """A page of another origin asks with this browser's cookie (RULE A7)."""

    code = "foreign_origin"


class Draining(RoomError):
    """The node is about to stop; another one, or this one soon, will answer."""

    code = "draining"
    retryable = True

    def __init__(self) -> None:
        super().__init__("This node is about to stop. Try again in a moment.")


STATUSES: Mapping[str, int] = {
    # who
    "not_authenticated": 401,
    "token_expired": 401,
    "foreign_origin": 403,
    "foreign_host": 421,
    "not_permitted": 403,
    "not_a_member": 403,
    # what
    "not_found": 404,
    "method_not_allowed": 405,
    "websocket_required": 426,
    "format_not_offered": 406,
    "design_exists": 409,
    "message_conflict": 409,
    "upload_too_slow": 408,
    "unsupported_media_type": 415,
    "limit_exceeded": 413,
    "too_many_connections": 429,
    "rate_exceeded": 429,
    "image_format": 415,
    "image_too_large": 413,
    "render_too_large": 413,
    "invalid_cursor": 400,
    "invalid_value": 400,
    "unknown_product": 422,
    "unknown_view": 422,
    # when
    "overloaded": 503,
    "unavailable": 503,
    "draining": 503,
    "busy": 503,
    "worker_timeout": 503,
    "worker_died": 503,
    "workers_busy": 503,
    "studio_missing": 503,
    "internal": 500,
}
"""Statuses by code; a refusal whose code is not here is the sender's to mend: 422 from a room, 400 from a request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A failure as the outside may know it: the same for a socket's acknowledgement and a plain request."""

    code: str
    message: str
    status: int
    retryable: bool = False
    fields: Mapping[str, object] = field(default_factory=dict)

    def refusal(self) -> dict[str, object]:
        """The acknowledgement of a request on a socket (CONTRACT 5)."""
        return {"ok": False, "code": self.code, "message": self.message, "retryable": self.retryable, **self.fields}

    def problem(self) -> web.Response:
        """RFC 9457 problem details."""
        try:
            title = HTTPStatus(self.status).phrase
        except ValueError:
            title = "Error"
        body = {
            "type": f"urn:luneo:problem:{self.code}",
            "title": title,
            "status": self.status,
            "detail": self.message,
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            **self.fields,
        }
        headers = {"Cache-Control": "no-store"}
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="luneo"'
        if self.status == 426:
            headers["Upgrade"] = "websocket"
        if self.status in (429, 503) and self.retryable:
            headers["Retry-After"] = "1"
        return web.Response(
            status=self.status, body=orjson.dumps(body, default=str), content_type=PROBLEM_TYPE, headers=headers
        )


_HTTP_CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    411: "length_required",
    413: "limit_exceeded",
    415: "unsupported_media_type",
}


def answer(error: BaseException) -> Answer:
    """What the outside hears of *error*; the unexpected is logged here, once, under the reference that goes out."""
    if isinstance(error, web.HTTPException):
        code = _HTTP_CODES.get(error.status, f"http_{error.status}")
        fields: dict[str, Any] = {}
        if isinstance(error, web.HTTPMethodNotAllowed):
            fields["allowed"] = sorted(error.allowed_methods)
        return Answer(code, _HTTP_SENTENCES.get(error.status, f"{error.reason}."), error.status, fields=fields)
    if isinstance(error, TimeoutError):
        return Answer("unavailable", "This took too long and was given up; nothing is promised.", 503, True)
    # the exceptions of storage and canvas have the same three fields, without knowing those of rooms
    known_code: object = getattr(error, "code", None)
    message: object = getattr(error, "message", None)
    if isinstance(known_code, str) and isinstance(message, str) and known_code != "internal":
        default = 400 if isinstance(error, RequestError) else 422
        data = dict(getattr(error, "fields", {}))
        limit: object = getattr(error, "limit", None)
        if limit is not None:
            data.update(limit=limit, maximum=getattr(error, "maximum", None))
        retryable = bool(getattr(error, "retryable", False))
        status = STATUSES.get(known_code, 503 if retryable else default)
        return Answer(known_code, message, status, retryable, data)
    reference = secrets.token_hex(6)
    log.error("unexpected failure", extra={"reference": reference}, exc_info=error)
    return Answer(
        "internal",
        f"Something went wrong here that should not. Its reference is {reference}.",
        500,
        fields={"reference": reference},
    )


_HTTP_SENTENCES = {
    404: "There is no such page or resource.",
    405: "This address does not take that method.",
    413: "The body is larger than this address takes.",
}
