"""Reads lib0's encoding, of which y-protocols and Hocuspocus are made; with code of the tests' own."""

from __future__ import annotations


class Reader:
    """Takes one thing after another from *data*; what is cut short is an IndexError or an AssertionError."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    @property
    def ended(self) -> bool:
        return self.at == len(self.data)

    def number(self) -> int:
        """A varUint."""
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def some(self) -> bytes:
        """A varUint8Array, or a varString's UTF-8."""
        length = self.number()
        self.at += length
        assert self.at <= len(self.data), "cut short"
        return self.data[self.at - length : self.at]
