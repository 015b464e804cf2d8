"""The vectors that Python and TypeScript are held to.

`python -m tests.canvas.vectors` fills in the scenes of `scene.json` anew, for a rule that changed on purpose:
the difference is then read line by line before it is committed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from canvas.model import Content
from canvas.scene import Scene, resolve
from canvas.schema import is_id

FOLDER = Path(__file__).parent.parent.parent / "canvas" / "vectors"


def load(name: str) -> Any:
    """One file of vectors."""
    return json.loads((FOLDER / name).read_text("utf-8"))


def content_of(plain: dict[str, Any]) -> Content:
    """A case's `content`: strings `txt` stand for Y.Text; objects `sty`, and those in `el`, for Y.Map."""
    elements: dict[str, dict[str, Any]] = {}
    for id, element in plain.get("el", {}).items():
        if is_id(id) and isinstance(element, dict):
            elements[id] = {
                key: value
                for key, value in element.items()
                if not (key == "txt" and not isinstance(value, str))
                and not (key == "sty" and not isinstance(value, dict))
            }
    return Content(plain.get("meta", {}), plain.get("views", {}), elements)


def scene_of(case: dict[str, Any]) -> Scene:
    """The Scene of a case."""
    return resolve(content_of(case["content"]), case["product"], case["view"])


def fill() -> None:
    """Write every case's scene and hash, one case per line."""
    vectors = load("scene.json")
    for case in vectors["cases"]:
        scene = scene_of(case)
        case["scene"], case["hash"] = json.loads(scene.canonical), scene.hash
    lines = ",\n".join("    " + json.dumps(case, separators=(",", ":")) for case in vectors["cases"])
    text = f'{{\n  "about": {json.dumps(vectors["about"])},\n  "cases": [\n{lines}\n  ]\n}}\n'
    (FOLDER / "scene.json").write_text(text, "utf-8")


if __name__ == "__main__":
    fill()
