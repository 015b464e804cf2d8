"""Writer: a Yjs client of one map, for tests that look at frames and not at providers."""

from __future__ import annotations

from typing import Any

import pycrdt


class Writer:
    """A Yjs client of one map, and the updates it makes."""

    def __init__(self) -> None:
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc()
        self.map = self.doc.get("el", type=pycrdt.Map)

    def set(self, key: str, value: str) -> bytes:
        before = self.doc.get_state()
        self.map[key] = value
        return self.doc.get_update(before)

    def apply(self, update: bytes) -> None:
        self.doc.apply_update(update)

    @property
    def value(self) -> object:
        return self.map.to_py()
