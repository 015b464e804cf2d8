"""What is printed is what was seen: two windows draw, type, drag and undo; both canvases and the server's PNG agree."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

from tests.harness.browser import Window, chromium
from tests.harness.node import Node
from tests.harness.processes import eventually

WIDTH = 900
EDGE_LEVELS = 24
"""Neighbours that differ by more are an edge: there, two rasterisers may cover a pixel differently."""
MAX_LEVELS = 6
"""Elsewhere a pixel may differ by this much of 255. Flat colour must be equal; the slack is for photographs and
gradients, where Chromium resamples bilinearly and the server by area and bicubically."""
MAX_SHARE = 0.001
"""The share of such pixels that may differ by more: corners of antialiased curves thinner than the band."""


def opaque(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Over white, as levels."""
    over = Image.new("RGBA", picture.size, "white")
    over.alpha_composite(picture.convert("RGBA"))
    return np.asarray(over.convert("RGB")).astype(np.int16)


def edges(levels: np.ndarray[Any, np.dtype[np.int16]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Pixels on either side of a step, and their neighbours: the 1-pixel band."""
    found = np.zeros(levels.shape[:2], dtype=bool)
    across = np.abs(np.diff(levels, axis=1)).max(axis=2) > EDGE_LEVELS
    down = np.abs(np.diff(levels, axis=0)).max(axis=2) > EDGE_LEVELS
    found[:, :-1] |= across
    found[:, 1:] |= across
    found[:-1, :] |= down
    found[1:, :] |= down
    wide = found.copy()
    wide[1:] |= found[:-1]
    wide[:-1] |= found[1:]
    wide[:, 1:] |= found[:, :-1]
    wide[:, :-1] |= found[:, 1:]
    return wide


def assert_same_picture(one: Image.Image, other: Image.Image) -> None:
    """Equal outside the band at edges; and a good part of both is neither edge nor empty."""
    assert one.size == other.size
    a, b = opaque(one), opaque(other)
    plain = ~(edges(a) | edges(b))
    drawn = plain & ((a < 250).any(axis=2) | (b < 250).any(axis=2))
    assert drawn.mean() > 0.02, "nothing to compare"
    differs = np.abs(a - b).max(axis=2)
    share = float((differs[plain] > MAX_LEVELS).mean())
    assert share <= MAX_SHARE, f"{share:.4%} of the pixels differ by more than {MAX_LEVELS} levels"


def gradient_png() -> bytes:
    """A picture whose every pixel says where it is."""
    y, x = np.mgrid[0:240, 0:320]
    levels = np.stack([x * 255 // 319, y * 255 // 239, 128 + 0 * x], axis=2).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(levels).save(out, "PNG")
    return out.getvalue()


async def picture_of(window: Window) -> Image.Image:
    address: str = await window.ask("width => window.luneo.picture('front', width)", WIDTH)
    return Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1])))


async def canvas_of(window: Window) -> Image.Image:
    """What stands on the screen's own canvas of layers."""
    address: str = await window.ask("document.querySelector('canvas.content').toDataURL('image/png')")
    return Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1])))


async def test_two_windows_and_the_server_show_the_same_picture(node: Node) -> None:
    """Promises 2 and 5; rule C: the Scene's hash is the same in both browsers and on the server."""
    async with chromium() as browser:
        ada, ben = await asyncio.gather(*(Window.open(browser, f"{node.url}/design/spring") for _ in range(2)))

        # Ada writes; Ben types into the same text while she goes on.
        await ada.page.keyboard.press("t")
        await ada.page.mouse.click(700, 360)
        await ada.page.keyboard.type("Summer")
        await ben.sees("window.luneo.elements().some(element => element.txt === 'Summer')")
        await ben.painted()
        await ben.page.mouse.dblclick(700, 360)
        await ben.page.get_by_role("textbox", name="Text").press("End")
        await asyncio.gather(ada.page.keyboard.type(" of"), ben.page.keyboard.type(" 2026"))
        await ada.page.keyboard.press("Escape")
        await ben.page.keyboard.press("Escape")
        await asyncio.gather(ada.ready(), ben.ready())

        async def have_all() -> bool:  # `ready` says that a window's own edits are stored, not that it has the other's
            texts = await asyncio.gather(text_of(ada), text_of(ben))
            return texts[0] == texts[1] and sorted(texts[0]) == sorted("Summer of 2026")

        await eventually(have_all, "both windows show every letter")

        # Ben draws, Ada drags what he drew, and takes it back; his rectangle stays.
        await ben.page.keyboard.press("r")
        await ben.drag((640, 420), (780, 500))
        await ada.sees("window.luneo.elements().some(element => element.t === 'shape')")
        before = next(element for element in await ada.elements() if element["t"] == "shape")
        await ada.drag((710, 460), (730, 520))
        await ada.ready()
        dragged = next(element for element in await ada.elements() if element["t"] == "shape")
        assert dragged["xf"] != before["xf"]
        await ada.page.keyboard.press("Control+z")
        await ada.ready()
        undone = next(element for element in await ada.elements() if element["t"] == "shape")
        assert undone["xf"] == before["xf"]
        await ada.page.keyboard.press("Control+Shift+z")
        await ada.ready()

        # A picture from a file.
        async with ada.page.expect_file_chooser() as chosen:
            await ada.page.get_by_label("Upload a picture").click()
        await (await chosen.value).set_files({"name": "field.png", "mimeType": "image/png", "buffer": gradient_png()})
        await ben.sees("window.luneo.elements().some(element => element.t === 'image')")
        await asyncio.gather(ada.ready(), ben.ready())
        await ben.sees("window.luneo.elements().length === 3")

        hashes = await asyncio.gather(ada.scene_hash(), ben.scene_hash())
        assert hashes[0] == hashes[1]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{node.url}/api/v1/designs/spring/scene?view=front") as answer:
                assert answer.headers["ETag"].strip('"') == hashes[0]
            url = f"{node.url}/api/v1/designs/spring/render?view=front&format=png&width={WIDTH}"
            async with session.get(url) as answer:
                assert answer.status == 200, await answer.text()
                printed = Image.open(io.BytesIO(await answer.read()))
        pictures = await asyncio.gather(picture_of(ada), picture_of(ben))
        assert_same_picture(pictures[0], printed)
        assert_same_picture(pictures[1], printed)
        for window in (ada, ben):
            await window.page.keyboard.press("Escape")
            await window.page.keyboard.press("Escape")
        await asyncio.sleep(0)
        canvases = await asyncio.gather(canvas_of(ada), canvas_of(ben))
        assert_same_picture(canvases[0], canvases[1])
        assert ada.errors == ben.errors == []


async def text_of(window: Window) -> str:
    found: str = await window.ask(
        "window.luneo.elements().filter(element => element.t === 'text').map(element => element.txt)[0]"
    )
    return found
