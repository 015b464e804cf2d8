"""The tasks of the worker processes, from updates to a picture, and the refusals they end with."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest
from PIL import Image
from pycrdt import Doc, Map, Text

from canvas import tasks
from canvas.errors import CanvasError, RenderTooLarge
from canvas.schema import LIMITS
from tests.canvas.vectors import load


def picture(color: str = "#ff0000") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(out, "PNG")
    return out.getvalue()


def test_a_design_becomes_a_picture() -> None:
    """Upload, keyframe, a row after it, Scene, render: everything as a node's rooms call it."""
    stored, (image,) = tasks.decode_image({}, [picture()])
    assert (stored["media_type"], stored["width"], stored["height"]) == ("image/png", 40, 30)
    assert stored["sha256"] == hashlib.sha256(image).hexdigest()
    document: Doc[Any] = Doc()
    elements = document.get("el", type=Map)
    box = [0, 0, 300, 400, 0]
    elements["pic"] = Map({"t": "image", "p": ["front", "a0"], "xf": box, "img": {"a": stored["sha256"]}})
    keyframe, state = document.get_update(), document.get_state()
    elements["pic"]["op"] = 0.5
    elements["word"] = Map({"t": "text", "p": ["back", "a0"], "txt": Text("Hi 😀")})
    row = document.get_update(state)
    facts, (front, back) = tasks.scene({"product": "tshirt"}, [keyframe, row])
    assert [view["view"] for view in facts["views"]] == ["front", "back"]
    assert facts["images"] == [stored["sha256"]]
    assert facts["missing"] == [0x1F600]
    assert facts["layers"] == 2
    one, (alone,) = tasks.scene({"product": "tshirt", "view": "front"}, [keyframe, row])
    assert alone == front
    assert one["hash"] == facts["views"][0]["hash"] == hashlib.sha256(front).hexdigest()
    answer, (png,) = tasks.render({"format": "png", "width": 30, "images": [stored["sha256"]]}, [front, image])
    assert (answer["media_type"], answer["width"], answer["height"], answer["missing"]) == ("image/png", 30, 40, [])
    drawn = Image.open(io.BytesIO(png)).convert("RGBA")
    assert drawn.getpixel((15, 20)) == (255, 0, 0, 128)
    answer, _ = tasks.render({"format": "jpeg", "dpi": 10}, [back])
    assert (answer["media_type"], answer["width"]) == ("image/jpeg", 118)
    answer, _ = tasks.render({"format": "webp", "width": 30, "part": "view"}, [front])
    assert answer["missing"] == [stored["sha256"]]


SCENE = load("scene.json")["cases"][0]["scene"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"format": "gif", "width": 10}, "invalid_render"),
        ({"width": 10, "part": "moon"}, "invalid_render"),
        ({}, "invalid_render"),
        ({"width": 10, "dpi": 10}, "invalid_render"),
        ({"width": 0}, "invalid_render"),
        ({"width": -5}, "invalid_render"),
        ({"dpi": float("nan")}, "invalid_render"),
        ({"dpi": 1e-9}, "invalid_render"),
        ({"width": 100_000}, "render_too_large"),
        ({"dpi": 1e300}, "render_too_large"),
        ({"width": 10, "images": ["ab" * 32]}, "invalid_render"),
    ],
)
def test_a_render_that_cannot_be_is_refused_with_a_code(arguments: dict[str, Any], code: str) -> None:
    """Rule C28: sizes are refused before a rasteriser sees them."""
    with pytest.raises(CanvasError) as refusal:
        tasks.render(arguments, [json.dumps(SCENE).encode()])
    assert refusal.value.code == code
    assert refusal.value.message.endswith(".")


def test_the_limit_that_a_render_exceeds_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule C28."""
    _, scenes = tasks.scene({"product": "mug", "view": "wrap"}, [])
    tasks.render({"width": 8192, "format": "jpeg"}, scenes)
    with pytest.raises(RenderTooLarge) as width:
        tasks.render({"width": 8193}, scenes)
    assert width.value.limit == "renderWidth"
    monkeypatch.setitem(LIMITS, "renderPixels", 999)
    with pytest.raises(RenderTooLarge) as pixels:
        tasks.render({"width": 50}, scenes)
    assert pixels.value.limit == "renderPixels"


@pytest.mark.parametrize("scene", [b"", b"[]", b"{}", b'{"product":"tshirt","view":"front"}', b"\xff"])
def test_what_is_no_scene_is_refused(scene: bytes) -> None:
    with pytest.raises(CanvasError):
        tasks.render({"width": 10}, [scene])


def test_a_scene_cannot_bring_markup_into_the_rasteriser() -> None:
    layer = {"id": "a", "t": "shape", "m": [65536, 0, 0, 65536, 0, 0], "box": [0, 0, 9000, 9000], "op": 65536}
    layer |= {"bm": "normal", "fill": "#000000ff", "stroke": None, "d": '"/><image href="/etc/hostname"/><path d="'}
    for change in ({}, {"d": "M0 0L9 9Z", "fill": '#000" x="'}):
        with pytest.raises(CanvasError) as refusal:
            tasks.render({"width": 10}, [json.dumps({**SCENE, "layers": [{**layer, **change}]}).encode()])
        assert refusal.value.code == "invalid_render"


def test_a_worker_can_warm_up() -> None:
    tasks.warm_up()
