"""What a room needs from outside, as Protocols: the bus, and the peers it speaks to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rooms.permissions import Grant
from storage.keys import Epoch, Position


@dataclass(frozen=True, slots=True, eq=False)
class Relayed:
    """What became durable and goes out in one write: consecutive rows of one document's log.

    `first` and `last` are inclusive positions; `updates` are the bytes as they were received. `frames` is where each
    protocol keeps what it encoded, so that a tick is encoded once however many peers there are.
    """

    epoch: Epoch
    first: Position
    last: Position
    updates: tuple[bytes, ...]
    frames: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Announced:
    """One awareness update (y-protocols bytes) for everybody, with the same cache of encodings."""

    data: bytes
    frames: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What one client says to the others in the room, in words of their own that no room reads; with the same cache."""

    data: bytes
    frames: dict[str, bytes] = field(default_factory=dict)


class Peer(Protocol):
    """One live connection to a room, whatever protocol it speaks.

    No method waits and none raises: what cannot be written is queued within a bound, and a peer over its bound is
    resent from the log or cut (RULE O1 to O4).
    """

    id: str
    grant: Grant

    def send_updates(self, relayed: Relayed) -> None:
        """Queue rows of the log, in order; consecutive with what was sent before."""

    def send_presence(self, announced: Announced) -> None:
        """Queue one awareness update; the first thing to be dropped over the bound."""

    def send_said(self, said: Said) -> None:
        """Queue what another client says, if the protocol has words for it; dropped over the bound."""

    def ask(self, question: int, state_vector: bytes) -> None:
        """Ask for all that is missing from *state_vector*; the answer is submitted with the same *question*."""

    def warn(self, code: str, message: str, elements: Sequence[str]) -> None:
        """Say something about what was taken and stays; a protocol without words for it says nothing."""

    def refuse(self, code: str, message: str) -> None:
        """Say that nothing more is taken from this client, for good, and end the connection."""

    def rejoin(self, code: str, message: str) -> None:
        """Close the transport as something passing: the client comes back by itself."""


class Bus(Protocol):
    """Bytes to everyone who listens to a channel, on this node and others; at most once, no order between channels.

    It is a hint (RULE B1): whoever hears position n+2 reads n+1 from the log.
    """

    async def subscribe(self, channel: str, listener: Callable[[bytes], None]) -> None:
        """Call *listener* (quick, never raising) for every message; returns once nothing published later is missed."""

    async def unsubscribe(self, channel: str, listener: Callable[[bytes], None]) -> None:
        """Stop calling *listener*; unknown pairs are ignored."""

    def publish(self, channel: str, payload: bytes) -> None:
        """Queue *payload* for everyone else and for this node's other listeners; never waits, drops over its bound."""

    def on_reconnect(self, listener: Callable[[], None]) -> None:
        """Call *listener* after messages may have been missed; the listener compares heads with the log."""


class WorkerPort(Protocol):
    """Supervised processes that do what must not run on the loop."""

    async def call(
        self, task: str, arguments: Mapping[str, object], buffers: Sequence[bytes] = (), *, deadline_seconds: float = 0
    ) -> tuple[dict[str, object], list[bytes]]:
        """Run *task* of `rooms/tasks.py` in a worker: JSON values and byte buffers in, the same out.

        Raises:
            WorkerTimeout: it was killed at its deadline; nothing else was.
            WorkerDied: the process ended under it (memory limit, crash).
            TaskFailed: the task refused its input, with a code and a sentence.
            WorkersBusy: the queue is full.
        """
