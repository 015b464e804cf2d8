"""Blend modes beside an oracle of their own: W3C Compositing and Blending Level 1 in double precision, pixel by pixel.

The oracle reads the document, not the Scene, and shares no code with `canvas` (RULING 26).
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from canvas import compositing
from canvas.compositing import render
from canvas.model import Content
from canvas.scene import resolve

Color = tuple[float, float, float]
Pixel = tuple[float, float, float, float]
"""Premultiplied red, green, blue, and alpha, 0 to 1."""
NOTHING: Pixel = (0.0, 0.0, 0.0, 0.0)
JUMP = 1e-9
"""Doubles that are this near to a value at which a formula jumps are that value."""
ASSET = "cd" * 32


# ---- The specification, section by section


def dodge(cb: float, cs: float) -> float:
    if cb < JUMP:
        return 0
    return 1 if cs > 1 - JUMP else min(1, cb / (1 - cs))


def burn(cb: float, cs: float) -> float:
    if cb > 1 - JUMP:
        return 1
    return 0 if cs < JUMP else 1 - min(1, (1 - cb) / cs)


def hard_light(cb: float, cs: float) -> float:
    return cb * 2 * cs if cs <= 0.5 else cb + (2 * cs - 1) - cb * (2 * cs - 1)


def soft_light(cb: float, cs: float) -> float:
    if cs <= 0.5:
        return cb - (1 - 2 * cs) * cb * (1 - cb)
    d = ((16 * cb - 12) * cb + 4) * cb if cb <= 0.25 else math.sqrt(cb)
    return cb + (2 * cs - 1) * (d - cb)


SEPARABLE: dict[str, Callable[[float, float], float]] = {  # 10.1
    "normal": lambda cb, cs: cs,
    "multiply": lambda cb, cs: cb * cs,
    "screen": lambda cb, cs: cb + cs - cb * cs,
    "overlay": lambda cb, cs: hard_light(cs, cb),
    "darken": min,
    "lighten": max,
    "color-dodge": dodge,
    "color-burn": burn,
    "hard-light": hard_light,
    "soft-light": soft_light,
    "difference": lambda cb, cs: abs(cb - cs),
    "exclusion": lambda cb, cs: cb + cs - 2 * cb * cs,
}


def lum(c: Color) -> float:
    return 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]


def sat(c: Color) -> float:
    return max(c) - min(c)


def clip_color(c: Color) -> Color:
    light, least, most = lum(c), min(c), max(c)
    if least < -JUMP:
        c = tuple(light + (part - light) * light / (light - least) for part in c)  # type: ignore[assignment]
    if most > 1 + JUMP:
        c = tuple(light + (part - light) * (1 - light) / (most - light) for part in c)  # type: ignore[assignment]
    return c


def set_lum(c: Color, light: float) -> Color:
    d = light - lum(c)
    return clip_color((c[0] + d, c[1] + d, c[2] + d))


def set_sat(c: Color, saturation: float) -> Color:
    low, middle, high = sorted(range(3), key=lambda channel: c[channel])
    out = [0.0, 0.0, 0.0]
    if c[high] > c[low] + JUMP:
        out[middle] = (c[middle] - c[low]) * saturation / (c[high] - c[low])
        out[high] = saturation
    return out[0], out[1], out[2]


NON_SEPARABLE: dict[str, Callable[[Color, Color], Color]] = {  # 10.2
    "hue": lambda cb, cs: set_lum(set_sat(cs, sat(cb)), lum(cb)),
    "saturation": lambda cb, cs: set_lum(set_sat(cb, sat(cs)), lum(cb)),
    "color": lambda cb, cs: set_lum(cs, lum(cb)),
    "luminosity": lambda cb, cs: set_lum(cb, lum(cs)),
}

MODES = [*SEPARABLE, *NON_SEPARABLE]


def straight(pixel: Pixel) -> Color:
    red, green, blue, alpha = pixel
    return (red / alpha, green / alpha, blue / alpha) if alpha > 0 else (0, 0, 0)


def composite(mode: str, below: Pixel, source: Pixel) -> Pixel:
    """9.1.3 and 10: Cs = (1 - αb)·Cs + αb·B(Cb, Cs); co = αs·Cs + αb·Cb·(1 - αs)."""
    cb, cs, ab, over = straight(below), straight(source), below[3], source[3]
    if mode in NON_SEPARABLE:
        blended = NON_SEPARABLE[mode](cb, cs)
    else:
        red, green, blue = (SEPARABLE[mode](*pair) for pair in zip(cb, cs, strict=True))
        blended = red, green, blue
    out = [over * ((1 - ab) * cs[c] + ab * blended[c]) + ab * cb[c] * (1 - over) for c in range(3)]
    return out[0], out[1], out[2], over + ab * (1 - over)


def ink(paint: str, opacity: float) -> Pixel:
    red, green, blue, *rest = (part / 255 for part in bytes.fromhex(paint[1:]))
    alpha = (rest[0] if rest else 1) * opacity
    return red * alpha, green * alpha, blue * alpha, alpha


Elements = dict[str, dict[str, Any]]


def at(elements: Elements, x: float, y: float, parent: str = "front", below: Pixel = NOTHING) -> Pixel:
    """The colour of a point. A group that fades or blends begins with nothing below it; any other is not there."""
    children = [(element["p"][1], id) for id, element in elements.items() if element["p"][0] == parent]
    for _, id in sorted(children):
        element = elements[id]
        mode, opacity = element.get("bm", "normal"), element.get("op", 1)
        if element["t"] == "group":
            if mode == "normal" and opacity == 1:
                below = at(elements, x, y, id, below)
            else:
                inside = at(elements, x, y, id)
                below = composite(
                    mode, below, (inside[0] * opacity, inside[1] * opacity, inside[2] * opacity, inside[3] * opacity)
                )
            continue
        left, top, width, height, _ = element["xf"]
        if left <= x < left + width and top <= y < top + height:
            below = composite(mode, below, ink(element["fill"], opacity))
    return below


# ---- What the server draws


def draw(elements: Elements, images: dict[str, bytes] | None = None, ground: str = "none") -> NDArray[np.float64]:
    """Premultiplied, 0 to 255; one pixel per millimetre."""
    scene = resolve(Content({}, {"front": {"bg": ground}}, elements), "poster-a3", "front")
    png = render(scene.data, images or {}, width=297).data
    drawn = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), dtype=np.float64)
    drawn[..., :3] *= drawn[..., 3:] / 255
    return drawn


def rectangle(place: tuple[str, str], box: tuple[float, ...], fill: str, **more: Any) -> dict[str, Any]:
    return {"t": "shape", "p": list(place), "xf": [*box, 0], "geo": {"k": "rect"}, "fill": fill, **more}


UNSEEN = {"veil": rectangle(("front", "c0"), (0, 0, 297, 420), "#ffffff00", bm="multiply")}
"""Changes nothing, but is there."""


def index(number: int) -> str:
    return f"a{number:04}"


COLORS = ["#000000", "#ffffff", "#010101", "#fefefe", "#808080", "#ff0000", "#00ff80", "#1234f6", "#c86432", "#40c0bf"]
ALPHAS = [0, 0.25, 0.5, 0.75, 1]
INKS = [(color, alpha) for color in COLORS for alpha in ALPHAS]
STRIPE = 5


def stripes(parent: str, first: int, across: bool, **more: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each colour at each opacity, beside each other."""
    for number, (color, alpha) in enumerate(INKS):
        box = (number * STRIPE, 0, STRIPE, 250) if across else (0, number * STRIPE, 250, STRIPE)
        yield f"{parent}-{first + number}", rectangle((parent, index(first + number)), box, color, op=alpha, **more)


