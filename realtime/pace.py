"""Pace: how fast one connection is read, so that who sends without end does not take the loop from its neighbours."""

from __future__ import annotations

import time
from collections.abc import Callable

FRAME_SECONDS = 0.00004
"""About what a small frame costs: read, inspected, queued, answered."""
BYTE_SECONDS = 0.4e-6
"""About what a byte costs that is read on the loop: 32 KB of deleted ranges take 13 to 20 ms."""


class Pace:
    """A bucket of the loop's time, filled at *share*; no frame is refused or dropped, it is read later (RULE S9)."""

    __slots__ = ("_clock", "_credit", "_full_at", "_share")

    def __init__(self, burst_seconds: float, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._credit = burst_seconds / share
        self._share = share
        self._clock = clock
        self._full_at = 0.0
        """When the bucket will be full again, if nothing more comes."""

    def count(self, size: int, frames: int = 1) -> None:
        """Count frames of *size* bytes or characters together."""
        self.charge(frames * FRAME_SECONDS + size * BYTE_SECONDS)

    def charge(self, seconds: float) -> None:
        """Count work of so many seconds that frames do not show."""
        self._full_at = max(self._full_at, self._clock()) + seconds / self._share

    def pause_seconds(self) -> float:
        """How long not to read now; 0 while there is credit."""
        return max(0.0, self._full_at - self._clock() - self._credit)
