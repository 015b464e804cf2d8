"""A text layer laid out: lines, runs of positioned glyphs, and the code points that no font has.

Shaping is HarfBuzz'; what stands around it is written in docs/protocol.md, C23 to C26, and done again in TypeScript.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import uharfbuzz as hb

from canvas.fonts import FALLBACK, FONTS, has_glyph, shaper
from canvas.geometry import half_up, rdiv, um
from canvas.schema import ALIGNS, DEFAULTS, LIMITS, STYLE_KEYS, choice, number

MAX_CACHED_WORD: Final = 64
LANGUAGE: Final = "en"

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("\r\n|[\r\u2028\u2029]")
_REMOVED = re.compile(
    "[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufffb\U0001bca0-\U0001bca3\U000e0000-\U000e0fff]"
)
_PIECES = re.compile(" +|[^ ]+")


@dataclass(frozen=True)
class TextStyle:
    """A layer's paragraph style: micrometres, and thousandths for leading and tracking (C23)."""

    font: str
    size: int
    leading: int
    tracking: int
    align: str


class Run(NamedTuple):
    """Neighbouring code points of one font, shaped: glyphs, their places in font units, and the pen's way (C24)."""

    font: str
    glyphs: tuple[int, ...]
    places: tuple[int, ...]
    advance: int


@dataclass(frozen=True)
class Layout:
    """What a text layer brings into a scene: `runs`, `box`, `miss` as they stand there (C26)."""

    runs: list[dict[str, Any]]
    box: list[int]
    missing: list[int]


def style(values: Mapping[str, Any]) -> TextStyle:
    """Read a `sty` map; each malformed value is its default (C23)."""
    font = values.get(STYLE_KEYS["font"])
    return TextStyle(
        font=font if isinstance(font, str) and font in FONTS else DEFAULTS["font"],
        size=um(number(values.get(STYLE_KEYS["size"]), DEFAULTS["size"], "size")),
        leading=half_up(number(values.get(STYLE_KEYS["leading"]), DEFAULTS["leading"], "leading") * 1000),
        tracking=half_up(number(values.get(STYLE_KEYS["tracking"]), DEFAULTS["tracking"], "tracking")),
        align=choice(values.get(STYLE_KEYS["align"]), ALIGNS, DEFAULTS["align"]),
    )


def clean(text: str) -> str:
    """The characters that are set: composed, bounded, without controls (C23)."""
    text = unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", text))[: LIMITS["textLength"]]
    return _REMOVED.sub("", _LINE_END.sub("\n", text).replace("\t", " "))


def layout(text: str, style: TextStyle, width: int) -> Layout:
    """Set a text, broken at spaces if *width* (micrometres) is above 0."""
    font = FONTS[style.font]
    line_height = rdiv(style.size * style.leading, 1000)
    above = rdiv(font.ascender * style.size, font.unitsPerEm)
    below = rdiv(-font.descender * style.size, font.unitsPerEm)
    baseline = (line_height - above - below) // 2 + above
    missing: set[int] = set()
    lines = [line for paragraph in clean(text).split("\n") for line in _broken(paragraph, style, width, missing)]
    runs: list[dict[str, Any]] = []
    left, right = (0, width) if width else (None, None)
    for number_of_line, line in enumerate(lines):
        line_width = sum(piece.width for piece in line)
        x = {"left": 0, "center": (width - line_width) // 2, "right": width - line_width}[style.align]
        left = x if left is None else min(left, x)
        right = x + line_width if right is None else max(right, x + line_width)
        y = number_of_line * line_height + baseline
        for piece in line:
            for run in piece.runs:
                if run.glyphs and not piece.is_gap:
                    runs.append(
                        {"f": run.font, "s": style.size, "x": x, "y": y, "g": list(run.glyphs), "p": list(run.places)}
                    )
                x += _width(run, style.size)
    assert left is not None
    assert right is not None
    return Layout(runs, [left, 0, right - left, len(lines) * line_height], sorted(missing))


class _Piece(NamedTuple):
    """A word or a gap, shaped, with its width in micrometres."""

    is_gap: bool
    runs: tuple[Run, ...]
    width: int


def _width(run: Run, size: int) -> int:
    return rdiv(run.advance * size, FONTS[run.font].unitsPerEm)


def _broken(paragraph: str, style: TextStyle, width: int, missing: set[int]) -> list[list[_Piece]]:
    """A paragraph's lines, without the gaps at their ends (C25)."""
    lines: list[list[_Piece]] = [[]]
    so_far, has_word = 0, False
    for piece in _pieces(paragraph, style, missing):
        if width and not piece.is_gap and has_word and so_far + piece.width > width:
            lines.append([])
            so_far, has_word = 0, False
        lines[-1].append(piece)
        so_far += piece.width
        has_word = has_word or not piece.is_gap
    for line in lines:
        while line and line[-1].is_gap:
            line.pop()
    return lines


def _pieces(paragraph: str, style: TextStyle, missing: set[int]) -> list[_Piece]:
    pieces: list[_Piece] = []
    for piece in _PIECES.findall(paragraph):
        is_gap = piece[0] == " "
        shape = _shape_word if len(piece) <= MAX_CACHED_WORD else _shape_word.__wrapped__
        runs, absent = shape(style.font, piece, style.tracking, is_gap)
        missing |= absent
        pieces.append(_Piece(is_gap, runs, sum(_width(run, style.size) for run in runs)))
    return pieces


@lru_cache(maxsize=4_096)
def _shape_word(font: str, word: str, tracking: int, is_gap: bool) -> tuple[tuple[Run, ...], frozenset[int]]:
    """A word's runs and the code points that no font has (C24)."""
    if is_gap:
        return (_shape(font, word, tracking),), frozenset()
    parts: list[tuple[str, list[str]]] = []
    absent: set[int] = set()
    for character in word:
        owner = _font_for(font, ord(character))
        if owner is None:
            absent.add(ord(character))
        elif parts and parts[-1][0] == owner:
            parts[-1][1].append(character)
        else:
            parts.append((owner, [character]))
    return tuple(_shape(owner, "".join(characters), tracking) for owner, characters in parts), frozenset(absent)


def _font_for(font: str, code_point: int) -> str | None:
    return next((candidate for candidate in (font, *FALLBACK) if has_glyph(candidate, code_point)), None)


def _shape(font: str, text: str, tracking: int) -> Run:
    buffer = hb.Buffer()
    buffer.direction = "ltr"
    buffer.language = LANGUAGE
    buffer.add_str(text)
    buffer.guess_segment_properties()
    hb.shape(shaper(font), buffer, {"liga": False, "clig": False} if tracking else None)
    extra = rdiv(tracking * FONTS[font].unitsPerEm, 1000)
    pen = 0
    places: list[int] = []
    for position in buffer.glyph_positions:
        places += (pen + position.x_offset, position.y_offset)
        pen += position.x_advance + (extra if position.x_advance else 0)
    return Run(font, tuple(info.codepoint for info in buffer.glyph_infos), tuple(places), pen)
