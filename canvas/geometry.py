"""Exact geometry: how the document's millimetres become integers, the same in every language.

Source: docs/protocol.md, C1 and C12 to C14.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from canvas.schema import is_number, number

ONE = 65536
"""1 in a matrix, an opacity or a crop."""
TURN = 360_000
"""A full turn in thousandths of a degree."""


def half_up(value: float) -> int:
    """`floor(x + 0.5)`: Python's and JavaScript's own roundings differ on halves."""
    return math.floor(value + 0.5)


def rdiv(numerator: int, denominator: int) -> int:
    """The quotient of two integers, halves upwards; the denominator is positive."""
    return (2 * numerator + denominator) // (2 * denominator)


def um(value_mm: float) -> int:
    """Millimetres to micrometres."""
    return half_up(value_mm * 1000)


def fixed(value: float) -> int:
    """A part of one in 1/65536."""
    return half_up(value * ONE)


def sine(angle: int) -> int:
    """The sine of an angle in thousandths of a degree, 0 to below 360,000, in 1/65536 (C13)."""
    return half_up(math.sin(angle * math.pi / 180_000) * ONE)


def cosine(angle: int) -> int:
    """The cosine, likewise."""
    return half_up(math.cos(angle * math.pi / 180_000) * ONE)


class Transform(NamedTuple):
    """An element's `xf` as integers: micrometres, thousandths of a degree, and the two mirror bits."""

    x: int
    y: int
    width: int
    height: int
    angle: int
    flip: int


def transform(value: Any) -> Transform:
    """Read an `xf` register; whatever is malformed is all zeros (C12)."""
    if not isinstance(value, list) or len(value) < 5 or not all(is_number(entry) for entry in value[:5]):
        return Transform(0, 0, 0, 0, 0, 0)
    x, y = (um(number(entry, 0, "position")) for entry in value[:2])
    width, height = (um(number(entry, 0, "length")) for entry in value[2:4])
    angle = half_up(number(value[4], 0, "rotation") * 1000) % TURN
    flip = math.floor(value[7]) if len(value) > 7 and is_number(value[7]) and 0 <= value[7] < 4 else 0
    return Transform(x, y, width, height, angle, flip)


def matrix(xf: Transform) -> list[int]:
    """The map from a layer's frame to its parent's, turned and mirrored round the box's middle (C14)."""
    sin, cos = sine(xf.angle), cosine(xf.angle)
    mirror_x = -1 if xf.flip & 1 else 1
    mirror_y = -1 if xf.flip & 2 else 1
    a, b, c, e = cos * mirror_x, sin * mirror_x, -sin * mirror_y, cos * mirror_y
    tx = rdiv((2 * xf.x + xf.width) * ONE - a * xf.width - c * xf.height, 2 * ONE)
    ty = rdiv((2 * xf.y + xf.height) * ONE - b * xf.width - e * xf.height, 2 * ONE)
    return [a, b, c, e, tx, ty]
