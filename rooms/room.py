"""Room: the single writer of one document on this node. It moves bytes and holds no document."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rooms import faults, replication
from rooms.differences import Differences
from rooms.errors import (
    LimitExceeded,
    NotPermitted,
    Overloaded,
    RoomError,
    Unavailable,
    WorkerError,
)
from rooms.history import EMPTY_UPDATE, History, Prefix
from rooms.inbox import CatchUp, Heard, Inbox, Submission
from rooms.inspection import Inspection, inspect
from rooms.knowledge import Knowledge, Verdict
from rooms.metrics import Metrics
from rooms.peers import Peers
from rooms.permissions import Action
from rooms.ports import Announced, Bus, Peer, Relayed, Said, WorkerPort
from rooms.presence import Presence
from rooms.tasks import INSPECT_ON_LOOP_BYTES, admit_update, inspect_update
from rooms.tick import Tick
from rooms.turns import LARGE_BYTES, Turns
from rooms.upkeep import Upkeep
from storage.keyframes import Keyframes
from storage.keys import DocumentKey, Epoch, Position
from storage.update_log import Entry, LoggedUpdate, UpdateLog

log = logging.getLogger(__name__)

BATCH = 2048
"""Messages taken from the inbox in one pass; one pass is one commit and one write to each peer."""
RELAY_BYTES = 1024 * 1024
"""Rows of the log that are relayed in one write, when much is caught up with."""
UPDATES_SHARE = 0.2
"""Of the loop's time, that a room may take to relay updates (RULE S10)."""
PRESENCE_SHARE = 0.1
ECHO_SECONDS = 0.00004
"""About what it takes to read a frame that says nothing new. Stock clients announce again what they hear: the more
often a room tells, the more of these it reads."""
TURN_SECONDS = 0.002
"""After this, within a pass, the rest of the node has its turn."""
READ_ROWS = 1000
READ_BYTES = 4 * 1024 * 1024
"""How much of the log is read at a time when catching up."""
ANOTHER_NODE = ""
"""The sender of what came from the log."""
DELETED = ("deleted", "This design was deleted. What you have on the screen is not stored any more.")
READ_AGAIN_SECONDS = (0.1, 0.3, 1.0)
"""Pauses before a logged row is given to a worker again."""
TAIL_SECONDS = 1.0
"""How long the rows after the prefix stay encoded for whoever joins next."""
ANSWER_SECONDS = 10.0
"""How long a client may take to answer the room's question before its transport is closed."""


@dataclass(frozen=True, slots=True)
class RoomLimits:
    """Bounds of one room; each has its setting in `realtime/settings.py`."""

    max_update_bytes: int = 1024 * 1024
    max_document_bytes: int = 64 * 1024 * 1024
    inbox_updates: int = 1024
    inbox_bytes: int = 8 * 1024 * 1024
    keyframe_rows: int = 500
    keyframe_bytes: int = 256 * 1024
    parked_updates: int = 10_000
    parked_bytes: int = 4 * 1024 * 1024
    """Updates that wait for what they build on, of all who were asked; what is read of one may be 30 times as large."""
    audit_after_seconds: float = 1.0


