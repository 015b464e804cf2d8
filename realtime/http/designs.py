"""Designs: make, list, read, rename, delete; and who belongs to one."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from canvas.products import PRODUCTS
from realtime.errors import RequestError
from realtime.http.parts import Parts
from realtime.http.reading import json_object, known_fields, number_in_query, text_field
from realtime.http.routes import (
    CURSOR,
    DESIGN_ID,
    LIMIT,
    Body,
    Reply,
    Route,
    json_response,
    number,
    page_of,
    text,
    thing,
)
from rooms.access import MAX_TITLE_CHARACTERS, Entry
from rooms.permissions import Action, User
from storage.keys import UserId, is_id
from storage.pages import MAX_PAGE
from storage.users import MAX_USERS, StoredUser

PAGE_ROWS = 50


def design_json(entry: Entry, owners: Mapping[UserId, StoredUser]) -> dict[str, object]:
    design = entry.design
    owner = owners.get(design.owner)
    return {
        "id": design.id,
        "title": design.title,
        "product": design.product,
        "owner": {"id": design.owner, "name": owner.name if owner else design.owner},
        "created_at": design.created_at,
        "updated_at": design.updated_at,
        "role": entry.grant.role.value,
        "allowed": sorted(entry.grant.actions),
    }


async def _one(parts: Parts, entry: Entry, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    owners = await parts.users.find(entry.design.brand, [entry.design.owner])
    return json_response(design_json(entry, owners), status=status, headers=headers)


async def create_design(request: web.Request, parts: Parts) -> web.StreamResponse:
    user = await parts.who(request)
    body = await json_object(request, parts.settings.max_json_bytes, parts.settings.request_seconds)
    known_fields(body, "title", "product", "id", "template")
    if body.get("template") is not None:
        raise RequestError("Templates are not offered yet. Make the design from a product.", field="template")
    title = text_field(body, "title", MAX_TITLE_CHARACTERS)
    product = body.get("product")
    if not isinstance(product, str) or product not in PRODUCTS:
        raise RequestError(f"`product` must be one of {', '.join(PRODUCTS)}.", code="unknown_product", field="product")
    id = body.get("id")
    if id is not None and not is_id(id):
        raise RequestError("`id` must match [A-Za-z0-9_-]{1,64}.", field="id")
    entry = await parts.access.create(user, title or "", product, id)
    return await _one(parts, entry, status=201, headers={"Location": f"/api/v1/designs/{entry.design.id}"})


async def list_designs(request: web.Request, parts: Parts) -> web.StreamResponse:
    user = await parts.who(request)
    limit = number_in_query(request, "limit", 1, MAX_PAGE) or PAGE_ROWS
    listing = await parts.access.list(user, request.query.get("cursor"), limit)
    owners = await _people(parts, user, [entry.design.owner for entry in listing.entries])
    return json_response({"items": [design_json(entry, owners) for entry in listing.entries], "next": listing.next})


async def _people(parts: Parts, user: User, ids: list[UserId]) -> dict[UserId, StoredUser]:
    unique = list(dict.fromkeys(ids))
    found: dict[UserId, StoredUser] = {}
    for start in range(0, len(unique), MAX_USERS):
        found |= await parts.users.find(user.brand, unique[start : start + MAX_USERS])
    return found


async def enter(request: web.Request, parts: Parts, action: Action, *, make: bool = False) -> Entry:
    """The design of the address, for one who may do *action* in it.

    Raises:
        NotAuthenticated, NotFound, NotAMember, NotPermitted.
    """
    user = await parts.who(request)
    entry = await parts.access.access_room(user, request.match_info["id"], make=make)
    entry.grant.require(action)
    return entry


async def get_design(request: web.Request, parts: Parts) -> web.StreamResponse:
    return await _one(parts, await enter(request, parts, Action.SEE))


async def patch_design(request: web.Request, parts: Parts) -> web.StreamResponse:
    entry = await enter(request, parts, Action.EDIT)
    body = await json_object(request, parts.settings.max_json_bytes, parts.settings.request_seconds)
    known_fields(body, "title")
    title = text_field(body, "title", MAX_TITLE_CHARACTERS)
    if not title:
        raise RequestError("`title` must not be empty.", field="title")
    design = await parts.designs.update(entry.design.brand, entry.design.id, title=title)
    return await _one(parts, Entry(design, entry.grant))


async def delete_design(request: web.Request, parts: Parts) -> web.StreamResponse:
    entry = await enter(request, parts, Action.MANAGE)
    await parts.designs.delete(entry.design.brand, entry.design.id)
    parts.rooms.delete(entry.key)
    return web.Response(status=204)


async def get_members(request: web.Request, parts: Parts) -> web.StreamResponse:
    entry = await enter(request, parts, Action.SEE)
    members = await parts.memberships.of_design(entry.design.brand, entry.design.id)
    people = await _people(parts, entry.grant.user, [member.user_id for member in members])
    items = []
    for member in members:
        person = people.get(member.user_id)
        items.append(
            {
                "id": member.user_id,
                "name": person.name if person else member.user_id,
                "color": person.color if person else "",
                "avatar": person.avatar if person else "",
                "role": member.role,
                "at": member.at,
            }
        )
    return json_response({"items": items, "next": None})


DESIGN = thing(
    id=text("unique within the brand, for ever"),
    title=text("for people"),
    product=text("of `GET /api/v1/products`"),
    owner=thing(id=text("who made it"), name=text("for people")),
    created_at=number("seconds since 1970"),
    updated_at=number("seconds since 1970"),
    role=text("yours here"),
    allowed={"type": "array", "items": {"type": "string"}, "description": "what you may do here"},
)
MEMBER = thing(id=text("a person"), name=text("for people"), color=text("#rrggbb"), role=text("theirs here"))
TITLE = text("one line", maxLength=MAX_TITLE_CHARACTERS)
_NOT_YOURS = ("not_found", "not_a_member")

ROUTES = (
    Route(
        "POST",
        "/api/v1/designs",
        create_design,
        "Make a design",
        "Its maker becomes its owner. An id once taken stays taken, after a deletion too.",
        "Designs",
        body=Body(
            "What to make",
            {
                "application/json": thing(
                    required=("product",),
                    title=TITLE,
                    product=text("of the catalogue", enum=list(PRODUCTS)),
                    id=text("a wish; without it a random one", pattern="^[A-Za-z0-9_-]{1,64}$"),
                )
            },
        ),
        reply=Reply("The design", {"application/json": DESIGN}, 201),
        errors=("design_exists", "unknown_product", "invalid_request", "not_permitted"),
    ),
    Route(
        "GET",
        "/api/v1/designs",
        list_designs,
        "The designs you can open, the last changed first",
        "A page may be short and still have a next one.",
        "Designs",
        parameters=(CURSOR, LIMIT),
        reply=Reply("A page", {"application/json": page_of(DESIGN)}),
        errors=("invalid_cursor",),
    ),
    Route(
        "GET",
        "/api/v1/designs/{id}",
        get_design,
        "One design",
        tag="Designs",
        parameters=(DESIGN_ID,),
        reply=Reply("The design", {"application/json": DESIGN}),
        errors=_NOT_YOURS,
    ),
    Route(
        "PATCH",
        "/api/v1/designs/{id}",
        patch_design,
        "Rename a design",
        tag="Designs",
        parameters=(DESIGN_ID,),
        body=Body("What to change", {"application/json": thing(required=("title",), title=TITLE)}),
        reply=Reply("The design", {"application/json": DESIGN}),
        errors=(*_NOT_YOURS, "not_permitted", "invalid_request"),
    ),
    Route(
        "DELETE",
        "/api/v1/designs/{id}",
        delete_design,
        "Delete a design",
        "It is hidden for good; its id stays taken.",
        "Designs",
        parameters=(DESIGN_ID,),
        reply=Reply("It is gone", status=204),
        errors=(*_NOT_YOURS, "not_permitted"),
    ),
    Route(
        "GET",
        "/api/v1/designs/{id}/members",
        get_members,
        "Who belongs to a design",
        tag="Designs",
        parameters=(DESIGN_ID,),
        reply=Reply("All members", {"application/json": page_of(MEMBER)}),
        errors=_NOT_YOURS,
    ),
)
