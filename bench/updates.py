"""Prepared Yjs updates: made before the clock starts, the same in every run."""

from __future__ import annotations

import random
from typing import Any

import pycrdt

SEED = 20240
INDEXES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def index(number: int) -> str:
    """A fractional index, ascending with *number* (0 … 238,327)."""
    digits = "".join(INDEXES[number // 62**place % 62] for place in (2, 1, 0))
    return f"a1{digits}V"


class Recorded:
    """A document whose every transaction is kept as an update."""

    def __init__(self, client: int) -> None:
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=client)
        self.updates: list[bytes] = []
        self.el: pycrdt.Map[Any] = self.doc.get("el", type=pycrdt.Map)
        self._subscription = self.doc.observe(lambda event: self.updates.append(event.update))


def marked(client: int, count: int) -> tuple[list[bytes], list[bytes]]:
    """*count* updates of one client, each moving a layer, and for each the marker that is found in its bytes."""
    recorded = Recorded(client)
    markers = [f"m{client}-{number:06d}." for number in range(count)]
    for number, marker in enumerate(markers):
        recorded.el[f"cursor-{client}"] = [float(number), 2.5, 30.25, 40.125, 0, marker]
    return recorded.updates, [marker.encode() for marker in markers]


def design(layers: int, edits: int) -> list[bytes]:
    """A design with a past: *edits* updates, of which the first make *layers* layers and the others move them."""
    chance = random.Random(SEED)
    recorded = Recorded(77)
    for number in range(layers):
        shape = {
            "t": "shape",
            "p": ["front", index(number)],
            "xf": [chance.uniform(0, 300), chance.uniform(0, 400), 20.0, 20.0, 0, 0, 0, 0],
            "fill": f"#{chance.randrange(1 << 24):06x}",
            "geo": {"k": "rect", "r": 2},
        }
        recorded.el[f"layer-{number:05d}"] = pycrdt.Map(shape)
    for number in range(edits - layers):
        layer = recorded.el[f"layer-{chance.randrange(layers):05d}"]
        layer["xf"] = [chance.uniform(0, 300), chance.uniform(0, 400), 20.0, 20.0, number % 360, 0, 0, 0]
    return recorded.updates


def poster(layers: int) -> Recorded:
    """A T-shirt's front with *layers* layers: texts, ellipses, rectangles and stars over one another."""
    chance = random.Random(SEED)
    recorded = Recorded(78)
    for number in range(layers):
        frame = [chance.uniform(0, 240), chance.uniform(0, 340), 60.0, 60.0, chance.uniform(0, 360), 0, 0, 0]
        colour = f"#{chance.randrange(1 << 24):06x}"
        common = {"p": ["front", index(number)], "xf": frame, "fill": colour, "op": chance.choice([1, 0.8, 0.5])}
        if number % 3 == 0:
            layer = pycrdt.Map({"t": "text", **common, "sty": pycrdt.Map({"size": 12, "align": "center"})})
            layer_text = pycrdt.Text(f"Layer number {number}")
            recorded.el[f"layer-{number:03d}"] = layer
            layer["txt"] = layer_text
        else:
            geometry = {"k": ("ellipse", "rect", "star")[number % 3], "r": 4, "n": 5, "q": 0.5}
            recorded.el[f"layer-{number:03d}"] = pycrdt.Map({"t": "shape", **common, "geo": geometry})
    return recorded
