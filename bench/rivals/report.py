"""The tables: medians with their spread, and how each target of the issue was met."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.rivals.plans import PLANS
from bench.rivals.targets import TARGETS

BEGINS, ENDS = "<!-- measured -->", "<!-- end of what was measured -->"
"""Between these lines a page holds the tables."""

Row = dict[str, Any]
"""One run as `__main__` writes it: `plan`, `target`, `round`, the generator's figures or an `error`, and `fsyncMs`."""
Read = Callable[[Row], float | None]


@dataclass(frozen=True)
class Column:
    """A figure of a run; `read` returns None where it was not measured."""

    title: str
    read: Read
    digits: int = 0


def _at(*path: str) -> Read:
    def read(row: Row) -> float | None:
        value: Any = row
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return None if value is None else float(value)

    return read


def _per_second(name: str, scale: float = 1.0) -> Read:
    def read(row: Row) -> float | None:
        value, wall = row.get(name), row.get("wall")
        return None if value is None or not wall else value / wall * scale

    return read


def cost_us(row: Row) -> float | None:
    """Processor time of the server and its workers for one delivery, microseconds."""
    cpu, delivered = _at("server", "cpuSeconds")(row), row.get("perSecond")
    return None if cpu is None or not delivered else cpu / (delivered * row["wall"]) * 1e6


COST = Column("µs/delivery", cost_us, 1)
P50 = Column("p50 ms", _at("p50"), 1)
P99 = Column("p99 ms", _at("p99"), 1)
DELIVERED = Column("delivered/s", _at("perSecond"))
SUSTAINED = Column("max delivered/s", _at("perSecond"))
LAG = Column("loop lag ms", _at("loopLagMs"), 1)
ALL_JOINED = Column("all joined ms", _at("allMs"))
CONNECTS = Column("connects/s", _at("connectPerSecond"))
KB = Column("kB/connection", _at("kbPerConnection"), 1)

_LATENCY = (P50, Column("p95 ms", _at("p95"), 1), P99, Column("max ms", _at("max")))
_TRAFFIC = (Column("frames/s", _per_second("frames")), Column("MB/s", _per_second("bytes", 1e-6), 2))
_SERVER = Column("server CPU %", _at("server", "cpu"))
_GENERATOR = (
    Column("generator CPU %", _at("gen", "cpu")),
    Column("generator bound", _at("gen", "bound")),
    Column("steal %", _at("noise", "steal")),
)
_COMMON = (_SERVER, COST, Column("RSS MB", _at("server", "rssMb")), LAG, *_GENERATOR)
_SPREAD = (DELIVERED, Column("lost", _at("lost")), *_LATENCY, *_TRAFFIC, *_COMMON)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "fanout": _SPREAD,
    "rooms": _SPREAD,
    "awareness": (
        Column("covered/s", _at("perSecond")),
        Column("states/s", _at("statesPerSecond")),
        Column("missing", _at("missing")),
        P50,
        P99,
        Column("stale mean ms", _at("staleMean"), 1),
        Column("stale p99 ms", _at("staleP99"), 1),
        Column("echoes/s", _at("echoesPerSecond")),
        *_TRAFFIC,
        *_COMMON,
    ),
    "join": (
        ALL_JOINED,
        P50,
        Column("max ms", _at("max")),
        Column("state kB", lambda row: (row.get("stateBytes") or 0) / 1000),
        Column("upload ms", _at("loadMs")),
        Column("server CPU s", _at("server", "cpuSeconds"), 2),
        Column("peak MB", _at("server", "peakMb")),
        LAG,
        *_GENERATOR,
    ),
    "idle": (
        KB,
        CONNECTS,
        Column("idle CPU %", _at("idleCpu"), 1),
        Column("closed", _at("closed")),
        LAG,
        Column("generator CPU % while connecting", _at("gen", "cpu")),
        Column("steal %", _at("noise", "steal")),
    ),
    "soak-max": (
        SUSTAINED,
        Column("updates/s", _at("rate")),
        P50,
        P99,
        Column("frames/s", _per_second("frames")),
        COST,
        _SERVER,
        LAG,
        Column("generator CPU %", _at("gen", "cpu")),
        Column("generator limited", _at("generatorLimited")),
        Column("steal %", _at("noise", "steal")),
    ),
}


