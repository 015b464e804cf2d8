"""The Scene: one view of a document, resolved into integers, from which everything is drawn.

Two resolvers that read the same content make the same bytes, and so the same hash, in any language.
Source: docs/protocol.md, C8 to C26; `vectors/scene.json` holds Python and TypeScript to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from canvas import products
from canvas.fonts import FONTS
from canvas.geometry import ONE, fixed, matrix, transform, um
from canvas.model import Content
from canvas.outlines import outline
from canvas.schema import ASSET, BLEND_MODES, DEFAULTS, ELEMENT_TYPES, LIMITS, choice, color, is_number, number
from canvas.text import layout, style
from canvas.tree import effective_tree

VERSION: Final = 1


@dataclass(frozen=True)
class Scene:
    """A resolved view: `data` as C9 describes it."""

    data: dict[str, Any]

    @cached_property
    def canonical(self) -> bytes:
        """The one spelling of the scene: sorted keys, no spaces (C10)."""
        return orjson.dumps(self.data, option=orjson.OPT_SORT_KEYS)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of `canonical`, in hexadecimal."""
        return hashlib.sha256(self.canonical).hexdigest()


def resolve(content: Content, product_id: str, view_id: str) -> Scene:
    """Resolve one view; no content makes it fail.

    Raises:
        UnknownProduct, UnknownView: the catalogue has no such product or view.
    """
    product = products.product(product_id)
    view = product.view(view_id)
    base = color(content.meta.get("color"), product.color)
    register = content.views.get(view_id)
    resolver = _Resolver(
        content.elements, effective_tree(content.elements, list(product.views)), frozenset(product.views)
    )
    layers = resolver.layers(view_id, 1)
    return Scene(
        {
            "v": VERSION,
            "product": product_id,
            "view": view_id,
            "area": list(view.area_um),
            "base": base if base != "none" else color(product.color, "none"),
            "bg": color(register.get("bg") if isinstance(register, dict) else None, "none"),
            "fonts": {font: FONTS[font].prefix for font in resolver.fonts},
            "layers": layers,
        }
    )


class _Resolver:
    """Walks the effective tree of one view, in the order of painting."""

    def __init__(
        self, elements: Mapping[str, Mapping[str, Any]], tree: Mapping[str, list[str]], views: frozenset[str]
    ) -> None:
        self._elements = elements
        self._tree = tree
        self._views = views
        self._left = LIMITS["layers"]
        self.fonts: set[str] = set()

    def layers(self, parent: str, depth: int) -> list[dict[str, Any]]:
        """The layers that hang on a view or a group (C8)."""
        found: list[dict[str, Any]] = []
        if depth > LIMITS["depth"]:
            return found
        for id in self._tree.get(parent, ()):
            element = self._elements[id]
            kind = choice(element.get("t"), ELEMENT_TYPES, "")
            if not kind or element.get("del") is True or element.get("vis") is False:
                continue
            if self._left == 0:
                break
            self._left -= 1
            found.append(self._layer(id, kind, element, depth))
        return found

    def _layer(self, id: str, kind: str, element: Mapping[str, Any], depth: int) -> dict[str, Any]:
        xf = transform(element.get("xf"))
        layer: dict[str, Any] = {
            "id": id,
            "t": kind,
            "m": matrix(xf),
            "box": [0, 0, xf.width, xf.height],
            "op": fixed(number(element.get("op"), DEFAULTS["opacity"], "opacity")),
            "bm": choice(element.get("bm"), BLEND_MODES, DEFAULTS["blend"]),
        }
        match kind:
            case "group":
                layer["layers"] = self.layers(id, depth + 1) if id not in self._views else []
            case "image":
                layer.update(_image(element.get("img")))
            case "shape":
                shape, layer["d"] = outline(element.get("geo"), xf.width, xf.height)
                layer["fill"] = "none" if shape == "line" else color(element.get("fill"), DEFAULTS["shapeFill"])
                layer["stroke"] = _stroke(element.get("stroke"))
            case _:
                text, values = element.get("txt"), element.get("sty")
                set_text = layout(
                    text if isinstance(text, str) else "", style(values if isinstance(values, dict) else {}), xf.width
                )
                self.fonts.update(run["f"] for run in set_text.runs)
                layer["box"], layer["runs"], layer["miss"] = set_text.box, set_text.runs, set_text.missing
                layer["fill"] = color(element.get("fill"), DEFAULTS["textFill"])
                layer["stroke"] = _stroke(element.get("stroke"))
        return layer


def _stroke(register: Any) -> dict[str, Any] | None:
    """A `stroke` register in micrometres; None if nothing would be seen of it (C17)."""
    if not isinstance(register, dict):
        return None
    paint = color(register.get("c"), "none")
    width = um(number(register.get("w"), 0, "strokeWidth"))
    return None if paint == "none" or width == 0 else {"c": paint, "w": width}


def _image(register: Any) -> dict[str, Any]:
    """Asset and crop of an `img` register (C22)."""
    values: dict[str, Any] = register if isinstance(register, dict) else {}
    asset, crop = values.get("a"), values.get("crop")
    corners = [0, 0, ONE, ONE]
    if isinstance(crop, list) and len(crop) >= 4 and all(is_number(part) for part in crop[:4]):
        left, top, right, bottom = (fixed(number(part, 0, "opacity")) for part in crop[:4])
        if left < right and top < bottom:
            corners = [left, top, right, bottom]
    return {"a": asset if isinstance(asset, str) and ASSET.fullmatch(asset) else None, "crop": corners}
