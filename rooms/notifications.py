"""Notifications: one inbox per person, live in every open page; counts are the server's, sent with what moved them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from rooms.errors import LimitExceeded
from rooms.permissions import User
from rooms.streams import LiveStreams
from storage.conversations import Conversations, Transaction
from storage.database import Database
from storage.inboxes import MAX_MARKED, InboxCounts, Inboxes, InboxItem
from storage.keys import BrandId, StreamKey, UserId
from storage.streams import Body, StreamEvent, StreamLog

ADDED: Final = "inbox:added"
CHANGED: Final = "inbox:changed"
PAGE: Final = 30
"""Items of a state, and of a page where none is asked for."""
MAX_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Noted:
    """An event of an inbox that goes out after the commit."""

    key: StreamKey
    event: StreamEvent


class Notifications:
    """The inboxes of all people, as one node serves them.

    Whatever changes an inbox holds its stream until the commit, so counts are those after the change at its position.

    Source: docs/protocol.md, T13 to T16.
    """

    def __init__(
        self,
        *,
        database: Database,
        stream_log: StreamLog,
        streams: LiveStreams,
        conversations: Conversations,
        inboxes: Inboxes,
    ) -> None:
        self._database = database
        self._log = stream_log
        self._streams = streams
        self._conversations = conversations
        self._inboxes = inboxes

    async def add(
        self, connection: Transaction, brand: BrandId, user_id: UserId, kind: str, dedupe_key: str, body: Body
    ) -> Noted | None:
        """Put something into an inbox, in the transaction of its cause; None when it is there already.

        Whoever calls it for several people takes them in the order of their ids, and calls `publish` for each after
        the commit.

        Args:
            dedupe_key: names the cause; an inbox takes one item of a key, ever.
            body: what the item says: `design`, `title`, `text`, `from`.
        """
        key = inbox_key(brand, user_id)
        await self._conversations.hold(connection, key)
        item = await self._inboxes.add(connection, brand, user_id, kind, dedupe_key, body)
        if item is None:
            return None
        counts = await self._inboxes.counts(brand, user_id, connection=connection)
        said = {"item": item_json(item), "counts": counts_json(counts)}
        event = await self._log.append_within(connection, key, ADDED, said, user_id)
        return Noted(key, event)

    def publish(self, noted: Noted) -> None:
        """Tell every page of the person, after the commit."""
        self._streams.publish(noted.key, noted.event)

    async def state(self, user: User) -> dict[str, Any]:
        """The newest items and the counts; may be newer than a position read before, which its events bear (T3)."""
        page = await self.page(user, None, PAGE)
        return {**page, "counts": counts_json(await self._inboxes.counts(user.brand, user.id))}

    async def page(self, user: User, before: str | None, limit: int) -> dict[str, Any]:
        """Items, the newest first; `next` is the `before` of the next page, None after the last.

        Raises:
            InvalidCursor: *before* is no `next` of this list.
        """
        page = await self._inboxes.list(user.brand, user.id, before, max(1, min(limit, MAX_PAGE)))
        return {"items": [item_json(item) for item in page.rows], "next": page.next, "has_more": page.next is not None}

    async def seen(self, user: User) -> dict[str, int]:
        """The list was shown: nothing in it is new any more. Returns the counts after it."""
        return await self._streams.finishing(self._mark(user, "seen", None))

    async def read(self, user: User, ids: Collection[str] | None) -> dict[str, int]:
        """Some items, or all, were read; ids that are not in this inbox are nothing. Returns the counts after it.

        Raises:
            LimitExceeded: more ids than can be named at once; nothing was changed.
        """
        if ids is not None and len(ids) > MAX_MARKED:
            raise LimitExceeded("max_marked", MAX_MARKED, f"At most {MAX_MARKED} items can be marked at once.")
        return await self._streams.finishing(self._mark(user, "read", ids))

    async def _mark(self, user: User, state: Literal["seen", "read"], ids: Collection[str] | None) -> dict[str, int]:
        key = inbox_key(user.brand, user.id)

        async def mark() -> tuple[InboxCounts, StreamEvent | None]:
            async with self._database.transaction() as connection:
                await self._conversations.hold(connection, key)
                if state == "seen":
                    changed = await self._inboxes.mark_seen(user.brand, user.id, connection=connection)
                else:
                    changed = await self._inboxes.mark_read(user.brand, user.id, ids, connection=connection)
                counts = await self._inboxes.counts(user.brand, user.id, connection=connection)
                if not changed:
                    return counts, None
                body = {
                    "ids": sorted(ids) if ids is not None else [],
                    "all": ids is None,
                    "state": state,
                    "counts": counts_json(counts),
                }
                return counts, await self._log.append_within(connection, key, CHANGED, body, user.id)

        try:
            counts, event = await self._database.retrying(mark)
        except BaseException:
            self._streams.doubt()
            raise
        if event is not None:
            self._streams.publish(key, event)
        return counts_json(counts)


def inbox_key(brand: BrandId, user_id: UserId) -> StreamKey:
    return StreamKey(brand, f"inbox:{user_id}")


def item_json(item: InboxItem) -> Body:
    """An item as clients get it: what it says, and how it stands."""
    return {
        **item.body,
        "id": item.id,
        "kind": item.kind,
        "at": item.at,
        "seen": item.seen_at is not None,
        "read": item.read_at is not None,
    }


def counts_json(counts: InboxCounts) -> dict[str, int]:
    return {"unseen": counts.unseen, "unread": counts.unread}


def fact(key: StreamKey, event: StreamEvent) -> Body:
    """An event of an inbox as clients get it: live, and among what was recovered."""
    return {
        "event": event.kind,
        "stream": key.name,
        "epoch": event.epoch,
        "position": event.position,
        **event.body,
    }
