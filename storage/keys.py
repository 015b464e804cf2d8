"""The names by which everything is found: ids, and the pair (brand, id) that is the key everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

BrandId = NewType("BrandId", str)
DesignId = NewType("DesignId", str)
UserId = NewType("UserId", str)
Epoch = NewType("Epoch", int)
"""From 1; raised only when history is cut, never when the head moves."""
Position = NewType("Position", int)
"""A place in a log, gapless per document or stream; 0 is the empty log."""

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class DocumentKey:
    """A document, wherever it is named: in the log, on the bus, in a cache, in a blob (RULE D1)."""

    brand: BrandId
    id: DesignId


@dataclass(frozen=True, slots=True)
class StreamKey:
    """A stream of events with positions: a room's chat, one person's inbox, a brand's metrics.

    `name` is `chat:{design id}`, `inbox:{user id}` or another noun with its id.
    """

    brand: BrandId
    name: str


def is_id(value: object) -> bool:
    """Whether *value* may name a design or a brand: `[A-Za-z0-9_-]{1,64}`."""
    return isinstance(value, str) and ID_PATTERN.match(value) is not None
