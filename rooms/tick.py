"""Tick: how long a room gathers what came before it writes to its peers again."""

from __future__ import annotations

import time

MAX_TICK_SECONDS = 0.05
"""Beyond this people see steps; a room whose writing takes longer writes as fast as it can."""
MIN_TICK_SECONDS = 0.0005
"""Shorter windows are none: a timer costs more than it saves."""
RECENT = 0.25
"""The weight of the newest cost in the mean; the first counts whole."""


class Tick:
    """A window that adapts (RULE S10): none while writing is cheap, wider as a room grows.

    A room that was quiet writes at once, then gathers until writing has taken no more than *share* of the loop's time.
    A room of two has no window; one of 200, whose every write takes more than a millisecond, gathers for some.
    """

    __slots__ = ("_began", "_cost", "_due", "_share", "_spent")

    def __init__(self, share: float) -> None:
        self._share = share
        self._cost = 0.0
        self._due = 0.0
        self._began = 0.0
        self._spent = 0.0

    def pause_seconds(self) -> float:
        """How long to gather from now; 0: write at once."""
        pause = self._due - time.perf_counter()
        return pause if pause > MIN_TICK_SECONDS else 0.0

    def spend(self, seconds: float) -> None:
        """What the last write brought about took so long: it counts as a part of the next one."""
        self._spent += seconds

    def begin(self) -> None:
        """Writing begins."""
        self._began = time.perf_counter()

    def end(self) -> None:
        """Writing has ended; how long it took, the kernel's part included, decides on the next window."""
        cost, self._spent = time.perf_counter() - self._began + self._spent, 0.0
        self._cost = cost if not self._cost else self._cost + RECENT * (cost - self._cost)
        self._due = self._began + min(self._cost / self._share, MAX_TICK_SECONDS)
