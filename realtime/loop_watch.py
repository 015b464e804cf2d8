"""LoopWatch: how late the event loop comes to its timers, which is what everybody on the node has waited for."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from rooms.metrics import Metrics

COARSE_SECONDS = 0.05
"""Between two looks while little is done: a long turn is noticed by what of it lies after the look was due."""
FINE_SECONDS = 0.002
"""Between two looks while much is done. Looking this often costs half a percent of a processor, so not always."""
BUSY_SHARE = 0.1
"""Of a processor, taken by the loop's thread since the last look: from here on the looks are fine."""
LINGER_SECONDS = 0.25
"""The looks stay fine for so long after the last busy one."""


class LoopWatch:
    """A timer of the running loop whose lateness is measured; as `async with` it runs."""

    def __init__(self, metrics: Metrics) -> None:
        self._lag_seconds = metrics.loop_lag_seconds
        self._longest = 0.0
        self._fine_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        metrics.loop_lag_max_seconds.set_function(self._take_longest)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._arm(COARSE_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, seconds: float) -> None:
        # not the loop's own clock: uvloop's stands still during a turn and has milliseconds only
        self._armed_at = time.perf_counter()
        self._cpu = time.thread_time()
        self._seconds = seconds
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        now = time.perf_counter()
        passed = now - self._armed_at
        late = max(0.0, passed - self._seconds)
        self._lag_seconds.observe(late)
        self._longest = max(self._longest, late)
        if time.thread_time() - self._cpu > BUSY_SHARE * passed:
            self._fine_until = now + LINGER_SECONDS
        self._arm(FINE_SECONDS if now < self._fine_until else COARSE_SECONDS)

    def _take_longest(self) -> float:
        longest, self._longest = self._longest, 0.0
        return longest
