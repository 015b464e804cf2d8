"""The live board: what nodes count is added, histograms are merged, and a brand sees its own."""

from __future__ import annotations

import bisect
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rooms import live_metrics
from rooms.live_metrics import Board, combine, quantile
from rooms.metrics import LATENCY_BUCKETS_SECONDS
from rooms.streams import Since
from storage.keys import BrandId

ACME = BrandId("acme")


def buckets(seconds: list[float]) -> list[int]:
    counts = [0] * (len(LATENCY_BUCKETS_SECONDS) + 1)
    for value in seconds:
        counts[bisect.bisect_left(LATENCY_BUCKETS_SECONDS, value)] += 1
    return counts


def sample(node: str, acks: list[float], **brands: dict[str, Any]) -> dict[str, Any]:
    return {
        "node": node,
        "uptime_seconds": 1.0,
        "memory_bytes": 100,
        "lag_seconds": 0.001 * len(node),
        "acks": buckets(acks),
        "brands": brands,
    }


def counted(rooms: list[int] | None, people: list[int] | None, **more: float) -> dict[str, Any]:
    return {
        "connections": 2,
        "rooms": {"number": len(rooms) if rooms is not None else 5000, "hashes": rooms},
        "people": {"number": len(people) if people is not None else 5000, "hashes": people},
        "edits_per_second": 1.5,
        "messages_per_second": 0.5,
        **more,
    }


LATENCIES = st.lists(st.floats(0.0001, 4.9), min_size=1, max_size=200)


@given(one=LATENCIES, two=LATENCIES)
def test_a_percentile_of_two_nodes_is_that_of_all_their_acknowledgements(one: list[float], two: list[float]) -> None:
    """Rule T19: right up to the width of a bucket, which averaged percentiles are not."""
    merged = combine(ACME, [sample("a", one), sample("b", two)], 0.0)["ack"]
    assert merged["count"] == len(one) + len(two)
    values = sorted(one + two)
    for name, part in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        true = values[max(0, -(-int(part * 1000) * len(values) // 1000) - 1)]
        place = bisect.bisect_left(LATENCY_BUCKETS_SECONDS, true)
        low = LATENCY_BUCKETS_SECONDS[place - 1] if place else 0.0
        assert low * 1000 - 0.01 <= merged[name] <= LATENCY_BUCKETS_SECONDS[place] * 1000 + 0.01


def test_an_average_of_percentiles_would_be_another_number() -> None:
    """Rule T19: a hundred quick ones on one node, two slow ones on another."""
    merged = combine(ACME, [sample("a", [0.002] * 100), sample("b", [4.0] * 2)], 0.0)["ack"]
    assert merged["p50_ms"] < 2.5
    assert merged["p99_ms"] > 2500


def test_without_acknowledgements_there_is_no_latency() -> None:
    assert combine(ACME, [sample("a", [])], 0.0)["ack"] == {"count": 0, "p50_ms": None, "p99_ms": None}
    assert quantile(buckets([60.0]), 0.99) == LATENCY_BUCKETS_SECONDS[-1]


def test_who_and_what_is_on_two_nodes_counts_once() -> None:
    """Rule T19: while there are few enough to be named; beyond that they are added."""
    both = combine(ACME, [sample("a", [], acme=counted([1, 2], [7])), sample("b", [], acme=counted([2], [7, 8]))], 0.0)
    assert (both["connections"], both["rooms"], both["people"]) == (4, 2, 2)
    assert (both["edits_per_second"], both["messages_per_second"]) == (3.0, 1.0)
    assert (both["memory_bytes"], both["node_count"], len(both["nodes"])) == (200, 2, 2)
    many = combine(ACME, [sample("a", [], acme=counted([1], None)), sample("b", [], acme=counted([1], [7]))], 0.0)
    assert (many["rooms"], many["people"]) == (1, 5001)


def test_what_another_brand_counts_is_not_on_the_board() -> None:
    """Rule T20."""
    board = combine(ACME, [sample("a", [], umbrella=counted([1], [1]))], 0.0)
    assert (board["connections"], board["rooms"], board["people"]) == (0, 0, 0)
    assert (board["edits_per_second"], board["messages_per_second"]) == (0, 0)


def test_a_board_keeps_so_many_samples_and_knows_what_is_missing() -> None:
    """Rule T18."""
    board = Board(ACME, kept=3)
    for number in range(5):
        board.add({"at": number})
    assert [ticked.sample["at"] for ticked in board.samples] == [2, 3, 4]
    assert [ticked.position for ticked in board.after(Since(board.epoch, 3)) or []] == [4, 5]
    assert board.after(Since(board.epoch, 5)) == []
    for since in (None, Since(board.epoch, 1), Since(board.epoch, 6), Since(board.epoch + 1, 3)):
        assert board.after(since) is None


def test_a_watcher_that_fails_costs_only_itself() -> None:
    board = Board(ACME, kept=3)
    heard: list[int] = []

    class Broken:
        def take(self, ticked: live_metrics.Ticked) -> None:
            raise ValueError("broken")

    class Fine:
        def take(self, ticked: live_metrics.Ticked) -> None:
            heard.append(ticked.position)

    board.watchers |= {Broken(), Fine()}
    board.add({})
    board.add({})
    assert heard == [1, 2]
    assert len(board.watchers) == 1


def test_memory_is_that_of_this_process() -> None:
    assert 10_000_000 < live_metrics.memory_bytes() < 10_000_000_000
