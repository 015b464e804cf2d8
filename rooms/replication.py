"""What nodes tell each other about a document over the bus, and what to read from the log after what was heard.

A message is a hint (RULE B1). Its first byte says what it is, the next eight name the node that sent it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from rooms.ports import Relayed
from storage.keys import DocumentKey, Epoch, Position

NODE_ID_BYTES = 8

_ROWS, _PRESENCE, _WHO_IS_THERE, _ALIVE, _DELETED, _SAID = 0, 1, 2, 3, 4, 5
_HEADER = struct.Struct(">B8s")
_RUN = struct.Struct(">IQI")
_LENGTH = struct.Struct(">I")

NODES_CHANNEL = "nodes"
"""Where nodes say that they are alive; a silent one's people are taken out of every room."""


@dataclass(frozen=True, slots=True)
class HeardRows:
    """Rows that another node committed."""

    node: bytes
    relayed: Relayed


@dataclass(frozen=True, slots=True)
class HeardPresence:
    """States of people who are connected to another node, as an awareness update."""

    node: bytes
    frame: bytes


@dataclass(frozen=True, slots=True)
class HeardQuestion:
    """Another node opened the room and wants to know who is here."""

    node: bytes


@dataclass(frozen=True, slots=True)
class HeardAlive:
    """Another node's heartbeat."""

    node: bytes


@dataclass(frozen=True, slots=True)
class HeardDeleted:
    """The design was deleted: who is in its room must leave for good."""

    node: bytes


@dataclass(frozen=True, slots=True)
class HeardSaid:
    """What a client of another node says to everybody in the room."""

    node: bytes
    data: bytes


Heard = HeardRows | HeardPresence | HeardQuestion | HeardAlive | HeardDeleted | HeardSaid


def channel(key: DocumentKey) -> str:
    """The bus channel of a document."""
    return f"d:{key.brand}/{key.id}"


def encode_rows(node: bytes, relayed: Relayed) -> bytes:
    parts = [
        _HEADER.pack(_ROWS, node),
        _RUN.pack(relayed.epoch, relayed.first, len(relayed.updates)),
    ]
    for update in relayed.updates:
        parts.append(_LENGTH.pack(len(update)))
        parts.append(update)
    return b"".join(parts)


def encode_presence(node: bytes, frame: bytes) -> bytes:
    return _HEADER.pack(_PRESENCE, node) + frame


def encode_question(node: bytes) -> bytes:
    return _HEADER.pack(_WHO_IS_THERE, node)


def encode_alive(node: bytes) -> bytes:
    return _HEADER.pack(_ALIVE, node)


def encode_deleted(node: bytes) -> bytes:
    return _HEADER.pack(_DELETED, node)


def encode_said(node: bytes, data: bytes) -> bytes:
    return _HEADER.pack(_SAID, node) + data


def decode(message: bytes) -> Heard | None:
    """Read a message; None for what is not one (a foreign publisher, another version)."""
    try:
        kind, node = _HEADER.unpack_from(message)
        if kind == _ROWS:
            epoch, first, count = _RUN.unpack_from(message, _HEADER.size)
            at = _HEADER.size + _RUN.size
            updates: list[bytes] = []
            for _ in range(count):
                (length,) = _LENGTH.unpack_from(message, at)
                at += _LENGTH.size
                update = message[at : at + length]
                if len(update) != length:
                    return None
                updates.append(update)
                at += length
            if not updates:
                return None
            last = Position(first + len(updates) - 1)
            return HeardRows(node, Relayed(Epoch(epoch), Position(first), last, tuple(updates)))
        if kind == _PRESENCE:
            return HeardPresence(node, message[_HEADER.size :])
        if kind == _WHO_IS_THERE:
            return HeardQuestion(node)
        if kind == _ALIVE:
            return HeardAlive(node)
        if kind == _DELETED:
            return HeardDeleted(node)
        if kind == _SAID:
            return HeardSaid(node, message[_HEADER.size :])
    except struct.error:
        pass
    return None


class LogFollower:
    """Turns what was heard, in whatever order and number, into what is due: every position once, in order.

    Pure: positions in, what to take and whether to read the log out.
    """

    def __init__(self, head: Position) -> None:
        self.head = head

    def due(self, first: Position, updates: Sequence[bytes]) -> tuple[Sequence[bytes], bool]:
        """Return (the updates that come right after the head, whether something before *first* must be read first)."""
        if first > self.head + 1:
            return (), True
        return updates[self.head + 1 - first :], False
