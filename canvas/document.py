"""Reads our roots out of a Yjs document, each by the type that our schema gives it. For worker processes only.

A document's content is foreign: whatever is not of the expected type is passed over, never an error, and nothing of
another type is ever walked through (an Array can hold a sender's poison that hangs its reader).
Source: docs/protocol.md, C2 and C4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pycrdt import Doc, Text
from pycrdt import Map as YMap

from canvas.model import Content
from canvas.schema import ELEMENT_KEYS, META_KEYS, ROOTS, STYLE_KEYS, is_id

_REGISTERS = tuple(key for name, key in ELEMENT_KEYS.items() if name not in ("text", "style"))


def open_document(updates: Iterable[bytes]) -> Doc[Any]:
    """Apply updates, causes before effects, to a fresh document.

    Raises:
        ValueError: a row is no update; which one is for the caller to find out.
    """
    document: Doc[Any] = Doc()
    with document.transaction():
        for update in updates:
            document.apply_update(update)
    return document


def read(document: Doc[Any]) -> Content:
    """The content of our roots; everything else in the document is left alone."""
    meta: YMap[Any] = document.get(ROOTS["meta"], type=YMap)
    views: YMap[Any] = document.get(ROOTS["views"], type=YMap)
    elements: YMap[Any] = document.get(ROOTS["elements"], type=YMap)
    with document.transaction():
        keys = list(elements.keys())
        return Content(
            meta=_registers(meta, META_KEYS.values()),
            views=_registers(views, views.keys()),
            elements={id: _element(value) for id in keys if is_id(id) and type(value := elements[id]) is YMap},
        )


def _element(element: YMap[Any]) -> Mapping[str, Any]:
    values = _registers(element, _REGISTERS)
    if type(text := element.get(ELEMENT_KEYS["text"])) is Text:
        values["txt"] = str(text)
    if type(style := element.get(ELEMENT_KEYS["style"])) is YMap:
        values["sty"] = _registers(style, STYLE_KEYS.values())
    return values


def _registers(source: YMap[Any], keys: Iterable[str]) -> dict[str, Any]:
    """The plain values under some keys; shared types and bytes are no registers."""
    values: dict[str, Any] = {}
    for key in keys:
        value = source.get(key)
        if value is None or isinstance(value, str | int | float | bool | list | dict):
            values[key] = value
    return values
