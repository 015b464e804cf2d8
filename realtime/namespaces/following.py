"""Follower: one client's way through one stream, within its outbox; a slow reader is resent from the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from realtime import frames
from realtime.namespaces.requests import Session
from rooms.streams import Happened, LiveStreams, Since, Subscription
from storage.keys import StreamKey
from storage.streams import StreamEvent

Fact = Callable[[StreamKey, StreamEvent], dict[str, Any]]


class Follower:
    """A `rooms.streams.Listener` that writes facts, each encoded once for all who follow (RULE T6)."""

    def __init__(self, session: Session, namespace: bytes, fact: Fact) -> None:
        self._session = session
        self._namespace = namespace
        self._protocol = namespace.decode()
        self._fact = fact
        self._waiting = False
        self.subscription: Subscription | None = None

    def take(self, happened: Happened) -> bool:
        outbox = self._session.outbox
        if outbox.closing:
            return False
        if outbox.congested:
            self._session.metrics.slow_peers.labels("behind").inc()
            if not self._waiting:
                self._waiting = True
                self._session.connection.background(self._go_on())
            return False
        frame = happened.frames.get(self._protocol)
        if frame is None:
            said = self._fact(happened.key, happened.event)
            frame = happened.frames[self._protocol] = frames.event(self._namespace, said["event"], said)
        outbox.write(frame)
        return True

    def lost(self) -> None:
        """Passing: the client comes back and subscribes anew."""
        self._session.outbox.close()

    async def _go_on(self) -> None:
        """Once the client has read, send the log from the last event that was written to it."""
        try:
            read = await self._session.outbox.drained()
        finally:
            self._waiting = False
        if read and self.subscription is not None:
            self._session.metrics.slow_peers.labels("caught_up").inc()
            self.subscription.start()


async def follow(
    streams: LiveStreams, session: Session, namespace: bytes, key: StreamKey, since: Since | None, fact: Fact
) -> tuple[Subscription, dict[str, Any]]:
    """Subscribe *session* to a stream; facts begin once the answer is written.

    Returns the subscription and the beginning of the answer: with `events`, or still without the state.

    Raises:
        LimitExceeded: the connection follows too many streams.
        Unavailable, Overloaded: nothing is followed.
    """
    session.drop(key.name)  # or its facts would come between, and again after the answer
    follower = Follower(session, namespace, fact)
    subscription = follower.subscription = await streams.subscribe(key, follower, since)
    session.hold(key.name, subscription.close)
    session.afterwards(subscription.start)
    said: dict[str, Any] = {
        "stream": key.name,
        "epoch": subscription.epoch,
        "position": subscription.position,
        "recovered": subscription.recovered is not None,
    }
    if subscription.recovered is not None:
        said["events"] = [fact(key, event) for event in subscription.recovered]
    return subscription, said
