"""The outlines of shapes as path strings of integers: `M`, `L`, `C`, `Z`, absolute, in micrometres.

Source: docs/protocol.md, C18 to C21.
"""

from __future__ import annotations

from typing import Any

from canvas.geometry import ONE, TURN, cosine, fixed, half_up, rdiv, sine, um
from canvas.schema import DEFAULTS, SHAPE_KINDS, choice, number

CORNER = 29341
"""What a cubic quarter circle leaves of its radius between control point and corner, in 1/65536: 1 - 0.5522847."""


def path(*commands: tuple[str, *tuple[int, ...]] | str) -> str:
    """Join commands, each a letter and its numbers."""
    return "".join(
        command if isinstance(command, str) else command[0] + " ".join(map(str, command[1:])) for command in commands
    )


def rect(width: int, height: int, radius: int) -> str:
    """A rectangle, its corners rounded as far as there is room (C19)."""
    r = min(radius, width // 2, height // 2)
    if r == 0:
        return path(("M", 0, 0), ("L", width, 0), ("L", width, height), ("L", 0, height), "Z")
    e = rdiv(r * CORNER, ONE)
    return path(
        ("M", r, 0),
        ("L", width - r, 0),
        ("C", width - e, 0, width, e, width, r),
        ("L", width, height - r),
        ("C", width, height - e, width - e, height, width - r, height),
        ("L", r, height),
        ("C", e, height, 0, height - e, 0, height - r),
        ("L", 0, r),
        ("C", 0, e, e, 0, r, 0),
        "Z",
    )


def ellipse(width: int, height: int) -> str:
    """An ellipse that fills its box, of four cubics (C20)."""
    i, j = (width + 1) // 2, (height + 1) // 2
    e, f = rdiv(width * CORNER, 2 * ONE), rdiv(height * CORNER, 2 * ONE)
    return path(
        ("M", i, 0),
        ("C", width - e, 0, width, f, width, j),
        ("C", width, height - f, width - e, height, i, height),
        ("C", e, height, 0, height - f, 0, j),
        ("C", 0, f, e, 0, i, 0),
        "Z",
    )


def star(width: int, height: int, corners: int, inner: int) -> str:
    """A polygon with its first corner at the top; every second one is drawn in by `inner` / 65536 (C21)."""
    points: list[str] = []
    for k in range(corners):
        angle = rdiv(k * TURN, corners) % TURN
        sin, cos = sine(angle), cosine(angle)
        if k % 2:
            sin, cos = rdiv(sin * inner, ONE), rdiv(cos * inner, ONE)
        points.append(
            path(("L" if k else "M", rdiv(width * (ONE + sin), 2 * ONE), rdiv(height * (ONE - cos), 2 * ONE)))
        )
    return "".join(points) + "Z"


def outline(geo: Any, width: int, height: int) -> tuple[str, str]:
    """The kind and the path of a `geo` register in a box of micrometres; the path of an empty box is empty (C18)."""
    values: dict[str, Any] = geo if isinstance(geo, dict) else {}
    kind = choice(values.get("k"), SHAPE_KINDS, DEFAULTS["shapeKind"])
    if width == 0 or (height == 0 and kind != "line"):
        return kind, ""
    points = half_up(number(values.get("n"), DEFAULTS["points"], "points"))
    match kind:
        case "ellipse":
            return kind, ellipse(width, height)
        case "line":
            middle = (height + 1) // 2
            return kind, path(("M", 0, middle), ("L", width, middle))
        case "polygon":
            return kind, star(width, height, points, ONE)
        case "star":
            return kind, star(width, height, 2 * points, fixed(number(values.get("q"), DEFAULTS["inner"], "inner")))
        case _:
            return kind, rect(width, height, um(number(values.get("r"), DEFAULTS["radius"], "radius")))
