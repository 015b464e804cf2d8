"""`/chat`: decode, ask one function of the rooms, answer (RULES T7 to T12)."""

from __future__ import annotations

from typing import Any, Final

from realtime.namespaces.following import follow
from realtime.namespaces.payloads import MAX_POSITION, Payload
from realtime.namespaces.requests import RequestLimits, RequestNamespace, Session
from realtime.protocols.socketio_wire import LiveServer
from rooms.access import Access, Entry
from rooms.chat import Chat, chat_key, fact
from rooms.live_metrics import LiveMetrics
from rooms.permissions import Action
from rooms.streams import LiveStreams
from storage.keys import Position

PATH: Final = "/chat"


class ChatNamespace(RequestNamespace):
    """The chats of designs, for whoever may see them."""

    def __init__(
        self,
        live: LiveServer,
        *,
        access: Access,
        streams: LiveStreams,
        chat: Chat,
        counted: LiveMetrics,
        limits: RequestLimits,
    ) -> None:
        super().__init__(PATH, live, counted, limits)
        self._access = access
        self._streams = streams
        self._chat = chat
        self.requests = {
            "chat:subscribe": self._subscribe,
            "chat:unsubscribe": self._unsubscribe,
            "chat:post": self._post,
            "chat:history": self._history,
            "chat:people": self._people,
        }

    async def _entry(self, session: Session, payload: Payload, *, make: bool = False) -> Entry:
        entry = await self._access.access_room(session.user, payload.text("design"), make=make)
        entry.grant.require(Action.CHAT)
        return entry

    async def _subscribe(self, session: Session, value: object) -> dict[str, Any]:
        payload = Payload(value, "design", "epoch", "position")
        since = payload.since()
        # The chat may be asked for before the document, which would have made the design (open mode).
        entry = await self._entry(session, payload, make=True)
        key = chat_key(entry.key)
        subscription, said = await follow(self._streams, session, self.name, key, since, fact)
        if subscription.recovered is None:
            try:
                said["state"] = await self._chat.newest(entry.key, subscription.position)
            except BaseException:
                session.drop(key.name)
                raise
        return said

    async def _unsubscribe(self, session: Session, value: object) -> dict[str, Any]:
        payload = Payload(value, "design")
        return {"followed": session.drop(f"chat:{payload.text('design')}")}

    async def _post(self, session: Session, value: object) -> dict[str, Any]:
        payload = Payload(value, "design", "id", "text", "mentions")
        id, text = payload.text("id"), payload.text("text")
        mentions = payload.texts("mentions", "max_mentions", self._chat.limits.max_mentions)
        entry = await self._entry(session, payload)
        return {"message": await self._chat.post(entry, id, text, mentions)}

    async def _history(self, session: Session, value: object) -> dict[str, Any]:
        payload = Payload(value, "design", "before", "limit")
        before = payload.whole("before", MAX_POSITION, MAX_POSITION)
        limit = payload.whole("limit", self._chat.limits.page, self._chat.limits.max_page)
        entry = await self._entry(session, payload)
        return await self._chat.history(entry.key, Position(before), limit)

    async def _people(self, session: Session, value: object) -> dict[str, Any]:
        entry = await self._entry(session, Payload(value, "design"))
        return {"people": [person.as_json() for person in await self._chat.people(entry)]}
