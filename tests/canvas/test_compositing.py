"""The compositor beside an oracle of its own: coverage by supersampling, source-over in floating point, all in numpy.

The oracle reads the document's millimetres and degrees, not the Scene, and shares no code with `canvas` (RULING 26).
"""

from __future__ import annotations

import io
import math
import resource
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from canvas.compositing import render
from canvas.model import Content
from canvas.scene import resolve

Pixels = NDArray[np.float64]
WIDTH = 297
"""One pixel per millimetre of the A3 poster, whose print area is 297 by 420 mm."""
SAMPLES = 8
ASSET = "ab" * 32


def draw(
    elements: dict[str, dict[str, Any]], width: int = WIDTH, images: dict[str, bytes] | None = None, **more: Any
) -> Pixels:
    """The server's picture: red, green, blue, alpha from 0 to 255."""
    scene = resolve(Content({}, more.pop("views", {}), elements), "poster-a3", "front")
    picture = render(scene.data, images or {}, width=width, **more)
    return np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGBA"), dtype=np.float64)


def shape(x: float, y: float, width: float, height: float, rotation: float = 0, **more: Any) -> dict[str, Any]:
    kind = more.pop("kind", "rect")
    return {
        "t": "shape",
        "p": more.pop("p", ["front", "a0"]),
        "xf": [x, y, width, height, rotation],
        "geo": {"k": kind},
        **more,
    }


def in_frame(x: float, y: float, width: float, height: float, rotation: float, scale: float) -> tuple[Pixels, Pixels]:
    """Where each sample lies in the frame of a box, from its top left corner, in mm."""
    columns = (np.arange(WIDTH * scale * SAMPLES) + 0.5) / SAMPLES / scale
    rows = (np.arange(420 * scale * SAMPLES) + 0.5) / SAMPLES / scale
    across, down = np.meshgrid(columns - (x + width / 2), rows - (y + height / 2))
    turn = math.radians(rotation)
    return (
        across * math.cos(turn) + down * math.sin(turn) + width / 2,
        -across * math.sin(turn) + down * math.cos(turn) + height / 2,
    )


def averaged(samples: NDArray[Any]) -> Pixels:
    """Samples to pixels."""
    rows, columns = samples.shape[0] // SAMPLES, samples.shape[1] // SAMPLES
    averages: Pixels = samples.reshape(rows, SAMPLES, columns, SAMPLES).mean(axis=(1, 3))
    return averages


def over(below: Pixels, color: tuple[float, float, float], alpha: Pixels) -> Pixels:
    """Source-over, not premultiplied, colours 0 to 255 and alpha 0 to 1 (W3C compositing 1, section 5.1)."""
    out = np.empty_like(below)
    out[..., 3] = alpha + below[..., 3] * (1 - alpha)
    weight = np.where(out[..., 3] > 0, out[..., 3], 1)
    for channel in range(3):
        out[..., channel] = (color[channel] * alpha + below[..., channel] * below[..., 3] * (1 - alpha)) / weight
    return out


def premultiplied(picture: Pixels, alpha_scale: float) -> Pixels:
    """Colours times alpha, 0 to 255: what differs there can be seen."""
    alpha = picture[..., 3:] / alpha_scale
    return np.concatenate([picture[..., :3] * alpha, alpha * 255], axis=-1)


@pytest.mark.parametrize(
    "box", [(20, 30, 100, 60, 0), (20.25, 30.5, 99.5, 60, 0), (60, 90, 120, 80, 31.5), (130, 90, 33, 200, -78.2)]
)
def test_a_turned_rectangle_covers_what_it_covers(box: tuple[float, float, float, float, float]) -> None:
    """Rules C14 and C28: a pixel's alpha is the part of it that the rectangle covers, within a sixteenth at edges."""
    across, down = in_frame(*box, scale=1)
    expected = averaged((across >= 0) & (across < box[2]) & (down >= 0) & (down < box[3])) * 255
    alpha = draw({"a": shape(*box, fill="#000000")})[..., 3]
    assert np.abs(alpha - expected).max() <= 17
    assert np.abs(alpha - expected).mean() < 0.1
    assert abs(alpha.sum() / 255 - box[2] * box[3]) < box[2] * box[3] * 0.002


