"""The Scene as a property, and the documents that try to break it (C1 to C26)."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment

from canvas.document import open_document, read
from canvas.errors import UnknownProduct, UnknownView
from canvas.geometry import ONE, TURN, cosine, sine
from canvas.model import Content
from canvas.scene import resolve
from canvas.schema import LIMITS
from tests.canvas.contents import CONTENTS, ELEMENTS
from tests.canvas.test_vectors import write


def holds_integers_only(value: Any) -> bool:
    if isinstance(value, dict):
        return all(
            isinstance(key, str) and key.isascii() and holds_integers_only(entry) for key, entry in value.items()
        )
    if isinstance(value, list):
        return all(map(holds_integers_only, value))
    return value is None or (isinstance(value, str) and value.isascii()) or type(value) is int


@settings(max_examples=150, deadline=None)
@given(CONTENTS, st.sampled_from([("tshirt", "front"), ("tshirt", "back"), ("poster-a3", "front")]))
def test_no_content_makes_a_scene_fail(content: Content, of: tuple[str, str]) -> None:
    """Rules C2 and C10: whatever stands in a document, its Scene is integers and ASCII, and small ones."""
    scene = resolve(content, *of)
    assert holds_integers_only(scene.data)
    assert scene.canonical.isascii()


@settings(max_examples=50, deadline=None)
@given(CONTENTS, st.randoms(use_true_random=False))
def test_a_scene_does_not_depend_on_the_order_of_entries(content: Content, chance: Any) -> None:
    elements = list(content.elements.items())
    chance.shuffle(elements)
    again = Content(
        dict(content.meta), dict(content.views), {id: dict(sorted(element.items())) for id, element in elements}
    )
    assert resolve(again, "tshirt", "front").hash == resolve(content, "tshirt", "front").hash


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), ELEMENTS), min_size=2, max_size=6),
    st.randoms(use_true_random=False),
)
def test_a_scene_does_not_depend_on_the_order_in_which_peoples_updates_arrive(edits: list[Any], chance: Any) -> None:
    """People who edit apart end with one Scene, whichever way their updates come together."""
    updates: list[bytes] = []
    for number, (id, element) in enumerate(edits):
        stored = {key: value for key, value in element.items() if storable(value)}
        updates.append(write({"el": {id: stored}}, number + 1).get_update())
    first = resolve(read(open_document(updates)), "tshirt", "front").hash
    chance.shuffle(updates)
    assert resolve(read(open_document([*updates, updates[0]])), "tshirt", "front").hash == first


def storable(value: Any) -> bool:
    """Whether pycrdt can write a value; its integers are those of a double."""
    if isinstance(value, dict):
        return all(map(storable, value.values()))
    if isinstance(value, list):
        return all(map(storable, value))
    return not isinstance(value, str) or all(not 0xD800 <= ord(character) < 0xE000 for character in value)


def test_no_sine_lies_near_a_half() -> None:
    """Rule C13: every good `sin` rounds the same, since no angle brings it within 1e-8 of a half."""
    nearest = 1.0
    for angle in range(TURN // 4 + 1):
        value = math.sin(angle * math.pi / 180_000) * ONE
        nearest = min(nearest, abs(value - math.floor(value) - 0.5))
    assert nearest > 1e-8
    assert [sine(0), sine(30_000), sine(90_000), sine(180_000), sine(270_000)] == [0, 32_768, ONE, 0, -ONE]
    assert [cosine(0), cosine(60_000), cosine(90_000), cosine(180_000)] == [ONE, 32_768, 0, -ONE]


def test_shared_types_that_do_not_belong_are_passed_over() -> None:
    """RULING 35: an Array that our schema did not make is not walked through; an XmlText is no text (C2)."""
    document: Doc[Any] = Doc()
    elements = document.get("el", type=Map)
    elements["arr"] = Array([1, 2])
    elements["txt"] = Text("no element")
    elements["xml"] = XmlFragment([XmlElement("p")])
    elements["ok"] = Map({"t": "text"})
    ok = elements["ok"]
    for key in ("p", "xf", "op", "fill", "stroke", "name"):
        ok[key] = Array([1, 2, 3, 4, 5])
    ok["sty"] = Array(["inter"])
    ok["vis"] = Doc()
    ok["bm"] = b"normal"
    document.get("views", type=Map)["front"] = Map({"bg": "#ff0000"})
    document.get("other", type=Array).append(5)
    content = read(open_document([document.get_update()]))
    assert content.elements.keys() == {"ok"}
    assert "sty" not in content.elements["ok"]
    assert not any(isinstance(value, Array | Map | Text) for value in content.elements["ok"].values())
    layer = resolve(content, "tshirt", "front").data["layers"][0]
    assert layer["runs"] == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_finite_number_is_no_number(number: float) -> None:
    """Rule C2: read from a document, as a client may well write it."""

    def elements(value: Any) -> dict[str, Any]:
        return {
            "a": {"t": "shape", "p": ["front", "a0"], "xf": [value, 1, 2, 3, 4], "op": value},
            "b": {
                "t": "shape",
                "p": ["front", "a1"],
                "xf": [0, 0, 9, 9, 0],
                "geo": {"k": "star", "n": value, "q": value},
            },
            "c": {"t": "shape", "p": ["front", "a2"], "stroke": {"c": "#000000", "w": value}},
            "d": {"t": "image", "p": ["front", "a3"], "img": {"crop": [0, value, 0.5, 0.5]}},
            "e": {"t": "text", "p": ["front", "a4"], "txt": "A", "sty": {"size": value, "lead": value, "track": value}},
            "f": {"t": "shape", "p": ["front", "a5"], "xf": [0, 0, 9, 9, 0, 0, 0, value]},
        }

    found = read(open_document([write({"el": elements(number)}).get_update()]))
    malformed = read(open_document([write({"el": elements("no number")}).get_update()]))
    assert resolve(found, "tshirt", "front").hash == resolve(malformed, "tshirt", "front").hash


XML_TEXT = (
    "AQcHACcBAmVsAWEBKAAHAAF0AXcEdGV4dCcABwADdHh0BgQABwIIbm90IHRoaXMoAAcAAXABdQJ3BWZyb250dwJhMCgABwACeGYBdQV6AAAAAAAAAAF9"
    "AnxAYAAAfQR9BSgABwACb3ABfwA="
)
"""Made with yjs: `a` has `t` text, `txt` a Y.XmlText, `p` ["front", "a0"], `xf` [1n, 2, 3.5, 4, 5], `op` undefined."""


def test_an_xml_text_is_no_text_and_a_bigint_is_a_number() -> None:
    """Rule C2."""
    content = read(open_document([base64.b64decode(XML_TEXT)]))
    assert content.elements["a"] == {"t": "text", "p": ["front", "a0"], "xf": [1, 2, 3.5, 4, 5], "op": None} | {
        key: None for key in content.elements["a"] if key not in ("t", "p", "xf", "op")
    }
    assert "txt" not in content.elements["a"]


def test_a_root_of_another_type_does_no_harm() -> None:
    document: Doc[Any] = Doc()
    document.get("el", type=Text).insert(0, "I am text, with an emoji \U0001f600")
    document.get("meta", type=Array).append({"color": "#ff0000"})
    content = read(open_document([document.get_update()]))
    assert content.elements == {}
    assert resolve(content, "mug", "wrap").data["layers"] == []


def test_layers_over_the_limit_are_left_out_from_the_top() -> None:
    """Rule C8."""
    limit = LIMITS["layers"]
    elements = {f"e{n:05}": {"t": "shape", "p": ["front", "a0"]} for n in range(limit + 3)}
    layers = resolve(Content({}, {}, elements), "tshirt", "front").data["layers"]
    assert [layer["id"] for layer in layers] == [f"e{n:05}" for n in range(limit)]


def test_an_unknown_product_or_view_is_refused_with_a_code() -> None:
    with pytest.raises(UnknownProduct) as product:
        resolve(Content(), "hat", "front")
    assert product.value.code == "unknown_product"
    with pytest.raises(UnknownView) as view:
        resolve(Content(), "mug", "front")
    assert view.value.code == "unknown_view"
