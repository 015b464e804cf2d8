"""A Scene and its images → one raster.

Vectors and glyph outlines become SVG of our own making (paths only, never a reference) and are rasterised by resvg,
many in one call; images are resampled by Pillow; layers go onto each other by source-over in 8-bit sRGB, in the
order of painting. Where a layer blends in another way, all are composed in floating point, by `blending.py`.
For worker processes only. Source: docs/protocol.md, C14 to C26; what a picture is of, C28; how layers blend, C30.
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import resvg_py
from PIL import Image, ImageChops

from canvas import products
from canvas.errors import InvalidRender, RenderTooLarge
from canvas.fonts import FONTS, glyph_box, glyph_outline
from canvas.geometry import ONE, half_up
from canvas.schema import DEFAULTS, LIMITS

if TYPE_CHECKING:
    from canvas.blending import Surface

MICROMETRES_PER_INCH: Final = 25_400
FORMATS: Final = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
PARTS: Final = ("area", "view")
STORED_FORMATS: Final = ("PNG", "JPEG", "WEBP")
"""What `images.py` writes, and therefore all that is read back here."""
ALIGNED: Final = 1 / 64
"""A picture whose edges lie this near to the pixel grid (in pixels) needs no softened edge."""
DRAWING_WIDTH: Final = 1_200
"""The widest that a product's drawing is rasterised, in pixels."""
PNG_LEVEL: Final = 2
"""Little compression: a render is served once or twice, and encoding would take longer than drawing."""
QUALITY: Final = 90
BAND_PIXELS: Final = 1 << 22
"""How much is composed in floating point at a time, all groups that lie in each other together: 16 bytes each."""
KEPT_PIXELS: Final = 1 << 25
"""How much of pictures at their final size is kept from band to band."""

_PATH = re.compile(r"[MLCZ0-9 -]*")
_PAINT = re.compile(r"none|#[0-9a-f]{8}")


class Affine(NamedTuple):
    """x' = a·x + c·y + e, y' = b·x + d·y + f."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def after(self, inner: Affine) -> Affine:
        """First *inner*, then this one."""
        return Affine(
            self.a * inner.a + self.c * inner.b,
            self.b * inner.a + self.d * inner.b,
            self.a * inner.c + self.c * inner.d,
            self.b * inner.c + self.d * inner.d,
            self.a * inner.e + self.c * inner.f + self.e,
            self.b * inner.e + self.d * inner.f + self.f,
        )

    def apply(self, x: float, y: float) -> tuple[float, float]:
        return self.a * x + self.c * y + self.e, self.b * x + self.d * y + self.f

    def inverse(self) -> Affine | None:
        """The way back; None if the map flattens everything."""
        det = self.a * self.d - self.b * self.c
        if det == 0:
            return None
        a, b, c, d = self.d / det, -self.b / det, -self.c / det, self.a / det
        return Affine(a, b, c, d, -(a * self.e + c * self.f), -(b * self.e + d * self.f))


@dataclass(frozen=True)
class Picture:
    """A finished raster, encoded; `missing` are the assets that were not there and were not drawn."""

    data: bytes
    media_type: str
    width: int
    height: int
    missing: list[str]


def render(
    scene: Mapping[str, Any],
    images: Mapping[str, bytes],
    *,
    format: str = "png",
    part: str = "area",
    width: int | None = None,
    dpi: float | None = None,
) -> Picture:
    """Draw a scene and encode it.

    Args:
        scene: `Scene.data`, or what its canonical JSON reads back as.
        images: stored pictures by asset; more than are used do no harm.
        format: `png`, `webp` (both with alpha) or `jpeg` (on white).
        part: `area`, the print area alone on nothing; `view`, the product with the layers inside the print area.
        width: pixels across the part; or
        dpi: pixels per inch.

    Raises:
        InvalidRender: arguments or scene are not of this form.
        RenderTooLarge: more pixels than `limits.renderWidth` or `limits.renderPixels`.
    """
    if format not in FORMATS:
        raise InvalidRender("A picture's format is png, jpeg or webp.")
    if part not in PARTS:
        raise InvalidRender("A picture is of the print area (area) or of the product (view).")
    painter = _Painter(scene, images)
    raster = painter.paint(part, _scale(painter.extent(part)[2], width, dpi))
    return Picture(_encode(raster, format, dpi), FORMATS[format], *raster.size, sorted(painter.missing))


def _scale(extent_um: int, width: int | None, dpi: float | None) -> float:
    """Pixels per micrometre."""
    if (width is None) == (dpi is None):
        raise InvalidRender("Ask for a picture either by its width in pixels or by its dpi.")
    if width is not None:
        pixels: float = width
    else:
        assert dpi is not None
        if not math.isfinite(dpi) or dpi <= 0:
            raise InvalidRender("A picture's dpi is above 0.")
        pixels = half_up(extent_um * min(dpi, 1e6) / MICROMETRES_PER_INCH)
    if math.isnan(pixels) or pixels < 1:
        raise InvalidRender("A picture is at least one pixel wide.")
    if pixels > LIMITS["renderWidth"]:
        maximum = LIMITS["renderWidth"]
        raise RenderTooLarge("renderWidth", maximum, f"A picture is at most {maximum} pixels wide.")
    return pixels / extent_um if width is not None else (dpi or 0) / MICROMETRES_PER_INCH


def _encode(raster: Image.Image, format: str, dpi: float | None) -> bytes:
    out = io.BytesIO()
    density = {"dpi": (dpi, dpi)} if dpi else {}
    match format:
        case "png":
            raster.save(out, "PNG", compress_level=PNG_LEVEL, **density)
        case "webp":
            raster.save(out, "WEBP", quality=QUALITY, method=2)
        case _:
            flat = Image.new("RGB", raster.size, "white")
            flat.paste(raster, mask=raster.getchannel("A"))
            flat.save(out, "JPEG", quality=QUALITY, **density)
    return out.getvalue()


Box = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels."""
Bounds = tuple[float, float, float, float]
"""The same, not yet whole."""


