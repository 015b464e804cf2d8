"""History: what a room holds of its document: the newest keyframe's bytes and the rows of the log after it.

A document in the serving process is bytes and nothing else; the engine reads them in worker processes.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.keys import Epoch, Position

EMPTY_UPDATE = b"\x00\x00"
"""The Yjs v1 update that brings nothing."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A log up to and including `position`, folded into one Yjs v1 update; position 0 is the empty document."""

    epoch: Epoch
    position: Position
    state: bytes


class History:
    """A prefix and the tail after it. Positions are gapless (RULE D3), so the tail is an array."""

    def __init__(self, prefix: Prefix) -> None:
        self.prefix = prefix
        self._tail: list[bytes] = []
        self.tail_bytes = 0

    @property
    def head(self) -> Position:
        return Position(self.prefix.position + len(self._tail))

    @property
    def tail_rows(self) -> int:
        return len(self._tail)

    @property
    def total_bytes(self) -> int:
        return len(self.prefix.state) + self.tail_bytes

    def append(self, update: bytes) -> None:
        self._tail.append(update)
        self.tail_bytes += len(update)

    def after(self, position: Position) -> tuple[bytes, ...] | None:
        """The rows after *position*, or None when they are folded already or lie beyond the head."""
        at = position - self.prefix.position
        if at < 0 or at > len(self._tail):
            return None
        return tuple(self._tail[at:])

    def pieces(self) -> list[bytes]:
        """Everything, in log order: the prefix's state and each row, for a worker."""
        return [self.prefix.state, *self._tail]

    def fold(self, prefix: Prefix) -> None:
        """Replace the prefix by a longer one of the same epoch; rows that came meanwhile stay."""
        folded = prefix.position - self.prefix.position
        if prefix.epoch != self.prefix.epoch or not 0 <= folded <= len(self._tail):
            raise ValueError("a keyframe must end within the tail")
        del self._tail[:folded]
        self.tail_bytes = sum(map(len, self._tail))
        self.prefix = prefix
