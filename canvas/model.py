"""The content of a document as plain values, read once and never changed.

This is what `vectors/*.json` write down and what the tree and the scene are functions of; where it came
from no longer matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Content:
    """A document's drawn content.

    Attributes:
        meta: the `meta` map's registers.
        views: the `views` map's registers.
        elements: every element by id, deleted ones too. Registers are plain JSON; `txt` is a str if it was a Y.Text and
            absent otherwise, `sty` is a dict if it was a Y.Map and absent otherwise.
    """

    meta: Mapping[str, Any] = field(default_factory=dict)
    views: Mapping[str, Any] = field(default_factory=dict)
    elements: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
