"""What an update claims and builds on, read from its bytes without a CRDT engine.

A complete and strict reader of Yjs update format v1. What it accepts, both engines (yjs and yrs) take without an error
or an absurd allocation, given the clocks that it builds on; what honest clients write, it accepts. The two differ in
places (yrs misreads JSON content and XML hooks); such bytes are refused: clients would see different documents.

Source: docs/protocol.md, I1 to I8.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn

import orjson

from rooms.errors import InvalidUpdate

MAX_CLIENT: Final = 2**53 - 1
"""Client ids are JavaScript's safe integers."""
MAX_CLOCK: Final = 2**31 - 1
"""Clocks are 32 bit in yrs, and it compares them as signed numbers."""
MAX_STRUCTS: Final = 1_000_000
MAX_DELETE_RANGES: Final = 1_000_000
MAX_CLIENTS: Final = 100_000
"""Clients of one update, of one state vector, of one delete set."""
MAX_NESTING: Final = 100
"""Levels of a JSON or any value; yrs ends at 127, and a deeper one could end an engine's stack."""

BEYOND_THE_BASIC_PLANE: Final = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")
"""In UTF-8, what is a surrogate pair in UTF-16; other bytes may look like it."""

EMPTY_STATE_VECTOR: Final = b"\x00"
"""Of one who knows nothing."""

Ranges = tuple[tuple[int, int], ...]
"""Clocks as (first, end) pairs, end excluded; sorted, not empty, none touching another."""

_NONE: Final[Mapping[int, Ranges]] = MappingProxyType({})
_NO_CLOCKS: Final[Mapping[int, int]] = MappingProxyType({})
_NO_ROOTS: Final[frozenset[str]] = frozenset()
_NO_TYPES: Final[Mapping[int, tuple[int, ...]]] = MappingProxyType({})
_NO_PARENTS: Final[frozenset[tuple[int, int]]] = frozenset()


class MalformedUpdate(InvalidUpdate):
    """Not an update, or one that no encoder writes; `detail` is a short word for what is wrong."""

    code = "malformed_update"

    def __init__(self, detail: str) -> None:
        super().__init__(f"This is not a well-formed Yjs update ({detail}). Nothing of it was taken.")
        self.detail = detail


class UpdateTooComplex(InvalidUpdate):
    """Over one of the named limits of this module; `limit` is its name."""

    code = "update_too_complex"

    def __init__(self, limit: str, maximum: int) -> None:
        super().__init__(f"The update is over the limit {limit} of {maximum}. Nothing of it was taken.")
        self.limit = limit
        self.maximum = maximum


class UnsupportedContent(InvalidUpdate):
    """Well-formed, but of a kind that the engines read differently; clients would see different documents."""

    code = "unsupported_content"

    def __init__(self, what: str) -> None:
        super().__init__(f"The update holds {what}, which this server does not carry. Nothing of it was taken.")
        self.what = what


class CausalLoop(InvalidUpdate):
    """Parts of the update wait for one another: no engine could ever take it."""

    code = "causal_loop"

    def __init__(self) -> None:
        super().__init__("Parts of the update build on one another in a circle. Nothing of it was taken.")


class WrongParent(InvalidUpdate):
    """Something hangs on an id that is no shared type: yjs drops it, yrs refuses every document that holds it."""

    code = "wrong_parent"

    def __init__(self) -> None:
        super().__init__("The update puts something into what cannot hold anything. Nothing of it was taken.")


