"""The loop's own lateness, as `GET /metrics` publishes it."""

from __future__ import annotations

import time

from realtime.loop_watch import LOOK_SECONDS, LoopWatch
from rooms.metrics import Metrics
from tests.harness.processes import until


async def test_a_turn_that_takes_long_is_published_once_even_when_it_comes_out_of_idleness() -> None:
    metrics = Metrics()

    def longest() -> float:
        return metrics.registry.get_sample_value("luneo_loop_lag_max_seconds") or 0.0

    async with LoopWatch(metrics):
        await until(lambda: metrics.registry.get_sample_value("luneo_loop_lag_seconds_count"), "a look")
        longest()
        time.sleep(4 * LOOK_SECONDS)  # noqa: ASYNC251  (it is what is measured)
        assert await until(longest, "the turn that took long") >= 2 * LOOK_SECONDS
        assert longest() < 2 * LOOK_SECONDS


async def test_the_loop_is_looked_at_as_often_as_is_asked_for() -> None:
    metrics = Metrics()

    def looks() -> bool:
        return (metrics.registry.get_sample_value("luneo_loop_lag_seconds_count") or 0.0) > 200

    async with LoopWatch(metrics, 0.002):
        began = time.perf_counter()
        await until(looks, "200 looks")
        assert time.perf_counter() - began < 200 * LOOK_SECONDS
