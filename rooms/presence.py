"""Awareness of one room: who is there and where, bound to connections, one merged frame per tick, never logged.

Pure: frames and times in, frames out. A client id belongs to the connection that announced it; its clock towards peers
is ours, so that who comes back is seen at once, and a removal is always newer than what it removes. Clients remember
clocks over cuts and restarts, and take nothing that is not above: so they are raised then, and the owner's with them.

Source: docs/protocol.md, P1 to P10.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import orjson

from rooms.errors import InvalidUpdate, LimitExceeded
from rooms.inspection import MalformedUpdate, read_varuint, write_varuint
from rooms.permissions import User
from storage.keys import UserId

MAX_CLOCK: Final = 2**31 - 1
"""yrs keeps awareness clocks in 32 bits."""
MAX_STATE_BYTES: Final = 16 * 1024
"""JSON of one client's state."""
MAX_FRAME_BYTES: Final = 1024 * 1024
MAX_FRAME_ENTRIES: Final = 10_000
MAX_GONE: Final = 10_000
"""Client ids that are remembered after they left, for their clocks."""
FORGET_SECONDS: Final = 24 * 3600.0
UNHEARD_SECONDS: Final = 45.0
"""A client of another node renews its state every 15 s, as y-protocols does; peers forget it after 30."""
CLOCKS_PER_SECOND: Final = 4
CLOCKS_SINCE: Final = 1_735_689_600
"""The year 2025: what is raised, is raised to the time since then, which every node and every later start agree on."""
AHEAD: Final = 50
"""How far an owner's clock is raised above ours: what it says meanwhile stays below."""


class MalformedPresence(InvalidUpdate):
    """Not an awareness update; nothing of it was taken."""

    code = "malformed_presence"

    def __init__(self) -> None:
        super().__init__("This is not a well-formed awareness update. Nothing of it was taken.")


@dataclass(frozen=True, slots=True)
class Tick:
    """What changed since the last tick, as awareness updates (y-protocols bytes)."""

    frame: bytes
    """For every connection of this node but those in `exceptions`."""
    own: bytes | None
    """The part of this node's connections, for the other nodes; None when only others' people changed."""
    exceptions: dict[str, bytes | None]
    """Connections that get another frame, or none: of its own id a client hears at most that it is to say it again."""
    asks: bool
    """The other nodes have to say again who is with them, as to a node that asks (P11)."""


class _Client:
    """What is known of one client id."""

    __slots__ = (
        "clock",
        "ended_at",
        "id",
        "last",
        "left_here",
        "parted_at",
        "raw",
        "source",
        "source_clock",
        "state",
        "told_at",
        "user",
        "user_id",
    )

    def __init__(self, client_id: int) -> None:
        self.id = client_id
        self.clock = 0
        """The last outgoing clock; peers ignore a first one of 0."""
        self.state: bytes | None = None
        """JSON as peers get it; None: not there."""
        self.raw: bytes | None = None
        """JSON as it came, until it is parsed at the tick."""
        self.source: str | bytes | None = None
        """Who may change it: a connection of this node (str), another node (bytes), or nobody."""
        self.source_clock = -1
        """The highest clock that came from the source, or from the last one."""
        self.last: str | bytes | None = None
        """The source that ended it."""
        self.user: User | None = None
        """The person behind the connection; None for people of other nodes."""
        self.user_id: str | None = None
        """The last person it belonged to, as far as it was looked at."""
        self.ended_at = 0
        """When it was last taken back, as the number of ends."""
        self.told_at = 0
        """When its clock last rose for everybody, as the number of partings."""
        self.parted_at = 0
        """When its source ended: it was told of others until then."""
        self.left_here = False
        """It left this node since the last tick: the others have to hear of it from us."""

    @property
    def is_there(self) -> bool:
        return self.state is not None or self.raw is not None

    def owner(self) -> str | None:
        """The id of the person it belongs or belonged to."""
        if self.user is None and self.state is not None:
            value = _object(self.state)
            user = value.get("user") if value is not None else None
            self.user_id = user.get("id") if isinstance(user, dict) else None
        return self.user_id

    def is_repetition(self, clock: int, state: bytes | None) -> bool:
        """As in y-protocols: an older or equal clock says nothing, but an equal one may take a state back."""
        return clock < self.source_clock or (clock == self.source_clock and (state is not None or not self.is_there))