class Inspection(NamedTuple):
    """What one update brings and what it builds on."""

    structs: Mapping[int, Ranges]
    """Per client, the clocks that the update brings; holes (skips) make several segments."""
    requires: Mapping[int, int]
    """Per client, the clock up to which (excluded) one must know it to take the whole update; what the update itself
    brings is not counted."""
    deletes: Mapping[int, Ranges]
    """The delete set."""
    gone: Mapping[int, Ranges]
    """Of the structs, those that arrive deleted (GC, deleted content): who has them counts them as deleted."""
    roots: frozenset[str]
    """Names of the roots that structs hang on directly."""
    types: Mapping[int, tuple[int, ...]]
    """Per client, the clocks of shared types that the update brings; ascending."""
    parents: frozenset[tuple[int, int]]
    """Ids that structs hang on directly, other than types which the update brings itself: they must be types."""
    struct_count: int

    @property
    def is_empty(self) -> bool:
        """Brings neither structs nor deletions."""
        return not self.structs and not self.deletes

    @property
    def clients(self) -> frozenset[int]:
        """Every client id seen: writers, what they build on, whose content is deleted."""
        return frozenset(self.structs) | frozenset(self.requires) | frozenset(self.deletes)

    def to_json(self) -> dict[str, object]:
        """A compact JSON form, for an answer of a worker."""
        return {
            "structs": _flat(self.structs),
            "requires": [[client, clock] for client, clock in self.requires.items()],
            "deletes": _flat(self.deletes),
            "gone": _flat(self.gone),
            "roots": sorted(self.roots),
            "types": [[client, *clocks] for client, clocks in self.types.items()],
            "parents": sorted(self.parents),
            "struct_count": self.struct_count,
        }

    @staticmethod
    def from_answer(header: Mapping[str, object], buffers: Sequence[bytes] = ()) -> Inspection:
        """Read the answer of a worker's `inspect` task."""
        value = header["inspection"]
        assert isinstance(value, dict)
        return Inspection.from_json(value)

    @staticmethod
    def from_json(value: Mapping[str, object]) -> Inspection:
        """The inverse of `to_json`."""
        fields: dict[str, Any] = dict(value)
        return Inspection(
            structs=_unflat(fields["structs"]),
            requires=dict(fields["requires"]),
            deletes=_unflat(fields["deletes"]),
            gone=_unflat(fields["gone"]),
            roots=frozenset(fields["roots"]),
            types={row[0]: tuple(row[1:]) for row in fields["types"]},
            parents=frozenset((client, clock) for client, clock in fields["parents"]),
            struct_count=fields["struct_count"],
        )


def _flat(ranges: Mapping[int, Ranges]) -> list[list[int]]:
    return [[client, *(clock for pair in pairs for clock in pair)] for client, pairs in ranges.items()]


def _unflat(value: object) -> dict[int, Ranges]:
    assert isinstance(value, list)
    return {row[0]: tuple(zip(row[1::2], row[2::2], strict=True)) for row in value}


def inspect(update: bytes) -> Inspection:
    """Read the whole of *update* (v1 bytes, any length) and say what it brings and builds on.

    About 10 us for an edit and 1 us per struct; over 32 KB it belongs in a worker (`rooms.tasks.inspect_update`).

    Raises:
        MalformedUpdate: not an update, or one that no encoder writes.
        UpdateTooComplex: over MAX_STRUCTS, MAX_DELETE_RANGES, MAX_CLIENTS or MAX_NESTING.
        UnsupportedContent: content that yjs and yrs read differently.
        CausalLoop: its parts wait for one another.
        WrongParent: something of it hangs on something of it that is no type.

    Source: docs/protocol.md, I1 to I8.
    """
    try:
        return _inspect(update)
    except IndexError:
        raise MalformedUpdate("truncated") from None


def mend_pairs(update: bytes) -> bytes:
    """What *update* (all of a document) says, with U+FFFD twice for each surrogate pair that something in it splits.

    That is: an item whose left or right origin is one half, or a deleted range that begins or ends there. In yjs such a
    pair is two U+FFFD from then on, whoever reads it. The engine keeps it whole on one side of what splits it, and
    reads another text; once it joins such a piece with its neighbour, it has lost count of the client's clocks, and
    what comes later it takes for a gap.

    Source: docs/protocol.md, W7.
    """
    if not BEYOND_THE_BASIC_PLANE.search(update):
        return update
    pairs: set[tuple[int, int]] = set()
    edges: list[tuple[int, int]] = []
    inspection = _inspect(update, pairs, edges)
    edges += [(client, clock) for client, ranges in inspection.deletes.items() for pair in ranges for clock in pair]
    split = pairs.intersection(edges)
    if not split:
        return update
    marks: list[_Mark] = []
    _inspect(update, marks=marks)
    out = bytearray()
    written = 0
    for mark in marks:
        if mark.info & 31 != 4 or not any((mark.client, at) in split for at in range(mark.first, mark.end)):
            continue
        text, _ = _string(update, mark.content, len(update))
        units = bytearray(text.encode("utf-16-le"))
        for at in range(mark.first, mark.end):
            if (mark.client, at) in split:
                second = 2 * (at - mark.first)
                units[second - 2 : second + 2] = b"\xfd\xff\xfd\xff"
        raw = units.decode("utf-16-le").encode()
        out += update[written : mark.content]
        write_varuint(out, len(raw))
        out += raw
        written = mark.after
    return bytes(out + update[written:])


