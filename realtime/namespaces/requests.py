"""Requests of `/chat`, `/notifications` and `/metrics`: each is answered, in the order sent, through the outbox.

python-socketio keeps who is connected. Events are taken from it before it calls a handler, for three reasons: a client
could otherwise send the event `connect` by hand; acknowledgements would wait in a queue without a bound; and they could
be overtaken by the facts that follow them, which are written directly.

`LiveServer` hands them to `take`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import socketio
from socketio.exceptions import ConnectionRefusedError as Refused

from realtime import frames
from realtime.errors import RequestError, answer
from realtime.protocols.socketio_wire import LiveServer, SocketConnection, token_of
from rooms.errors import LimitExceeded, RoomError, Unavailable
from rooms.live_metrics import LiveMetrics
from rooms.metrics import Metrics
from rooms.permissions import User
from rooms.rates import Rate, Rates

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds of one connection's requests in one namespace."""

    request_seconds: float = 10.0
    """After this a request is answered as `unavailable`; what it began may still happen."""
    max_waiting_requests: int = 64
    """Requests that wait for those before them; further ones are refused."""
    burst: int = 60
    per_second: float = 20.0
    max_subscriptions: int = 32


class TooManyRequests(RoomError):
    """Requests are sent faster than they are answered; this one was not looked at."""

    code = "too_many_requests"
    retryable = True


Request = Callable[["Session", object], Awaitable[dict[str, Any]]]


class Session:
    """One client in one namespace: its requests, one after another, and what it follows."""

    def __init__(self, namespace: RequestNamespace, connection: SocketConnection, user: User) -> None:
        self.id = f"{connection.id}{namespace.namespace}"
        self.connection = connection
        self.outbox = connection.outbox
        self.user = user
        self.ended = False
        self._namespace = namespace
        self._waiting: deque[tuple[int | None, object]] = deque()
        self._arrived = asyncio.Event()
        self._held: dict[str, Callable[[], None]] = {}
        self._afterwards: list[Callable[[], None]] = []

    def __len__(self) -> int:
        """How many streams it follows."""
        return len(self._held)

    def __contains__(self, name: str) -> bool:
        return name in self._held

    @property
    def metrics(self) -> Metrics:
        return self._namespace.live.metrics

    def take(self, number: int | None, data: object) -> None:
        """Queue one request; over the bound it is refused at once."""
        if len(self._waiting) >= self._namespace.limits.max_waiting_requests:
            self._reply(number, answer(TooManyRequests("Too many requests wait for their answers.")).refusal())
        else:
            self._waiting.append((number, data))
            self._arrived.set()

    async def run(self) -> None:
        """Answer what comes until the end; cancelled when the connection ends, however that happens."""
        try:
            while not self.ended:
                if not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                # Who does not read its answers is not asked what it wants next.
                if self.outbox.congested and not await self.outbox.drained():
                    return
                number, data = self._waiting.popleft()
                self._reply(number, await self._namespace.handle(self, data))
                following, self._afterwards = self._afterwards, []
                for follow in following:
                    follow()
        finally:
            self.end()

    def hold(self, name: str, let_go: Callable[[], None]) -> None:
        """Note what is followed; *let_go* is called once, at `drop` or at the end.

        Raises:
            LimitExceeded, Unavailable: it was let go at once.
        """
        self.drop(name)
        maximum = self._namespace.limits.max_subscriptions
        if self.ended:
            let_go()
            raise Unavailable("The connection has ended.")
        if len(self._held) >= maximum:
            let_go()
            raise LimitExceeded("max_subscriptions", maximum, f"One connection may follow {maximum} streams here.")
        self._held[name] = let_go

    def drop(self, name: str) -> bool:
        """Follow *name* no longer; whether it was followed."""
        let_go = self._held.pop(name, None)
        if let_go is not None:
            let_go()
        return let_go is not None

    def afterwards(self, follow: Callable[[], None]) -> None:
        """Call *follow* once the answer to this request is written, so that facts come after it."""
        self._afterwards.append(follow)

    def end(self) -> None:
        """The namespace or the connection has ended: everything is let go."""
        if not self.ended:
            self.ended = True
            self._arrived.set()
            self._waiting.clear()
            for name in list(self._held):
                self.drop(name)
            self._namespace.forget(self)

    def _reply(self, number: int | None, said: Mapping[str, object]) -> None:
        if number is not None and not self.ended:
            self.outbox.write(frames.acknowledgement(self._namespace.name, number, said))


class RequestNamespace(socketio.AsyncNamespace):  # type: ignore[misc]
    """A namespace whose events are requests; subclasses give `requests`, by name."""

    requests: Mapping[str, Request]

    def __init__(self, path: str, live: LiveServer, counted: LiveMetrics, limits: RequestLimits) -> None:
        super().__init__(path)
        self.name = path.encode()
        self.live = live
        self.limits = limits
        self.sessions: dict[str, Session] = {}
        self._counted = counted
        self._rates = Rates(Rate("requests_per_connection", limits.burst, limits.per_second))

    async def trigger_event(self, event: str, *args: Any) -> Any:
        """python-socketio says who comes and who goes; everything else comes through `take`."""
        if event == "connect":
            return await self._connect(args[0], args[1], args[2] if len(args) > 2 else None)
        if event == "disconnect":
            session = self.sessions.pop(args[0], None)
            if session is not None:
                session.end()
        return None

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object) -> bool:
        """Let in whom the door knows: success, `Unauthorized` for good, or a closed transport (RULES T4, S6)."""
        connection = self.live.connection_of(environ)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                user = await self.live.door.admit(connection.headers, token_of(auth))
        except Exception as error:
            refusal = answer(error)
            if not refusal.retryable and refusal.code != "internal":
                raise Refused("Unauthorized", {"code": refusal.code, "message": refusal.message}) from error
            connection.outbox.close()
            return False
        connection.joined()
        connection.expires_at(user.expires_at)
        session = self.sessions[sid] = Session(self, connection, user)
        self._counted.joined(session.id, connection.id, user)
        connection.background(session.run())
        return True

    def take(self, sid: str | None, number: int | None, data: object) -> None:
        """One event of a client; of one that is not connected it is nothing."""
        session = self.sessions.get(sid) if sid is not None else None
        if session is not None:
            session.take(number, data)

    async def handle(self, session: Session, data: object) -> dict[str, Any]:
        """What one request is answered: never an exception, always in time (RULE T4)."""
        try:
            if not isinstance(data, list) or not data or not isinstance(data[0], str):
                raise RequestError("A request is a name and one JSON object.")
            request = self.requests.get(data[0])
            if request is None:
                known = ", ".join(self.requests)
                raise RequestError(f"There is no such request on {self.namespace}; there are: {known}.", code=UNKNOWN)
            if len(data) > 2:
                raise RequestError("A request is a name and one JSON object.")
            self._rates.take(session.id)
            async with asyncio.timeout(self.limits.request_seconds):
                said = await request(session, data[1] if len(data) == 2 and data[1] is not None else {})
            return {"ok": True, **said}
        except Exception as error:
            return answer(error).refusal()

    def forget(self, session: Session) -> None:
        self._counted.left(session.id)
        for sid, other in list(self.sessions.items()):
            if other is session:
                del self.sessions[sid]


UNKNOWN: Final = "unknown_request"
