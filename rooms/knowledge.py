"""What a room knows of its document without holding it: the state vector, and the delete set beside it.

With the inspection of an update this says whether the update is new, known already, or builds on what is missing.

Source: docs/protocol.md, I5 to I7, D5, D6.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from rooms.inspection import (
    MAX_CLOCK,
    Inspection,
    MalformedUpdate,
    Ranges,
    WrongParent,
    encode_state_vector,
    read_varuint,
    write_varuint,
)

_ENCODING: Final = 1


class Verdict(Enum):
    """How an update stands to what is known."""

    NOTHING_NEW = "nothing_new"
    """Every struct and every deletion is known: acknowledged, and never logged, relayed or refused (D5)."""
    NEW = "new"
    GAP = "gap"
    """It builds on clocks that are not known: never logged (D6)."""


class Knowledge:
    """The clocks and deletions of a document, as its log says them.

    A deletion that engines make by themselves (the loser of two map entries written at the same time, what is put into
    something deleted meanwhile) stands in no update; clients know it, and tell it with their next answer to step 1.
    `rooms.tasks`' `fold` learns these from the engine.
    """

    __slots__ = ("_deletes", "_gone", "_types", "_vector")

    def __init__(self) -> None:
        self._vector: dict[int, int] = {}
        # Per client the edges of the deleted ranges: [first, end, first, end, …], ascending, no two equal.
        self._deletes: dict[int, list[int]] = {}
        # What may be a parent: the clocks of shared types, ascending, and the ranges that came as deleted structs,
        # which may have been types once.
        self._types: dict[int, array[int]] = {}
        self._gone: dict[int, list[int]] = {}

    def judge(self, inspection: Inspection) -> Verdict:
        """How the inspected update stands to what is known; changes nothing.

        Raises:
            WrongParent: something of it hangs on a known id that is no shared type.
        """
        vector = self._vector
        for client, clock in inspection.parents:
            if clock < vector.get(client, 0) and not self._is_parent(client, clock):
                raise WrongParent
        for client, required in inspection.requires.items():
            if vector.get(client, 0) < required:
                return Verdict.GAP if self._is_new(inspection) else Verdict.NOTHING_NEW
        return Verdict.NEW if self._is_new(inspection) else Verdict.NOTHING_NEW

    def missing(self, inspection: Inspection) -> dict[int, int]:
        """What the update builds on and is not known: per client the clock up to which (excluded) it must be."""
        vector = self._vector
        return {client: clock for client, clock in inspection.requires.items() if vector.get(client, 0) < clock}

    def overlaps(self, inspection: Inspection) -> bool:
        """Whether some of the structs are known already; `rooms.inspection.cut` leaves the rest of the update.

        What is known may have another content, or length, in the update. Documents keep what they had, but merges may
        not, and an engine's documents may break. So what is logged and relayed never overlaps (I9).
        """
        vector = self._vector
        return any(segments[0][0] < vector.get(client, 0) for client, segments in inspection.structs.items())

    def learn(self, inspection: Inspection) -> None:
        """Take in what an update brings; of one with a gap only what joins on to what is known."""
        vector = self._vector
        for client, segments in inspection.structs.items():
            before = known = vector.get(client, 0)
            for first, end in segments:
                if first > known:
                    break
                known = max(known, end)
            if known > before:
                vector[client] = known
                for first, end in inspection.gone.get(client, ()):
                    if end > before and first < known:
                        _add(self._deletes, client, max(first, before), min(end, known))
                        _add(self._gone, client, max(first, before), min(end, known))
                made = [clock for clock in inspection.types.get(client, ()) if before <= clock < known]
                if made:
                    self._types.setdefault(client, array("I")).extend(made)
        for client, ranges in inspection.deletes.items():
            for first, end in ranges:
                _add(self._deletes, client, first, end)

    def learn_all(self, other: Knowledge) -> None:
        """Take in everything that *other* knows."""
        for client, clock in other._vector.items():
            if self._vector.get(client, 0) < clock:
                self._vector[client] = clock
        for mine, theirs in ((self._deletes, other._deletes), (self._gone, other._gone)):
            for client, edges in theirs.items():
                for index in range(0, len(edges), 2):
                    _add(mine, client, edges[index], edges[index + 1])
        for client, clocks in other._types.items():
            self._types[client] = array("I", sorted({*self._types.get(client, ()), *clocks}))

    def copy(self) -> Knowledge:
        """One that may be changed by itself."""
        twin = Knowledge()
        twin._vector = dict(self._vector)
        twin._deletes = {client: list(edges) for client, edges in self._deletes.items()}
        twin._gone = {client: list(edges) for client, edges in self._gone.items()}
        twin._types = {client: array("I", clocks) for client, clocks in self._types.items()}
        return twin

    @property
    def vector(self) -> Mapping[int, int]:
        """Per client the clock up to which (excluded) it is known; not to be changed."""
        return self._vector

    @property
    def deletes(self) -> dict[int, Ranges]:
        """The delete set."""
        return {client: tuple(zip(edges[::2], edges[1::2], strict=True)) for client, edges in self._deletes.items()}

    def state_vector_bytes(self) -> bytes:
        """The state vector as Yjs writes it: what a sender is asked for a difference from."""
        return encode_state_vector(self._vector)

    def covers(self, state_vector: Mapping[int, int]) -> bool:
        """Whether every clock of *state_vector* is known here."""
        vector = self._vector
        return all(vector.get(client, 0) >= clock for client, clock in state_vector.items())

    def encode(self) -> bytes:
        """A compact form, stored beside a keyframe as its summary."""
        out = bytearray([_ENCODING])
        write_varuint(out, len(self._vector))
        for client in sorted(self._vector):
            write_varuint(out, client)
            write_varuint(out, self._vector[client])
        _write_ascending(out, self._deletes)
        _write_ascending(out, self._gone)
        _write_ascending(out, self._types)
        return bytes(out)

    @staticmethod
    def decode(data: bytes) -> Knowledge:
        """The inverse of `encode`.

        Raises:
            MalformedUpdate: not what `encode` writes.
        """
        knowledge = Knowledge()
        version, p = read_varuint(data, 0)
        if version != _ENCODING:
            raise MalformedUpdate("summary of another version")
        count, p = read_varuint(data, p)
        for _ in range(count):
            client, p = read_varuint(data, p)
            knowledge._vector[client], p = read_varuint(data, p)
        knowledge._deletes, p = _read_ascending(data, p)
        knowledge._gone, p = _read_ascending(data, p)
        if any(len(edges) & 1 for edges in (*knowledge._deletes.values(), *knowledge._gone.values())):
            raise MalformedUpdate("summary")
        types, p = _read_ascending(data, p)
        knowledge._types = {client: array("I", clocks) for client, clocks in types.items()}
        if p != len(data):
            raise MalformedUpdate("bytes after the end")
        return knowledge

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Knowledge):
            return NotImplemented
        return (self._vector, self._deletes, self._gone, self._types) == (
            other._vector,
            other._deletes,
            other._gone,
            other._types,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Knowledge({len(self._vector)} clients, {sum(self._vector.values())} clocks)"

    def _is_new(self, inspection: Inspection) -> bool:
        vector = self._vector
        for client, segments in inspection.structs.items():
            if segments[-1][1] > vector.get(client, 0):
                return True
        for client, ranges in inspection.deletes.items():
            edges = self._deletes.get(client)
            if edges is None:
                return True
            for first, end in ranges:
                index = bisect_right(edges, first)
                if not index & 1 or edges[index] < end:
                    return True
        return False

    def _is_parent(self, client: int, clock: int) -> bool:
        clocks = self._types.get(client)
        if clocks is not None:
            index = bisect_left(clocks, clock)
            if index < len(clocks) and clocks[index] == clock:
                return True
        edges = self._gone.get(client)
        return edges is not None and bool(bisect_right(edges, clock) & 1)


def _add(ranges: dict[int, list[int]], client: int, first: int, end: int) -> None:
    """Add a range to edges that stay ascending and apart."""
    edges = ranges.get(client)
    if edges is None:
        ranges[client] = [first, end]
        return
    if first > edges[-1]:
        edges += (first, end)
        return
    low = bisect_left(edges, first)
    high = bisect_right(edges, end)
    # An odd place lies within a range, or at its end: the new one joins it.
    edges[low:high] = ([] if low & 1 else [first]) + ([] if high & 1 else [end])


def _write_ascending(out: bytearray, lists: Mapping[int, Sequence[int]]) -> None:
    write_varuint(out, len(lists))
    for client in sorted(lists):
        numbers = lists[client]
        write_varuint(out, client)
        write_varuint(out, len(numbers))
        last = 0
        for number in numbers:
            write_varuint(out, number - last)
            last = number


def _read_ascending(data: bytes, p: int) -> tuple[dict[int, list[int]], int]:
    lists: dict[int, list[int]] = {}
    count, p = read_varuint(data, p)
    for _ in range(count):
        client, p = read_varuint(data, p)
        length, p = read_varuint(data, p)
        numbers: list[int] = []
        last = 0
        for index in range(length):
            step, p = read_varuint(data, p)
            last += step
            if last > MAX_CLOCK or (index and not step):
                raise MalformedUpdate("summary")
            numbers.append(last)
        lists[client] = numbers
    return lists, p
