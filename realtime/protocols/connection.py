"""What every live connection is held to, whatever carries it: its bounds, and the door it comes in by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rooms.permissions import Grant, User
from rooms.room import Room


class Door(Protocol):
    """Who comes in, and with which rights."""

    async def admit(self, headers: Mapping[str, str], token: str | None) -> User:
        """Raises NotAuthenticated."""

    async def enter(self, user: User, design: str) -> tuple[Room, Grant]:
        """Open the room of a design for *user*.

        Raises:
            RoomError: permanent, or passing when `retryable`.
        """


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Bounds of one live connection; each has its setting in `realtime/settings.py`."""

    max_frame_bytes: int = 2 * 1024 * 1024
    max_documents: int = 32
    join_seconds: float = 10.0
    """From the handshake to the first document or namespace joined; a connection that joins none is closed."""
    join_bytes: int = 64 * 1024
    """Read until the first is joined; more ends the connection."""
    open_seconds: float = 10.0
    burst_seconds: float = 1.0
    """Of the loop's time, that one connection may take at once by what it sends."""
    share: float = 0.2
    """Of the loop's time, that it may take for long; over it, it is read more slowly."""
    ping_interval_seconds: float = 25.0
    ping_timeout_seconds: float = 20.0
