"""Blend modes in the studio: its canvas shows what the server draws, and the panel sets them like any register."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import aiohttp
from PIL import Image
from pycrdt import Doc, Map

from canvas.schema import BLEND_MODES
from tests.flows.test_two_windows import WIDTH, assert_same_picture, canvas_of, gradient_png, picture_of
from tests.harness.browser import Window, chromium
from tests.harness.node import Node

INKS = ["#c86432", "#2060d0", "#30a060", "#e0c020", "#802080"]


def sample(asset: str) -> bytes:
    """Every mode over a photograph, in groups, and on the ground; so many layers that the canvas keeps bitmaps."""
    document: Doc[Any] = Doc()
    document.get("views", type=Map)["front"] = {"bg": "#f4e4c8"}
    elements = document.get("el", type=Map)

    def add(id: str, kind: str, place: tuple[str, str], box: tuple[float, ...], **more: Any) -> None:
        elements[id] = Map({"t": kind, "p": list(place), "xf": [*box, 0, 0, 0, 0], **more})

    add("photo", "image", ("front", "a0"), (10, 10, 180, 150, 0), img={"a": asset})
    for number, mode in enumerate(BLEND_MODES):
        x, y = 14 + 44 * (number % 4), 14 + 44 * (number // 4)
        fill, opacity = INKS[number % 5], 1 if number % 3 else 0.6
        box = (x, y, 38, 38, 0)
        add(f"m-{mode}", "shape", ("front", f"b{number:02}"), box, geo={"k": "rect"}, fill=fill, bm=mode, op=opacity)
    add("outlined", "shape", ("front", "c0"), (20, 165, 80, 60, 0), geo={"k": "ellipse"}, fill="#4080c0", bm="multiply")
    elements["outlined"]["stroke"] = {"c": "#c02020", "w": 8}
    add("group", "group", ("front", "c1"), (0, 0, 0, 0, 0), bm="hard-light", op=0.8)
    add("one", "shape", ("group", "a0"), (60, 120, 100, 90, 0), geo={"k": "rect"}, fill="#d04060")
    add("two", "shape", ("group", "a1"), (90, 150, 100, 90, 0), geo={"k": "rect"}, fill="#20c0a0", bm="difference")
    add("plain", "group", ("front", "c2"), (0, 0, 0, 0, 0))
    add("three", "shape", ("plain", "a0"), (30, 100, 60, 130, 0), geo={"k": "rect"}, fill="#f0d040", bm="color-burn")
    for number in range(8):
        box = (10 + 22 * number, 240, 18, 18, 0)
        add(f"z{number}", "shape", ("front", f"d{number}"), box, geo={"k": "rect"}, fill=INKS[number % 5])
    return document.get_update()


async def test_every_mode_looks_in_the_studio_as_on_the_server(node: Node) -> None:
    """Rules C16, C28 and C30, and promise 5; of the panel: one change is one step of undo, and a mixture says so."""
    async with aiohttp.ClientSession() as session, chromium() as browser:
        async with session.post(
            f"{node.url}/api/v1/designs", json={"title": "B", "product": "tshirt", "id": "blend"}
        ) as made:
            assert made.status == 201, await made.text()
        async with session.post(f"{node.url}/api/v1/assets", data=gradient_png()) as stored:
            asset = (await stored.json())["sha256"]
        binary = {"Content-Type": "application/octet-stream"}
        url = f"{node.url}/api/v1/designs/blend/update"
        async with session.post(url, data=sample(asset), headers=binary) as taken:
            assert taken.status < 300, await taken.text()

        async def compare(window: Window) -> None:
            async with session.get(f"{node.url}/api/v1/designs/blend/scene?view=front") as answer:
                assert answer.headers["ETag"].strip('"') == await window.scene_hash()
            render = f"{node.url}/api/v1/designs/blend/render?view=front&format=png&width={WIDTH}"
            async with session.get(render) as answer:
                assert answer.status == 200, await answer.text()
                printed = Image.open(io.BytesIO(await answer.read()))
            assert_same_picture(await picture_of(window), printed)

        ada, ben = await asyncio.gather(*(Window.open(browser, f"{node.url}/design/blend") for _ in range(2)))
        await ada.ready()
        await compare(ada)

        # by keyboard, on two layers that differ
        chosen = ada.page.get_by_label("Blend mode")
        await ada.ask("luneo.select(['m-multiply', 'm-hue'])")
        assert await chosen.evaluate("field => field.selectedOptions[0].textContent") == "Mixed"
        await chosen.focus()
        await chosen.select_option(label="Screen")
        await ben.sees(
            "luneo.elements().filter(e => ['m-multiply', 'm-hue'].includes(e.id)).every(e => e.bm === 'screen')"
        )
        await ada.ready()
        await compare(ada)

        # what Ben's canvas keeps as bitmaps, below and above the layers that just changed, blends like the rest
        await ben.painted()
        changing = await canvas_of(ben)
        await asyncio.sleep(0.7)  # after which a layer counts as resting
        await ben.page.set_viewport_size({"width": 1440, "height": 901})
        await ben.page.set_viewport_size({"width": 1440, "height": 900})
        await ben.painted()
        assert_same_picture(changing, await canvas_of(ben))

        await ada.page.keyboard.press("Escape")
        await ada.page.locator("canvas").first.focus()
        await chosen.evaluate("field => field.blur()")
        await ada.page.keyboard.press("Control+z")
        await ben.sees("luneo.elements().find(e => e.id === 'm-hue').bm === 'hue'")
        await ben.sees("luneo.elements().find(e => e.id === 'm-multiply').bm === 'multiply'")
        await ada.ready()
        await compare(ada)
        assert ada.errors == ben.errors == []
