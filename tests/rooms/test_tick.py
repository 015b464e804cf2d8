"""How long a room gathers before it writes again (RULE S10)."""

from __future__ import annotations

from rooms.tick import MAX_TICK_SECONDS, Tick

SHARE = 0.1


def written(tick: Tick) -> float:
    """The window after a write that costs nothing by itself."""
    tick.begin()
    tick.end()
    return tick.pause_seconds()


def test_a_room_that_writes_cheaply_has_no_window() -> None:
    assert written(Tick(SHARE)) == 0.0


def test_what_a_write_brings_about_widens_the_next_window_and_is_forgotten_again() -> None:
    tick = Tick(SHARE)
    tick.spend(0.002)
    widened = written(tick)
    assert 0.015 < widened <= MAX_TICK_SECONDS
    for _ in range(50):
        narrow = written(tick)
    assert narrow == 0.0


def test_no_window_is_wider_than_the_bound() -> None:
    tick = Tick(SHARE)
    tick.spend(1.0)
    assert written(tick) <= MAX_TICK_SECONDS
