"""Hypothesis strategies for the content of documents, from what people make to what nobody should."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from canvas.fonts import FONTS
from canvas.model import Content
from canvas.schema import ELEMENT_KEYS, STYLE_KEYS

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=8)
    | st.sampled_from(["none", "#ff0000", "#00FF0080", "front", "a0", "ab" * 32]),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.sampled_from("arcwkhnqbg"), inner, max_size=4),
    max_leaves=8,
)
NUMBERS = (
    st.integers(-20_000, 20_000) | st.floats(-500, 500) | st.sampled_from([float("nan"), float("inf"), -0.0, 1e308])
)
IDS = st.sampled_from(["a", "b", "c", "d", "e", "f", "front", "back", "Z_-9"])
PLACES = st.tuples(IDS, st.sampled_from(["a0", "a1", "Zz", "", "é", "a0V"])).map(list)
TEXTS = st.text(max_size=20) | st.text(alphabet="AVTofi \n\té́αЖ😀", max_size=30)


def _mostly(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return strategy | strategy | strategy | JSON


STYLES = st.fixed_dictionaries(
    {},
    optional={
        STYLE_KEYS["font"]: _mostly(st.sampled_from([*FONTS, "comic"])),
        STYLE_KEYS["size"]: _mostly(NUMBERS),
        STYLE_KEYS["align"]: _mostly(st.sampled_from(["left", "center", "right"])),
        STYLE_KEYS["leading"]: _mostly(NUMBERS),
        STYLE_KEYS["tracking"]: _mostly(NUMBERS),
    },
)
ELEMENTS = st.fixed_dictionaries(
    {},
    optional={
        ELEMENT_KEYS["type"]: _mostly(st.sampled_from(["text", "image", "shape", "group", "qr"])),
        ELEMENT_KEYS["place"]: _mostly(PLACES),
        ELEMENT_KEYS["transform"]: _mostly(st.lists(NUMBERS, min_size=4, max_size=8)),
        ELEMENT_KEYS["visible"]: _mostly(st.booleans()),
        ELEMENT_KEYS["deleted"]: _mostly(st.booleans()),
        ELEMENT_KEYS["opacity"]: _mostly(NUMBERS),
        ELEMENT_KEYS["blend"]: JSON,
        ELEMENT_KEYS["text"]: TEXTS,
        ELEMENT_KEYS["style"]: STYLES,
        ELEMENT_KEYS["fill"]: _mostly(st.sampled_from(["#123456", "none", "#ABCDEF12"])),
        ELEMENT_KEYS["stroke"]: _mostly(st.fixed_dictionaries({"c": st.just("#00ff00"), "w": NUMBERS})),
        ELEMENT_KEYS["image"]: _mostly(
            st.fixed_dictionaries({"a": st.just("ab" * 32)}, optional={"crop": st.lists(NUMBERS, max_size=5)})
        ),
        ELEMENT_KEYS["geometry"]: _mostly(
            st.fixed_dictionaries(
                {"k": st.sampled_from(["rect", "ellipse", "line", "polygon", "star", "blob"])},
                optional={"r": NUMBERS, "n": NUMBERS, "q": NUMBERS},
            )
        ),
    },
)
CONTENTS = st.builds(
    Content,
    meta=st.dictionaries(st.sampled_from(["color", "schema"]), JSON, max_size=2),
    views=st.dictionaries(st.sampled_from(["front", "back"]), JSON, max_size=2),
    elements=st.dictionaries(IDS, ELEMENTS, max_size=9),
)