def test_an_ellipse_covers_what_it_covers() -> None:
    """Rule C20: four cubics are as good as the ellipse; the rasteriser takes curves to a seventh of a pixel."""
    box = (40.5, 50, 180, 120, 25)
    across, down = in_frame(*box, scale=1)
    expected = averaged(((across - 90) / 90) ** 2 + ((down - 60) / 60) ** 2 <= 1) * 255
    alpha = draw({"a": shape(*box, kind="ellipse", fill="#000000")})[..., 3]
    assert np.abs(alpha - expected).max() <= 40
    assert abs(alpha.sum() / 255 - math.pi * 90 * 60) < 20


def test_layers_lie_over_each_other_in_their_order() -> None:
    """Rules C7 and C28: source-over from the lowest index up, beside the formula in floating point, to 2 levels."""
    layers = [
        ("a0", "#ff0000", 0.8, 0),
        ("a1", "#00ff0080", 1, 20),
        ("a2", "#0000ff", 0.25, 40),
        ("Zz", "#ffff00", 1, 60),
    ]
    elements = {
        f"e{n}": shape(10, y, 100, 60, p=["front", ix], fill=fill, op=op) for n, (ix, fill, op, y) in enumerate(layers)
    }
    expected = np.zeros((420, WIDTH, 4))
    for _, fill, opacity, y in sorted(layers, key=lambda layer: layer[0]):
        alpha = np.zeros((420, WIDTH))
        alpha[y : y + 60, 10:110] = opacity * (int(fill[7:9], 16) / 255 if len(fill) == 9 else 1)
        color = (int(fill[1:3], 16), int(fill[3:5], 16), int(fill[5:7], 16))
        expected = over(expected, color, alpha)
    assert np.abs(premultiplied(draw(elements), 255) - premultiplied(expected, 1)).max() <= 2


def picture(pixels: NDArray[np.uint8], format: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, quality=95)
    return out.getvalue()


RAMP = np.zeros((120, 160, 3), dtype=np.uint8)
RAMP[..., 0] = np.linspace(0, 255, 160).round()
RAMP[..., 1] = np.linspace(255, 0, 120).round()[:, None]
RAMP[..., 2] = 64


@pytest.mark.parametrize(
    "box", [(20, 30, 160, 120, 0), (20.3, 30.7, 40, 30, 0), (60, 90, 120, 80, 31.5), (10, 20, 280, 400, -8)]
)
@pytest.mark.parametrize("crop", [None, [0.25, 0.5, 1, 0.9]])
def test_a_picture_lies_where_its_box_is(
    box: tuple[float, float, float, float, float], crop: list[float] | None
) -> None:
    """Rules C14, C22 and C28: shrunk, enlarged, turned or cropped, each pixel shows its place in the picture."""
    left, top, right, bottom = crop or (0, 0, 1, 1)
    across, down = in_frame(*box, scale=1)
    inside = (across >= 0) & (across < box[2]) & (down >= 0) & (down < box[3])
    u = (left + np.clip(across / box[2], 0, 1) * (right - left)) * 160 - 0.5
    v = (top + np.clip(down / box[3], 0, 1) * (bottom - top)) * 120 - 0.5
    element = {"t": "image", "p": ["front", "a0"], "xf": list(box), "img": {"a": ASSET, "crop": crop}}
    drawn = draw({"a": element}, images={ASSET: picture(RAMP)})
    coverage = averaged(inside)
    assert np.abs(drawn[..., 3] - coverage * 255).max() <= 26
    whole = coverage == 1
    assert np.abs(drawn[..., 0] - averaged(u) * 255 / 159)[whole].max() <= 5
    assert np.abs(drawn[..., 1] - (255 - averaged(v) * 255 / 119))[whole].max() <= 5
    assert np.abs(drawn[..., 2] - 64)[whole].max() <= 1


