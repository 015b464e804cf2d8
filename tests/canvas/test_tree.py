"""The effective tree as a property: nothing lost, nothing doubled, the same for everybody (C4 to C7)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from canvas.tree import effective_tree
from tests.canvas.contents import ELEMENTS, IDS

VIEWS = ["front", "back"]


def walk(tree: dict[str, list[str]]) -> list[str]:
    """Every element below the views, in the order of painting; a repetition would come twice, a cycle would not end."""
    found: list[str] = []
    waiting = [id for view in reversed(VIEWS) for id in reversed(tree[view])]
    while waiting:
        assert len(found) < 1_000
        id = waiting.pop()
        found.append(id)
        if id not in VIEWS:
            waiting += reversed(tree.get(id, []))
    return found


GROUPS = st.fixed_dictionaries(
    {"t": st.sampled_from(["group", "group", "text"]), "p": st.tuples(IDS, st.just("a0")).map(list)}
)

KNOTS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.fixed_dictionaries({"t": st.just("group"), "p": st.tuples(st.sampled_from("abcdef"), st.just("a0")).map(list)}),
    min_size=4,
)
"""Groups that hang on each other only, so nearly always in cycles."""


@given(KNOTS | st.dictionaries(IDS, GROUPS | ELEMENTS, max_size=9))
def test_every_element_is_in_the_tree_exactly_once(elements: dict[str, dict[str, Any]]) -> None:
    """Rules C5 and C6: moves that made cycles, orphans or parents that are no groups lose no layer and double none."""
    tree = effective_tree(elements, VIEWS)
    assert sorted(walk(tree)) == sorted(elements)


@given(KNOTS | st.dictionaries(IDS, GROUPS, max_size=9), st.randoms(use_true_random=False))
def test_the_order_in_which_elements_are_met_does_not_matter(elements: dict[str, dict[str, Any]], chance: Any) -> None:
    """Rules C6 and C7: two peers hold the same map in different orders."""
    shuffled = list(elements.items())
    chance.shuffle(shuffled)
    assert effective_tree(dict(shuffled), VIEWS) == effective_tree(elements, VIEWS)


def test_a_chain_of_ten_thousand_groups_is_a_tree_too() -> None:
    elements = {f"g{n}": {"t": "group", "p": [f"g{n - 1}" if n else "front", "a0"]} for n in range(10_000)}
    tree = effective_tree(elements, VIEWS)
    assert sum(map(len, tree.values())) == 10_000
