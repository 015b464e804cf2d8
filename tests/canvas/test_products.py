"""The catalogue, its drawings, and what the browser gets of it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from canvas import codegen, products
from canvas.compositing import render
from canvas.model import Content
from canvas.scene import resolve
from canvas.schema import ELEMENT_ID, SCHEMA

VIEWS = [(product.id, view.id) for product in products.PRODUCTS.values() for view in product.views.values()]


def test_the_catalogue_has_a_shirt_a_mug_and_a_poster() -> None:
    assert {(product, view) for product, view in VIEWS} == {
        ("tshirt", "front"),
        ("tshirt", "back"),
        ("mug", "wrap"),
        ("poster-a3", "front"),
    }
    assert products.product("poster-a3").view("front").area_um == (297_000, 420_000)


@pytest.mark.parametrize(("product", "view"), VIEWS)
def test_a_view_is_in_order(product: str, view: str) -> None:
    found = products.product(product).view(view)
    x, y, width, height = found.area_mm
    assert ELEMENT_ID.fullmatch(view)
    assert x >= 0
    assert y >= 0
    assert x + width <= found.size_mm[0]
    assert y + height <= found.size_mm[1]
    for drawing in (found.under, found.over):
        assert "href" not in drawing
        assert "<script" not in drawing
        assert not drawing or f'viewBox="0 0 {found.size_mm[0]} {found.size_mm[1]}"' in drawing


def test_the_drawings_ids_are_unique_so_that_they_can_stand_on_one_page() -> None:
    drawings = [
        drawing
        for item in products.PRODUCTS.values()
        for view in item.views.values()
        for drawing in (view.under, view.over)
    ]
    ids = [id for drawing in drawings for id in re.findall(r' id="([^"]+)"', drawing)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("product", "view"), VIEWS)
def test_a_product_is_drawn_in_its_colour(product: str, view: str) -> None:
    """Rule C28: the drawing's middle has the colour that the document names."""
    scene = resolve(Content({"color": "#c02040"}, {}, {}), product, view)
    picture = Image.open(io.BytesIO(render(scene.data, {}, width=120, part="view").data))
    middle = (picture.width // 2, picture.height // 2)
    for channel, expected in zip("RGBA", (0xC0, 0x20, 0x40, 255), strict=True):
        value = picture.getchannel(channel).getpixel(middle)
        assert isinstance(value, int)
        assert abs(value - expected) < (30 if channel != "A" else 1)


def test_the_browser_gets_the_same_names(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "schema.ts"
    codegen.main([str(target)])
    text = target.read_text("utf-8")
    schema = text.split("export const SCHEMA = ", 1)[1].split(" as const;", 1)[0]
    assert json.loads(schema) == SCHEMA
    listed = text.split("export const PRODUCTS: readonly Product[] = ", 1)[1].split(";\n\nexport", 1)[0]
    assert json.loads(listed) == products.catalogue()
