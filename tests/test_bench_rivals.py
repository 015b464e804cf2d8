"""What the comparison with rival servers makes of its runs: arithmetic that a wrong table would hide."""

from __future__ import annotations

from typing import Any

import pytest

from bench.rivals.plans import PLANS
from bench.rivals.report import BEGINS, COLUMNS, ENDS, GOALS, Goal, cell, cost_us, judge, replaced, report
from bench.rivals.targets import TARGETS

FANOUT_COST = next(goal for goal in GOALS if goal.plan == "fanout200" and goal.column.title == "µs/delivery")


def run(target: str, *, plan: str = "fanout200", round: int = 1, cpu: float = 1.0, **more: Any) -> dict[str, Any]:
    """A run of ten seconds with 1,000 deliveries a second."""
    figures = {"perSecond": 1000, "wall": 10.0, "lost": 0, "p50": 2.0, "p99": 8.0, "fsyncMs": 0.5}
    about = {"commit": "abc", "machine": "a machine", "versions": {"yjs": "1"}}
    return {"plan": plan, "target": target, "round": round, "server": {"cpuSeconds": cpu}, **figures, **about, **more}


def seen(rows: list[dict[str, Any]], goal: Goal) -> tuple[float, ...]:
    return next(verdict.values for verdict in judge(rows) if verdict.goal is goal)


def test_the_cost_of_a_delivery_is_processor_time_over_what_was_delivered_in_time() -> None:
    assert cost_us(run("luneo", cpu=0.5)) == 50.0
    assert cost_us(run("luneo", perSecond=0)) is None


def test_ratios_are_taken_within_a_round_against_the_best_rival_of_it() -> None:
    rows = [
        *(run("luneo", round=1, cpu=1.0), run("hocuspocus", round=1, cpu=2.0), run("y-websocket", round=1, cpu=4.0)),
        *(run("luneo", round=2, cpu=3.0), run("hocuspocus", round=2, cpu=5.0), run("y-websocket", round=2, cpu=4.0)),
    ]
    assert seen(rows, FANOUT_COST) == (0.5, 0.75)


def test_the_tuned_rival_is_held_against_its_own_goals_only() -> None:
    rows = [run("luneo", cpu=1.0), run("hocuspocus", cpu=2.0), run("hocuspocus-flush10", cpu=0.5)]
    assert seen(rows, FANOUT_COST) == (0.5,)
    tuned = next(goal for goal in GOALS if goal.plan == "fanout200" and goal.rivals == ("hocuspocus-flush10",))
    assert seen(rows, tuned) == (2.0,)


def test_a_rival_that_lost_something_is_nobodys_best() -> None:
    rows = [run("luneo", cpu=1.0), run("hocuspocus", cpu=2.0), run("y-websocket", cpu=0.1, lost=7)]
    assert seen(rows, FANOUT_COST) == (0.5,)
    rows = [run("luneo", cpu=1.0), run("hocuspocus", cpu=2.0), run("y-websocket", cpu=0.1, error="gave up")]
    assert seen(rows, FANOUT_COST) == (0.5,)


def test_a_run_of_ours_that_lost_something_meets_no_goal() -> None:
    rows = [run("luneo", cpu=0.01, p50=0.1, p99=0.1, lost=1), run("hocuspocus", cpu=2.0)]
    assert not any(verdict.met for verdict in judge(rows))
    idle = run("luneo", plan="idle2000", connectPerSecond=5000, kbPerConnection=1.0, closed=3)
    rival = run("y-socket.io", plan="idle2000", connectPerSecond=1, kbPerConnection=1.0, closed=0)
    assert not any(verdict.met for verdict in judge([idle, rival]))


def test_one_measured_fsync_is_allowed_where_the_issue_allows_it() -> None:
    goal = next(goal for goal in GOALS if goal.plus_fsync)
    assert seen([run("luneo", p50=2.5), run("hocuspocus", p50=2.0)], goal) == (1.0,)
    assert seen([run("luneo", p50=2.5), run("hocuspocus", p50=1.0)], goal) == (2.5 / 1.5,)


def test_more_is_better_where_the_goal_is_a_rate() -> None:
    goal = next(goal for goal in GOALS if goal.plan == "soak50")
    rows = [
        run(name, plan="soak50", perSecond=rate)
        for name, rate in (("luneo", 900), ("hocuspocus", 200), ("y-websocket", 300))
    ]
    (verdict,) = judge(rows)
    assert verdict.goal is goal
    assert verdict.values == (3.0,)
    assert verdict.rivals == ("y-websocket",)
    assert verdict.met


def test_a_figure_with_a_bound_of_its_own_needs_no_rival() -> None:
    goal = next(goal for goal in GOALS if goal.column.title == "loop lag ms")
    assert seen([run("luneo", plan="join", loopLagMs=9.5)], goal) == (9.5,)


def test_medians_are_printed_with_their_spread_and_gaps_as_a_dash() -> None:
    assert cell([3.0, 1.0, 2.0], 1) == "2.0 (1.0–3.0)"
    assert cell([2.0, 2.0], 0) == "2"
    assert cell([12345.0], 1) == "12,345"
    assert cell([None, 1.0], 0) == "1"
    assert cell([], 0) == "–"


def test_a_failed_run_is_named_and_is_in_no_median() -> None:
    text = report([run("luneo", p50=1.0), run("luneo", round=2, error="gave up after 180 s", p50=99.0)])
    assert "1 of 2: gave up after 180 s" in text
    assert "99.0" not in text


def test_every_goal_names_a_plan_and_rivals_that_there_are() -> None:
    for goal in GOALS:
        assert goal.column in COLUMNS[PLANS[goal.plan].scenario]
        assert all(not TARGETS[rival].ours for rival in goal.rivals)


def test_new_tables_take_the_place_of_the_old_ones_and_of_nothing_else() -> None:
    page = f"# Title\n{BEGINS}\nold\n{ENDS}\nwhere the time goes\n"
    assert replaced(page, "new\n") == f"# Title\n{BEGINS}\nnew\n{ENDS}\nwhere the time goes\n"
    with pytest.raises(ValueError, match="needs the lines"):
        replaced(f"# Title\n{BEGINS}\nold\n", "new")