@dataclass
class _Batch:
    """What is drawn in one go: vectors together, or one raster."""

    box: Box
    vectors: list[str] | None
    draw: Callable[[], Image.Image | None] | None = None


class _Stack:
    """The layers of a surface in the order of painting, gathered into as few and as small rasters as keeps the picture.

    Layers that do not touch may change places, so a vector joins an earlier batch if nothing between the two touches it
    and the joint box is hardly larger than the two: rasterising costs by the pixel, and something by the call.
    """

    REACH: Final = 48
    """How many batches back a vector looks for company."""
    CALL_PIXELS: Final = 20_000
    """How many pixels cost as much as a call."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._batches: list[_Batch] = []

    def clip(self, bounds: Bounds | None) -> Box | None:
        return _clip(self._size, bounds)

    def add_vector(self, box: Box, svg: str) -> None:
        """Put a vector on top."""
        for batch in reversed(self._batches[-self.REACH :]):
            joint = _joint(batch.box, box)
            if batch.vectors is not None and _area(joint) <= _area(batch.box) + _area(box) + self.CALL_PIXELS:
                batch.box = joint
                batch.vectors.append(svg)
                return
            if _touch(batch.box, box):
                break
        self._batches.append(_Batch(box, [svg]))

    def add_raster(self, box: Box, draw: Callable[[], Image.Image | None]) -> None:
        """Put a raster on top; *draw* is called when its turn comes and returns an image of the box's size, or None."""
        self._batches.append(_Batch(box, None, draw))

    def paint(self, surface: Image.Image) -> None:
        """Draw everything."""
        for batch in self._batches:
            drawn = _resvg("".join(batch.vectors), batch.box) if batch.vectors is not None else None
            if batch.draw is not None:
                drawn = batch.draw()
            if drawn is not None:
                surface.alpha_composite(drawn, batch.box[:2])