class _Mark(NamedTuple):
    """Where a struct lies in the bytes of its update."""

    client: int
    first: int
    end: int
    info: int
    begin: int
    content: int
    after: int


def cut(update: bytes, vector: Mapping[int, int]) -> bytes:
    """What *update* (one that `inspect` accepts) brings beyond *vector*, with its whole delete set.

    The bytes of what stays are those that came, but for a struct that is known in part. Of a surrogate pair of which
    one half is known the other stays as U+FFFD, as in yjs.

    Source: docs/protocol.md, I9.
    """
    marks: list[_Mark] = []
    _inspect(update, marks=marks)
    kept: dict[int, list[_Mark]] = {}
    for mark in marks:
        if mark.end > vector.get(mark.client, 0) and (mark.info != 10 or mark.client in kept):
            kept.setdefault(mark.client, []).append(mark)
    out = bytearray()
    write_varuint(out, len(kept))
    for client, staying in kept.items():
        known = vector.get(client, 0)
        write_varuint(out, len(staying))
        write_varuint(out, client)
        write_varuint(out, max(known, staying[0].first))
        for mark in staying:
            if mark.first < known:
                _write_rest(out, update, mark, known)
            else:
                out += update[mark.begin : mark.after]
    out += update[marks[-1].after if marks else 1 :]  # without a struct, one byte says so
    return bytes(out)


def _write_rest(out: bytearray, data: bytes, mark: _Mark, known: int) -> None:
    """Write what follows *known* of a struct; it follows what was known of it."""
    kind = mark.info & 31
    offset = known - mark.first
    if kind == 0:
        out.append(0)
        write_varuint(out, mark.end - known)
        return
    out.append(mark.info | 0x80)
    write_varuint(out, mark.client)
    write_varuint(out, known - 1)
    if mark.info & 0x40:
        p = mark.begin + 1
        for _ in range(2 if mark.info & 0x80 else 0):
            _, p = _varuint(data, p)
        out += data[p : mark.content]
    if kind == 1:
        write_varuint(out, mark.end - known)
    elif kind == 4:
        text, _ = _string(data, mark.content, len(data))
        units = text.encode("utf-16-le")[2 * offset :]
        if 0xDC <= units[1] < 0xE0:
            units = b"\xfd\xff" + units[2:]
        raw = units.decode("utf-16-le").encode()
        write_varuint(out, len(raw))
        out += raw
    else:  # any values; nothing else is longer than one clock
        count, p = _varuint(data, mark.content)
        for _ in range(offset):
            p = _any(data, p, len(data), 1)
        write_varuint(out, count - offset)
        out += data[p : mark.after]