def test_a_transparent_picture_has_no_dark_fringe() -> None:
    """Rule C28: shrinking and turning go by premultiplied colours; white on transparent black stays white."""
    pixels = np.zeros((400, 400, 4), dtype=np.uint8)
    pixels[100:300, 100:300] = 255
    element = {"t": "image", "p": ["front", "a0"], "xf": [50, 50, 90, 90, 17], "img": {"a": ASSET}}
    drawn = draw({"a": element}, images={ASSET: picture(pixels)})
    seen = drawn[..., 3] > 8
    assert seen.any()
    assert drawn[..., :3][seen].min() >= 250


def test_a_mirrored_picture_is_mirrored() -> None:
    for flip, (column, row) in {0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (1, 1)}.items():
        element = {"t": "image", "p": ["front", "a0"], "xf": [20, 20, 160, 120, 0, 0, 0, flip], "img": {"a": ASSET}}
        corner = draw({"a": element}, images={ASSET: picture(RAMP)})[22, 22]
        assert (corner[0] > 128, corner[1] < 128) == (bool(column), bool(row))


def test_a_group_fades_as_one_picture_with_images_in_it_and_without() -> None:
    """Rule C16: where its layers overlap, a faded group does not show through itself."""
    image = {"t": "image", "p": ["g", "a1"], "xf": [40, 40, 60, 60, 0], "img": {"a": ASSET}}
    group = {"t": "group", "p": ["front", "a0"], "xf": [10, 20, 0, 0, 0], "op": 0.5}
    below = shape(0, 0, 60, 60, p=["g", "a0"], fill="#ff0000")
    red = picture(np.full((8, 8, 3), (255, 0, 0), dtype=np.uint8))
    vectors = draw({"g": group, "a": below, "b": shape(40, 40, 60, 60, p=["g", "a1"], fill="#ff0000")})
    pictures = draw({"g": group, "a": below, "b": image}, images={ASSET: red})
    for drawn in (vectors, pictures):
        covered = np.zeros((420, WIDTH), dtype=bool)
        covered[20:80, 10:70] = covered[60:120, 50:110] = True
        assert np.abs(drawn[..., 3] - covered * 127.5).max() <= 1
        assert (drawn[..., 0][covered] == 255).all()


def test_fill_and_stroke_fade_together() -> None:
    """Rule C28."""
    element = shape(50, 50, 100, 100, fill="#ff0000", stroke={"c": "#ff0000", "w": 20}, op=0.5)
    drawn = draw({"a": element})
    assert np.abs(drawn[45:155, 45:155, 3] - 127.5).max() <= 1


def test_a_texts_stroke_lies_below_its_fill() -> None:
    """Rule C17: a wide outline does not eat the letters."""
    text = {
        "t": "text",
        "p": ["front", "a0"],
        "xf": [20, 20, 0, 0, 0],
        "txt": "H",
        "sty": {"size": 200, "font": "inter-bold"},
    }
    alone = draw({"a": {**text, "fill": "#0000ff"}})
    outlined = draw({"a": {**text, "fill": "#0000ff", "stroke": {"c": "#ff0000", "w": 12}}})
    letter = alone[..., 3] == 255
    assert letter.any()
    assert (outlined[..., 2][letter] == 255).all()
    assert ((outlined[..., 0] > 250) & (outlined[..., 3] == 255)).any()


