"""The loop's own lateness, as `GET /metrics` publishes it."""

from __future__ import annotations

import time

from realtime.loop_watch import COARSE_SECONDS, LoopWatch
from rooms.metrics import Metrics
from tests.harness.processes import until


async def test_a_turn_that_takes_long_is_published_once_even_when_it_comes_out_of_idleness() -> None:
    metrics = Metrics()

    def longest() -> float:
        return metrics.registry.get_sample_value("luneo_loop_lag_max_seconds") or 0.0

    async with LoopWatch(metrics):
        await until(lambda: metrics.registry.get_sample_value("luneo_loop_lag_seconds_count"), "a look")
        longest()
        time.sleep(4 * COARSE_SECONDS)  # noqa: ASYNC251  (it is what is measured)
        assert await until(longest, "the turn that took long") >= 2 * COARSE_SECONDS
        assert longest() < 2 * COARSE_SECONDS


async def test_a_loop_that_is_busy_is_looked_at_finely() -> None:
    metrics = Metrics()

    def looks() -> float:
        return metrics.registry.get_sample_value("luneo_loop_lag_seconds_count") or 0.0

    async with LoopWatch(metrics):

        def work() -> bool:
            until_then = time.perf_counter() + 0.001
            while time.perf_counter() < until_then:
                pass
            return looks() > 200

        began = time.perf_counter()
        await until(work, "200 looks", every=0.001)
        assert time.perf_counter() - began < 200 * COARSE_SECONDS
