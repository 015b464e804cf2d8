"""Rates: how often somebody may do something; who is over it is told when to come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from rooms.errors import RoomError

MAX_REMEMBERED = 20_000
"""Keys of which a `Rates` remembers what they have used; over it, those who waited longest are forgotten."""


class RateExceeded(RoomError):
    """Too often; nothing was done. `fields` says which limit, and when there is room again."""

    code = "rate_exceeded"
    retryable = True

    def __init__(self, limit: str, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.fields = {"limit": limit, "retry_after_seconds": round(retry_after_seconds, 3)}


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then `per_second`; `name` is what a refusal calls it."""

    name: str
    burst: int
    per_second: float


class Rates:
    """One bucket per key, on this node; a key that was quiet long enough costs no memory."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._full_at: dict[Hashable, float] = {}
        """When each key will have its whole burst again; the earlier it was used, the further in front it stands."""

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable) -> None:
        """Count one use by *key*.

        Raises:
            RateExceeded: it was not counted.
        """
        now, rate = self._clock(), self._rate
        full_at = max(self._full_at.pop(key, now), now)
        used = (full_at - now) * rate.per_second
        if used + 1 > rate.burst + 1e-9:
            self._full_at[key] = full_at
            wait = (used + 1 - rate.burst) / rate.per_second
            raise RateExceeded(rate.name, f"Too fast: try again in {max(0.1, wait):.1f} seconds.", wait)
        self._full_at[key] = full_at + 1 / rate.per_second
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop who is full again, a few at each use, and the first of all when there are too many."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= MAX_REMEMBERED:
                return
            del self._full_at[oldest]
            if not self._full_at:
                return
