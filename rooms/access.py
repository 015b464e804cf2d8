"""Who may come into which design: the only way to a Grant (CONTRACT 3)."""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from rooms.errors import NotFound, NotPermitted, RoomError
from rooms.permissions import ALLOWED, Action, Grant, Role, User
from storage.designs import MAX_TOUCHED, Design, Designs
from storage.errors import DesignExists, StorageError
from storage.gathering import Gathering
from storage.keys import BrandId, DesignId, DocumentKey, UserId, is_id
from storage.memberships import MAX_MEMBERS, MemberKey, Memberships
from storage.users import StoredUser, Users

log = logging.getLogger(__name__)

UNTITLED: Final = "Untitled design"
MAX_TITLE_CHARACTERS: Final = 200
SEEN_AGAIN_SECONDS: Final = 600.0
"""A user whose name and face have not changed is noted again after this."""
SEEN_KEPT: Final = 10_000
MAX_SEEN_TOGETHER: Final = 500
"""People noted in one transaction."""
PAGES_LOOKED_AT: Final = 10
"""How many pages of a brand's designs one request reads to find those that a token's `rooms` name."""
LOOK_ROWS: Final = 200


class NotAMember(RoomError):
    """The design is there, in the user's own brand, and the user is none of its members."""

    code = "not_a_member"

    def __init__(self) -> None:
        super().__init__("You are not a member of this design. Ask one of its owners to add you.")


@dataclass(frozen=True, slots=True)
class Entry:
    """A design together with what one user may do in it."""

    design: Design
    grant: Grant

    @property
    def key(self) -> DocumentKey:
        return DocumentKey(self.design.brand, self.design.id)


@dataclass(frozen=True, slots=True)
class Listing:
    """Some designs a user can open; `next` is the cursor of the next ones, which may also be none."""

    entries: list[Entry]
    next: str | None


