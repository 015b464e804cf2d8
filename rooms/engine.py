"""The CRDT engine, in worker processes only: folding, cutting differences, reading a document as an application would.

Nothing here is called on the event loop: the engine holds the GIL while it works, and some bytes make it read for ever.

Source: docs/protocol.md, W6 to W9; notes on the engine's limits in docs/decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pycrdt

from rooms.errors import InvalidUpdate, RoomError
from rooms.inspection import BEYOND_THE_BASIC_PLANE, cut, decode_state_vector, inspect, mend_pairs
from rooms.knowledge import Knowledge

EMPTY_UPDATE: Final = b"\x00\x00"
MERGE_AT_ONCE: Final = 64
"""The engine sorts all its inputs at each step; merging in groups keeps thousands of rows linear."""
MAX_READ_DEPTH: Final = 200
"""Nested types that a reader follows; deeper ones count as unreadable."""


class IncompleteHistory(RoomError):
    """The pieces build on clocks that none of them brings: never to be folded, since a keyframe would lose them."""

    code = "missing_history"


class EngineRefused(RoomError):
    """The engine does not take bytes that are in the log."""

    code = "engine_refused"


class Unreadable(RoomError):
    """The document nests deeper than any reader follows."""

    code = "unreadable_document"


@dataclass(frozen=True, slots=True)
class Folded:
    """Pieces of a log as one update, and what is known with it."""

    state: bytes
    knowledge: Knowledge
    compact: bool
    """Deleted content was let go by the engine; otherwise the state is the pieces' own bytes, merged and mended."""
    verified: bool
    """A document loaded from the state has every clock of the pieces."""


def merge(pieces: Sequence[bytes]) -> bytes:
    """One update that says what *pieces* (updates of one document, in log order) say; no content is let go.

    Where two pieces bring the same clocks, the earlier counts, as it does for every document that takes them in order.

    Raises:
        EngineRefused: one of them is not an update to the engine.
    """
    return _merge(pieces)[0]


def _merge(pieces: Sequence[bytes]) -> tuple[bytes, Knowledge]:
    knowledge = Knowledge()
    parts: list[bytes] = []
    try:
        for piece in pieces:
            inspection = inspect(piece)
            if inspection.is_empty:
                continue
            if knowledge.overlaps(inspection):
                # The engine's merge would take what it comes to first by clock; a client could rewrite history so.
                piece = cut(piece, knowledge.vector)
            knowledge.learn(inspection)
            parts.append(piece)
        while len(parts) > 1:
            parts = [_merge_few(parts[index : index + MERGE_AT_ONCE]) for index in range(0, len(parts), MERGE_AT_ONCE)]
    except ValueError as error:
        raise EngineRefused(f"The stored updates cannot be merged: {error}") from error
    return (parts[0] if parts else EMPTY_UPDATE), knowledge


def _merge_few(parts: Sequence[bytes]) -> bytes:
    return parts[0] if len(parts) == 1 else pycrdt.merge_updates(*parts)


def readable(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """*pieces* (all of a document, in log order) as the engine reads from them what yjs does.

    The same, unless there are surrogate pairs, which may be split; then one update.

    Raises:
        EngineRefused: one of them is not an update to the engine.

    Source: docs/protocol.md, W7.
    """
    if not any(BEYOND_THE_BASIC_PLANE.search(piece) for piece in pieces):
        return pieces
    return [mend_pairs(merge(pieces))]


def load(state: bytes) -> pycrdt.Doc[Any]:
    """A document holding *state*; see `readable`.

    Raises:
        EngineRefused: the engine does not take it.
    """
    document: pycrdt.Doc[Any] = pycrdt.Doc()
    try:
        document.apply_update(state)
    except (ValueError, RuntimeError) as error:
        raise EngineRefused(f"The stored document cannot be loaded: {error}") from error
    return document


def fold(pieces: Sequence[bytes]) -> Folded:
    """Fold *pieces* (a keyframe's state and the rows after it, in log order) into one state.

    Deleted content is let go where that is safe: where the engine, given all of it, has every clock.

    Raises:
        IncompleteHistory: the pieces have a gap.
        EngineRefused: the engine cannot merge them.

    Source: docs/protocol.md, W7.
    """
    merged, knowledge = _merge(pieces)
    if inspect(merged).requires:
        raise IncompleteHistory("The stored updates build on some that are not stored.")
    merged = mend_pairs(merged)
    told = Knowledge()
    try:
        document = load(merged)
        encoded = document.get_update()
        own = inspect(encoded)
        told.learn(own)
        vectors = decode_state_vector(document.get_state()), dict(told.vector)
        verified = not own.requires and all(vector == dict(knowledge.vector) for vector in vectors)
    except (EngineRefused, InvalidUpdate):
        verified = False
    if not verified:
        return Folded(merged, knowledge, compact=False, verified=False)
    knowledge.learn_all(told)  # deletions that engines make by themselves stand in no row
    if len(encoded) < len(merged):
        return Folded(encoded, knowledge, compact=True, verified=True)
    return Folded(merged, knowledge, compact=False, verified=True)


def difference(pieces: Sequence[bytes], state_vector: bytes) -> bytes:
    """What one that knows *state_vector* lacks of *pieces*, with the whole delete set; all of it for a fresh client.

    Raises:
        InvalidUpdate: the state vector is not one.
        EngineRefused: the engine cannot merge the pieces.
    """
    known = decode_state_vector(state_vector)
    merged = merge(pieces)
    if not any(known.values()):
        return merged
    try:
        return pycrdt.get_update(merged, state_vector)
    except ValueError as error:
        raise EngineRefused(f"The stored document cannot be cut: {error}") from error


def read(document: pycrdt.Doc[Any], roots: Sequence[str]) -> int:
    """Read everything below the map roots named, as an application would; returns how many values there were.

    Some bytes make this hang for ever in C code: the caller has a deadline.

    Raises:
        Unreadable: nested deeper than MAX_READ_DEPTH.
    """
    return sum(_read(document.get(root, type=pycrdt.Map), 0) for root in roots)


def _read(value: object, depth: int) -> int:
    if depth > MAX_READ_DEPTH:
        raise Unreadable(f"The document nests deeper than {MAX_READ_DEPTH} levels.")
    if isinstance(value, pycrdt.Map):
        return 1 + sum(_read(value[key], depth + 1) for key in value.keys())  # noqa: SIM118 - not a dict
    if isinstance(value, pycrdt.Array):
        return 1 + sum(_read(item, depth + 1) for item in value)
    if isinstance(value, (pycrdt.XmlFragment, pycrdt.XmlElement)):
        return 1 + sum(_read(child, depth + 1) for child in value.children)
    if isinstance(value, (pycrdt.Text, pycrdt.XmlText)):
        str(value)
    return 1