def assert_as_the_oracle(drawn: NDArray[np.float64], elements: Elements, limit: float = 1) -> None:
    """At the middle of each crossing of two stripes, to one level."""
    worst = 0.0
    for row in range(len(INKS)):
        for column in range(len(INKS)):
            x, y = column * STRIPE + STRIPE // 2, row * STRIPE + STRIPE // 2
            expected = np.array(at(elements, x, y)) * 255
            difference = float(np.abs(drawn[y, x] - expected).max())
            assert difference <= limit, f"{INKS[row]} on {INKS[column]}: {drawn[y, x]} instead of {expected}"
            worst = max(worst, difference)
    assert drawn.any()
    print(f"largest difference {worst:.3f}")


@pytest.mark.parametrize("mode", MODES)
def test_a_layer_blends_as_the_specification_says(mode: str) -> None:
    """Rule C30: 2,500 pairs of a backdrop and a source for each mode, to one level of 255."""
    elements = dict([*stripes("front", 0, across=True), *stripes("front", 1000, across=False, bm=mode)])
    if mode == "normal":
        elements |= UNSEEN  # so that this is no picture without blend modes, which is the next test's
    assert_as_the_oracle(draw(elements), elements)


def test_where_nothing_blends_eight_bits_lose_little_more() -> None:
    """Rules C28 and C30: the same grid without blend modes, composed in 8 bits."""
    elements = dict([*stripes("front", 0, across=True), *stripes("front", 1000, across=False)])
    assert_as_the_oracle(draw(elements), elements, limit=2)