class UpdateRefused(RoomError):
    """Refused for good: the client id that made it cannot go on in this room (RULE D6, S6)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True, eq=False)
class _Question:
    """What a peer was asked, and what waits for its answer."""

    number: int
    asked_at: float
    parked: list[tuple[Submission, Inspection]] = field(default_factory=list)
    """Without their bytes: an honest answer brings all that its sender has."""
    parked_bytes: int = 0


class Room:
    """The people around one document, and the one place on this node where its log grows.

    Made by `RoomRegistry.open`; `run` must be running. A room that fails ends alone: its memory is dropped, its peers
    come back and it is opened again from keyframe and log. There is no second way of repair.
    """

    def __init__(
        self,
        key: DocumentKey,
        *,
        update_log: UpdateLog,
        keyframes: Keyframes,
        workers: WorkerPort,
        bus: Bus | None,
        node: bytes,
        limits: RoomLimits,
        metrics: Metrics,
        background: asyncio.TaskGroup,
        on_commit: Callable[[DocumentKey, float, int], None],
        on_node: Callable[[bytes], None],
        overwrite_names: bool,
        turns: Turns,
    ) -> None:
        self.key = key
        self.limits = limits
        self.peers = Peers()
        self.presence = Presence(overwrite_names=overwrite_names)
        self.epoch = Epoch(1)
        self.history = History(Prefix(Epoch(1), Position(0), EMPTY_UPDATE))
        self.emptied_at = time.monotonic()
        self.closed = False
        self._deleted = False
        self._knowledge = Knowledge()
        self._log = update_log
        self._keyframes = keyframes
        self._workers = workers
        self._bus = bus
        self._node = node
        self._metrics = metrics
        self._on_commit = on_commit
        self._on_node = on_node
        self._turns = turns
        self._differences = Differences(workers, background)
        self._tail: Relayed | None = None
        """What `tail_after` returned last."""
        self._inbox = Inbox(limits.inbox_updates, limits.inbox_bytes)
        self._questions: dict[str, _Question] = {}
        self._last_question = 0
        self._known: list[Submission] = []
        """Brought nothing new; answered after the commit, since what they repeat may be in the very same pass."""
        self._dead_clients: set[int] = set()
        self._outgoing: list[bytes] = []
        """Rows up to the head that were not relayed yet."""
        self._outgoing_bytes = 0
        self._outgoing_senders: set[str] = set()
        """Who sent them; the empty string is another node."""
        self._updates_tick = Tick(UPDATES_SHARE)
        self._presence_tick = Tick(PRESENCE_SHARE)
        self._presence_due: asyncio.TimerHandle | None = None
        self._upkeep = Upkeep(
            self,
            update_log=update_log,
            keyframes=keyframes,
            workers=workers,
            background=background,
            metrics=metrics,
            keyframe_rows=limits.keyframe_rows,
            keyframe_bytes=limits.keyframe_bytes,
            audit_after_seconds=limits.audit_after_seconds,
        )
        self.heard_nodes: set[bytes] = set()
        """Nodes that told of people, and did not fall silent since."""

    # -- opening and closing -------------------------------------------------------------------------------------

    @property
    def head(self) -> Position:
        return self.history.head

    async def load(self) -> None:
        """Read keyframe and tail; subscribe first, then read, then follow, so that nothing falls between.

        Raises:
            RoomError, OSError, SQLAlchemyError: nothing can be said of the document; the caller refuses, retryable.
        """
        if self._bus is not None:
            await self._bus.subscribe(replication.channel(self.key), self._hear)
        keyframe = await self._keyframes.newest(self.key)
        if keyframe is not None:
            self.epoch = keyframe.epoch
            self.history = History(Prefix(keyframe.epoch, keyframe.position, keyframe.state))
            self._knowledge = Knowledge.decode(keyframe.summary)
        await self._read_log()
        self._upkeep.loaded()
        if self._bus is not None:
            self._bus.publish(replication.channel(self.key), replication.encode_question(self._node))

    async def close(self) -> None:
        """Stop hearing; what waits in the inbox is answered as retryable."""
        self.closed = True
        self._upkeep.close()
        if self._presence_due is not None:
            self._presence_due.cancel()
        if self._bus is not None:
            await self._bus.unsubscribe(replication.channel(self.key), self._hear)
        parked = [submission for question in self._questions.values() for submission, _ in question.parked]
        for submission in [*self._inbox.drain(), *parked, *self._known]:
            submission.settle(Unavailable("The room was closed before the update was stored. Send it again."))
        self._questions.clear()

    # -- peers ---------------------------------------------------------------------------------------------------

    def attach(self, peer: Peer) -> None:
        """Make *peer* hear what comes after `head`; a room that has closed meanwhile sends it away."""
        if self.closed:
            peer.rejoin("unavailable", "The room is closing. Come back.")
        elif self._deleted:
            peer.refuse(*DELETED)
        else:
            self.peers.add(peer)

    def delete(self) -> None:
        """The design was deleted: everybody leaves for good, and who comes in too late with them (RULE D10)."""
        self._deleted = True
        for peer in self.peers:
            peer.refuse(*DELETED)

    def detach(self, peer_id: str) -> None:
        """Forget a peer: its presence is taken back at once, its updates stay."""
        self.peers.remove(peer_id)
        question = self._questions.pop(peer_id, None)
        if question is not None:
            for submission, _ in question.parked:
                submission.settle(Unavailable("The connection ended before the missing part came."))
        if self.presence.left(peer_id, time.time()):
            self._arm_presence()
        if not len(self.peers):
            self.emptied_at = time.monotonic()

    def state_now(self, state_vector: bytes) -> Prefix | None:
        """Everything that a client with *state_vector* lacks of the newest prefix; the rows after it follow.

        None: a worker has to cut it, or it is so large that it waits for its turn (`state_for`, RULE S11).

        Raises:
            InvalidUpdate: the state vector is not one.
        """
        ready = self._differences.now(self.history.prefix, state_vector, self._knowledge.vector)
        return ready if isinstance(ready, Prefix) and len(ready.state) < LARGE_BYTES else None

    async def state_for(self, state_vector: bytes) -> Prefix:
        """The same, when it may be written.

        Raises:
            InvalidUpdate: the state vector is not one.
        """
        prefix = self.history.prefix
        ready = self._differences.now(prefix, state_vector, self._knowledge.vector)
        if isinstance(ready, bytes):
            ready = await self._differences.later(prefix, ready)
        await self._turns.take(len(ready.state))
        return ready

    def tail_after(self, position: Position) -> Relayed | None:
        """The rows after *position* that are in memory, encoded once for all who join; None: they are not."""
        tail = self._tail
        if tail is None or (tail.epoch, tail.first, tail.last) != (self.epoch, position + 1, self.head):
            rows = self.history.after(position)
            if rows is None:
                return None
            if tail is None:
                asyncio.get_running_loop().call_later(TAIL_SECONDS, self._forget_tail)
            tail = self._tail = Relayed(self.epoch, Position(position + 1), self.head, rows)
        return tail

    def _forget_tail(self) -> None:
        self._tail = None

    async def rows_after(self, position: Position) -> tuple[bytes, ...] | None:
        """A run of rows after *position*, from memory or from the log; empty at the head, None beyond it.

        What comes from the log is bounded by `READ_ROWS` and `READ_BYTES`; ask again until it is empty.
        """
        if position > self.head:
            return None
        rows = self.history.after(position)
        if rows is not None:
            return rows
        logged = await self._log.read(self.key, position, READ_ROWS, READ_BYTES)
        return tuple(row.update for row in logged)

    def state_vector(self) -> bytes:
        return self._knowledge.state_vector_bytes()

    # -- updates -------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        return self._inbox.full

    async def place(self) -> None:
        """Wait until the inbox has room; the sender's connection is not read meanwhile."""
        await self._inbox.place()

    def read_now(self, submission: Submission) -> bool:
        """Inspect a small update before it is queued; False: it is for a worker, by `read_ahead` (RULE I8)."""
        if len(submission.update) > INSPECT_ON_LOOP_BYTES:
            return False
        try:
            submission.inspection = inspect(submission.update)
        except RoomError as error:
            submission.inspection = error
        return True

    async def read_ahead(self, submission: Submission) -> None:
        """Inspect an update before it is queued: only its own connection waits, here or for a worker (RULE I8)."""
        if len(submission.update) <= self.limits.max_update_bytes:
            try:
                submission.inspection = await inspect_update(self._workers, submission.update)
            except RoomError as error:
                submission.inspection = error

    def submit(self, submission: Submission) -> None:
        """Queue one update in the order sent; `submission.settle` hears how it ended (RULE D2)."""
        if self.closed:
            submission.settle(Unavailable("The room is closing. Send the update again."))
        else:
            self._inbox.put(submission)

    def question_unanswered(self, peer_id: str, now: float) -> bool:
        question = self._questions.get(peer_id)
        return question is not None and now - question.asked_at > ANSWER_SECONDS

    def catch_up(self) -> None:
        """Somebody knows of rows that this node did not hear of."""
        self._inbox.hint(CatchUp())

    async def run(self) -> None:
        """Admit what waits, in the order sent, and relay what the log has; one pass is one commit."""
        while True:
            batch = await self._inbox.batch(BATCH)
            try:
                await self._pass(batch)
            except BaseException as error:
                answer = error if isinstance(error, RoomError) else Unavailable("Not stored. Send the update again.")
                for message in batch:
                    if isinstance(message, Submission):
                        message.settle(answer)
                raise
            pause = self._updates_tick.pause_seconds()
            if pause:
                await asyncio.sleep(pause)

    async def _pass(self, batch: Sequence[Submission | Heard | CatchUp]) -> None:
        admitted: list[tuple[Submission, Entry]] = []
        turn_began = time.perf_counter()
        for message in batch:
            if time.perf_counter() - turn_began > TURN_SECONDS:
                await asyncio.sleep(0)
                turn_began = time.perf_counter()
            match message:
                case Submission():
                    entry = await self._admit(message)
                    if entry is not None:
                        admitted.append((message, entry))
                    if message.answers is not None:
                        self._answered(message)
                case Heard(relayed):
                    await self._commit(admitted)
                    admitted = []
                    await self._follow(relayed)
                case CatchUp():
                    await self._commit(admitted)
                    admitted = []
                    await self._read_log()
        await self._commit(admitted)
        self._relay()

    def _answered(self, answer: Submission) -> None:
        """The answer to a question is in: what waited for it was in it, or is refused for good (RULE D6)."""
        question = self._questions.get(answer.peer.id)
        if question is None or (answer.answers or 0) < question.number:
            return
        del self._questions[answer.peer.id]
        for submission, inspection in question.parked:
            try:
                if self._knowledge.judge(inspection) is not Verdict.NOTHING_NEW:
                    raise UpdateRefused(
                        "missing_history", "The update builds on edits that this client cannot provide."
                    )
                self._known.append(submission)
            except RoomError as error:
                self._metrics.refused.labels(error.code).inc()
                submission.settle(error)

    async def _admit(self, submission: Submission) -> Entry | None:
        """Decide on one update; the refused, the known and the parked are settled or kept here."""
        peer, update = submission.peer, submission.update
        try:
            if self._deleted:
                raise UpdateRefused(*DELETED)
            if len(update) > self.limits.max_update_bytes:
                raise LimitExceeded(
                    "max_update_bytes",
                    self.limits.max_update_bytes,
                    f"An update may have {self.limits.max_update_bytes} bytes; this one has {len(update)}.",
                )
            inspection = submission.inspection or await inspect_update(self._workers, update)
            if isinstance(inspection, RoomError):
                raise inspection
            if self._knowledge.judge(inspection) is Verdict.NOTHING_NEW:
                self._known.append(submission)
                return None
            if not peer.grant.allows(Action.EDIT):
                if submission.answers is not None and not inspection.structs:
                    # Engines delete by themselves (the loser of two entries of a map): told, and no edit of theirs.
                    submission.settle(self.head)
                    return None
                raise NotPermitted(peer.grant.role.value, Action.EDIT.value)
            if not self._dead_clients.isdisjoint(inspection.structs):
                raise UpdateRefused("poisoned", "An earlier update of this client was refused; start a fresh document.")
            # What overlaps known clocks is cut to its new part: of the known ones it might say something else (I9).
            update, inspection, verdict = await admit_update(self._workers, self._knowledge, update, inspection)
            if verdict is Verdict.NOTHING_NEW:
                self._known.append(submission)
                return None
            if verdict is Verdict.GAP:
                return await self._gap(submission, inspection)
            if self.history.total_bytes + len(update) > self.limits.max_document_bytes:
                raise LimitExceeded(
                    "max_document_bytes",
                    self.limits.max_document_bytes,
                    f"A design may have {self.limits.max_document_bytes} bytes with its history.",
                )
        except RoomError as error:
            self._metrics.refused.labels(error.code).inc()
            submission.settle(error)
            return None
        self._knowledge.learn(inspection)
        client = next(iter(inspection.structs), None)
        return Entry(update, peer.grant.user.id, peer.id, client, submission.origin)

    async def _gap(self, submission: Submission, inspection: Inspection) -> Entry | None:
        """An update builds on what the room has not: read the log, then ask its sender once, then refuse."""
        peer = submission.peer
        question = self._questions.get(peer.id)
        if question is None:
            before = self.head
            await self._read_log()
            if self.head != before:
                return await self._admit(submission)
            if submission.answers is not None or peer.id not in self.peers:  # asked already, or not there to be asked
                raise UpdateRefused("missing_history", "The update builds on edits that this client cannot provide.")
            self._last_question += 1
            question = self._questions[peer.id] = _Question(self._last_question, time.monotonic())
            peer.ask(question.number, self.state_vector())
        waiting_bytes = sum(question.parked_bytes for question in self._questions.values())
        if (
            len(question.parked) >= self.limits.parked_updates
            or waiting_bytes + len(submission.update) > self.limits.parked_bytes
        ):
            # Passing, not for good: a stock client sends all that it buffered offline before it can answer, and what
            # it has not buffered any more when it comes back is in its answer to the question that everybody is asked.
            raise Overloaded("Too many updates wait for what they build on. Come back.")
        question.parked_bytes += len(submission.update)
        submission.update = EMPTY_UPDATE
        question.parked.append((submission, inspection))
        return None

    async def _commit(self, admitted: Sequence[tuple[Submission, Entry]]) -> None:
        """Log what was admitted, relay it and answer; then answer what was known already (RULES D2, D5)."""
        if admitted:
            await self._log_and_relay(admitted)
        known, self._known = self._known, []
        for submission in known:
            submission.settle(self.head)

    async def _log_and_relay(self, admitted: Sequence[tuple[Submission, Entry]]) -> None:
        faults.reached("after-inspection")
        appended = await self._log.append(self.key, [entry for _, entry in admitted])
        faults.reached("after-commit")
        if appended.epoch != self.epoch:
            raise Unavailable("The history of this design was cut meanwhile. Come back for the new one.")
        if appended.first != self.head + 1:
            await self._read_log(until=Position(appended.first - 1))
        now = time.time()
        rows = tuple(entry.update for _, entry in admitted)
        for (submission, _), update in zip(admitted, rows, strict=True):
            self._advance(update, submission.peer.id)
        if self._bus is not None:
            relayed = Relayed(self.epoch, appended.first, appended.last, rows)
            self._bus.publish(replication.channel(self.key), replication.encode_rows(self._node, relayed))
        faults.reached("before-ack")
        for position, (submission, _) in enumerate(admitted, appended.first):
            submission.settle(Position(position))
        self._metrics.updates.inc(len(admitted))
        self._metrics.commits.inc()
        self._on_commit(self.key, now, len(admitted))
        self._upkeep.advanced()

    def _advance(self, update: bytes, sender: str) -> None:
        """One more row of the log is known; `_relay` sends it on."""
        self.history.append(update)
        self._outgoing.append(update)
        self._outgoing_bytes += len(update)
        self._outgoing_senders.add(sender)

    def _relay(self) -> None:
        """Send what came since the last time to everybody, as one write for each, presence with it (RULE S7)."""
        rows, senders = self._outgoing, self._outgoing_senders
        if not rows:
            return
        self._outgoing, self._outgoing_senders, self._outgoing_bytes = [], set(), 0
        first = Position(self.head - len(rows) + 1)
        self._updates_tick.begin()
        self.peers.send(
            Relayed(self.epoch, first, self.head, tuple(rows)), senders.pop() if len(senders) == 1 else None
        )
        self._send_presence()
        self._updates_tick.end()

    # -- other nodes ---------------------------------------------------------------------------------------------

    def _hear(self, message: bytes) -> None:
        heard = replication.decode(message)
        if heard is None or heard.node == self._node or self.closed:
            return
        match heard:
            case replication.HeardRows(_, relayed):
                self._inbox.hint(Heard(relayed))
            case replication.HeardPresence(node, frame):
                self.heard_nodes.add(node)
                self._on_node(node)
                if self.presence.heard_from_node(node, frame, time.time()):
                    self._arm_presence()
            case replication.HeardQuestion():
                states = self.presence.own_states(time.time())
                if states is not None and self._bus is not None:
                    self._bus.publish(replication.channel(self.key), replication.encode_presence(self._node, states))
                    self._arm_presence()
            case replication.HeardDeleted():
                self.delete()
            case replication.HeardSaid(_, data):
                self.peers.say(Said(data))
            case replication.HeardAlive():
                pass

    def node_silent(self, node: bytes) -> None:
        """A node does not answer any more: its people are gone from here."""
        if node in self.heard_nodes:
            self.heard_nodes.discard(node)
            if self.presence.node_silent(node, time.time()):
                self._arm_presence()

    def expire_presence(self) -> None:
        """People of other nodes who are not heard of any more are gone."""
        if self.presence.expire(time.time()):
            self._arm_presence()

    async def _follow(self, relayed: Relayed) -> None:
        if relayed.epoch != self.epoch:
            raise Unavailable("The history of this design was cut meanwhile. Come back for the new one.")
        due, behind = replication.LogFollower(self.head).due(relayed.first, relayed.updates)
        if behind:
            await self._read_log(until=Position(relayed.first - 1))
            due, _ = replication.LogFollower(self.head).due(relayed.first, relayed.updates)
        if due:
            await self._take(due)

    async def _read_log(self, until: Position | None = None) -> None:
        """Take what the log has after the head, up to *until* or all of it, and relay it."""
        while until is None or self.head < until:
            rows = await self._log.read(self.key, self.head, READ_ROWS, READ_BYTES)
            if until is not None:
                rows = [row for row in rows if row.position <= until]
            if not rows:
                return
            if rows[0].epoch != self.epoch and self.head == 0:
                self.epoch = rows[0].epoch
                self.history = History(Prefix(self.epoch, Position(rows[0].position - 1), EMPTY_UPDATE))
            await self._take([row.update for row in rows])

    async def _take(self, updates: Sequence[bytes]) -> None:
        """Advance over rows that are in the log already; they were inspected before they came there."""
        inspections = [await self._inspect_logged(update) for update in updates]
        for update, inspection in zip(updates, inspections, strict=True):
            self._knowledge.learn(inspection)
            self._advance(update, ANOTHER_NODE)
            if self._outgoing_bytes > RELAY_BYTES:
                self._relay()
        self._upkeep.advanced()

    async def _inspect_logged(self, update: bytes) -> Inspection:
        """Read a row of the log; busy workers are waited for, since a room that ends over them would only ask again."""
        for pause in READ_AGAIN_SECONDS:
            try:
                return await inspect_update(self._workers, update)
            except WorkerError:
                await asyncio.sleep(pause)
        return await inspect_update(self._workers, update)

    # -- presence ------------------------------------------------------------------------------------------------

    def hear_presence(self, peer: Peer, frame: bytes) -> None:
        """Take an awareness update of one connection (RULE P).

        Raises:
            InvalidUpdate, LimitExceeded: it is not one, or over its bounds; nothing was taken.
        """
        if self.presence.heard(peer.id, peer.grant.user, frame, time.time()):
            self._arm_presence()
        else:
            self._presence_tick.spend(ECHO_SECONDS)

    def _arm_presence(self) -> None:
        if self._presence_due is None and not self.closed:
            loop = asyncio.get_running_loop()
            self._presence_due = loop.call_later(self._presence_tick.pause_seconds(), self._tick_presence)

    def _tick_presence(self) -> None:
        self._presence_tick.begin()
        self._send_presence()
        self._presence_tick.end()

    def _send_presence(self) -> None:
        """Tell everybody what changed since the last time, if anything did."""
        if self._presence_due is None:
            return
        self._presence_due.cancel()
        self._presence_due = None
        try:
            tick = self.presence.tick(time.time())
        except Exception:
            log.exception("presence failed", extra={"room": self.key.id})
            return
        if tick is None:
            return
        self.peers.announce(
            Announced(tick.frame),
            {peer: Announced(frame) if frame else None for peer, frame in tick.exceptions.items()},
        )
        if tick.own is not None and self._bus is not None:
            self._bus.publish(replication.channel(self.key), replication.encode_presence(self._node, tick.own))
        if tick.asks and self._bus is not None:
            self._bus.publish(replication.channel(self.key), replication.encode_question(self._node))

    def say(self, peer: Peer, data: bytes) -> None:
        """Hand on what *peer* says to everybody else here and on other nodes; nothing of it is kept (RULE F12)."""
        self.peers.say(Said(data), peer.id)
        if self._bus is not None:
            self._bus.publish(replication.channel(self.key), replication.encode_said(self._node, data))

    # -- upkeep --------------------------------------------------------------------------------------------------

    @property
    def audited(self) -> Position:
        """What the room has up to here was read once by a worker, or came from the log."""
        return self._upkeep.audited

    def warn(self, code: str, message: str, elements: Sequence[str]) -> None:
        """Tell everybody here of something that was taken and will not be shown."""
        for peer in self.peers:
            peer.warn(code, message, elements)

    def cut_poisoner(self, row: LoggedUpdate) -> None:
        """A worker found the row that makes the document unreadable: its client id is dead here, its sender is cut."""
        if row.client is not None:
            self._dead_clients.add(row.client)
        peer = self.peers.get(row.connection)
        if peer is not None:
            peer.refuse("poisoned", "An update of this client makes the design unreadable. Start a fresh document.")
