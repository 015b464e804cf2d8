"""The sixteen blend modes of W3C Compositing and Blending Level 1, on a raster in floating point.

Eight bits are too few below a blend: colour dodge and colour burn make many levels of one, where the backdrop is thin.
A view without blend modes needs none of this, and numpy is imported with this module only.
For worker processes only. Source: docs/protocol.md, C30.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Levels = NDArray[np.float32]
"""0 to 1; colours as planes: (3, rows, columns), or (3, 1, 1) for one colour everywhere."""
Blend = Callable[[Levels, Levels], Levels]
"""B(cb, cs): backdrop and source, not premultiplied."""

CHUNK_PIXELS: Final = 1 << 15
"""How much is blended at a time: what is in between stays in the processor's cache."""
NEAR: Final = np.float32(1e-5)
"""What lies this near to a value where a formula jumps is that value: sums in single precision miss it by less."""


class Surface:
    """A raster of premultiplied sRGB-encoded colours with alpha, as four planes of 0 to 1."""

    def __init__(self, size: tuple[int, int], ground: str = "none") -> None:
        """A *ground* of `#rrggbbaa` everywhere, or nothing."""
        self.size = size
        self._planes: Levels = np.zeros((4, size[1], size[0]), dtype=np.float32)
        if ground != "none":
            color, alpha = _ink(ground)
            self._planes[:3], self._planes[3] = color * alpha, alpha

    def lay(self, mode: str, corner: tuple[int, int], source: Image.Image | Surface, opacity: float) -> None:
        """Blend a picture (RGBA) or another surface, which is used up, with its top left corner at *corner*."""
        if isinstance(source, Surface):
            color, alpha = source._planes[:3], source._planes[3]
            np.divide(color, alpha, out=color, where=alpha > 0)
        else:
            planes = np.multiply(np.asarray(source).transpose(2, 0, 1), np.float32(1 / 255), order="C")
            color, alpha = planes[:3], planes[3]
        alpha *= np.float32(opacity)
        self._blend(mode, corner, color, alpha)

    def ink(self, mode: str, corner: tuple[int, int], coverage: Image.Image, paint: str, opacity: float) -> None:
        """Blend one colour, `#rrggbbaa`, where *coverage* (L) lets it."""
        color, alpha = _ink(paint)
        self._blend(mode, corner, color, np.asarray(coverage) * np.float32(alpha * opacity / 255))

    def _blend(self, mode: str, corner: tuple[int, int], color: Levels, alpha: Levels) -> None:
        """Cs = (1 - αb)·cs + αb·B(cb, cs), laid over the backdrop by source-over."""
        left, top = corner
        rows, columns = alpha.shape
        step = max(1, CHUNK_PIXELS // columns)
        blend = MODES.get(mode)
        for first in range(0, rows, step):
            over = alpha[first : first + step]
            if not over.any():
                continue
            below = self._planes[:, top + first : top + first + len(over), left : left + columns]
            mixed = source = color if color.shape[1] == 1 else color[:, first : first + step]
            if blend is not None:
                backdrop = np.zeros_like(below[:3])
                np.divide(below[:3], below[3], out=backdrop, where=below[3] > 0)
                mixed = source + below[3] * (blend(np.minimum(backdrop, 1), source) - source)
            below *= 1 - over
            below[:3] += mixed * over
            below[3] += over

    def image(self) -> Image.Image:
        """The same as RGBA with eight bits, not premultiplied."""
        columns, rows = self.size
        out = np.empty((rows, columns, 4), dtype=np.uint8)
        step = max(1, CHUNK_PIXELS // columns)
        for first in range(0, rows, step):
            part = self._planes[:, first : first + step].copy()
            np.divide(part[:3], part[3], out=part[:3], where=part[3] > 0)
            np.clip(part, 0, 1, out=part)
            out[first : first + step] = (part * 255 + np.float32(0.5)).transpose(1, 2, 0)
        return Image.fromarray(out)


def _ink(paint: str) -> tuple[Levels, float]:
    red, green, blue, alpha = bytes.fromhex(paint[1:])
    return np.array([red, green, blue], dtype=np.float32).reshape(3, 1, 1) / np.float32(255), alpha / 255


def _multiply(cb: Levels, cs: Levels) -> Levels:
    return cb * cs


def _screen(cb: Levels, cs: Levels) -> Levels:
    return cb + cs - cb * cs


def _overlay(cb: Levels, cs: Levels) -> Levels:
    return _hard_light(cs, cb)


def _darken(cb: Levels, cs: Levels) -> Levels:
    return np.minimum(cb, cs)


def _lighten(cb: Levels, cs: Levels) -> Levels:
    return np.maximum(cb, cs)


def _color_dodge(cb: Levels, cs: Levels) -> Levels:
    bright = np.minimum(1, cb / np.maximum(1 - cs, NEAR))
    return np.where(cb <= NEAR, np.float32(0), np.where(cs >= 1 - NEAR, np.float32(1), bright))


def _color_burn(cb: Levels, cs: Levels) -> Levels:
    dark = 1 - np.minimum(1, (1 - cb) / np.maximum(cs, NEAR))
    return np.where(cb >= 1 - NEAR, np.float32(1), np.where(cs <= NEAR, np.float32(0), dark))


def _hard_light(cb: Levels, cs: Levels) -> Levels:
    return np.where(cs <= 0.5, cb * (2 * cs), _screen(cb, 2 * cs - 1))


def _soft_light(cb: Levels, cs: Levels) -> Levels:
    root = np.where(cb <= 0.25, ((16 * cb - 12) * cb + 4) * cb, np.sqrt(cb))
    lit: Levels = cb + (2 * cs - 1) * np.where(cs <= 0.5, cb * (1 - cb), root - cb)
    return lit


def _difference(cb: Levels, cs: Levels) -> Levels:
    apart: Levels = np.abs(cb - cs)
    return apart


def _exclusion(cb: Levels, cs: Levels) -> Levels:
    return cb + cs - 2 * cb * cs


def _hue(cb: Levels, cs: Levels) -> Levels:
    return _with_luminosity(_with_saturation(cs, _saturation_of(cb)), _luminosity_of(cb))


def _saturation(cb: Levels, cs: Levels) -> Levels:
    return _with_luminosity(_with_saturation(cb, _saturation_of(cs)), _luminosity_of(cb))


def _color(cb: Levels, cs: Levels) -> Levels:
    return _with_luminosity(cs, _luminosity_of(cb))


def _luminosity(cb: Levels, cs: Levels) -> Levels:
    return _with_luminosity(cb, _luminosity_of(cs))


def _luminosity_of(color: Levels) -> Levels:
    light: Levels = np.float32(0.3) * color[0] + np.float32(0.59) * color[1] + np.float32(0.11) * color[2]
    return light


def _saturation_of(color: Levels) -> Levels:
    spread: Levels = color.max(axis=0) - color.min(axis=0)
    return spread


def _with_saturation(color: Levels, saturation: Levels) -> Levels:
    """Least, middle and largest part go to 0, their place between, and *saturation*; grey has no place between."""
    spread = _saturation_of(color)
    scale = np.where(spread > NEAR, saturation / np.maximum(spread, NEAR), np.float32(0))
    spread_out: Levels = (color - color.min(axis=0)) * scale
    return spread_out


def _with_luminosity(color: Levels, luminosity: Levels) -> Levels:
    """Moved to a luminosity, and where that leaves 0 to 1, drawn towards the grey of it."""
    moved = color + (luminosity - _luminosity_of(color))
    least, most = moved.min(axis=0), moved.max(axis=0)
    scale = np.where(least < 0, luminosity / np.maximum(luminosity - least, NEAR), np.float32(1))
    above = np.where(most > 1, (1 - luminosity) / np.maximum(most - luminosity, NEAR), np.float32(1))
    inside: Levels = luminosity + (moved - luminosity) * np.minimum(scale, above)
    return inside


MODES: Final[dict[str, Blend]] = {
    "multiply": _multiply,
    "screen": _screen,
    "overlay": _overlay,
    "darken": _darken,
    "lighten": _lighten,
    "color-dodge": _color_dodge,
    "color-burn": _color_burn,
    "hard-light": _hard_light,
    "soft-light": _soft_light,
    "difference": _difference,
    "exclusion": _exclusion,
    "hue": _hue,
    "saturation": _saturation,
    "color": _color,
    "luminosity": _luminosity,
}
"""All but `normal`, for which the source stays as it is."""
