"""What worker processes do for designs: functions from plain arguments and buffers to a plain result and buffers.

A refusal is a `CanvasError` with `code` and `message`; anything else that is raised is a fault of ours or of a
poisoned update, and the caller's to look into. Source: docs/protocol.md, C.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

import orjson

from canvas import images, products
from canvas.compositing import render as render_scene
from canvas.document import open_document, read
from canvas.errors import InvalidRender
from canvas.scene import Scene, resolve

Task = Callable[[dict[str, Any], list[bytes]], tuple[dict[str, Any], list[bytes]]]


def scene(arguments: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """Resolve a document's views.

    Args:
        arguments: `product`; `view`, or absent for all views.
        buffers: a state and the updates after it, causes before effects.

    Returns:
        `hash` (the view's own if one was asked for, else the SHA-256 of all views' hashes, joined), `layers` (how many,
        groups included), `images` (the assets shown, sorted), `missing` (code points without a glyph, sorted), and
        `views`: the same of each view, with its `view`; and the canonical JSON of each view's Scene.
    """
    product = products.product(_text(arguments, "product"))
    wanted = [arguments["view"]] if arguments.get("view") is not None else list(product.views)
    content = read(open_document(buffers))
    scenes = [resolve(content, product.id, view) for view in wanted]
    hashes = [scene.hash for scene in scenes]
    whole = hashes[0] if arguments.get("view") is not None else hashlib.sha256("".join(hashes).encode()).hexdigest()
    summaries = [summary(view, scene) for view, scene in zip(wanted, scenes, strict=True)]
    answer = {
        "hash": whole,
        "layers": sum(one["layers"] for one in summaries),
        "images": sorted({asset for one in summaries for asset in one["images"]}),
        "missing": sorted({code_point for one in summaries for code_point in one["missing"]}),
        "views": summaries,
    }
    return answer, [scene.canonical for scene in scenes]


def summary(view: str, scene: Scene) -> dict[str, Any]:
    """What a caller needs to know of a Scene without reading it."""
    layers, assets, missing = 0, set(), set()
    below = list(scene.data["layers"])
    while below:
        layer = below.pop()
        layers += 1
        below += layer.get("layers", ())
        missing.update(layer.get("miss", ()))
        if layer.get("a") is not None:
            assets.add(layer["a"])
    return {"view": view, "hash": scene.hash, "layers": layers, "images": sorted(assets), "missing": sorted(missing)}


def render(arguments: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """Draw a Scene.

    Args:
        arguments: `format` (png, jpeg, webp), `width` in pixels or `dpi`, `part` (area or view; area if absent),
            `images`: the SHA-256 of the pictures in *buffers*, in their order.
        buffers: the Scene's canonical JSON, then the pictures.

    Returns:
        `media_type`, `width`, `height`, `missing` (assets that were not there); and the picture.
    """
    names = arguments.get("images") or []
    if len(buffers) != 1 + len(names):
        raise InvalidRender("A render needs its scene and one buffer for each of its pictures.")
    try:
        data = orjson.loads(buffers[0])
    except orjson.JSONDecodeError as error:
        raise InvalidRender("This is no scene.") from error
    picture = render_scene(
        data,
        dict(zip(names, buffers[1:], strict=True)),
        format=arguments.get("format", "png"),
        part=arguments.get("part") or "area",
        width=arguments.get("width"),
        dpi=arguments.get("dpi"),
    )
    about = {"media_type": picture.media_type, "width": picture.width, "height": picture.height}
    return {**about, "missing": picture.missing}, [picture.data]


def decode_image(arguments: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """Read an upload and write it anew, as `images.decode`.

    Args:
        arguments: `max_bytes` and `max_pixels`, where a node is to take less or more than the schema's limits.
        buffers: the upload.

    Returns:
        `media_type`, `width`, `height`, `sha256` of the new bytes; and the new bytes.
    """
    stored = images.decode(buffers[0], arguments.get("max_bytes"), arguments.get("max_pixels"))
    sha256 = hashlib.sha256(stored.data).hexdigest()
    about = {"media_type": stored.media_type, "width": stored.width, "height": stored.height, "sha256": sha256}
    return about, [stored.data]


def warm_up() -> None:
    """Load what the first request would wait for: fonts, rasteriser, codecs."""
    from pycrdt import Doc, Map, Text

    from canvas.fonts import FONTS

    document: Doc[Any] = Doc()
    elements = document.get("el", type=Map)
    for font in FONTS:
        elements[font] = Map({"t": "text", "p": ["front", "a0"], "txt": Text("Aa"), "sty": Map({"font": font})})
    _, scenes = scene({"product": "tshirt", "view": "front"}, [document.get_update()])
    render({"format": "webp", "width": 64, "part": "view"}, scenes)


def _text(arguments: dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    return value if isinstance(value, str) else ""


TASKS: Final[dict[str, Task]] = {"scene": scene, "render": render, "decode_image": decode_image}
