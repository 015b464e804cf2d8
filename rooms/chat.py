"""Chat: the messages of a design's room; post, page back, who can be mentioned.

A message is plain text, never markup. It is stored with its author's name as it was then, in one transaction with the
inbox items of those it mentions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from rooms.access import Entry
from rooms.errors import LimitExceeded, RoomError
from rooms.inspection import read_varuint
from rooms.metrics import Metrics
from rooms.notifications import Noted, Notifications
from rooms.permissions import Action, User
from rooms.rates import Rate, Rates
from rooms.registry import RoomRegistry
from rooms.streams import LiveStreams
from storage.conversations import Conversations, Transaction
from storage.errors import MessageConflict
from storage.keys import DocumentKey, Position, StreamKey, UserId
from storage.memberships import Memberships
from storage.streams import Body, StreamEvent, StreamLog
from storage.users import MAX_USERS, Users

POSTED: Final = "chat:posted"
MENTION: Final = "mention"
EXCERPT_CHARACTERS: Final = 280
"""How much of a message stands in the inbox of who is mentioned."""
LOOK_BACK_EVENTS: Final = 200
"""How far back a repeated message is looked for whose author has another name by now."""
MAX_PEOPLE: Final = 500
"""People that a design's `chat:people` names."""

_MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """Bounds of one chat; `max_message_characters` is a setting of `realtime/settings.py`."""

    max_message_characters: int = 4000
    max_mentions: int = 20
    page: int = 50
    """Messages of a state, and of a page where none is asked for."""
    max_page: int = 100
    burst: int = 20
    """Messages that one user may send at once; then `per_second`."""
    per_second: float = 2.0


class InvalidMessage(RoomError):
    """Not a message; nothing was stored."""

    code = "invalid_message"