class Access:
    """Makes Grants, and designs, from tokens and memberships. Use as `async with`, inside its database.

    Args:
        default_product: what a design is that nobody made, but somebody opened (open mode only).

    Source: docs/protocol.md, A10 to A15.
    """

    def __init__(self, designs: Designs, memberships: Memberships, users: Users, default_product: str) -> None:
        self._designs = designs
        self._default_product = default_product
        # Who come in one moment are asked for together: a restart brings everybody at once.
        self._find = Gathering(designs.find, MAX_TOUCHED)
        self._roles = Gathering(memberships.roles, MAX_MEMBERS)

        async def see(seen: Sequence[StoredUser]) -> dict[StoredUser, None]:
            await users.see(*seen)
            return {}

        async def belong(wanted: Sequence[MemberKey]) -> dict[MemberKey, None]:
            await memberships.ensure(wanted, Role.EDITOR.value)
            return {}

        self._see = Gathering(see, MAX_SEEN_TOGETHER)
        self._belong = Gathering(belong, MAX_SEEN_TOGETHER)
        self._seen: OrderedDict[tuple[BrandId, UserId], tuple[StoredUser, float]] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for gathering in (self._find, self._roles, self._see, self._belong):
            await gathering.close()

    async def access_room(self, user: User, design_id: str, *, make: bool = False) -> Entry:
        """What *user* may do in a design, asked when they join it and when its members change.

        Args:
            make: an unknown id is made, if the user is a guest of the open mode (CONTRACT 5).

        Raises:
            NotFound: no such design, or it is another brand's, or deleted: one answer for the three.
            NotAMember: it is there, and is not for this user.
        """
        if not is_id(design_id):
            raise NotFound("design")
        id = DesignId(design_id)
        design = await self._find.ask(DocumentKey(user.brand, id))
        if design is None and make and user.is_guest:
            design = await self._make_for(user, id)
        if design is None:
            raise NotFound("design")
        grant = await self._grant(user, id)
        # In open mode whoever has come into a design belongs to it, so that the others can name them.
        belonging = self._belong.soon((user.brand, id, user.id)) if make and user.is_guest else None
        await self.see(user)
        if belonging is not None:
            await asyncio.shield(belonging)
        return Entry(design, grant)

    async def _make_for(self, guest: User, id: DesignId) -> Design | None:
        try:
            return await self._designs.create(guest.brand, id, UNTITLED, self._default_product, guest.id)
        except DesignExists as exists:
            # deleted: stays so. Otherwise somebody opened it in the same moment.
            return None if exists.deleted else await self._designs.get(guest.brand, id)

    async def _grant(self, user: User, id: DesignId) -> Grant:
        if user.is_guest:
            return Grant(user, user.role, ALLOWED[user.role])
        if user.rooms:
            if not _named(user, id):
                raise NotAMember
            return Grant(user, user.role, ALLOWED[user.role])
        if user.role is Role.ADMIN:
            return Grant(user, user.role, ALLOWED[user.role])
        stored = await self._roles.ask((user.brand, id, user.id))
        if stored is None:
            raise NotAMember
        return together(user, Role(stored))

    async def create(self, user: User, title: str, product: str, design_id: str | None = None) -> Entry:
        """Make a design that *user* owns.

        Args:
            title: at most `MAX_TITLE_CHARACTERS`; product: of the catalogue; both judged by the caller.
            design_id: the caller's wish; None: a random one.

        Raises:
            NotPermitted: the user's role makes no designs, or the token's `rooms` do not name this one.
            DesignExists: the id is taken, perhaps by a design that was deleted; nothing was changed.
        """
        if Action.EDIT not in ALLOWED[user.role]:
            raise NotPermitted(user.role.value, "make designs")
        id = DesignId(design_id or secrets.token_urlsafe(12))
        if user.rooms and not _named(user, id):
            raise NotPermitted(user.role.value, "make a design whose id the token's `rooms` do not name")
        design = await self._designs.create(user.brand, id, title or UNTITLED, product, user.id)
        await self.see(user)
        return Entry(design, await self._grant(user, id))

    async def list(self, user: User, cursor: str | None, limit: int) -> Listing:
        """The designs that *user* can open, the last changed first; a page may be short and have a next one.

        Raises:
            InvalidCursor: the cursor is not of this list.
        """
        if user.rooms:
            return await self._list_named(user, cursor, limit)
        everything = user.is_guest or user.role is Role.ADMIN
        page = await self._designs.list(user.brand, None if everything else user.id, cursor, limit)
        entries = []
        for design in page.rows:
            try:
                entries.append(Entry(design, await self._grant(user, design.id)))
            except NotAMember:
                continue  # removed between the two questions
        return Listing(entries, page.next)

    async def _list_named(self, user: User, cursor: str | None, limit: int) -> Listing:
        # One row more than asked for would make the cursor lie, so whole pages are read and their rest is asked again.
        entries: list[Entry] = []
        for _ in range(PAGES_LOOKED_AT):
            page = await self._designs.list(user.brand, None, cursor, min(LOOK_ROWS, max(limit, 1)))
            entries += [Entry(row, await self._grant(user, row.id)) for row in page.rows if _named(user, row.id)]
            cursor = page.next
            if cursor is None or len(entries) >= limit:
                break
        return Listing(entries, cursor)

    async def see(self, user: User) -> None:
        """Note how *user* looks, for those who read what they leave; a failure is logged and keeps nobody out."""
        key = (user.brand, user.id)
        now = time.time()
        look = StoredUser(user.brand, user.id, user.name, user.color, user.avatar, user.locale, 0)
        known = self._seen.get(key)
        if known is not None and known[0] == look and now - known[1] < SEEN_AGAIN_SECONDS:
            return
        self._seen[key] = (look, now)
        self._seen.move_to_end(key)
        while len(self._seen) > SEEN_KEPT:
            self._seen.popitem(last=False)
        try:
            await self._see.ask(replace(look, seen_at=now))
        except StorageError as error:
            del self._seen[key]
            log.warning("user not noted", extra={"user": user.id, "reason": error.code})


def _named(user: User, id: DesignId) -> bool:
    return any(fnmatch.fnmatchcase(id, glob) for glob in user.rooms)


_ORDER = (Role.VIEWER, Role.COMMENTER, Role.AGENT, Role.CUSTOMER, Role.EDITOR, Role.OWNER, Role.ADMIN)
"""From the least on; where two roles may do the same, a customer comes first: the template's policy binds them."""


def together(user: User, membership: Role) -> Grant:
    """What a token's role and a membership's allow both (RULINGS 41); the lesser of the two is the grant's role."""
    role = min(user.role, membership, key=_ORDER.index)
    return Grant(user, role, ALLOWED[user.role] & ALLOWED[membership])
