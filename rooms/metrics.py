"""Every metric we publish: name, unit, labels. Counted where it happens; read by `GET /metrics` and the dashboards.

Labels are few and bounded, never an id. One instance per node, so that several nodes in one process do not mix.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LAG_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The counters, gauges and histograms of one node, with their registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.connections = Gauge(
            "luneo_connections", "Live connections, by protocol", ["protocol"], registry=self.registry
        )
        self.rooms = Gauge("luneo_rooms", "Open rooms", registry=self.registry)
        self.updates = Counter("luneo_updates", "Updates committed to the log", registry=self.registry)
        self.commits = Counter("luneo_room_commits", "Commits, one per room and tick", registry=self.registry)
        self.keyframes = Counter("luneo_keyframes", "Keyframes written", registry=self.registry)
        self.refused = Counter("luneo_refused", "Updates refused, by code", ["code"], registry=self.registry)
        self.room_failures = Counter("luneo_room_failures", "Rooms that failed and were closed", registry=self.registry)
        self.slow_peers = Counter(
            "luneo_slow_peers", "Peers over their outbox bound, by outcome", ["outcome"], registry=self.registry
        )
        self.ack_seconds = Histogram(
            "luneo_ack_seconds",
            "From reading an update to its durable acknowledgement",
            buckets=LATENCY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.messages = Counter("luneo_chat_messages", "Chat messages stored", registry=self.registry)
        self.renders = Counter("luneo_renders", "Pictures composited", registry=self.registry)
        self.loop_lag_seconds = Histogram(
            "luneo_loop_lag_seconds",
            "How late the event loop came to a timer",
            buckets=LAG_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.loop_lag_max_seconds = Gauge(
            "luneo_loop_lag_max_seconds",
            "The longest of these since this was read last, whoever read it",
            registry=self.registry,
        )
