"""The effective tree: who hangs on whom, in which order, a pure function of the content.

Concurrent moves can make cycles, equal indices and parents that are gone; nobody writes a repair, everybody
computes the same tree.
Source: docs/protocol.md, C4 to C7; `vectors/tree.json` holds Python and TypeScript to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from canvas.schema import INDEX


def place(value: Any) -> tuple[str, str]:
    """Parent and index of a `p` register; empty where it is malformed (C4)."""
    if not isinstance(value, list) or len(value) < 2 or not isinstance(value[0], str) or not isinstance(value[1], str):
        return "", ""
    return value[0], value[1] if INDEX.fullmatch(value[1]) else ""


def effective_tree(elements: Mapping[str, Mapping[str, Any]], views: Sequence[str]) -> dict[str, list[str]]:
    """Children by parent, lowest first; parents are views (each is there, if empty) and groups.

    Args:
        elements: every element by id, deleted ones too, with at least its `t` and `p`.
        views: the product's views; the first takes the orphans. At least one.
    """
    root = views[0]
    known = set(views)
    index: dict[str, str] = {}
    parent: dict[str, str] = {}
    for id, element in elements.items():
        wanted, index[id] = place(element.get("p"))
        is_group = wanted != id and wanted in elements and elements[wanted].get("t") == "group"
        parent[id] = wanted if wanted in known or is_group else root
    for id in _cycle_breakers(parent, known):
        parent[id] = root
    children: dict[str, list[str]] = {view: [] for view in views}
    for id, above in parent.items():
        children.setdefault(above, []).append(id)
    for siblings in children.values():
        siblings.sort(key=lambda id: (index[id], id))
    return children


def _cycle_breakers(parent: Mapping[str, str], views: set[str]) -> list[str]:
    """The smallest id of every cycle (C6). A node has one parent, so a walk meets a cycle at most once."""
    done: set[str] = set()
    breakers: list[str] = []
    for start in parent:
        walk: list[str] = []
        on_walk: dict[str, int] = {}
        at = start
        # a view's id may also be an element's: as a parent it is always the view
        while at not in done and at not in on_walk:
            on_walk[at] = len(walk)
            walk.append(at)
            if parent[at] in views:
                break
            at = parent[at]
        else:
            if at in on_walk:
                breakers.append(min(walk[on_walk[at] :]))
        done.update(walk)
    return breakers
