"""Payload: what came in with a request, read field by field; each refusal is a sentence that names the field."""

from __future__ import annotations

from typing import Any, Final

from realtime.errors import RequestError
from rooms.errors import LimitExceeded
from rooms.streams import Since

MAX_POSITION: Final = 2**53 - 1
MAX_USER_ID_CHARACTERS: Final = 255


class Payload:
    """A JSON object with the fields that a request knows.

    Raises (all methods):
        RequestError: a field is missing, unknown, or of another kind; `field` says which.
    """

    def __init__(self, value: object, *names: str) -> None:
        if not isinstance(value, dict):
            raise RequestError("Send one JSON object with the request.")
        for name in value:
            if name not in names:
                known = ", ".join(f"`{name}`" for name in names) or "none"
                raise RequestError(f"There is no field {ascii(name)[:60]} here; there are: {known}.")
        self._value: dict[str, Any] = value

    def __contains__(self, name: str) -> bool:
        return self._value.get(name) is not None

    def text(self, name: str) -> str:
        """A text, whatever its length."""
        value = self._value.get(name)
        if not isinstance(value, str):
            raise _wrong(name, "a text")
        return value

    def short_text(self, name: str, max_characters: int) -> str:
        """A text that names something: printable, not empty."""
        return _short(name, self.text(name), max_characters)

    def whole(self, name: str, default: int, maximum: int) -> int:
        """A whole number from 1 on; above *maximum* it counts as that."""
        value = self._value.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_POSITION:
            raise _wrong(name, "a whole number from 1 on")
        return min(value, maximum)

    def texts(self, name: str, limit: str, maximum: int, max_characters: int = MAX_USER_ID_CHARACTERS) -> list[str]:
        """A list of texts that name something; absent: empty. Raises LimitExceeded over *maximum* of them."""
        value = self._value.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise _wrong(name, "a list of texts")
        if len(value) > maximum:
            raise LimitExceeded(limit, maximum, f"`{name}` may have {maximum} entries; there are {len(value)}.")
        return [_short(name, item, max_characters) for item in value]

    def yes(self, name: str) -> bool:
        value = self._value.get(name, False)
        if not isinstance(value, bool):
            raise _wrong(name, "true or false")
        return value

    def since(self) -> Since | None:
        """`epoch` and `position`, both or neither."""
        if "epoch" not in self and "position" not in self:
            return None
        return Since(self._place("epoch"), self._place("position"))

    def _place(self, name: str) -> int:
        value = self._value.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_POSITION:
            raise _wrong(name, "a whole number; `epoch` and `position` come together")
        return value


def _short(name: str, value: object, max_characters: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= max_characters or not value.isprintable():
        raise _wrong(name, f"printable text of 1 to {max_characters} characters")
    return value


def _wrong(name: str, what: str) -> RequestError:
    return RequestError(f"`{name}` must be {what}.", field=name)
