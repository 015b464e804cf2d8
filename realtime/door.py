"""Door: who comes into which room by a socket, and with which rights."""

from __future__ import annotations

from collections.abc import Mapping

from realtime.auth import Authenticator
from rooms.access import Access
from rooms.permissions import Grant, User
from rooms.registry import RoomRegistry
from rooms.room import Room


class Door:
    """The same questions as plain requests are asked, in the order in which sockets need the answers."""

    def __init__(self, authenticator: Authenticator, access: Access, rooms: RoomRegistry) -> None:
        self._authenticator = authenticator
        self._access = access
        self._rooms = rooms

    async def admit(self, headers: Mapping[str, str], token: str | None) -> User:
        """Who is behind a handshake with these headers; *token* is what came beside them.

        Raises:
            NotAuthenticated: permanent; the sentence says what to do.
        """
        return await self._authenticator.authenticate(headers, token)

    async def enter(self, user: User, design: str) -> tuple[Room, Grant]:
        """The room of a design and what *user* may do there; an unknown id is made in open mode (CONTRACT 5).

        Raises:
            NotFound, NotAMember: permanent.
            Unavailable, Overloaded: passing.
        """
        entry = await self._access.access_room(user, design, make=True)
        return await self._rooms.open(entry.key), entry.grant
