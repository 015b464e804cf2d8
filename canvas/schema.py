"""Names, limits, ranges and defaults of the shared document, and the rules that turn a foreign value into one of ours.

All are read from `schema.json`; the browser's copy is generated from the same file (`codegen.py`).
Source: docs/protocol.md, C1 to C3.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final

SCHEMA: Final[dict[str, Any]] = json.loads((Path(__file__).parent / "schema.json").read_text("utf-8"))

ROOTS: Final[dict[str, str]] = SCHEMA["roots"]
META_KEYS: Final[dict[str, str]] = SCHEMA["metaKeys"]
ELEMENT_KEYS: Final[dict[str, str]] = SCHEMA["elementKeys"]
STYLE_KEYS: Final[dict[str, str]] = SCHEMA["styleKeys"]
ELEMENT_TYPES: Final[tuple[str, ...]] = tuple(SCHEMA["enums"]["elementTypes"])
SHAPE_KINDS: Final[tuple[str, ...]] = tuple(SCHEMA["enums"]["shapeKinds"])
ALIGNS: Final[tuple[str, ...]] = tuple(SCHEMA["enums"]["aligns"])
BLEND_MODES: Final[tuple[str, ...]] = tuple(SCHEMA["enums"]["blendModes"])
DEFAULTS: Final[dict[str, Any]] = SCHEMA["defaults"]
RANGES: Final[dict[str, tuple[float, float]]] = {name: (low, high) for name, (low, high) in SCHEMA["ranges"].items()}
LIMITS: Final[dict[str, int]] = SCHEMA["limits"]

ELEMENT_ID: Final = re.compile(SCHEMA["patterns"]["elementId"])
INDEX: Final = re.compile(SCHEMA["patterns"]["index"])
COLOR: Final = re.compile(SCHEMA["patterns"]["color"])
ASSET: Final = re.compile(SCHEMA["patterns"]["asset"])


def is_number(value: object) -> bool:
    """Whether a value counts as a number: finite, and no boolean (C2)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, default: float, limits: str) -> float:
    """The value within `ranges.<limits>`, or the default if it is no number (C2)."""
    if not is_number(value):
        return default
    low, high = RANGES[limits]
    return float(min(max(value, low), high))


def color(value: Any, default: str) -> str:
    """`none` or `#rrggbbaa` in lower case; the default for everything that is no colour (C3)."""
    if value == "none" and isinstance(value, str):
        return "none"
    if isinstance(value, str) and COLOR.fullmatch(value):
        return (value if len(value) == 9 else value + "ff").lower()
    return color(default, "none")


def choice(value: Any, choices: tuple[str, ...], default: str) -> str:
    """The value if it is one of the choices."""
    return value if isinstance(value, str) and value in choices else default


def is_id(value: object) -> bool:
    """Whether a key of `el` names an element (C4)."""
    return isinstance(value, str) and ELEMENT_ID.fullmatch(value) is not None
