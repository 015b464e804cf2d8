"""`/metrics`: the live board of a brand (RULES T17 to T20)."""

from __future__ import annotations

from typing import Any, Final

from realtime import frames
from realtime.errors import RequestError
from realtime.namespaces.payloads import Payload
from realtime.namespaces.requests import RequestLimits, RequestNamespace, Session
from realtime.protocols.socketio_wire import LiveServer
from rooms.live_metrics import LIVE, TICKED, Board, LiveMetrics, Ticked

PATH: Final = "/metrics"


def fact(ticked: Ticked) -> dict[str, Any]:
    """A sample as clients get it: live, and among what was recovered."""
    return {
        "event": TICKED,
        "stream": _stream(LIVE),
        "epoch": ticked.epoch,
        "position": ticked.position,
        "sample": ticked.sample,
    }


class _Screen:
    """One client that watches a board; a sample that does not fit its outbox is left out."""

    def __init__(self, session: Session, namespace: bytes, live: LiveMetrics) -> None:
        self._session = session
        self._namespace = namespace
        self._live = live
        self.board: Board | None = None

    def take(self, ticked: Ticked) -> None:
        frame = ticked.frames.get(PATH)
        if frame is None:
            frame = ticked.frames[PATH] = frames.event(self._namespace, TICKED, fact(ticked))
        self._session.outbox.offer(frame)

    def close(self) -> None:
        if self.board is not None:
            self._live.unwatch(self.board, self)


class MetricsNamespace(RequestNamespace):
    """Boards, for whoever may see the brand's dashboards."""

    def __init__(self, live: LiveServer, *, counted: LiveMetrics, limits: RequestLimits) -> None:
        super().__init__(PATH, live, counted, limits)
        self._boards = counted
        self.requests = {"metrics:subscribe": self._subscribe, "metrics:unsubscribe": self._unsubscribe}

    async def _subscribe(self, session: Session, value: object) -> dict[str, Any]:
        payload = Payload(value, "board", "epoch", "position")
        name, since = _board(payload), payload.since()
        screen = _Screen(session, self.name, self._boards)
        # No await from here to the answer, so no sample falls between the history and the first one that follows.
        board = screen.board = self._boards.watch(session.user, screen)
        session.hold(_stream(name), screen.close)
        missed = board.after(since)
        said: dict[str, Any] = {"stream": _stream(name), "epoch": board.epoch, "position": board.position}
        if missed is not None:
            return {**said, "recovered": True, "events": [fact(ticked) for ticked in missed]}
        return {**said, "recovered": False, "state": {"samples": [ticked.sample for ticked in board.samples]}}

    async def _unsubscribe(self, session: Session, value: object) -> dict[str, Any]:
        return {"followed": session.drop(_stream(_board(Payload(value, "board"))))}


def _stream(board: str) -> str:
    return f"metrics:{board}"


def _board(payload: Payload) -> str:
    name = payload.text("board")
    if name != LIVE:
        raise RequestError(f"There is one board, `{LIVE}`.", code="not_found", field="board")
    return name