class Presence:
    """The states of a room's people: those connected here, and those that other nodes tell of."""

    def __init__(self, *, overwrite_names: bool = False, max_state_bytes: int = MAX_STATE_BYTES) -> None:
        """
        Args:
            overwrite_names: closed mode: `user.name` is the token's; otherwise people name themselves.
            max_state_bytes: JSON of one state.
        """
        self._overwrite_names = overwrite_names
        self._max_state_bytes = max_state_bytes
        self._clients: dict[int, _Client] = {}
        self._gone: OrderedDict[int, float] = OrderedDict()
        """Ids that nobody holds, and since when, oldest first."""
        self._bound: dict[str, int] = {}
        """Connection → its client id."""
        self._lost: dict[str, int] = {}
        """Connection → the id that it had until another connection or node took it over: perhaps it is this client
        still. It is not new any more: of other ids it was told, and repeats them."""
        self._remote: OrderedDict[int, float] = OrderedDict()
        """Ids that another node told of, and when it last did, oldest first."""
        self._dirty: dict[int, None] = {}
        self._ends = 0
        """How many ids ended; orders ends and arrivals."""
        self._came: dict[str, int] = {}
        """Connection → how many had ended when it came: these it was never told of."""
        self._joining: dict[str, UserId] = {}
        """Connections that have not announced an id yet, and their persons."""
        self._owed: dict[str, set[int]] = {}
        """Of these, ids of the same person that were left out for them: one of them may be the joiner itself."""
        self._partings = 0
        """How many connections ended; orders them and what was told."""
        self._returned: dict[str, int] = {}
        """Connections whose client is back, and when it parted: clocks from before it has heard already (P11)."""

    def __len__(self) -> int:
        """Clients that are there."""
        return sum(client.is_there for client in self._clients.values())

    def heard(self, connection_id: str, user: User, frame: bytes, now: float) -> bool:
        """Take what a connection says of its own client; whether there is something to tell at the next tick.

        What it says of others is ignored: stock clients repeat what they hear. No JSON is looked at before the tick.

        Raises:
            MalformedPresence: not an awareness update; nothing was taken.
            LimitExceeded: over the bounds of a frame (nothing was taken), or of the client's own state (it stays as
                it was).

        Source: docs/protocol.md, P1 to P5.
        """
        told = False
        self._came.setdefault(connection_id, self._ends)
        for client_id, clock, state in _read(frame):
            if self._bound.get(connection_id) == client_id:
                if self._clients[client_id].is_repetition(clock, state):
                    continue
            elif state is None or not self._may_bind(connection_id, user, client_id, clock):
                continue
            if state is not None and len(state) > self._max_state_bytes:
                raise LimitExceeded(
                    "max_presence_bytes",
                    self._max_state_bytes,
                    f"A presence may have {self._max_state_bytes} bytes; this one has {len(state)}.",
                )
            client = self._bind(connection_id, user, client_id, clock, now)
            client.source_clock = clock
            self._advance(client, clock)
            client.raw = state
            if state is None:
                client.state = None
                self._mark_end(client)
            self._dirty[client_id] = None
            told = True
        return told

    def left(self, connection_id: str, now: float) -> bool:
        """Take back what a connection announced, with a newer clock; whether there is something to tell."""
        self._owed.pop(connection_id, None)
        self._came.pop(connection_id, None)
        self._joining.pop(connection_id, None)
        self._lost.pop(connection_id, None)
        self._returned.pop(connection_id, None)
        client_id = self._bound.pop(connection_id, None)
        if client_id is None:
            return False
        client = self._clients[client_id]
        client.left_here = True
        return self._end(client, now)

    def heard_from_node(self, node: bytes, frame: bytes, now: float) -> bool:
        """Take what another node says of its people; whether there is something to tell here.

        A node speaks for who is connected to it. What it says of an id that another source holds counts only when the
        client came to it: a state, with a clock above all that was heard.

        Raises:
            MalformedPresence, LimitExceeded: not from a node of ours.

        Source: docs/protocol.md, P8.
        """
        told = False
        for client_id, clock, state in _read(frame):
            client = self._clients.get(client_id)
            if client is None:
                if state is None:
                    continue
                client = self._clients[client_id] = _Client(client_id)
            if client.source == node:
                if client.is_repetition(clock, state):
                    continue
            else:
                # Of what a connection of ours said, nodes know the clocks that we sent; so a late word is not above.
                known = client.clock if isinstance(client.source or client.last, str) else client.source_clock
                if state is None and isinstance(client.source, str) and client.is_there and clock >= client.clock:
                    # It left there and is here: what is told of it here has to be above its removal.
                    client.clock = clock + 1
                    self._dirty[client_id] = None
                    told = True
                    continue
                if state is None or clock <= known:
                    continue
                self._lose(client)
                client.source = node
                client.user = None
                self._gone.pop(client_id, None)
            client.source_clock = clock
            self._advance(client, clock)
            client.owner()
            client.state, client.raw = state, None
            self._dirty[client_id] = None
            self._remote[client_id] = now
            self._remote.move_to_end(client_id)
            if state is None:
                client.last, client.source = node, None
                self._part(client)
                self._gone[client_id] = now
                self._mark_end(client)
            told = True
        return told

    def node_silent(self, node: bytes, now: float) -> bool:
        """A node does not answer any more: its people are gone; whether there is something to tell."""
        told = False
        for client in [client for client in self._clients.values() if client.source == node]:
            told = self._end(client, now) or told
            client.source_clock = -1  # should it come back, it is believed at once
        return told

    def expire(self, now: float) -> bool:
        """Who was not heard of for long is gone: a node's word that somebody left may be lost (RULES B1, P8).

        Returns whether there is something to tell.
        """
        told = False
        while self._remote and now - next(iter(self._remote.values())) > UNHEARD_SECONDS:
            client_id, _ = self._remote.popitem(last=False)
            client = self._clients.get(client_id)
            if client is not None and isinstance(client.source, bytes):
                told = self._end(client, now) or told
                client.source_clock = -1  # should it be heard of again, it is believed at once
        return told

    def tick(self, now: float) -> Tick | None:
        """Everything that changed since the last tick, the newest state per client; None: nothing did.

        Only here, and for who joins, is JSON parsed, to put the true identity in.

        Source: docs/protocol.md, P3, P6, P7.
        """
        while self._gone and (len(self._gone) > MAX_GONE or now - next(iter(self._gone.values())) > FORGET_SECONDS):
            forgotten, _ = self._gone.popitem(last=False)
            del self._clients[forgotten]
            self._dirty.pop(forgotten, None)
        if not self._dirty:
            return None
        again, asks = self._raised_for_returned(now)
        entries: dict[int, bytes] = {}
        own: list[bytes] = []
        for client_id in self._dirty:
            client = self._clients[client_id]
            entries[client_id] = entry = self._entry(client)
            if isinstance(client.source, str) or (client.left_here and client.source is None):
                own.append(entry)
            client.left_here = False
        exceptions: dict[str, bytes | None] = {}
        for connection_id, left_out in self._left_out(again).items():
            mine = [entry for client_id, entry in entries.items() if client_id not in left_out]
            if connection_id in self._bound:
                owed = self._owed.pop(connection_id, set()) | again.pop(connection_id, set())
                mine += [
                    self._entry(self._clients[client_id])
                    for client_id in owed - entries.keys() - left_out
                    if client_id in self._clients
                ]
                own_client = self._clients[self._bound[connection_id]]
                if own_client.is_there and own_client.clock > own_client.source_clock:
                    mine.append(_removal(own_client.id, max(own_client.clock, _clock_at(now)) + AHEAD))
            exceptions[connection_id] = _frame(mine) if mine else None
        self._dirty.clear()
        return Tick(_frame(entries.values()), _frame(own) if own else None, exceptions, asks)

    def _raised_for_returned(self, now: float) -> tuple[dict[str, set[int]], bool]:
        """Raise what those who are back have heard before they left.

        Returns:
            connection → the ids to tell it again; and whether some are with other nodes, which raise them when asked.
        """
        again: dict[str, set[int]] = {}
        asks = False
        for connection_id, parted_at in self._returned.items():
            own = self._bound.get(connection_id)
            if own is None:
                continue
            heard = [
                client
                for client in self._clients.values()
                if client.is_there and client.id != own and client.told_at < parted_at
            ]
            again[connection_id] = {client.id for client in heard if isinstance(client.source, str)}
            asks = asks or len(heard) > len(again[connection_id])
        self._returned.clear()
        self._raise(set().union(*again.values()), now)
        return again, asks

    def _raise(self, client_ids: Iterable[int], now: float) -> None:
        for client_id in client_ids:
            client = self._clients[client_id]
            client.clock = max(client.clock + 1, _clock_at(now))

    def _left_out(self, again: Mapping[str, set[int]]) -> dict[str, set[int]]:
        """Connections that do not get the shared frame of a tick, and what theirs leaves out."""
        left_out: dict[str, set[int]] = {connection_id: {self._bound[connection_id]} for connection_id in again}
        for client_id in set().union(*again.values()):  # raised for somebody: its owner is told to follow
            source = self._clients[client_id].source
            if isinstance(source, str):
                left_out.setdefault(source, set()).add(client_id)
        changed = [self._clients[client_id] for client_id in self._dirty]
        for client in changed:
            if isinstance(client.source, str) and client.clock != client.source_clock:
                left_out.setdefault(client.source, set()).add(client.id)
        for loser, lost in self._lost.items():
            if lost in self._dirty:
                left_out.setdefault(loser, set()).add(lost)
        if self._joining:
            for client in changed:
                owner = client.owner() if client.is_there else None
                for connection_id, user_id in self._joining.items():
                    if owner == user_id:
                        left_out.setdefault(connection_id, set()).add(client.id)
                        self._owed.setdefault(connection_id, set()).add(client.id)
        for connection_id in self._owed.keys() & self._bound.keys():
            left_out.setdefault(connection_id, {self._bound[connection_id]})
        return left_out

    def states(
        self, connection_id: str | None = None, user_id: UserId | None = None, *, and_who_left: bool = False
    ) -> bytes | None:
        """Everybody who is there, for a connection that joins; None: nobody is.

        With *and_who_left*, for one that missed something, also that those are not there who left since it came.

        Given who joins, ids of the same person are left out, here and in ticks, until the connection has announced its
        own: one of them may be the joiner itself, back before its old connection ended, and its own state would be
        overwritten. And what it was never told it cannot repeat, so what it announces then is its own.
        """
        there = [client for client in self._clients.values() if client.is_there]
        if connection_id is not None and and_who_left:
            came = self._came.get(connection_id, 0)
            there += [client for client in self._clients.values() if not client.is_there and client.ended_at > came]
            lost = self._lost.get(connection_id)
            there = [client for client in there if client.id != lost]
        if connection_id is not None:
            self._came.setdefault(connection_id, self._ends)
            own = self._bound.get(connection_id)
            if own is not None:
                there = [client for client in there if client.id != own]
            elif user_id is not None:
                self._joining[connection_id] = user_id
                mine = {client.id for client in there if client.owner() == user_id}
                if mine:
                    self._owed[connection_id] = mine
                there = [client for client in there if client.id not in mine]
        entries = [self._entry(client) for client in there]
        return _frame(entries) if entries else None

    def own_states(self, now: float) -> bytes | None:
        """Everybody who is connected here, for a node that asks, at raised clocks; None: nobody is.

        Whoever comes to that node may remember them, so what it is told has to be above. Here they follow in a tick.
        """
        own = [client for client in self._clients.values() if isinstance(client.source, str) and client.is_there]
        self._raise([client.id for client in own], now)
        self._dirty.update(dict.fromkeys(client.id for client in own))
        return _frame(self._entry(client) for client in own) if own else None

    def _may_bind(self, connection_id: str, user: User, client_id: int, clock: int) -> bool:
        """Whether a connection that announces a state for *client_id* becomes its owner."""
        own = self._bound.get(connection_id)
        if own is not None and self._clients[own].is_there:
            return False  # it has its id: this is something it heard
        client = self._clients.get(client_id)
        if client is None:
            return True
        lost = self._lost.get(connection_id)
        same = client.owner() == user.id
        if client.source is None:
            # Nobody holds it. Somebody else (a program without a cookie is a new guest each time) comes back with any
            # clock, if it was gone before this connection came; otherwise this may be a late repetition of who left,
            # and what is repeated is older than the removal.
            fresh = own is None and lost in (None, client_id)
            fresh = fresh and (same or client.ended_at <= self._came[connection_id])
            return fresh or clock >= client.clock
        if not same:
            return False
        # One person, two connections: one that is new is believed; otherwise who raises the clock, which a connection
        # that only repeats never does.
        return (own is None and lost is None) or clock > client.clock

    def _bind(self, connection_id: str, user: User, client_id: int, clock: int, now: float) -> _Client:
        before = self._bound.get(connection_id)
        client = self._clients.get(client_id)
        if before == client_id and client is not None:
            return client
        if client is None:
            client = self._clients[client_id] = _new(client_id, clock, now)
        else:
            if not isinstance(client.source, str):
                client.clock = max(client.clock + 1, _clock_at(now))  # above its removal by another node, too
            # Elsewhere it may have heard other clocks than were told here, and as long as it is there it still does.
            was_here = client.source is None and isinstance(client.last, str)
            self._returned[connection_id] = client.parted_at if was_here else self._partings + 1
        if before is not None:
            withdrawn = self._clients[before]
            withdrawn.last, withdrawn.source, withdrawn.left_here = connection_id, None, True
            self._gone[before] = now
        self._lose(client)
        self._lost.pop(connection_id, None)
        client.source = connection_id
        client.user, client.user_id = user, user.id
        self._bound[connection_id] = client_id
        self._joining.pop(connection_id, None)
        self._gone.pop(client_id, None)
        return client

    def _lose(self, client: _Client) -> None:
        """Another connection or node takes *client* over from a connection of this node, if one has it."""
        if isinstance(client.source, str):
            self._bound.pop(client.source, None)
            self._lost[client.source] = client.id

    def _advance(self, client: _Client, clock: int) -> None:
        """The next clock towards peers, from the one that came (P6)."""
        client.clock = clock if clock > client.clock else client.clock + 1
        client.told_at = self._partings

    def _end(self, client: _Client, now: float) -> bool:
        client.owner()
        was_there = client.is_there
        client.last = client.source
        client.source = client.user = client.state = client.raw = None
        self._part(client)
        self._gone[client.id] = now
        if was_there:
            self._mark_end(client)
            client.clock += 1
            self._dirty[client.id] = None
        return was_there

    def _part(self, client: _Client) -> None:
        self._partings += 1
        client.parted_at = self._partings

    def _mark_end(self, client: _Client) -> None:
        self._ends += 1
        client.ended_at = self._ends

    def _entry(self, client: _Client) -> bytes:
        if client.raw is not None and client.user is not None:
            client.state, client.raw = self._identified(client.raw, client.user), None
        out = bytearray()
        write_varuint(out, client.id)
        write_varuint(out, client.clock)
        state = b"null" if client.state is None else client.state
        write_varuint(out, len(state))
        return bytes(out + state)

    def _identified(self, raw: bytes, user: User) -> bytes | None:
        """The state with the true identity in it; None for what is no state."""
        value = _object(raw)
        if value is None:
            return None
        stated = value.get("user")
        person = dict(stated) if isinstance(stated, dict) else {}
        person["id"] = user.id
        if self._overwrite_names:
            person["name"] = user.name
        if user.color:
            person["color"] = user.color
        value["user"] = person
        try:
            return orjson.dumps(value)
        except TypeError:  # a lone half of a surrogate pair, or too deep
            try:
                return json.dumps(value, allow_nan=False).encode()
            except (ValueError, RecursionError):
                return None


