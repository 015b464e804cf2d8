"""Text layout beside HarfBuzz itself, and the shipped fonts (C23 to C26)."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest
import uharfbuzz as hb
from fontTools.pens.boundsPen import BoundsPen
from fontTools.ttLib import TTFont
from PIL import Image

from canvas import fonts
from canvas.compositing import render
from canvas.model import Content
from canvas.scene import resolve
from canvas.schema import LIMITS
from canvas.text import layout, style

FONT_IDS = list(fonts.FONTS)


def set_in(text: str, width_mm: float = 0, **values: Any) -> Any:
    return layout(text, style(values), round(width_mm * 1000))


def shaped_width(font_id: str, text: str, size_um: int) -> float:
    """How wide HarfBuzz sets a text as a whole, in micrometres."""
    face = hb.Face((fonts.FOLDER / f"{font_id}.ttf").read_bytes())
    buffer = hb.Buffer()
    buffer.add_str(text)
    buffer.guess_segment_properties()
    hb.shape(hb.Font(face), buffer)
    advance: int = sum(position.x_advance for position in buffer.glyph_positions)
    return float(advance * size_um / face.upem)


@pytest.mark.parametrize("font_id", FONT_IDS)
def test_a_font_file_is_what_the_catalogue_says(font_id: str) -> None:
    entry = fonts.FONTS[font_id]
    data = (fonts.FOLDER / entry.file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry.sha256
    assert len(data) == entry.bytes < 400_000
    table = TTFont(io.BytesIO(data))
    assert table["head"].unitsPerEm == entry.unitsPerEm
    assert (table["hhea"].ascender, table["hhea"].descender) == (entry.ascender, entry.descender)
    assert "Open Font License" in (fonts.FOLDER / entry.licence).read_text("utf-8")
    assert {0x20, 0x41, 0xE9, 0x15F} <= table.getBestCmap().keys()


def test_a_font_is_found_by_its_served_name_and_by_no_other() -> None:
    for entry in fonts.catalogue():
        served = entry["path"].removeprefix("/fonts/")
        path = fonts.path(served)
        assert path is not None
        assert path.read_bytes()[:4] == b"\x00\x01\x00\x00"
    for name in ("inter.ttf", "../schema.json", "", "0000000000000000-inter.ttf"):
        assert fonts.path(name) is None


@pytest.mark.parametrize("font_id", FONT_IDS)
def test_a_word_is_as_wide_as_harfbuzz_sets_it(font_id: str) -> None:
    """Rule C24: kerning and ligatures are on; AVATAR is kerned in every family that kerns."""
    for word in ("AVATAR", "office", "fi"):
        assert abs(set_in(word, font=font_id, size=50).box[2] - shaped_width(font_id, word, 50_000)) <= 1


def test_kerning_is_on_and_tracking_sets_ligatures_apart() -> None:
    kerned = set_in("AVAVAV", font="zilla-bold", size=50).box[2]
    apart = sum(set_in(letter, font="zilla-bold", size=50).box[2] for letter in "AVAVAV")
    assert kerned < apart - 1000
    joined, spaced = set_in("fi", font="playfair-bold"), set_in("fi", font="playfair-bold", track=1)
    assert len(joined.runs[0]["g"]) <= len(spaced.runs[0]["g"]) == 2


@pytest.mark.parametrize("font_id", FONT_IDS)
def test_the_ink_lies_where_harfbuzz_says(font_id: str) -> None:
    """Rule C26: the drawn letter's box is that of its glyph, to a pixel, at its place on the baseline."""
    element = {
        "t": "text",
        "p": ["front", "a0"],
        "xf": [60, 60, 0, 0, 0],
        "txt": "Rg",
        "sty": {"font": font_id, "size": 90},
    }
    scene = resolve(Content({}, {}, {"a": element}), "poster-a3", "front")
    pixels_per_mm = 1188 / 297
    picture = Image.open(io.BytesIO(render(scene.data, {}, width=1188).data))
    ink = picture.getchannel("A").point(lambda alpha: 255 if alpha else 0).getbbox()
    face = hb.Face((fonts.FOLDER / f"{font_id}.ttf").read_bytes())
    font, buffer = hb.Font(face), hb.Buffer()
    buffer.add_str("Rg")
    buffer.guess_segment_properties()
    hb.shape(font, buffer)
    entry, scale = fonts.FONTS[font_id], 90 / face.upem * pixels_per_mm
    baseline = 60 * pixels_per_mm + (90 * 1.2 * pixels_per_mm - (entry.ascender - entry.descender) * scale) / 2
    baseline += entry.ascender * scale
    outlines = TTFont(fonts.FOLDER / f"{font_id}.ttf")
    glyphs = outlines.getGlyphSet()
    boxes, pen = [], 0
    for info, position in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
        bounds = BoundsPen(glyphs)
        glyphs[outlines.getGlyphName(info.codepoint)].draw(bounds)
        x, y = pen + position.x_offset, position.y_offset
        left, bottom, right, top = bounds.bounds
        boxes.append((x + left, y + top, x + right, y + bottom))
        pen += position.x_advance
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    left, right = (60 * pixels_per_mm + value * scale for value in (min(lefts), max(rights)))
    top, bottom = baseline - max(tops) * scale, baseline - min(bottoms) * scale
    assert ink is not None
    for drawn, expected in zip(ink, (left, top, right, bottom), strict=True):
        assert abs(drawn - expected) <= 1.1


