"""The namespaces of streams: `/chat`, `/notifications`, `/metrics`."""

from __future__ import annotations

from realtime.namespaces.chat import ChatNamespace
from realtime.namespaces.metrics import MetricsNamespace
from realtime.namespaces.notifications import NotificationsNamespace
from realtime.namespaces.requests import RequestLimits, RequestNamespace
from realtime.protocols.socketio_wire import LiveServer
from rooms.access import Access
from rooms.chat import Chat
from rooms.live_metrics import LiveMetrics
from rooms.notifications import Notifications
from rooms.streams import LiveStreams


def register(
    server: LiveServer,
    *,
    access: Access,
    streams: LiveStreams,
    chat: Chat,
    notifications: Notifications,
    live: LiveMetrics,
    limits: RequestLimits | None = None,
) -> tuple[RequestNamespace, ...]:
    """Put the namespaces of streams on *server*, once, before it takes connections; returns them."""
    bounds = limits or RequestLimits()
    namespaces = (
        ChatNamespace(server, access=access, streams=streams, chat=chat, counted=live, limits=bounds),
        NotificationsNamespace(server, streams=streams, notifications=notifications, counted=live, limits=bounds),
        MetricsNamespace(server, counted=live, limits=bounds),
    )
    for namespace in namespaces:
        server.register_namespace(namespace)
    return namespaces
