"""The plans: a scenario of the load generator with its parameters, the same for every target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """One load: which scenario, with which numbers; `protocols` is empty when all can run it."""

    scenario: str
    options: dict[str, float]
    protocols: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings of our node in this plan."""


_LAG = {"LUNEO_LOOP_WATCH_SECONDS": "0.002"}
"""Where the loop's longest turn is a figure of the table: looks this fine cost 2 percent of a processor."""

PLANS: dict[str, Plan] = {
    "fanout50": Plan("fanout", {"N": 50, "W": 10, "U": 10, "T": 4, "warm": 1.5}),
    "fanout200": Plan("fanout", {"N": 200, "W": 20, "U": 5, "T": 4, "warm": 1.5}),
    "busy200": Plan("fanout", {"N": 200, "W": 200, "U": 5, "T": 4, "warm": 1.5}),
    "awareness50": Plan("awareness", {"N": 50, "R": 10, "T": 4, "warm": 1.5}),
    "awareness100": Plan("awareness", {"N": 100, "R": 10, "T": 4, "warm": 1.5}),
    # Hocuspocus's provider does not announce again what it hears; the other two do.
    "awareness50-echo": Plan("awareness", {"N": 50, "R": 10, "T": 4, "warm": 1.5, "echo": 1}, ("yws", "ysio")),
    "rooms200": Plan("rooms", {"M": 200, "U": 5, "T": 4, "warm": 1.5}),
    "join": Plan("join", {"clients": 50, "layers": 2000, "edits": 20000}, env=_LAG),
    "idle2000": Plan("idle", {"C": 2000, "per": 20, "T": 3}),
    "idle5000": Plan("idle", {"C": 5000, "per": 20, "T": 3}),
    "soak50": Plan("soak-max", {"N": 50, "W": 25, "from": 300, "factor": 1.7, "T": 2}),
}

ALWAYS = tuple(name for name in PLANS if name != "idle5000")
"""What runs when no plan is named."""
