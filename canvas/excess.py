"""What a design has beyond the limits of the schema: it is stored, but the Scene leaves it out.

Source: docs/protocol.md, C8 and C23.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from canvas.model import Content
from canvas.schema import ELEMENT_TYPES, LIMITS
from canvas.tree import effective_tree, place

NAMED_ELEMENTS: Final = 20
"""How many of the elements that are too many are named."""


@dataclass(frozen=True)
class Excess:
    """One limit (a key of `limits` in the schema) that is passed, with the first elements that are left out or cut."""

    limit: str
    message: str
    elements: tuple[str, ...]


def excess(content: Content) -> list[Excess]:
    """The limits that *content* passes: layers of a view, code points of a text."""
    found = []
    if too_many := list(islice(_left_out(content.elements), NAMED_ELEMENTS)):
        found.append(
            Excess(
                "layers",
                f"One side of a design holds at most {LIMITS['layers']:,} layers. What is more is kept, but neither "
                "shown nor printed: delete some.",
                tuple(too_many),
            )
        )
    if too_long := list(islice(_too_long(content.elements), NAMED_ELEMENTS)):
        found.append(
            Excess(
                "textLength",
                f"A text holds at most {LIMITS['textLength']:,} characters. What is more is kept, but neither shown "
                "nor printed: shorten it.",
                tuple(too_long),
            )
        )
    return found


def _left_out(elements: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The elements after the first `limits.layers` of a view, in the order of painting.

    The product's views are not known here: whatever a layer hangs on that is no element counts as one.
    """
    if len(elements) <= LIMITS["layers"]:
        return
    views = sorted({parent for element in elements.values() if (parent := place(element.get("p"))[0]) not in elements})
    if not views:
        return
    tree = effective_tree(elements, views)
    for view in views:
        count = 0
        below = list(reversed(tree[view]))
        while below:
            id = below.pop()
            element = elements[id]
            kind = element.get("t")
            if kind not in ELEMENT_TYPES or element.get("del") is True or element.get("vis") is False:
                continue
            count += 1
            if count > LIMITS["layers"]:
                yield id
            if kind == "group" and id not in views:
                below += reversed(tree.get(id, []))


def _too_long(elements: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for id, element in elements.items():
        text = element.get("txt")
        if not isinstance(text, str) or len(text) <= LIMITS["textLength"] or element.get("del") is True:
            continue
        if len(unicodedata.normalize("NFC", text)) > LIMITS["textLength"]:
            yield id
