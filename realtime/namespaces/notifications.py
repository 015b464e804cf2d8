"""`/notifications`: one person's inbox, in every page that is open (RULES T13 to T16)."""

from __future__ import annotations

from typing import Any, Final

from realtime.errors import RequestError
from realtime.namespaces.following import follow
from realtime.namespaces.payloads import Payload
from realtime.namespaces.requests import RequestLimits, RequestNamespace, Session
from realtime.protocols.socketio_wire import LiveServer
from rooms.live_metrics import LiveMetrics
from rooms.notifications import MAX_PAGE, PAGE, Notifications, fact, inbox_key
from rooms.streams import LiveStreams
from storage.inboxes import MAX_MARKED
from storage.pages import MAX_CURSOR_CHARACTERS

PATH: Final = "/notifications"
MAX_ITEM_ID_CHARACTERS: Final = 64


class NotificationsNamespace(RequestNamespace):
    """Everybody has one inbox in their brand, and sees no other."""

    def __init__(
        self,
        live: LiveServer,
        *,
        streams: LiveStreams,
        notifications: Notifications,
        counted: LiveMetrics,
        limits: RequestLimits,
    ) -> None:
        super().__init__(PATH, live, counted, limits)
        self._streams = streams
        self._notifications = notifications
        self.requests = {
            "inbox:subscribe": self._subscribe,
            "inbox:unsubscribe": self._unsubscribe,
            "inbox:list": self._list,
            "inbox:seen": self._seen,
            "inbox:read": self._read,
        }

    async def _subscribe(self, session: Session, value: object) -> dict[str, Any]:
        since = Payload(value, "epoch", "position").since()
        key = inbox_key(session.user.brand, session.user.id)
        subscription, said = await follow(self._streams, session, self.name, key, since, fact)
        if subscription.recovered is None:
            try:
                said["state"] = await self._notifications.state(session.user)
            except BaseException:
                session.drop(key.name)
                raise
        return said

    async def _unsubscribe(self, session: Session, value: object) -> dict[str, Any]:
        Payload(value)
        return {"followed": session.drop(inbox_key(session.user.brand, session.user.id).name)}

    async def _list(self, session: Session, value: object) -> dict[str, Any]:
        payload = Payload(value, "before", "limit")
        before = payload.short_text("before", MAX_CURSOR_CHARACTERS) if "before" in payload else None
        return await self._notifications.page(session.user, before, payload.whole("limit", PAGE, MAX_PAGE))

    async def _seen(self, session: Session, value: object) -> dict[str, Any]:
        Payload(value)
        return {"counts": await self._notifications.seen(session.user)}

    async def _read(self, session: Session, value: object) -> dict[str, Any]:
        payload = Payload(value, "ids", "all")
        if payload.yes("all") == ("ids" in payload):
            raise RequestError("Send `ids`, or `all: true`.", field="ids")
        ids = payload.texts("ids", "max_marked", MAX_MARKED, MAX_ITEM_ID_CHARACTERS) if "ids" in payload else None
        return {"counts": await self._notifications.read(session.user, ids)}
