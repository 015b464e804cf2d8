"""LoopWatch: how late the event loop comes to its timers, which is what everybody on the node has waited for."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from rooms.metrics import Metrics

LOOK_SECONDS = 0.05
"""Between two looks: a long turn is noticed by what of it lies after the look was due."""


class LoopWatch:
    """A timer of the running loop whose lateness is measured; as `async with` it runs.

    Args:
        look_seconds: between two looks. Every 2 ms sees nearly the whole of a turn of 10, and costs 2 percent of a
            processor, so that is for measuring.
    """

    def __init__(self, metrics: Metrics, look_seconds: float = LOOK_SECONDS) -> None:
        self._lag_seconds = metrics.loop_lag_seconds
        self._seconds = look_seconds
        self._longest = 0.0
        self._timer: asyncio.TimerHandle | None = None
        metrics.loop_lag_max_seconds.set_function(self._take_longest)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._arm()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        # not the loop's own clock: uvloop's stands still during a turn and has milliseconds only
        self._armed_at = time.perf_counter()
        self._timer = self._loop.call_later(self._seconds, self._look)

    def _look(self) -> None:
        late = max(0.0, time.perf_counter() - self._armed_at - self._seconds)
        self._lag_seconds.observe(late)
        self._longest = max(self._longest, late)
        self._arm()

    def _take_longest(self) -> float:
        longest, self._longest = self._longest, 0.0
        return longest
