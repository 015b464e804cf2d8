"""Upkeep: what is done for a document in workers, behind its room: keyframes, and audits that find poison."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from rooms.errors import TaskFailed, WorkerTimeout
from rooms.history import History, Prefix
from rooms.metrics import Metrics
from rooms.ports import WorkerPort
from rooms.tasks import AUDIT_DEADLINE_SECONDS, find_poison
from storage.keyframes import Keyframe, Keyframes
from storage.keys import DocumentKey, Epoch, Position
from storage.update_log import LoggedUpdate, UpdateLog

log = logging.getLogger(__name__)

FOLD_DEADLINE_SECONDS = 60.0
MAX_AUDIT_FACTOR = 8
"""A room that changes without a pause is read at ever longer intervals, up to so many times the first."""


class Kept(Protocol):
    """What upkeep sees of a room."""

    key: DocumentKey
    epoch: Epoch
    history: History
    closed: bool

    def cut_poisoner(self, row: LoggedUpdate) -> None:
        """The document cannot be read from this row on: whoever sent it is cut (RULE W)."""

    def warn(self, code: str, message: str, elements: Sequence[str]) -> None:
        """Tell everybody in the room of something that was taken and will not be shown."""


class Upkeep:
    """Folds a room's tail into keyframes when it is long, and reads the document once after it changed.

    One fold and one audit of a room at a time; a failure is logged and tried again after the next commit.
    """

    def __init__(
        self,
        room: Kept,
        *,
        update_log: UpdateLog,
        keyframes: Keyframes,
        workers: WorkerPort,
        background: asyncio.TaskGroup,
        metrics: Metrics,
        keyframe_rows: int,
        keyframe_bytes: int,
        audit_after_seconds: float,
    ) -> None:
        self._room = room
        self._log = update_log
        self._keyframes = keyframes
        self._workers = workers
        self._background = background
        self._metrics = metrics
        self._keyframe_rows = keyframe_rows
        self._keyframe_bytes = keyframe_bytes
        self._audit_after_seconds = audit_after_seconds
        self._folding = False
        self._audit_due: asyncio.TimerHandle | None = None
        self._auditing = False
        self._audit_factor = 1
        self._audited = Position(0)
        self._told: set[str] = set()
        """The limits of the schema that the design passes, as the people in the room were told."""
        self._unreadable = False
        """Poison was found: it stays in the log, and looking for it at each edit would keep a worker busy for good."""
        self._readable = room.history.prefix
        """The prefix at the last good audit: poison is looked for from there, since a newer one may hold it."""

    @property
    def audited(self) -> Position:
        """Everything up to here was read once."""
        return self._audited

    def loaded(self) -> None:
        """The room was read from the log: what it has was audited when it was written."""
        self._audited = self._room.history.head
        self._readable = self._room.history.prefix
        self._fold_if_due()

    def advanced(self) -> None:
        """The room has new rows."""
        self._fold_if_due()
        self._audit_soon()

    def close(self) -> None:
        if self._audit_due is not None:
            self._audit_due.cancel()
            self._audit_due = None

    # -- keyframes -----------------------------------------------------------------------------------------------

    def _fold_if_due(self) -> None:
        history = self._room.history
        # The larger a keyframe, the more it costs to make: a quarter of it must be new.
        enough_bytes = max(self._keyframe_bytes, len(history.prefix.state) // 4)
        due = history.tail_rows >= self._keyframe_rows or history.tail_bytes >= enough_bytes
        if due and not self._folding and not self._room.closed:
            self._folding = True
            self._background.create_task(self._fold())

    async def _fold(self) -> None:
        room = self._room
        try:
            position, pieces, epoch = room.history.head, room.history.pieces(), room.epoch
            _, (state, summary) = await self._workers.call("fold", {}, pieces, deadline_seconds=FOLD_DEADLINE_SECONDS)
            await self._keyframes.put(room.key, Keyframe(epoch, position, state, summary))
            if epoch == room.epoch and position > room.history.prefix.position:
                room.history.fold(Prefix(epoch, position, state))
                self._metrics.keyframes.inc()
        except Exception:
            log.exception("keyframe failed", extra={"room": room.key.id})
        finally:
            self._folding = False

    # -- audits --------------------------------------------------------------------------------------------------

    def _audit_soon(self) -> None:
        if self._audit_due is None and not self._auditing and not self._unreadable and not self._room.closed:
            loop = asyncio.get_running_loop()
            self._audit_due = loop.call_later(self._audit_after_seconds * self._audit_factor, self._start_audit)

    def _start_audit(self) -> None:
        self._audit_due = None
        if not self._room.closed and self._room.history.head > self._audited:
            self._auditing = True
            self._background.create_task(self._audit())

    async def _audit(self) -> None:
        """Read the whole document in a worker once, as an application would; what hangs it is found and cut."""
        room = self._room
        head, prefix = room.history.head, room.history.prefix
        try:
            answer, _ = await self._workers.call(
                "audit", {}, room.history.pieces(), deadline_seconds=AUDIT_DEADLINE_SECONDS
            )
            self._readable = prefix
            self._tell_excess(cast(list[dict[str, Any]], answer["excess"]))
        except (WorkerTimeout, TaskFailed):
            await self._find_poisoner(head)
        except Exception:
            log.exception("audit failed", extra={"room": room.key.id})
        finally:
            self._audited = head
            self._auditing = False
        if room.history.head > head:
            self._audit_factor = min(self._audit_factor * 2, MAX_AUDIT_FACTOR)
            self._audit_soon()
        else:
            self._audit_factor = 1

    def _tell_excess(self, excess: Sequence[Mapping[str, Any]]) -> None:
        """Say once of each limit of the schema that the design has passed it (RULE L6)."""
        for one in excess:
            if one["limit"] not in self._told:
                self._room.warn("limit_exceeded", one["message"], one["elements"])
        self._told = {one["limit"] for one in excess}

    async def _find_poisoner(self, head: Position) -> None:
        room = self._room
        try:
            prefix = self._readable
            rows: list[LoggedUpdate] = []
            while read := await self._log.read(room.key, rows[-1].position if rows else prefix.position):
                rows += [row for row in read if row.position <= head]
                if read[-1].position >= head:
                    break
            found = await find_poison(self._workers, prefix.state, [row.update for row in rows])
        except Exception:
            log.exception("looking for poison failed", extra={"room": room.key.id})
            return
        if found is None:
            return
        self._unreadable = True
        if found < 0:
            log.error("a keyframe cannot be read", extra={"room": room.key.id, "position": prefix.position})
            return
        row = rows[found]
        log.warning("poisoned", extra={"room": room.key.id, "position": row.position, "user": row.user_id})
        room.cut_poisoner(row)
