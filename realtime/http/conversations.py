"""Conversations: where people talk, the last first, for those who look after several designs."""

from __future__ import annotations

from aiohttp import web

from realtime.http.parts import Parts
from realtime.http.reading import number_in_query
from realtime.http.routes import CURSOR, LIMIT, Reply, Route, integer, json_response, number, page_of, text, thing
from rooms.chat import EXCERPT_CHARACTERS
from rooms.errors import RoomError
from rooms.permissions import Role, User
from storage.conversations import Conversation, Conversations
from storage.keys import BrandId, StreamKey, UserId
from storage.pages import MAX_PAGE
from storage.users import MAX_USERS, StoredUser

PAGE_ROWS = 50


async def list_conversations(request: web.Request, parts: Parts) -> web.StreamResponse:
    user = await parts.who(request)
    limit = number_in_query(request, "limit", 1, MAX_PAGE) or PAGE_ROWS
    conversations = Conversations(parts.database)
    # A token's `rooms` are a grant beside any membership, so what they name is found among all of the brand's.
    everything = user.is_guest or user.role is Role.ADMIN or bool(user.rooms)
    page = await conversations.list(user.brand, None if everything else user.id, request.query.get("cursor"), limit)
    rows = [row for row in page.rows if await _may_see(parts, user, row)] if user.rooms else page.rows
    spoke = await conversations.last_authors([_stream(user.brand, row) for row in rows])
    people = await _people(parts, user.brand, {id for ids in spoke.values() for id in ids})
    items = [_as_json(row, [_person(id, people) for id in spoke[_stream(user.brand, row)]]) for row in rows]
    return json_response({"items": items, "next": page.next})


async def _may_see(parts: Parts, user: User, row: Conversation) -> bool:
    try:
        await parts.access.access_room(user, row.design)
    except RoomError as refused:
        if refused.retryable:
            raise
        return False
    return True


async def _people(parts: Parts, brand: BrandId, ids: set[UserId]) -> dict[UserId, StoredUser]:
    found: dict[UserId, StoredUser] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), MAX_USERS):
        found |= await parts.users.find(brand, wanted[start : start + MAX_USERS])
    return found


def _person(id: UserId, people: dict[UserId, StoredUser]) -> dict[str, str]:
    known = people.get(id)
    return {"id": id, "name": known.name if known else id, "color": known.color if known else ""}


def _as_json(row: Conversation, people: list[dict[str, str]]) -> dict[str, object]:
    return {
        "design": row.design,
        "title": row.title,
        "position": row.position,
        "at": row.at,
        "last_message": {"text": str(row.body.get("text", ""))[:EXCERPT_CHARACTERS], "user": row.body.get("user")},
        "people": people,
    }


def _stream(brand: BrandId, row: Conversation) -> StreamKey:
    return StreamKey(brand, f"chat:{row.design}")


PERSON = thing(id=text("the user"), name=text("as last seen"), color=text("#rrggbb"))
CONVERSATION = thing(
    design=text("the design it is about"),
    title=text("the design's"),
    position=integer("of the last event"),
    at=number("of the last event, in seconds since 1970"),
    last_message=thing(text=text(f"its first {EXCERPT_CHARACTERS} characters"), user=PERSON),
    people={"type": "array", "items": PERSON, "description": "who spoke, the last first"},
)

ROUTES = (
    Route(
        "GET",
        "/api/v1/conversations",
        list_conversations,
        "The chats of designs you can open, where was spoken last, first",
        "A page may be short and still have a next one.",
        "Conversations",
        parameters=(CURSOR, LIMIT),
        reply=Reply("A page", {"application/json": page_of(CONVERSATION)}),
        errors=("invalid_cursor",),
    ),
)
