"""Page and cursor: lists that are read on where they ended, whatever was added in between (keyset paging)."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Generic, TypeVar

from storage.errors import InvalidCursor

MAX_PAGE = 200
"""Rows of one page, whatever is asked for."""
MAX_CURSOR_CHARACTERS = 512

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and where the next ones begin; `next` is None after the last row."""

    rows: list[T]
    next: str | None


def encode_cursor(at: float, id: str) -> str:
    """The last row of a page, as letters that may stand in an address."""
    return base64.urlsafe_b64encode(f"{at!r} {id}".encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> tuple[float, str]:
    """The other way.

    Raises:
        InvalidCursor: it was not made here.
    """
    try:
        if len(cursor) > MAX_CURSOR_CHARACTERS:
            raise ValueError
        at, id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(" ", 1)
        time = float(at)
        if not math.isfinite(time) or "\0" in id:
            raise ValueError
    except (ValueError, binascii.Error):
        raise InvalidCursor("The cursor is not one of this list. Begin at its first page.") from None
    return time, id


def page_size(limit: int) -> int:
    return max(1, min(limit, MAX_PAGE))