COLORS = st.sampled_from(["#ff0000", "#00ff00a0", "#0000ff60", "#ffffff"])
RANDOM_LAYERS = st.lists(
    st.tuples(
        st.sampled_from(["rect", "ellipse", "image", "text"]),
        st.integers(-40, 280),
        st.integers(-40, 400),
        st.integers(5, 150),
        st.sampled_from([0, 0, 30, 90]),
        COLORS,
        st.sampled_from([1, 1, 0.6]),
    ),
    min_size=2,
    max_size=9,
)


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(RANDOM_LAYERS)
def test_layers_drawn_together_look_like_layers_drawn_one_by_one(layers: list[Any]) -> None:
    """Batches join and change places only where nobody can see it: outside of edges, where curves depend on the cut."""
    images = {ASSET: picture(RAMP)}
    elements: dict[str, dict[str, Any]] = {}
    for number, (kind, x, y, size, rotation, fill, opacity) in enumerate(layers):
        common = {"p": ["front", f"a{number}"], "op": opacity, "fill": fill, "xf": [x, y, size, size, rotation]}
        if kind == "image":
            elements[f"e{number}"] = {"t": "image", "img": {"a": ASSET}, **common}
        elif kind == "text":
            elements[f"e{number}"] = {"t": "text", "txt": "Ag fi", "sty": {"size": size / 3}, **common}
        else:
            elements[f"e{number}"] = {"t": "shape", "geo": {"k": kind}, **common}
    expected = np.zeros((420, WIDTH, 4))
    for id in sorted(elements):
        alone = draw({id: elements[id]}, images=images)
        color = (alone[..., 0], alone[..., 1], alone[..., 2])
        expected = over(expected, color, alone[..., 3] / 255)  # type: ignore[arg-type]
    together = draw(elements, images=images)
    difference = np.abs(premultiplied(together, 255) - premultiplied(expected, 1)).max(axis=-1)
    assert (difference > 2 + len(layers)).sum() <= 30 * len(layers)
    assert difference.max() <= 100


def test_the_view_shows_layers_inside_the_print_area_only() -> None:
    """Rule C28."""
    scene = resolve(
        Content({"color": "#ffffff"}, {}, {"a": shape(-500, -500, 2000, 2000, fill="#00ff00")}), "tshirt", "front"
    )
    drawn = np.asarray(
        Image.open(io.BytesIO(render(scene.data, {}, width=360, part="view").data)).convert("RGB"), dtype=int
    )
    green = (drawn[..., 1] - drawn[..., 0] > 60) & (drawn[..., 1] - drawn[..., 2] > 60)
    rows, columns = np.nonzero(green)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (105, 88, 255, 288)


def test_the_ground_of_a_view_fills_the_print_area() -> None:
    drawn = draw({}, views={"front": {"bg": "#33669980"}})
    assert (drawn == (0x33, 0x66, 0x99, 0x80)).all()


def test_dpi_gives_the_exact_number_of_pixels_and_is_written_down() -> None:
    scene = resolve(Content(), "poster-a3", "front")
    answer = render(scene.data, {}, dpi=100)
    assert (answer.width, answer.height) == (1169, 1654)
    assert Image.open(io.BytesIO(answer.data)).info["dpi"] == pytest.approx((100, 100), abs=0.01)


def test_a_picture_that_is_not_there_or_cannot_be_read_is_named_and_not_drawn() -> None:
    """Rule C22."""
    element = {"t": "image", "p": ["front", "a0"], "xf": [0, 0, 50, 50, 0], "img": {"a": ASSET}}
    scene = resolve(Content({}, {}, {"a": element}), "poster-a3", "front")
    for images in ({}, {ASSET: b"no picture"}, {ASSET: picture(RAMP)[:200]}):
        answer = render(scene.data, images, width=50)
        assert answer.missing == [ASSET]
        assert Image.open(io.BytesIO(answer.data)).getchannel("A").getextrema() == (0, 0)


def test_layers_of_absurd_size_cost_no_memory_of_their_own() -> None:
    """A box of ten metres around a small picture is sampled where it is seen only."""
    elements = {
        "a": {"t": "image", "p": ["front", "a0"], "xf": [-5000, -5000, 10000, 10000, 33], "img": {"a": ASSET}},
        "b": shape(-5000, -5000, 10000, 10000, 12, p=["front", "a1"], fill="#00000010"),
        "c": {"t": "text", "p": ["front", "a2"], "xf": [-1000, -1500, 0, 0, 3], "txt": "OO", "sty": {"size": 2000}},
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    drawn = draw(elements, width=600, images={ASSET: picture(RAMP)})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB
    assert drawn.shape == (848, 600, 4)
    assert (drawn[..., 3] == 255).all()
