"""Route: one plain request, described once; the server and its description are made from the same table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from realtime.http.parts import Parts

Handler = Callable[[web.Request, Parts], Awaitable[web.StreamResponse]]
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of the address or of the query."""

    name: str
    about: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    where: str = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent: media types with their schema each."""

    about: str
    content: dict[str, Schema]


@dataclass(frozen=True, slots=True)
class Reply:
    """What comes back when all is well."""

    about: str
    content: dict[str, Schema] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. Without a `summary` it is for browsers and operators, and not described."""

    method: str
    path: str
    handler: Handler
    summary: str = ""
    about: str = ""
    tag: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    reply: Reply = field(default_factory=lambda: Reply("Done"))
    errors: tuple[str, ...] = ()
    """Codes of refusals that are this route's own; 401, 403 of the brand's roles, and 500 go without saying."""
    is_public: bool = False


def json_response(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer that no cache keeps, unless *headers* say otherwise."""
    return web.Response(
        status=status,
        body=orjson.dumps(value),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def text(about: str, **more: object) -> Schema:
    return {"type": "string", "description": about, **more}


def number(about: str, **more: object) -> Schema:
    return {"type": "number", "description": about, **more}


def integer(about: str, **more: object) -> Schema:
    return {"type": "integer", "description": about, **more}


def thing(about: str = "", /, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object with *properties*."""
    schema: Schema = {"type": "object", "properties": properties}
    if about:
        schema["description"] = about
    if required:
        schema["required"] = list(required)
    return schema


def page_of(items: Schema) -> Schema:
    """A list that is read on by its cursor."""
    following = {"type": ["string", "null"], "description": "the `cursor` of the next page; null after the last"}
    return thing(required=("items", "next"), items={"type": "array", "items": items}, next=following)


DESIGN_ID = Parameter(
    "id", "the design", {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, where="path", required=True
)
CURSOR = Parameter("cursor", "`next` of the page before")
LIMIT = Parameter("limit", "entries of a page", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50})
