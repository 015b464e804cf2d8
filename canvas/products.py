"""The catalogue of products: views, print areas in millimetres, and our own drawings of them.

Source: `products.json` and the drawings in `mocks/`; docs/protocol.md, C9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from canvas.codegen import products as read_products
from canvas.errors import UnknownProduct, UnknownView
from canvas.geometry import um


@dataclass(frozen=True)
class View:
    """One side of a product.

    `area_mm` is x, y, width, height in the drawing; its top left corner is the layers' origin. `under` and `over` are
    SVG drawn below and above the layers, with `{base}` for the product's colour; `over` may be empty.
    """

    id: str
    name: str
    size_mm: tuple[float, float]
    area_mm: tuple[float, float, float, float]
    under: str
    over: str

    @property
    def area_um(self) -> tuple[int, int]:
        """The print area's width and height in micrometres."""
        return um(self.area_mm[2]), um(self.area_mm[3])


@dataclass(frozen=True)
class Product:
    """What can be ordered; `views` in order, the first takes what has lost its place."""

    id: str
    name: str
    color: str
    views: Mapping[str, View]

    def view(self, id: str) -> View:
        """A view by id.

        Raises:
            UnknownView: the product has no such view.
        """
        if id not in self.views:
            raise UnknownView(self.id, id)
        return self.views[id]


def _product(entry: Mapping[str, Any]) -> Product:
    views = {
        view["id"]: View(
            view["id"], view["name"], tuple(view["size"]), tuple(view["area"]), view["under"], view["over"]
        )
        for view in entry["views"]
    }
    return Product(entry["id"], entry["name"], entry["color"], views)


_CATALOGUE: Final = read_products()
PRODUCTS: Final[dict[str, Product]] = {entry["id"]: _product(entry) for entry in _CATALOGUE}


def catalogue() -> list[dict[str, Any]]:
    """Every product as plain JSON, drawings included; not to be changed."""
    return _CATALOGUE


def product(id: str) -> Product:
    """A product by id.

    Raises:
        UnknownProduct: it is not in the catalogue.
    """
    if id not in PRODUCTS:
        raise UnknownProduct(id)
    return PRODUCTS[id]