@dataclass(frozen=True)
class Goal:
    """A target of the issue.

    `limit` bounds the ratio of our figure to the best rival's of the same round, or, with no `rivals`, the figure
    itself. `ours` names the protocols of ours it is asked of; `plus_fsync` adds one measured fsync to the rival's.
    """

    plan: str
    column: Column
    limit: float
    rivals: tuple[str, ...] = ("hocuspocus", "y-websocket", "y-socket.io")
    at_least: bool = False
    ours: tuple[str, ...] = ("ysio", "yws", "hocuspocus")
    plus_fsync: bool = False
    strict: bool = False
    """The bound itself is a miss."""

    def meets(self, value: float) -> bool:
        if self.at_least:
            return value >= self.limit
        return value < self.limit if self.strict else value <= self.limit

    @property
    def asked(self) -> str:
        bound = ("≥" if self.at_least else "<" if self.strict else "≤") + f" {self.limit:g}"
        if not self.rivals:
            return bound
        return f"{bound}× {'rival + fsync' if self.plus_fsync else 'rival'}"


_TUNED = ("hocuspocus-flush10",)
_WITH_PROCESSOR = ("fanout50", "fanout200", "busy200", "awareness50", "awareness100", "rooms200")

GOALS: tuple[Goal, ...] = (
    Goal("soak50", SUSTAINED, 3.0, at_least=True),
    Goal("busy200", COST, 0.5),
    Goal("busy200", P99, 1.0),
    Goal("fanout200", COST, 0.65),
    Goal("fanout200", P50, 1.0, plus_fsync=True),
    Goal("fanout200", P99, 1.0),
    Goal("awareness100", COST, 0.3),
    Goal("awareness100", P99, 1.0),
    Goal("awareness50-echo", COST, 0.5),
    Goal("rooms200", COST, 1.0, ("y-websocket",)),
    Goal("join", ALL_JOINED, 0.4),
    Goal("join", LAG, 10.0, ()),
    Goal("idle2000", KB, 16.0, (), ours=("yws", "hocuspocus")),
    Goal("idle2000", KB, 32.0, (), ours=("ysio",)),
    Goal("idle2000", CONNECTS, 1.5, ("y-websocket", "hocuspocus"), at_least=True, ours=("yws", "hocuspocus")),
    Goal("idle2000", CONNECTS, 1.5, ("y-socket.io",), at_least=True, ours=("ysio",)),
    *(Goal(plan, COST, 1.0, _TUNED) for plan in _WITH_PROCESSOR),
    *(Goal(plan, P50, 1.0, _TUNED, strict=True) for plan in _WITH_PROCESSOR),
)
"""Issue 3, "What must be shown", 1."""


@dataclass(frozen=True)
class Verdict:
    """How one of our servers did on one goal: a value for each round, and the rivals that were the best."""

    goal: Goal
    target: str
    values: tuple[float, ...]
    rivals: tuple[str, ...]

    @property
    def met(self) -> bool:
        return self.goal.meets(median(self.values))


def carried(row: Row) -> bool:
    """Whether a run did what the plan asks: nothing lost, nothing missing. What did not is nobody's best."""
    return not (row.get("error") or row.get("lost") or row.get("missing") or row.get("closed"))


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """Each goal for each of our servers that was measured beside a rival. A run of ours that lost something misses."""
    verdicts = []
    for goal in GOALS:
        mine = [row for row in rows if row["plan"] == goal.plan and TARGETS[row["target"]].ours]
        for target in dict.fromkeys(row["target"] for row in mine):
            if TARGETS[target].protocol not in goal.ours:
                continue
            values, best_of = [], []
            for row in (row for row in mine if row["target"] == target):
                worst = -math.inf if goal.at_least else math.inf
                own = goal.column.read(row) if carried(row) else worst
                if own is None:
                    continue
                if not goal.rivals:
                    values.append(own)
                    continue
                best = _best(goal, (other for other in rows if other["round"] == row["round"]))
                if best is not None:
                    allowance = row.get("fsyncMs", 0.0) if goal.plus_fsync else 0.0
                    values.append(own / (best[1] + allowance))
                    best_of.append(best[0])
            if values:
                verdicts.append(Verdict(goal, target, tuple(values), tuple(dict.fromkeys(best_of))))
    return verdicts


