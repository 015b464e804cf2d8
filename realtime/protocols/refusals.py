"""Refusals: who was refused for good and comes back all the same, as clients do that know of no such thing."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from aiohttp import web

from realtime.errors import RequestError

REMEMBERED: Final = 10_000
"""Callers; beyond it the one whose first refusal is the longest ago is forgotten."""
REMEMBER_SECONDS: Final = 30.0
"""From a caller's first refusal on."""
TOLD: Final = 3
"""How often in this time a caller is let in to be told; after that the handshake itself is refused, at little cost."""


def caller_of(request: web.Request, design: str, token: str | None) -> bytes:
    """The same for the same client that asks for the same thing in the same way; says nothing of who it is."""
    headers = request.headers
    parts = (
        request.remote or "",
        headers.get("X-Forwarded-For", ""),
        headers.get("Authorization", ""),
        headers.get("Cookie", ""),
        token or "",
        design,
    )
    return hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=16).digest()


class Refusals:
    """Permanent refusals of late. A WebSocket that is opened and closed resets the pauses of older clients, so they
    would come back ten times a second for ever; one that fails makes them wait longer each time (RULE Y8)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: OrderedDict[bytes, tuple[float, int, str, str]] = OrderedDict()
        """Caller → when first, how often, and code and sentence of the last."""

    def check(self, caller: bytes) -> None:
        """Raises RequestError, with the code it has been told `TOLD` times, before anything is asked of anybody."""
        known = self._refused.get(caller)
        if known is None:
            return
        first, count, code, message = known
        if self._clock() - first > REMEMBER_SECONDS:
            del self._refused[caller]
        elif count >= TOLD:
            raise RequestError(message, code=code)

    def note(self, caller: bytes, code: str, message: str) -> None:
        """A caller was refused for good."""
        first, count, _, _ = self._refused.get(caller, (self._clock(), 0, "", ""))
        self._refused[caller] = (first, count + 1, code, message)
        while len(self._refused) > REMEMBERED:
            self._refused.popitem(last=False)
