"""The fonts we ship: their catalogue, their files, and HarfBuzz' view of them.

The same bytes go to the browser, so both sides shape and draw the same letters. Source: docs/protocol.md, C24.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import uharfbuzz as hb

FOLDER: Final = Path(__file__).parent / "fonts"
PREFIX_DIGITS: Final = 16
"""How many digits of a file's SHA-256 stand in its served name and in scenes."""


@dataclass(frozen=True)
class FontFile:
    """One font file; measures are in its own units, the descender is negative; names as in the catalogue."""

    id: str
    family: str
    style: str
    weight: int
    italic: bool
    kind: str
    file: str
    sha256: str
    bytes: int
    unitsPerEm: int
    ascender: int
    descender: int
    capHeight: int
    licence: str

    @property
    def prefix(self) -> str:
        """What names the file's content in a scene."""
        return self.sha256[:PREFIX_DIGITS]

    @property
    def served_name(self) -> str:
        """The last part of the address at which a node serves the file; it changes with the content."""
        return f"{self.prefix}-{self.id}.ttf"


_CATALOGUE: Final[dict[str, Any]] = json.loads((FOLDER / "fonts.json").read_text("utf-8"))
FONTS: Final[dict[str, FontFile]] = {entry["id"]: FontFile(**entry) for entry in _CATALOGUE["fonts"]}
FALLBACK: Final[tuple[str, ...]] = tuple(_CATALOGUE["fallback"])
_BY_SERVED_NAME: Final = {font.served_name: FOLDER / font.file for font in FONTS.values()}


def catalogue() -> list[dict[str, Any]]:
    """Every font as plain JSON, with the `path` under which it is served."""
    return [{**asdict(font), "path": f"/fonts/{font.served_name}"} for font in FONTS.values()]


def path(served_name: str) -> Path | None:
    """The file behind the last part of a `/fonts/` address; None if it is none of ours."""
    return _BY_SERVED_NAME.get(served_name)


@cache
def shaper(font_id: str) -> hb.Font:
    """HarfBuzz' font, scaled to font units; kept for the life of the process."""
    font = FONTS[font_id]
    face = hb.Face(hb.Blob.from_file_path(str(FOLDER / font.file)))
    return hb.Font(face)


@lru_cache(maxsize=20_000)
def has_glyph(font_id: str, code_point: int) -> bool:
    """Whether a font maps a code point to a glyph of its own."""
    return bool(shaper(font_id).get_nominal_glyph(code_point))


def _pen() -> hb.DrawFuncs:
    pen = hb.DrawFuncs()
    pen.set_move_to_func(lambda x, y, out: out.append(("M", x, y)))
    pen.set_line_to_func(lambda x, y, out: out.append(("L", x, y)))
    pen.set_quadratic_to_func(lambda a, b, x, y, out: out.append(("Q", a, b, x, y)))
    pen.set_cubic_to_func(lambda a, b, c, d, x, y, out: out.append(("C", a, b, c, d, x, y)))
    pen.set_close_path_func(lambda out: out.append(("Z",)))
    return pen


_PEN: Final = _pen()


@lru_cache(maxsize=8_192)
def glyph_outline(font_id: str, glyph: int) -> tuple[tuple[str, *tuple[float, ...]], ...]:
    """A glyph's outline in font units, y upwards: `M`, `L`, `Q`, `C`, `Z` with absolute points."""
    commands: list[tuple[str, *tuple[float, ...]]] = []
    shaper(font_id).draw_glyph(glyph, _PEN, commands)
    return tuple(commands)


@lru_cache(maxsize=20_000)
def glyph_box(font_id: str, glyph: int) -> tuple[int, int, int, int]:
    """A glyph's ink box in font units, y upwards: left, bottom, right, top; all 0 without ink."""
    extents = shaper(font_id).get_glyph_extents(glyph)
    if extents is None:
        return 0, 0, 0, 0
    top, right = extents.y_bearing, extents.x_bearing + extents.width
    return extents.x_bearing, top + extents.height, right, top