def _inspect(
    data: bytes,
    pairs: set[tuple[int, int]] | None = None,
    edges: list[tuple[int, int]] | None = None,
    marks: list[_Mark] | None = None,
) -> Inspection:
    # Given *pairs* and *edges*, it also collects the ids of second halves, and the ids before which something stands;
    # given *marks*, where each struct lies.
    # One long function with the frequent cases inline: it runs for every edit of every room, on the event loop.
    size = len(data)
    sections = data[0]
    p = 1
    if sections > 127:
        sections, p = _varuint(data, 0)
    if sections * 3 > size - p:
        _malformed("declared more clients than bytes")
    if sections > MAX_CLIENTS:
        raise UpdateTooComplex("MAX_CLIENTS", MAX_CLIENTS)
    structs: dict[int, Ranges] = {}
    gone: dict[int, Ranges] = {}
    roots: set[str] = set()
    needs: dict[int, int] = {}  # per other client, the highest clock that something here builds on
    waits: dict[int, list[tuple[int, int, int]]] = {}  # per client: (at clock, other client, its clock), for loops
    types: dict[int, tuple[int, ...]] = {}
    parents: set[tuple[int, int]] = set()
    total = 0
    for _ in range(sections):
        count = data[p]
        p += 1
        if count > 127:
            count, p = _varuint(data, p - 1)
        start = p
        client = data[p]
        p += 1
        if client > 127:
            client, p = _varuint(data, p - 1)
        own = data[start:p]  # most ids in a section are the client's own: compared as bytes
        own_size = p - start
        clock = data[p]
        p += 1
        if clock > 127:
            clock, p = _varuint(data, p - 1)
        if not count:
            _malformed("a client without a struct")  # yrs panics where it has others of that client
        if count * 2 > size - p:
            _malformed("declared more structs than bytes")
        total += count
        if total > MAX_STRUCTS:
            raise UpdateTooComplex("MAX_STRUCTS", MAX_STRUCTS)
        if client in structs:
            _malformed("a client twice")
        segments: list[tuple[int, int]] = []
        dead: list[tuple[int, int]] = []
        mine: list[tuple[int, int, int]] = []
        made: list[int] = []
        first = clock
        for _ in range(count):
            info = data[p]
            begin = content = p
            p += 1
            kind = info & 31
            if info == 10 or info == 0:
                length = data[p]
                p += 1
                if length > 127:
                    length, p = _varuint(data, p - 1)
                if info == 10:
                    if clock > first:
                        segments.append((first, clock))
                    first = clock + length
                else:
                    dead.append((clock, clock + length))
            elif 0 < kind < 10:
                if info & 0xC0:
                    # At most two ids: the left origin, the right origin.
                    ids = 2 if info & 0xC0 == 0xC0 else 1
                    while ids:
                        ids -= 1
                        if data.startswith(own, p):
                            p += own_size
                            other = client
                        else:
                            other = data[p]
                            p += 1
                            if other > 127:
                                other, p = _varuint(data, p - 1)
                        at = data[p]
                        p += 1
                        if at > 127:
                            at, p = _varuint(data, p - 1)
                            if at >= MAX_CLOCK:
                                _malformed("clock")  # yrs would look 2^32 below it
                        if other == client:
                            if at >= clock:
                                raise CausalLoop
                        else:
                            if needs.get(other, -1) < at:
                                needs[other] = at
                            mine.append((clock, other, at))
                        if edges is not None:
                            left = ids or not info & 0x40
                            edges.append((other, at + 1 if left else at))
                else:
                    by_name = data[p]
                    p += 1
                    if by_name == 1:
                        text, p = _string(data, p, size)
                        roots.add(text)
                    elif by_name == 0:
                        other = data[p]
                        p += 1
                        if other > 127:
                            other, p = _varuint(data, p - 1)
                        at = data[p]
                        p += 1
                        if at > 127:
                            at, p = _varuint(data, p - 1)
                            if at >= MAX_CLOCK:
                                _malformed("clock")  # yrs would look 2^32 below it
                        if other == client:
                            if at >= clock:
                                raise CausalLoop
                        else:
                            if needs.get(other, -1) < at:
                                needs[other] = at
                            mine.append((clock, other, at))
                        parents.add((other, at))
                    else:
                        _malformed("parent")
                    if info & 0x20:
                        _, p = _string(data, p, size)
                content = p
                if kind == 4:  # string; its length is in UTF-16 units
                    length = data[p]
                    p += 1
                    if length > 127:
                        length, p = _varuint(data, p - 1)
                    end = p + length
                    if end > size:
                        _malformed("truncated")
                    raw = data[p:end]
                    p = end
                    if not raw.isascii():
                        length = _utf16_length(raw)
                        if pairs is not None:
                            pairs.update((client, clock + at) for at in _second_halves(raw))
                elif kind == 8:  # any values
                    length = data[p]
                    p += 1
                    if length > 127:
                        length, p = _varuint(data, p - 1)
                    if length > size - p:
                        _malformed("declared more values than bytes")
                    for _ in range(length):
                        p = _any(data, p, size, 1)
                elif kind == 7:  # a type; kind and name
                    type_ref = data[p]
                    p += 1
                    if type_ref == 3:
                        _, p = _string(data, p, size)
                    elif type_ref == 5:
                        raise UnsupportedContent("an XML hook")
                    elif type_ref > 6:
                        _malformed("type")
                    made.append(clock)
                    length = 1
                elif kind == 1:  # deleted
                    length = data[p]
                    p += 1
                    if length > 127:
                        length, p = _varuint(data, p - 1)
                    dead.append((clock, clock + length))
                elif kind == 6:  # format: key, JSON
                    _, p = _string(data, p, size)
                    p = _json(data, p, size)
                    length = 1
                elif kind == 5:  # embed: JSON
                    p = _json(data, p, size)
                    length = 1
                elif kind == 3:  # binary
                    length = data[p]
                    p += 1
                    if length > 127:
                        length, p = _varuint(data, p - 1)
                    p += length
                    if p > size:
                        _malformed("truncated")
                    length = 1
                elif kind == 9:  # a subdocument
                    p = _document(data, p, size)
                    length = 1
                else:
                    # yrs reads one string more than declared; no client of the last years writes it.
                    raise UnsupportedContent("JSON content of an old client")
            else:
                _malformed("struct kind")
            if not length:
                _malformed("an empty struct")
            clock += length
            if clock > MAX_CLOCK:
                _malformed("clock")
            if marks is not None:
                marks.append(_Mark(client, clock - length, clock, info, begin, content, p))
        if clock > first:
            segments.append((first, clock))
        if segments:
            structs[client] = tuple(segments)
            if mine:
                waits[client] = mine
        if made:
            types[client] = tuple(made)
        if dead:
            gone[client] = tuple(dead) if len(dead) == 1 else _joined(dead)
    deletes, p = _delete_set(data, p, size)
    if p != size:
        _malformed("bytes after the end")
    if parents:
        _check_parents(parents, structs, types, gone)
    if needs and len(structs) > 1:
        _refuse_loops(structs, waits)
    for client, ranges in deletes.items():
        last = ranges[-1][1] - 1
        if needs.get(client, -1) < last:
            needs[client] = last
    requires = _requires(structs, needs)
    return Inspection(
        structs,
        requires or _NO_CLOCKS,
        deletes,
        gone or _NONE,
        frozenset(roots) if roots else _NO_ROOTS,
        types or _NO_TYPES,
        frozenset(parents) if parents else _NO_PARENTS,
        total,
    )