@pytest.mark.parametrize("mode", MODES)
def test_a_group_blends_as_one_picture(mode: str) -> None:
    """Rules C16 and C30: its layers, of which one blends in it, know nothing of what lies below the group."""
    elements = dict(stripes("front", 0, across=True))
    elements["g"] = {"t": "group", "p": ["front", index(1000)], "xf": [0, 0, 0, 0, 0], "bm": mode, "op": 0.6}
    elements |= stripes("g", 0, across=False)
    elements["veil"] = rectangle(("g", index(1000)), (0, 0, 250, 250), "#9050d080", bm="hard-light")
    assert_as_the_oracle(draw(elements), elements)


@pytest.mark.parametrize("mode", MODES)
def test_groups_in_groups_blend_from_the_inside_out(mode: str) -> None:
    """Rules C16 and C30: an inner group blends inside the outer one; a group without a wish of its own is not there."""
    elements = dict(stripes("front", 0, across=True))
    group = {"t": "group", "xf": [0, 0, 0, 0, 0]}
    elements["plain"] = {**group, "p": ["front", index(1000)]}
    elements["outer"] = {**group, "p": ["plain", index(0)], "op": 0.8, "bm": mode}
    elements["under"] = rectangle(("outer", index(0)), (0, 0, 250, 250), "#e0b020c0")
    elements["inner"] = {**group, "p": ["outer", index(1)], "op": 0.7, "bm": "multiply"}
    elements |= stripes("inner", 0, across=False, bm="screen")
    elements["last"] = rectangle(("plain", index(1)), (0, 0, 250, 250), "#30609040", bm=mode)
    assert_as_the_oracle(draw(elements), elements)


def random_design(chance: random.Random) -> Elements:
    """Rectangles of whole millimetres in groups of groups, each with a mode, a colour and an opacity."""
    elements: Elements = {}
    parents = ["front"]
    for number in range(14):
        place = (chance.choice(parents), index(chance.randrange(10_000)))
        more = {"bm": chance.choice(MODES), "op": chance.choice([1, 1, 0.2, 0.5, 0.9])}
        if chance.random() < 0.25:
            parents.append(f"e{number}")
            if chance.random() < 0.3:
                more = {}
            elements[f"e{number}"] = {"t": "group", "p": list(place), "xf": [0, 0, 0, 0, 0], **more}
            continue
        box = (chance.randrange(40), chance.randrange(40), chance.randrange(10, 60), chance.randrange(10, 60))
        color = chance.choice([chance.choice(COLORS), f"#{chance.randrange(1 << 24):06x}"])
        fill = color + chance.choice(["", "", "80", "f0"])
        elements[f"e{number}"] = rectangle(place, box, fill, **more)
    return elements


@pytest.mark.parametrize("seed", range(40))
def test_designs_made_by_chance_blend_as_the_specification_says(seed: int) -> None:
    """Rules C16 and C30: away from edges, to one level."""
    elements = random_design(random.Random(seed))
    drawn = draw(elements)
    boxes = [element["xf"] for element in elements.values() if element["t"] == "shape"]
    edges = {
        0: {edge for x, _, w, _, _ in boxes for edge in (x, x + w)},
        1: {edge for _, y, _, h, _ in boxes for edge in (y, y + h)},
    }
    looked = 0
    for y in range(100):
        for x in range(100):
            if {x, x + 1} & edges[0] or {y, y + 1} & edges[1]:
                continue
            looked += 1
            expected = np.array(at(elements, x, y)) * 255
            assert np.abs(drawn[y, x] - expected).max() <= 1, f"({x}, {y}): {drawn[y, x]} instead of {expected}"
    assert looked > 2000