def test_lines_break_at_spaces_where_the_width_ends() -> None:
    """Rule C25."""
    size, words = 10_000, ["alpha", "beta", "gamma", "delta"]
    widths = [shaped_width("inter", word, size) for word in words]
    gap = shaped_width("inter", " ", size)
    exactly = widths[0] + gap + widths[1]

    def lines(width_um: float) -> list[int]:
        runs = layout(" ".join(words), style({"font": "inter", "size": 10}), round(width_um)).runs
        rows = sorted({run["y"] for run in runs})
        return [sum(run["y"] == row for run in runs) for row in rows]

    assert lines(exactly + 3)[0] == 2
    assert lines(exactly - 3)[0] == 1
    assert lines(1) == [1, 1, 1, 1]
    assert lines(1e6) == [4]


@pytest.mark.parametrize(("align", "expected"), [("left", 0), ("center", 0.5), ("right", 1)])
def test_lines_are_aligned_in_the_width_and_without_one_round_the_origin(align: str, expected: float) -> None:
    """Rule C25: the gap at a line's end does not count."""
    line = shaped_width("inter", "word", 10_000)
    wide = layout("word   ", style({"size": 10, "align": align}), 100_000).runs[0]
    assert abs(wide["x"] - (100_000 - line) * expected) <= 1
    free = layout("word", style({"size": 10, "align": align}), 0)
    assert abs(free.runs[0]["x"] + line * expected) <= 1
    assert abs(free.box[0] + line * expected) <= 1
    assert abs(free.box[2] - line) <= 1


def test_a_glyph_that_the_family_lacks_comes_from_our_list_and_what_none_has_is_named() -> None:
    """Rule C24: never a box, never in silence."""
    mixed = set_in("aЖb", font="anton")
    assert [run["f"] for run in mixed.runs] == ["anton", "inter", "anton"]
    assert mixed.missing == []
    absent = set_in("a😀中b 😀", font="anton")
    assert absent.missing == [0x4E2D, 0x1F600]
    assert all(glyph != 0 for run in absent.runs for glyph in run["g"])


def test_a_text_over_the_limit_is_cut() -> None:
    """Rule C23: by code points."""
    limit = LIMITS["textLength"]
    assert len(set_in("😀" * (limit - 2) + "abcd").runs[0]["g"]) == 2
    assert sum(len(run["g"]) for run in set_in("ab " * limit).runs) == limit // 3 * 2 + 1


def test_the_catalogue_is_plain_json() -> None:
    assert json.loads(json.dumps(fonts.catalogue()))[0]["id"] == "inter"
    assert set(fonts.FALLBACK) <= set(FONT_IDS)