def _malformed(detail: str) -> NoReturn:
    raise MalformedUpdate(detail)


def _varuint(data: bytes, p: int) -> tuple[int, int]:
    """The number at *p* and the place after it; at most 53 bits, in its shortest form."""
    value = 0
    shift = 0
    while True:
        byte = data[p]
        p += 1
        if byte < 128:
            break
        value |= (byte & 127) << shift
        shift += 7
        if shift > 49:
            _malformed("number")
    value |= byte << shift
    if (not byte and shift) or value > MAX_CLIENT:
        _malformed("number")
    return value, p


def _string(data: bytes, p: int, size: int) -> tuple[str, int]:
    length = data[p]
    p += 1
    if length > 127:
        length, p = _varuint(data, p - 1)
    end = p + length
    if end > size:
        _malformed("truncated")
    try:
        return data[p:end].decode(), end
    except UnicodeDecodeError:
        raise MalformedUpdate("UTF-8") from None


def _utf16_length(raw: bytes) -> int:
    """Length in UTF-16 units; what is beyond the basic plane counts two. A lone half comes as U+FFFD and counts one."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise MalformedUpdate("UTF-8") from None
    if max(raw) < 0xF0:
        return len(text)
    return len(text.encode("utf-16-le")) >> 1


def _second_halves(raw: bytes) -> list[int]:
    halves: list[int] = []
    at = 0
    for character in raw.decode():
        at += 1
        if character > "\uffff":
            halves.append(at)
            at += 1
    return halves


def _any(data: bytes, p: int, size: int, depth: int) -> int:
    """Skip one lib0 `any` value and return the place after it."""
    tag = data[p]
    p += 1
    if tag == 119:
        _, p = _string(data, p, size)
    elif tag == 125:
        p = _varint(data, p)
    elif tag in (120, 121, 126, 127):
        pass
    elif tag == 123:
        p += 8
    elif tag == 122:
        # The engine's merges turn it into a number, and round it.
        raise UnsupportedContent("a big integer")
    elif tag == 124:
        p += 4
    elif tag == 118 or tag == 117:
        if depth > MAX_NESTING:
            raise UpdateTooComplex("MAX_NESTING", MAX_NESTING)
        count = data[p]
        p += 1
        if count > 127:
            count, p = _varuint(data, p - 1)
        if count * (2 if tag == 118 else 1) > size - p:
            _malformed("declared more values than bytes")
        if tag == 118:
            for _ in range(count):
                _, p = _string(data, p, size)
                p = _any(data, p, size, depth + 1)
        else:
            for _ in range(count):
                p = _any(data, p, size, depth + 1)
    elif tag == 116:
        length = data[p]
        p += 1
        if length > 127:
            length, p = _varuint(data, p - 1)
        p += length
    else:
        _malformed("value")
    if p > size:
        _malformed("truncated")
    return p


def _varint(data: bytes, p: int) -> int:
    """Skip a signed number: six bits and a sign in the first byte, then seven; at most 53 bits."""
    byte = data[p]
    p += 1
    if byte < 128:
        return p
    value = byte & 63
    shift = 6
    while True:
        byte = data[p]
        p += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 48:
            _malformed("number")
    if not byte or value > MAX_CLIENT:
        _malformed("number")
    return p


def _json(data: bytes, p: int, size: int) -> int:
    """Skip a string that must be JSON as both engines read it: UTF-8, no lone halves, numbers within a double."""
    length = data[p]
    p += 1
    if length > 127:
        length, p = _varuint(data, p - 1)
    end = p + length
    if end > size:
        _malformed("truncated")
    raw = data[p:end]
    if raw == b"null" or raw == b"true":
        return end
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise MalformedUpdate("JSON") from None
    if isinstance(value, (dict, list, float)):
        _check_json(value, 1)
    return end


def _check_json(value: object, depth: int) -> None:
    if isinstance(value, float):
        # At the edge of a double serde_json says "out of range" where others round down.
        if abs(value) > 1.797e308:
            _malformed("JSON")
        return
    if isinstance(value, (dict, list)):
        if depth > MAX_NESTING:
            raise UpdateTooComplex("MAX_NESTING", MAX_NESTING)
        for child in value.values() if isinstance(value, dict) else value:
            if isinstance(child, (dict, list, float)):
                _check_json(child, depth + 1)


_DOCUMENT_OPTIONS: Final = frozenset({"gc", "autoLoad", "shouldLoad", "encoding"})


def _document(data: bytes, p: int, size: int) -> int:
    """Skip a subdocument: its id, and options of which yrs keeps some only (a merge would lose the others)."""
    _, p = _string(data, p, size)
    if data[p] != 118:
        _malformed("subdocument")
    count, p = _varuint(data, p + 1)
    if count * 2 > size - p:
        _malformed("declared more values than bytes")
    for _ in range(count):
        key, p = _string(data, p, size)
        if key not in _DOCUMENT_OPTIONS:
            raise UnsupportedContent(f"a subdocument with the option {key[:40]!r}")
        if data[p] not in ((125,) if key == "encoding" else (120, 121)):
            _malformed("subdocument")
        p = _any(data, p, size, 1)
    return p


def _delete_set(data: bytes, p: int, size: int) -> tuple[Mapping[int, Ranges], int]:
    sections = data[p]
    p += 1
    if not sections:
        return _NONE, p
    if sections > 127:
        sections, p = _varuint(data, p - 1)
    if sections * 2 > size - p:
        _malformed("declared more clients than bytes")
    if sections > MAX_CLIENTS:
        raise UpdateTooComplex("MAX_CLIENTS", MAX_CLIENTS)
    deletes: dict[int, Ranges] = {}
    seen: set[int] = set()
    total = 0
    for _ in range(sections):
        client = data[p]
        p += 1
        if client > 127:
            client, p = _varuint(data, p - 1)
        count = data[p]
        p += 1
        if count > 127:
            count, p = _varuint(data, p - 1)
        if count * 2 > size - p:
            _malformed("declared more ranges than bytes")
        total += count
        if total > MAX_DELETE_RANGES:
            raise UpdateTooComplex("MAX_DELETE_RANGES", MAX_DELETE_RANGES)
        if client in seen:
            _malformed("a client twice")
        seen.add(client)
        ranges: list[tuple[int, int]] = []
        end = -1
        touching = False
        for _ in range(count):
            first = data[p]
            p += 1
            if first > 127:
                first, p = _varuint(data, p - 1)
            length = data[p]
            p += 1
            if length > 127:
                length, p = _varuint(data, p - 1)
            # yrs looks into sorted ranges with a binary search: unsorted ones it would apply in part.
            if first < end or not length:
                _malformed("delete set")
            touching = touching or first == end
            end = first + length
            ranges.append((first, end))
        if end > MAX_CLOCK:
            _malformed("clock")
        if ranges:
            deletes[client] = _joined(ranges) if touching else tuple(ranges)
    return deletes or _NONE, p


def _joined(ranges: list[tuple[int, int]]) -> Ranges:
    """Sorted ranges with those that touch made one."""
    joined: list[tuple[int, int]] = []
    for first, end in ranges:
        if joined and joined[-1][1] >= first:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return tuple(joined)


def _check_parents(
    parents: set[tuple[int, int]],
    structs: Mapping[int, Ranges],
    types: Mapping[int, tuple[int, ...]],
    gone: Mapping[int, Ranges],
) -> None:
    """Take out of *parents* what the update brings itself; what it brings must be a type, or arrive deleted."""
    for client, clock in tuple(parents):
        if client not in structs or not _brings(structs[client], clock):
            continue
        made = types.get(client, ())
        index = bisect_left(made, clock)
        if (index == len(made) or made[index] != clock) and not _brings(gone.get(client, ()), clock):
            raise WrongParent
        parents.discard((client, clock))


def _requires(structs: Mapping[int, Ranges], needs: Mapping[int, int]) -> dict[int, int]:
    """What must be known: every hole before a segment, and what is built on outside of what is brought."""
    requires: dict[int, int] = {}
    for client, segments in structs.items():
        first, end = segments[-1]
        needed = needs.get(client, -1)
        if needed >= end:
            requires[client] = needed + 1
        elif first:
            requires[client] = first
    for client, needed in needs.items():
        if client not in structs:
            requires[client] = needed + 1
    return requires


def _refuse_loops(structs: Mapping[int, Ranges], waits: Mapping[int, list[tuple[int, int, int]]]) -> None:
    """Raise CausalLoop unless the sections can be taken in some order, each from its first struct to its last.

    Within a section a struct builds on earlier ones only (checked while reading); between sections it may build on
    any clock of another, and two could wait for each other for ever. Linear in the structs, but for a heap.
    """
    progress: dict[int, int] = dict.fromkeys(waits, 0)  # index of the first wait that is not over
    sleepers: dict[int, list[tuple[int, int]]] = {}  # per client that is waited for: (its clock, who waits)
    ready = list(waits)
    while ready:
        client = ready.pop()
        mine = waits[client]
        index = progress[client]
        while index < len(mine):
            _, other, at = mine[index]
            if other in waits and _brings(structs[other], at):
                theirs = progress[other]
                if theirs < len(waits[other]) and waits[other][theirs][0] <= at:
                    heappush(sleepers.setdefault(other, []), (at, client))
                    break
            index += 1
        progress[client] = index
        reached = mine[index][0] if index < len(mine) else MAX_CLOCK + 1
        asleep = sleepers.get(client)
        while asleep and asleep[0][0] < reached:
            ready.append(heappop(asleep)[1])
    if any(index < len(waits[client]) for client, index in progress.items()):
        raise CausalLoop


def _brings(segments: Ranges, clock: int) -> bool:
    index = bisect_right(segments, (clock, MAX_CLOCK + 1)) - 1
    return index >= 0 and clock < segments[index][1]


def decode_state_vector(data: bytes) -> dict[int, int]:
    """Client ids and the clock up to which (excluded) each is known.

    Raises:
        MalformedUpdate: not a state vector.
        UpdateTooComplex: more than MAX_CLIENTS.
    """
    try:
        count, p = _varuint(data, 0)
        if count * 2 > len(data) - p:
            _malformed("declared more clients than bytes")
        if count > MAX_CLIENTS:
            raise UpdateTooComplex("MAX_CLIENTS", MAX_CLIENTS)
        vector: dict[int, int] = {}
        for _ in range(count):
            client, p = _varuint(data, p)
            clock, p = _varuint(data, p)
            if client in vector:
                _malformed("a client twice")
            if clock > MAX_CLOCK:
                _malformed("clock")
            vector[client] = clock
    except IndexError:
        raise MalformedUpdate("truncated") from None
    if p != len(data):
        _malformed("bytes after the end")
    return vector


def encode_state_vector(vector: Mapping[int, int]) -> bytes:
    """State vector bytes, higher client ids first as yjs writes them."""
    out = bytearray()
    write_varuint(out, len(vector))
    for client in sorted(vector, reverse=True):
        write_varuint(out, client)
        write_varuint(out, vector[client])
    return bytes(out)


def read_varuint(data: bytes, p: int) -> tuple[int, int]:
    """The number at *p* and the place after it.

    Raises:
        MalformedUpdate: cut short, over 53 bits, or longer than it need be.
    """
    try:
        return _varuint(data, p)
    except IndexError:
        raise MalformedUpdate("truncated") from None


def write_varuint(out: bytearray, value: int) -> None:
    """Append *value* (not negative) in lib0's variable length."""
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