def _clock_at(now: float) -> int:
    """A clock that is above those of earlier times, here and on every other node."""
    return max(0, int((now - CLOCKS_SINCE) * CLOCKS_PER_SECOND))


def _new(client_id: int, clock: int, now: float) -> _Client:
    """A client that was never heard of here: others may remember it, from before a restart or from another node."""
    client = _Client(client_id)
    client.clock = max(clock + 1, _clock_at(now))  # it, and the removal that may have followed it
    return client


def _removal(client_id: int, clock: int) -> bytes:
    """An entry that takes a state away; for its owner the word to come again with a clock above (y-protocols)."""
    out = bytearray()
    write_varuint(out, client_id)
    write_varuint(out, clock)
    return bytes(out + b"\x04null")


def _object(raw: bytes) -> dict[str, Any] | None:
    """The JSON object that *raw* is, or None."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # What browsers write and orjson refuses: an escaped lone half of a surrogate pair.
        try:
            value = json.loads(raw, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _read(frame: bytes) -> list[tuple[int, int, bytes | None]]:
    """(client id, clock, JSON or None) of each entry of an awareness update."""
    size = len(frame)
    if size > MAX_FRAME_BYTES:
        raise LimitExceeded("max_presence_frame_bytes", MAX_FRAME_BYTES, "The awareness update is too large.")
    try:
        count, p = read_varuint(frame, 0)
        if count > MAX_FRAME_ENTRIES:
            raise LimitExceeded("max_presence_entries", MAX_FRAME_ENTRIES, "The awareness update has too many entries.")
        entries: list[tuple[int, int, bytes | None]] = []
        for _ in range(count):
            client_id, p = read_varuint(frame, p)
            clock, p = read_varuint(frame, p)
            length, p = read_varuint(frame, p)
            end = p + length
            if end > size or clock > MAX_CLOCK:
                raise MalformedPresence
            state = frame[p:end]
            entries.append((client_id, clock, None if state == b"null" else state))
            p = end
    except MalformedUpdate:
        raise MalformedPresence from None
    if p != size:
        raise MalformedPresence
    return entries


def _frame(entries: Iterable[bytes]) -> bytes:
    parts = list(entries)
    out = bytearray()
    write_varuint(out, len(parts))
    return bytes(out) + b"".join(parts)