def png(color: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), color).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_blends_like_a_shape_of_its_colour(mode: str) -> None:
    """Rule C30: on the ground of the view, and over another layer."""
    below = rectangle(("front", "a0"), (0, 0, 60, 60), "#c0803060")
    picture = {
        "t": "image",
        "p": ["front", "a1"],
        "xf": [10, 10, 90, 60, 0],
        "img": {"a": ASSET},
        "op": 0.7,
        "bm": mode,
    }
    drawn = draw({"a": below, "b": picture}, {ASSET: png((30, 144, 220))}, "#f0e0d0a0")
    shapes = {
        "ground": rectangle(("front", "Zz"), (0, 0, 297, 420), "#f0e0d0a0"),
        "a": below,
        "b": rectangle(("front", "a1"), (10, 10, 90, 60), "#1e90dc", op=0.7, bm=mode),
    }
    for x, y in ((5, 5), (30, 30), (90, 60), (150, 200)):
        assert np.abs(drawn[y, x] - np.array(at(shapes, x, y)) * 255).max() <= 1


@pytest.mark.parametrize("mode", MODES)
def test_on_nothing_every_mode_shows_the_source(mode: str) -> None:
    """Rule C30: with fill, outline and opacity; also of a text."""
    shape = rectangle(("front", "a0"), (20, 20, 60, 60), "#c08030a0", op=0.5, stroke={"c": "#20408080", "w": 8})
    text: dict[str, Any] = {
        "t": "text",
        "p": ["front", "a1"],
        "xf": [20, 120, 0, 0, 0],
        "txt": "Hg",
        "sty": {"size": 80},
    }
    text |= {"fill": "#205080", "stroke": {"c": "#f0c000", "w": 4}, "op": 0.75}
    plain = draw({"a": shape, "b": text})
    blended = draw({"a": {**shape, "bm": mode}, "b": {**text, "bm": mode}})
    assert plain[..., 3].max() > 100
    assert np.abs(plain - blended).max() <= 2


def mixed() -> tuple[Elements, dict[str, bytes]]:
    """Turned shapes, a turned picture, a group, text; none blends."""
    elements: Elements = {}
    for number in range(12):
        box = (12 * number, 25 * number, 110, 70)
        elements[f"s{number}"] = rectangle(("front", index(number)), box, COLORS[number % 10] + "d0", op=0.9)
        elements[f"s{number}"]["xf"][4] = 17 * number
    turned = [80, 120, 140, 90, 24]
    elements["g"] = {"t": "group", "p": ["front", "b0"], "xf": [10, 10, 0, 0, 0], "op": 0.6}
    elements["pic"] = {"t": "image", "p": ["g", "a0"], "xf": turned, "img": {"a": ASSET, "crop": [0.1, 0, 0.9, 0.8]}}
    elements["word"] = {"t": "text", "p": ["g", "a1"], "xf": [40, 200, 0, 0, -12], "txt": "Fig", "sty": {"size": 90}}
    return elements, {ASSET: png((30, 144, 220))}


def test_layers_that_do_not_blend_look_the_same_below_one_that_does() -> None:
    """Rules C28 and C30: eight bits and floating point differ by roundings only, and by how curves are cut at edges."""
    elements, images = mixed()
    plain, below = draw(elements, images), draw(elements | UNSEEN, images)
    difference = np.abs(plain - below).max(axis=2)
    assert (difference > 3).mean() < 0.001
    assert difference.max() <= 40


def test_a_large_picture_is_composed_in_bands_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule C30."""
    elements, images = mixed()
    elements = {id: {**element, "bm": MODES[place % 16]} for place, (id, element) in enumerate(elements.items())}
    whole = draw(elements, images)
    monkeypatch.setattr(compositing, "BAND_PIXELS", 297 * 3 * 23)
    bands = draw(elements, images)
    difference = np.abs(whole - bands).max(axis=2)
    assert (difference > 1).mean() < 0.001
    assert difference.max() <= 40
