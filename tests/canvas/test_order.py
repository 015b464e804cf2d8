"""Keys of the order (C27)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canvas.order import is_key, jittered_key_between, key_between
from canvas.schema import INDEX


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60), st.integers(0, 2**32))
def test_there_is_always_room_between_two_keys(places: list[tuple[int, bool]], seed: int) -> None:
    chance = random.Random(seed)
    keys: list[str] = []
    for place, with_jitter in places:
        at = min(place, len(keys))
        low, high = keys[at - 1] if at else None, keys[at] if at < len(keys) else None
        key = jittered_key_between(low, high, chance) if with_jitter else key_between(low, high)
        assert is_key(key)
        assert INDEX.fullmatch(key)
        keys.insert(at, key)
    assert keys == sorted(set(keys))


def test_two_people_who_add_at_one_place_make_different_keys() -> None:
    made = {jittered_key_between("a0", "a1", random.Random(seed)) for seed in range(2_000)}
    assert len(made) == 2_000
    assert max(map(len, made)) < 12


@pytest.mark.parametrize(
    ("low", "high"), [("a1", "a0"), ("a0", "a0"), ("a00", None), ("", None), ("b0", None), ("é0", None), (None, "a0 ")]
)
def test_bounds_that_are_no_keys_or_not_in_order_are_refused(low: str | None, high: str | None) -> None:
    with pytest.raises(ValueError, match="key"):
        key_between(low, high)