def _best(goal: Goal, rows: Iterable[Row]) -> tuple[str, float] | None:
    """The rival with the best figure of one round, among those that carried the load."""
    found = [
        (row["target"], value)
        for row in rows
        if row["plan"] == goal.plan
        and row["target"] in goal.rivals
        and carried(row)
        and (value := goal.column.read(row))
    ]
    return (max if goal.at_least else min)(found, key=lambda pair: pair[1], default=None)


def cell(values: Iterable[float | None], digits: int) -> str:
    """The median, with min and max where they print differently; a dash when there is nothing."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if not known:
        return "–"
    low, middle, high = (_shown(value, digits) for value in (min(known), median(known), max(known)))
    return middle if low == high else f"{middle} ({low}–{high})"


def _shown(value: float, digits: int) -> str:
    if math.isinf(value):
        return "lost"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def _plan_table(plan: str, rows: Sequence[Row]) -> list[str]:
    columns = COLUMNS[PLANS[plan].scenario]
    options = " ".join(f"{name}={value:g}" for name, value in PLANS[plan].options.items())
    lines = []
    for target in dict.fromkeys(row["target"] for row in rows):
        runs = [row for row in rows if row["target"] == target]
        good = [row for row in runs if "error" not in row]
        failed = next((f" of {len(runs)}: {row['error']}" for row in runs if "error" in row), "")
        cells = [cell((column.read(row) for row in good), column.digits) for column in columns]
        lines.append([target, f"{len(good)}{failed}", *cells])
    return [f"### {plan} ({options})", "", *_table(["target", "runs", *(c.title for c in columns)], lines)]


def _verdict_table(verdicts: Sequence[Verdict]) -> list[str]:
    header = ["plan", "figure", "asked", "ours", "seen", "best rival", ""]
    lines = [
        [
            verdict.goal.plan,
            verdict.goal.column.title,
            verdict.goal.asked,
            verdict.target,
            cell(verdict.values, 2) + ("×" if verdict.goal.rivals else ""),
            ", ".join(verdict.rivals) or "–",
            "met" if verdict.met else "**missed**",
        ]
        for verdict in verdicts
    ]
    return ["### Targets", "", *_table(header, lines)]


def replaced(page: str, tables: str) -> str:
    """*page* with *tables* in the place of those that were measured before.

    Raises:
        ValueError: the page has not both marks.
    """
    before, begins, rest = page.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not begins or not ends:
        raise ValueError(f"the page needs the lines {BEGINS} and {ENDS}")
    return f"{before}{BEGINS}\n{tables.strip()}\n{ENDS}{after}"


def report(rows: Sequence[Row]) -> str:
    """Markdown: what was run, how the targets of the issue were met, and a table for each plan."""
    if not rows:
        return "Nothing was measured.\n"
    last = rows[-1]
    found = ", ".join(f"{package} {version}" for package, version in last["versions"].items())
    fsync = cell((row.get("fsyncMs") for row in rows if TARGETS[row["target"]].ours), 2)
    commits = ", ".join(dict.fromkeys(row["commit"] for row in rows))
    lines = [f"Commit {commits}; {last['machine']}; {found}. One fsync: {fsync} ms.", ""]
    if verdicts := judge(rows):
        lines += _verdict_table(verdicts)
    for plan in dict.fromkeys(row["plan"] for row in rows):
        lines += _plan_table(plan, [row for row in rows if row["plan"] == plan])
    return "\n".join(lines)
