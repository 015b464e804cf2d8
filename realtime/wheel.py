"""Wheel: wakes any number of sleepers with one timer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

log = logging.getLogger(__name__)

SLOT_SECONDS: Final = 0.25
"""How much later than asked somebody may be woken."""
AT_ONCE: Final = 256
"""Woken in one turn of the loop; the others in the next."""


class Sleeper(Protocol):
    """Who is woken: `turn` is the wheel's own."""

    turn: int


_S = TypeVar("_S", bound=Sleeper)


class Wheel(Generic[_S]):
    """One timer of the loop instead of one per connection: 100 bytes a sleeper, and nothing to cancel."""

    def __init__(self, wake: Callable[[_S], None]) -> None:
        self._wake = wake
        self._slots: dict[int, set[_S]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._now = 0

    def put(self, sleeper: _S, seconds: float) -> None:
        """Wake *sleeper* once, in so many seconds or up to `SLOT_SECONDS` later, and not when it was to be before."""
        self.remove(sleeper)
        loop = asyncio.get_running_loop()
        sleeper.turn = max(int((loop.time() + max(seconds, 0.0)) / SLOT_SECONDS) + 1, self._now + 1)
        self._slots.setdefault(sleeper.turn, set()).add(sleeper)
        if self._timer is None:
            self._arm(loop)

    def remove(self, sleeper: _S) -> None:
        """Let *sleeper* sleep; unknown ones are ignored."""
        slot = self._slots.get(sleeper.turn)
        if slot is not None:
            slot.discard(sleeper)
            if not slot:
                del self._slots[sleeper.turn]

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_at((int(loop.time() / SLOT_SECONDS) + 1) * SLOT_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        self._now = int(loop.time() / SLOT_SECONDS)
        left = AT_ONCE
        for turn in sorted(turn for turn in self._slots if turn <= self._now):
            slot = self._slots[turn]
            while slot and left:
                left -= 1
                try:
                    self._wake(slot.pop())
                except Exception:
                    log.exception("waking failed")
            if slot:
                self._timer = loop.call_at(loop.time(), self._tick)
                return
            self._slots.pop(turn, None)
        if self._slots:
            self._arm(loop)