def _clip(size: tuple[int, int], bounds: Bounds | None) -> Box | None:
    """Whole pixels on a surface, one more on each side; None if nothing of it is on the surface."""
    if bounds is None:
        return None
    left, top = max(0, math.floor(bounds[0]) - 1), max(0, math.floor(bounds[1]) - 1)
    right, bottom = min(size[0], math.ceil(bounds[2]) + 1), min(size[1], math.ceil(bounds[3]) + 1)
    return (left, top, right, bottom) if right > left and bottom > top else None


def _joint(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


class _Painter:
    """Paints one scene; keeps what was decoded while it does."""

    def __init__(self, scene: Mapping[str, Any], images: Mapping[str, bytes]) -> None:
        try:
            self._view = products.product(scene["product"]).view(scene["view"])
            self._area: tuple[int, int] = (scene["area"][0], scene["area"][1])
            self._base, self._ground, self._layers = _paint(scene["base"]), _paint(scene["bg"]), scene["layers"]
        except (KeyError, TypeError, IndexError) as error:
            raise InvalidRender("This is no scene.") from error
        self._images = images
        self._decoded: dict[str, Image.Image] = {}
        self._shrunk: dict[tuple[Any, ...], Image.Image] = {}
        self._room = 0
        self._uses = Counter(_assets(self._layers))
        self.missing: set[str] = set()

    def extent(self, part: str) -> tuple[int, int, int, int]:
        """Left, top, width and height of a part in micrometres, from the print area's corner."""
        if part == "area":
            return 0, 0, *self._area
        x, y, _, _ = self._view.area_mm
        width, height = self._view.size_mm
        return half_up(-x * 1000), half_up(-y * 1000), half_up(width * 1000), half_up(height * 1000)

    def paint(self, part: str, scale: float) -> Image.Image:
        """The raster at *scale* pixels per micrometre."""
        left, top, width_um, height_um = self.extent(part)
        size = (max(1, half_up(width_um * scale)), max(1, half_up(height_um * scale)))
        if size[0] * size[1] > LIMITS["renderPixels"]:
            maximum = LIMITS["renderPixels"]
            raise RenderTooLarge("renderPixels", maximum, f"A picture has at most {maximum} pixels in all.")
        if part == "area":
            return self._artwork(size, Affine(scale, 0, 0, scale, 0, 0))
        raster = _drawing(self._view.under, self._base, size).copy()
        # the print area's edges go to whole pixels, so that its clip is exact
        x, y = half_up(-left * scale), half_up(-top * scale)
        right, bottom = half_up((self._area[0] - left) * scale), half_up((self._area[1] - top) * scale)
        if right > x and bottom > y:
            art = self._artwork(
                (right - x, bottom - y), Affine(scale, 0, 0, scale, -left * scale - x, -top * scale - y)
            )
            raster.alpha_composite(art, (x, y))
        if self._view.over:
            raster.alpha_composite(_drawing(self._view.over, self._base, size))
        return raster

    def _artwork(self, size: tuple[int, int], place: Affine) -> Image.Image:
        surface = Image.new("RGBA", size, "#00000000" if self._ground == "none" else self._ground)
        if any(_blends(layer) for layer in self._layers):
            self._blended(surface, place)
        else:
            self._onto(surface, self._layers, place)
        return surface

    def _blended(self, surface: Image.Image, place: Affine) -> None:
        """All layers on their ground, in floating point; in bands, since that takes memory."""
        from canvas.blending import Surface  # with numpy, which most workers never need

        wide, high = surface.size
        band = max(1, BAND_PIXELS // max(_depth(layer) for layer in self._layers) // wide)
        self._room = KEPT_PIXELS if band < high else 0
        for top in range(0, high, band):
            part = Surface((wide, min(band, high - top)), self._ground)
            self._lay(part, self._layers, Affine(1, 0, 0, 1, 0, -top).after(place))
            surface.paste(part.image(), (0, top))

    def _lay(self, surface: Surface, layers: list[dict[str, Any]], place: Affine) -> None:
        """Layers one by one; a group that fades or blends is a surface of its own first (C16, C30)."""
        for layer in layers:
            opacity, mode = layer["op"] / ONE, layer["bm"]
            if opacity == 0:
                continue
            own = place.after(_matrix(layer["m"]))
            if layer["t"] == "group" and opacity == 1 and mode == DEFAULTS["blend"]:
                self._lay(surface, layer["layers"], own)
                continue
            bounds = _clip(surface.size, _bounds(layer, own))
            if bounds is None:
                continue
            size, corner = (bounds[2] - bounds[0], bounds[3] - bounds[1]), bounds[:2]
            if layer["t"] == "image":
                drawn = None if layer["a"] is None else self._image(layer, own, 1, bounds)
                if drawn is not None:
                    surface.lay(mode, corner, drawn, opacity)
            elif layer["t"] == "group":
                inside = type(surface)(size)
                self._lay(inside, layer["layers"], Affine(1, 0, 0, 1, -bounds[0], -bounds[1]).after(own))
                surface.lay(mode, corner, inside, opacity)
            elif len(inks := _inks(layer, own)) == 1:
                surface.ink(mode, corner, _coverage(inks[0][0], bounds), inks[0][1], opacity)
            elif inks:
                inside = type(surface)(size)
                for svg, paint in inks:
                    inside.ink(DEFAULTS["blend"], (0, 0), _coverage(svg, bounds), paint, 1)
                surface.lay(mode, corner, inside, opacity)

    def _onto(self, surface: Image.Image, layers: list[dict[str, Any]], place: Affine) -> None:
        stack = _Stack(surface.size)
        self._collect(stack, layers, place)
        stack.paint(surface)

    def _collect(self, stack: _Stack, layers: list[dict[str, Any]], place: Affine) -> None:
        """Hand layers to a stack, in the order of painting."""
        for layer in layers:
            opacity = layer["op"] / ONE
            if opacity == 0:
                continue
            own = place.after(_matrix(layer["m"]))
            if layer["t"] == "image":
                bounds = stack.clip(_bounds(layer, own))
                if bounds is not None and layer["a"] is not None:
                    stack.add_raster(bounds, partial(self._image, layer, own, opacity, bounds))
            elif layer["t"] == "group" and any(True for _ in _assets(layer["layers"])):
                if opacity == 1:
                    self._collect(stack, layer["layers"], own)
                elif (bounds := stack.clip(_bounds(layer, own))) is not None:
                    stack.add_raster(bounds, partial(self._group, layer, own, opacity, bounds))
            elif (bounds := stack.clip(_bounds(layer, own))) is not None and (svg := _vector(layer, own)):
                stack.add_vector(bounds, svg)

    def _group(self, layer: dict[str, Any], own: Affine, opacity: float, bounds: Box) -> Image.Image:
        """A group with pictures, drawn by itself and faded as a whole."""
        inside = Image.new("RGBA", (bounds[2] - bounds[0], bounds[3] - bounds[1]))
        self._onto(inside, layer["layers"], Affine(1, 0, 0, 1, -bounds[0], -bounds[1]).after(own))
        inside.putalpha(inside.getchannel("A").point(_faded(opacity)))
        return inside

    def _image(self, layer: dict[str, Any], own: Affine, opacity: float, bounds: Box) -> Image.Image | None:
        """The part of a picture inside *bounds*: shrunk first, then turned and moved, its edge softened by coverage."""
        _, _, width_um, height_um = layer["box"]
        across, down = math.hypot(own.a, own.b) * width_um, math.hypot(own.c, own.d) * height_um
        left, top, right, bottom = (part / ONE for part in layer["crop"])
        source = self._picture(layer["a"], math.ceil(across / (right - left)), math.ceil(down / (bottom - top)))
        if source is None or across == 0 or down == 0:
            return None
        crop = (left * source.width, top * source.height, right * source.width, bottom * source.height)
        # never above the picture's own pixels: what is enlarged is enlarged by the affine map, in the visible part only
        wide = max(1, min(half_up(across), math.ceil(crop[2] - crop[0])))
        high = max(1, min(half_up(down), math.ceil(crop[3] - crop[1])))
        shrunk = self._resized(layer["a"], source, crop, (wide, high))
        # from the shrunk picture (with a border of one repeated pixel) to the surface's pixels, and back
        to_box = Affine(width_um / wide, 0, 0, height_um / high, -width_um / wide, -height_um / high)
        back = Affine(1, 0, 0, 1, -bounds[0], -bounds[1]).after(own).after(to_box).inverse()
        if back is None:
            return None
        drawn = shrunk.transform(
            (bounds[2] - bounds[0], bounds[3] - bounds[1]),
            Image.Transform.AFFINE,
            (back.a, back.c, back.e, back.b, back.d, back.f),
            Image.Resampling.BICUBIC,
        )
        corners = [own.apply(x, y) for x, y in ((0, 0), (width_um, 0), (width_um, height_um), (0, height_um))]
        drawn.putalpha(_covered(drawn, corners, bounds).point(_faded(opacity)))
        return drawn

    def _resized(self, asset: str, source: Image.Image, crop: tuple[float, ...], size: tuple[int, int]) -> Image.Image:
        """A part of a picture at its final size, with a border; kept if it is likely to be asked for again."""
        key = (asset, crop, size)
        if key in self._shrunk:
            return self._shrunk[key]
        shrunk = source.resize(size, Image.Resampling.LANCZOS, box=crop, reducing_gap=3.0).convert("RGBA")  # type: ignore[arg-type]
        bordered = _bordered(shrunk)
        if size[0] * size[1] <= self._room:
            self._room -= size[0] * size[1]
            self._shrunk[key] = bordered
        return bordered

    def _picture(self, asset: str, wide: int, high: int) -> Image.Image | None:
        """A stored picture, decoded once; a JPEG that is used once is read no larger than it is needed."""
        if asset in self._decoded:
            return self._decoded[asset]
        data = self._images.get(asset)
        if data is None:
            self.missing.add(asset)
            return None
        try:
            picture = Image.open(io.BytesIO(data), formats=STORED_FORMATS)
            if self._uses[asset] == 1:
                picture.draft("RGB", (wide, high))
            picture.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            self.missing.add(asset)
            return None
        self._decoded[asset] = picture if picture.mode in ("RGB", "RGBA") else picture.convert("RGBA")
        return self._decoded[asset]


def _assets(layers: list[dict[str, Any]]) -> list[str]:
    """The assets of all pictures below; a picture without an asset draws nothing and breaks no batch."""
    found: list[str] = []
    for layer in layers:
        if layer["t"] == "image" and layer["a"] is not None:
            found.append(layer["a"])
        elif layer["t"] == "group":
            found += _assets(layer["layers"])
    return found


def _blends(layer: dict[str, Any]) -> bool:
    """Whether the layer, or one in it, is shown in another way than `normal`."""
    if not layer["op"]:
        return False
    return layer["bm"] != DEFAULTS["blend"] or any(_blends(child) for child in layer.get("layers", ()))


def _depth(layer: dict[str, Any]) -> int:
    """How many surfaces the layer needs at a time, at most, with the one that it goes onto and one of its own."""
    return 2 + max((_depth(child) - 1 for child in layer.get("layers", ())), default=0)


def _matrix(m: list[int]) -> Affine:
    return Affine(m[0] / ONE, m[1] / ONE, m[2] / ONE, m[3] / ONE, m[4], m[5])


def _faded(opacity: float) -> list[int]:
    """A table for alpha."""
    return [half_up(alpha * opacity) for alpha in range(256)]


def _bordered(picture: Image.Image) -> Image.Image:
    """The picture with its outermost pixels repeated once all round."""
    wide, high = picture.size
    out = Image.new("RGBA", (wide + 2, high + 2))
    for x, source_x in ((0, 0), (wide + 1, wide - 1)):
        out.paste(picture.crop((source_x, 0, source_x + 1, high)), (x, 1))
    out.paste(picture, (1, 1))
    out.paste(out.crop((0, 1, wide + 2, 2)), (0, 0))
    out.paste(out.crop((0, high, wide + 2, high + 1)), (0, high + 1))
    return out


def _covered(drawn: Image.Image, corners: list[tuple[float, float]], bounds: Box) -> Image.Image:
    """The picture's alpha times how much of each pixel its box covers."""
    alpha = drawn.getchannel("A")
    inside = [(x - bounds[0], y - bounds[1]) for x, y in corners]
    upright = inside[0][1] == inside[1][1] or inside[0][0] == inside[1][0]
    if upright and all(abs(value - half_up(value)) < ALIGNED for corner in inside for value in corner):
        xs, ys = [half_up(x) for x, _ in inside], [half_up(y) for _, y in inside]
        covered = Image.new("L", drawn.size)
        covered.paste(255, (min(xs), min(ys), max(xs), max(ys)))
    else:
        points = "L".join(f"{x:.4f} {y:.4f}" for x, y in inside)
        covered = _resvg(f'<path d="M{points}Z"/>', (0, 0, *drawn.size)).getchannel("A")
    return ImageChops.multiply(alpha, covered)


def _bounds(layer: dict[str, Any], own: Affine) -> Bounds | None:
    """What a layer may colour at most, in the surface's pixels; None for nothing."""
    if layer["t"] == "group":
        found = [_bounds(child, own.after(_matrix(child["m"]))) for child in layer["layers"] if child["op"]]
        inside = [bounds for bounds in found if bounds is not None]
        if not inside:
            return None
        lefts, tops, rights, bottoms = zip(*inside, strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)
    if layer["t"] == "text":
        extents = [extent for run in layer["runs"] for extent in _run_extents(run)]
        if not extents:
            return None
        lefts, tops, rights, bottoms = zip(*extents, strict=True)
        box = [min(lefts), min(tops), max(rights), max(bottoms)]
    else:
        _, _, width, height = layer["box"]
        box = [0, 0, width, height]
    stroke = layer.get("stroke")
    if stroke is not None:  # a mitre reaches at most twice the width from the outline
        reach = stroke["w"] * (0.5 if layer["t"] == "text" else 2)
        box = [box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach]
    corners = [own.apply(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _run_extents(run: dict[str, Any]) -> list[Bounds]:
    """The ink boxes of a run's glyphs, in the layer's micrometres."""
    scale = run["s"] / FONTS[run["f"]].unitsPerEm
    extents: list[Bounds] = []
    for place, glyph in enumerate(run["g"]):
        left, bottom, right, top = glyph_box(run["f"], glyph)
        x, y = run["p"][2 * place], run["p"][2 * place + 1]
        if right > left:
            extents.append(
                (
                    run["x"] + (x + left) * scale,
                    run["y"] - (y + top) * scale,
                    run["x"] + (x + right) * scale,
                    run["y"] - (y + bottom) * scale,
                )
            )
    return extents


def _paint(value: Any) -> str:
    if not isinstance(value, str) or not _PAINT.fullmatch(value):
        raise InvalidRender("A scene's colours are none or #rrggbbaa.")
    return value


def _vector(layer: dict[str, Any], own: Affine) -> str:
    """A layer without pictures as SVG, in the surface's pixels."""
    opacity = layer["op"] / ONE
    match layer["t"]:
        case "group":
            inside = "".join(_vector(child, own.after(_matrix(child["m"]))) for child in layer["layers"] if child["op"])
            return f'<g opacity="{opacity:.6f}">{inside}</g>' if opacity < 1 and inside else inside
        case "image":
            return ""
        case _:
            return _drawn_path(layer, own, opacity)


def _outline(layer: dict[str, Any]) -> tuple[str, str]:
    """A shape's or text's path, and how its stroke is joined (C17)."""
    if layer["t"] == "text":
        return _text_path(layer["runs"]), 'stroke-linejoin="round" stroke-linecap="round"'
    if not _PATH.fullmatch(layer["d"]):
        raise InvalidRender("A scene's paths hold M, L, C, Z and integers.")
    return layer["d"], 'stroke-linejoin="miter" stroke-miterlimit="4"'


def _drawn_path(layer: dict[str, Any], own: Affine, opacity: float) -> str:
    d, joins = _outline(layer)
    fill, stroke = _paint(layer["fill"]), layer["stroke"]
    if not d or (fill == "none" and stroke is None):
        return ""
    both = fill != "none" and stroke is not None
    out = f'<path transform="{_transform(own)}" d="{d}"{_ink("fill", fill, 1 if both else opacity)}'
    if stroke is not None:
        order = ' paint-order="stroke"' if layer["t"] == "text" else ""
        ink = _ink("stroke", _paint(stroke["c"]), 1 if both else opacity)
        out += f'{ink} stroke-width="{int(stroke["w"])}" {joins}{order}'
    return out + (f' opacity="{opacity:.6f}"/>' if both and opacity < 1 else "/>")


def _inks(layer: dict[str, Any], own: Affine) -> list[tuple[str, str]]:
    """What a shape or text covers with which colour, the lower one first: SVG in opaque black, `#rrggbbaa` (C17)."""
    d, joins = _outline(layer)
    fill, stroke = _paint(layer["fill"]), layer["stroke"]
    if not d:
        return []
    path = f'<path transform="{_transform(own)}" d="{d}"'
    inks = [(f"{path}/>", fill)] if fill != "none" else []
    if stroke is not None:
        line = f'{path} fill="none" stroke="#000" stroke-width="{int(stroke["w"])}" {joins}/>'
        inks.insert(0 if layer["t"] == "text" else len(inks), (line, _paint(stroke["c"])))
    return inks


def _coverage(svg: str, box: Box) -> Image.Image:
    return _resvg(svg, box).getchannel("A")


def _transform(own: Affine) -> str:
    return f"matrix({' '.join(f'{value:.9g}' for value in own)})"


def _ink(property: str, paint: str, opacity: float) -> str:
    if paint == "none":
        return f' {property}="none"'
    alpha = int(paint[7:], 16) / 255 * opacity
    return f' {property}="{paint[:7]}"' + (f' {property}-opacity="{alpha:.6f}"' if alpha < 1 else "")


def _text_path(runs: list[dict[str, Any]]) -> str:
    """All glyphs of a text layer as one path, in its micrometres (C26)."""
    out: list[str] = []
    for run in runs:
        font = FONTS[run["f"]]
        scale = run["s"] / font.unitsPerEm
        places = run["p"]
        for place, glyph in enumerate(run["g"]):
            x, y = run["x"] + places[2 * place] * scale, run["y"] - places[2 * place + 1] * scale
            for command, *points in glyph_outline(font.id, glyph):
                out.append(command)
                out.append(
                    " ".join(
                        f"{x + value * scale:.1f}" if axis % 2 == 0 else f"{y - value * scale:.1f}"
                        for axis, value in enumerate(points)
                    )
                )
    return "".join(out)


def _resvg(body: str, box: Box) -> Image.Image:
    """Rasterise a box of an SVG of our own making.

    Its size is bounded by the callers: resvg aborts the process on giant ones.
    """
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{box[2] - box[0]}" height="{box[3] - box[1]}">'
        f'<g transform="translate({-box[0]} {-box[1]})">{body}</g></svg>'
    )
    return _read_back(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True))


def _read_back(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(bytes(png)), formats=("PNG",)).convert("RGBA")


@lru_cache(maxsize=8)
def _drawing(svg: str, base: str, size: tuple[int, int]) -> Image.Image:
    """One of our own drawings of a product at a size, in a colour; not to be changed.

    Drawn at most `DRAWING_WIDTH` wide and enlarged from there: blurred shadows would take minutes at a print's size.
    """
    width = min(size[0], DRAWING_WIDTH)
    colored = svg.replace("{base}", base[:7])
    drawn = _read_back(resvg_py.svg_to_bytes(svg_string=colored, width=width, skip_system_fonts=True))
    return drawn if drawn.size == size else drawn.resize(size, Image.Resampling.BICUBIC)