class UnknownPeople(RoomError):
    """Mentioned, and nobody who can be: absent, of another brand, or not in this room; nothing was stored."""

    code = "unknown_people"

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__("Somebody whom the message mentions is not in this design. Mention people of `chat:people`.")
        self.fields = {"people": list(ids)}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can be mentioned."""

    id: UserId
    name: str
    color: str

    def as_json(self) -> dict[str, str]:
        return {"id": self.id, "name": self.name, "color": self.color}


class Chat:
    """The chats of all designs, as one node serves them.

    Args:
        present: who is in a design's room now, on whatever node.
        everyone: whoever was seen in the brand can be mentioned (the open mode, where all may see all).

    Source: docs/protocol.md, T7 to T12.
    """

    def __init__(
        self,
        *,
        stream_log: StreamLog,
        streams: LiveStreams,
        conversations: Conversations,
        notifications: Notifications,
        memberships: Memberships,
        users: Users,
        metrics: Metrics,
        present: Callable[[DocumentKey], Iterable[UserId]],
        everyone: bool = False,
        limits: ChatLimits | None = None,
        on_post: Callable[[DocumentKey], None] = lambda key: None,
    ) -> None:
        self.limits = limits or ChatLimits()
        self._log = stream_log
        self._streams = streams
        self._conversations = conversations
        self._notifications = notifications
        self._memberships = memberships
        self._users = users
        self._metrics = metrics
        self._present = present
        self._everyone = everyone
        self._on_post = on_post
        self._rates = Rates(Rate("chat_messages_per_user", self.limits.burst, self.limits.per_second))

    async def post(self, entry: Entry, id: str, text: str, mentions: Sequence[str] = ()) -> Body:
        """Store a message and tell everybody; returns it as it is stored, once it is durable.

        The same id again returns the same message, and nobody hears of it twice.

        Args:
            id: the client's own name for the message, `[A-Za-z0-9_-]{1,64}`.
            text: at most `max_message_characters`; control characters are taken out.
            mentions: ids of people of the design, at most `max_mentions`.

        Raises:
            NotPermitted, InvalidMessage, LimitExceeded, UnknownPeople: nothing was stored.
            RateExceeded: nothing was stored, and `fields` say when to come back.
            MessageConflict: the id is that of another message.
            StorageError: with `retryable`; the message may have been stored, and the same id tells.

        Source: docs/protocol.md, T7 to T10.
        """
        entry.grant.require(Action.CHAT)
        user = entry.grant.user
        if not _MESSAGE_ID.match(id):
            raise InvalidMessage("A message needs an `id` of its own: 1 to 64 of A-Z, a-z, 0-9, _ and -.")
        text = self._clean(text)
        wanted = list(dict.fromkeys(UserId(mention) for mention in mentions))
        if len(wanted) > self.limits.max_mentions:
            raise LimitExceeded(
                "max_mentions", self.limits.max_mentions, f"A message may mention {self.limits.max_mentions} people."
            )
        self._rates.take((user.brand, user.id))
        key = chat_key(entry.key)
        try:
            people = await self._find(entry, wanted)
            event = await self._streams.finishing(self._store(entry, id, text, people))
        except (MessageConflict, UnknownPeople):
            # Since it was first sent its author may have got another name, or a mentioned one may have left.
            before = await self._sent_before(key, id)
            if before is None or not _says_the_same(before, user, text, wanted):
                raise
            event = before
        return message(event)

    async def _store(self, entry: Entry, id: str, text: str, people: Sequence[Person]) -> StreamEvent:
        user = entry.grant.user
        key = chat_key(entry.key)
        author = {"id": user.id, "name": user.name, "color": user.color}
        mentions = [{"id": person.id, "name": person.name} for person in people]
        noted: list[Noted] = []

        async def also(connection: Transaction, event: StreamEvent) -> None:
            noted.clear()  # it may run again
            # In the order of their ids, so that two posts that mention the same people do not wait for each other.
            for person in sorted(people, key=lambda person: person.id):
                if person.id == user.id:
                    continue
                added = await self._notifications.add(
                    connection,
                    user.brand,
                    person.id,
                    MENTION,
                    f"{key.name}/{event.position}",
                    {
                        "design": entry.design.id,
                        "title": entry.design.title,
                        "text": text[:EXCERPT_CHARACTERS],
                        "message": id,
                        "from": author,
                    },
                )
                if added is not None:
                    noted.append(added)

        body = {"user": author, "text": text, "mentions": mentions}
        try:
            event = await self._log.append(key, POSTED, body, user.id, id, also=also)
        except BaseException:
            self._streams.doubt()
            raise
        if not event.repeated:
            self._metrics.messages.inc()
            self._on_post(entry.key)
        self._streams.publish(key, event)
        for item in noted:
            self._notifications.publish(item)
        return event

    async def newest(self, key: DocumentKey, position: Position) -> dict[str, Any]:
        """The state of a chat at a position: its last page."""
        return await self.history(key, Position(position + 1), self.limits.page)

    async def history(self, key: DocumentKey, before: Position, limit: int) -> dict[str, Any]:
        """A page of messages before a position, in order, and whether there are older ones."""
        size = max(1, min(limit, self.limits.max_page))
        events = await self._log.before(chat_key(key), before, size + 1)
        page = events[-size:]
        return {"messages": [message(event) for event in page], "has_more": len(events) > size}

    async def people(self, entry: Entry) -> list[Person]:
        """Who can be mentioned: members, who is in the room, who has written; those who spoke last, first.

        In open mode this is who has been here; anybody else seen in the brand can be mentioned by id as well.
        """
        entry.grant.require(Action.CHAT)
        key = entry.key
        ids: dict[UserId, None] = dict.fromkeys(await self._conversations.authors(chat_key(key)))
        ids |= dict.fromkeys(self._present(key))
        ids |= dict.fromkeys(member.user_id for member in await self._memberships.of_design(key.brand, key.id))
        wanted = list(ids)[: min(MAX_PEOPLE, MAX_USERS)]
        known = await self._users.find(key.brand, wanted)
        return [
            Person(id, known[id].name, known[id].color) if id in known else Person(id, str(id), "") for id in wanted
        ]

    async def _find(self, entry: Entry, wanted: Sequence[UserId]) -> list[Person]:
        """Raises UnknownPeople unless all of *wanted* can be mentioned."""
        if not wanted:
            return []
        people = {person.id: person for person in await self.people(entry)}
        if self._everyone:
            found = await self._users.find(entry.key.brand, [id for id in wanted if id not in people])
            people |= {id: Person(id, user.name, user.color) for id, user in found.items()}
        unknown = [id for id in wanted if id not in people]
        if unknown:
            raise UnknownPeople(unknown)
        return [people[id] for id in wanted]

    async def _sent_before(self, key: StreamKey, id: str) -> StreamEvent | None:
        head = await self._log.head(key)
        events = await self._log.before(key, Position(head.position + 1), LOOK_BACK_EVENTS)
        return next((event for event in reversed(events) if event.client_message_id == id), None)

    def _clean(self, text: str) -> str:
        """The text as it is stored.

        Raises:
            InvalidMessage: nothing to read is in it, or it is not Unicode text.
            LimitExceeded: too long.
        """
        maximum = self.limits.max_message_characters
        if len(text) > maximum:
            raise LimitExceeded(
                "max_message_characters", maximum, f"A message may have {maximum} characters; this one has {len(text)}."
            )
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidMessage("The text has half of a character in it.")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc").strip()
        if not text:
            raise InvalidMessage("A message needs something to read.")
        return text


def chat_key(key: DocumentKey) -> StreamKey:
    return StreamKey(key.brand, f"chat:{key.id}")


def message(event: StreamEvent) -> Body:
    """A message as clients get it."""
    return {
        "id": event.client_message_id or "",
        "position": event.position,
        "at": event.at,
        "user": event.body["user"],
        "text": event.body["text"],
        "mentions": event.body["mentions"],
    }


def fact(key: StreamKey, event: StreamEvent) -> Body:
    """An event of a chat as clients get it: live, and among what was recovered."""
    return {
        "event": event.kind,
        "stream": key.name,
        "epoch": event.epoch,
        "position": event.position,
        "message": message(event),
    }


def _says_the_same(event: StreamEvent, user: User, text: str, mentions: Sequence[UserId]) -> bool:
    said = [mention["id"] for mention in event.body["mentions"]]
    return (event.kind, event.user_id, event.body["text"], said) == (POSTED, user.id, text, list(mentions))


def people_in_rooms(rooms: RoomRegistry) -> Callable[[DocumentKey], set[UserId]]:
    """Who is in a design's room: connected to this node, or told of by another one's presence."""

    def present(key: DocumentKey) -> set[UserId]:
        found: set[UserId] = set()
        for room in rooms.rooms:
            if room.key == key:
                found |= {peer.grant.user.id for peer in room.peers}
                states = room.presence.states()
                if states is not None:
                    found |= _users_of(states)
        return found

    return present


def _users_of(states: bytes) -> set[UserId]:
    """The users in an awareness update of our own making, where `user.id` is always true."""
    found: set[UserId] = set()
    count, at = read_varuint(states, 0)
    for _ in range(count):
        _, at = read_varuint(states, at)
        _, at = read_varuint(states, at)
        length, at = read_varuint(states, at)
        try:
            state = orjson.loads(states[at : at + length])
        except orjson.JSONDecodeError:  # half of a character in somebody's cursor
            state = None
        at += length
        user = state.get("user") if isinstance(state, dict) else None
        if isinstance(user, dict) and isinstance(user.get("id"), str):
            found.add(UserId(user["id"]))
    return found
