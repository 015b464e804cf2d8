"""The vectors in `canvas/vectors`, which the studio's tests run too (docs/protocol.md, C4 to C27)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from pycrdt import Doc, Map, Text

from canvas.document import open_document, read
from canvas.order import key_between
from canvas.scene import resolve
from canvas.tree import effective_tree
from tests.canvas.vectors import content_of, load, scene_of

TREES = load("tree.json")["cases"]
ORDERS = load("order.json")["cases"]
SCENES = load("scene.json")["cases"]


def named(case: dict[str, Any]) -> str:
    return str(case["name"])


def write(content: dict[str, Any], client_id: int = 1) -> Doc[Any]:
    """The document that a case describes."""
    document: Doc[Any] = Doc(client_id=client_id)
    for root in ("meta", "views"):
        target = document.get(root, type=Map)
        for key, value in content.get(root, {}).items():
            target[key] = value
    elements = document.get("el", type=Map)
    for id, element in content.get("el", {}).items():
        if not isinstance(element, dict):
            elements[id] = element
            continue
        elements[id] = Map()
        target = elements[id]
        for key, value in element.items():
            if key == "txt" and isinstance(value, str):
                target[key] = Text(value)
            elif key == "sty" and isinstance(value, dict):
                target[key] = Map(value)
            else:
                target[key] = value
    return document


@pytest.mark.parametrize("case", TREES, ids=named)
def test_the_effective_tree_is_as_written(case: dict[str, Any]) -> None:
    """Rules C4 to C7."""
    assert effective_tree(case["elements"], case["views"]) == case["tree"]


@pytest.mark.parametrize("case", ORDERS, ids=lambda case: f"{case['low']}-{case['high']}")
def test_a_key_is_the_one_that_the_studio_would_make(case: dict[str, Any]) -> None:
    """Rule C27."""
    assert key_between(case["low"], case["high"]) == case["key"]


@pytest.mark.parametrize("case", SCENES, ids=named)
def test_a_scene_is_as_written(case: dict[str, Any]) -> None:
    """Rules C8 to C26."""
    scene = scene_of(case)
    assert json.loads(scene.canonical) == case["scene"]
    assert scene.hash == case["hash"]
    plain = json.dumps(case["scene"], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert hashlib.sha256(plain.encode()).hexdigest() == case["hash"]


@pytest.mark.parametrize("case", SCENES, ids=named)
def test_a_scene_read_from_a_document_is_the_same(case: dict[str, Any]) -> None:
    """Rules C2 and C4: what the document's reader hands on resolves to the vector's hash."""
    content = read(open_document([write(case["content"]).get_update()]))
    assert resolve(content, case["product"], case["view"]).hash == case["hash"]
    assert content.elements.keys() == content_of(case["content"]).elements.keys()
