"""Keys for the order of layers: strings between any two of which there is room for another.

The keys are those of npm `fractional-indexing` 4 in base 62: a head that tells how many digits of an integer follow
(`a` one, `b` two … upwards, `Z` one, `Y` two … downwards), the integer, and a fraction that does not end in `0`.
Source: docs/protocol.md, C27.
"""

from __future__ import annotations

import random

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HEADS = DIGITS[10:]
VALUES = {digit: value for value, digit in enumerate(DIGITS)}
BASE = len(DIGITS)
JITTER_STEPS = 24
LOWEST = HEADS[0] + DIGITS[0] * 26


def integer_length(head: str) -> int:
    """How long the integer part is, head included."""
    place = HEADS.index(head)
    return 27 - place if place < 26 else place - 24


def is_key(key: str) -> bool:
    """Whether a string is a key of this algorithm."""
    if not key or any(digit not in VALUES for digit in key) or key[0] not in HEADS or key == LOWEST:
        return False
    length = integer_length(key[0])
    return len(key) >= length and (len(key) == length or key[-1] != DIGITS[0])


def key_between(low: str | None, high: str | None) -> str:
    """A key above *low* and below *high*; None is no bound.

    Raises:
        ValueError: a bound is no key, or they are not in order.
    """
    for bound in (low, high):
        if bound is not None and not is_key(bound):
            raise ValueError("not a key of this order")
    if low is not None and high is not None and low >= high:
        raise ValueError("the lower key is not below the higher one")
    if low is None:
        return _below(high) if high is not None else "a0"
    whole, fraction = _parts(low)
    if high is None:
        following = _step(whole, 1)
        return following if following is not None else whole + _fraction_between(fraction, None)
    high_whole, high_fraction = _parts(high)
    if whole == high_whole:
        return whole + _fraction_between(fraction, high_fraction)
    following = _step(whole, 1)
    if following is not None and following < high:
        return following
    return whole + _fraction_between(fraction, None)


def jittered_key_between(low: str | None, high: str | None, chance: random.Random) -> str:
    """A key between two others that hardly anybody else makes at the same place at the same time."""
    key = key_between(low, high)
    for _ in range(JITTER_STEPS):
        if chance.random() < 0.5:
            low = key
        else:
            high = key
        key = key_between(low, high)
    return key


def _parts(key: str) -> tuple[str, str]:
    length = integer_length(key[0])
    return key[:length], key[length:]


def _below(high: str) -> str:
    whole, fraction = _parts(high)
    if fraction and whole != LOWEST:
        return whole
    if whole == LOWEST:
        return whole + _fraction_between("", fraction)
    previous = _step(whole, -1)
    if previous == LOWEST:  # not a key by itself, so the new one gets a fraction
        return LOWEST + _fraction_between("", None)
    assert previous is not None
    return previous


def _step(whole: str, by: int) -> str | None:
    """The next integer part up or down; None beyond the last."""
    limit = BASE ** (len(whole) - 1)
    value = 0
    for digit in whole[1:]:
        value = value * BASE + VALUES[digit]
    value += by
    head = HEADS.index(whole[0])
    if 0 <= value < limit:
        return whole[0] + _digits(value, len(whole) - 1)
    head += by
    if not 0 <= head < len(HEADS):
        return None
    width = integer_length(HEADS[head]) - 1
    return HEADS[head] + (DIGITS[0] if by > 0 else DIGITS[-1]) * width


def _digits(value: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        value, digit = divmod(value, BASE)
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))


def _fraction_between(low: str, high: str | None) -> str:
    """Digits after the point, strictly between two fractions; *high* None is one."""
    common = 0
    made: list[str] = []
    while True:
        bottom = VALUES[low[common]] if common < len(low) else 0
        if high is not None and common >= len(high):
            raise ValueError("no room between equal fractions")
        top = VALUES[high[common]] if high is not None else BASE
        if bottom == top:
            made.append(DIGITS[bottom])
        elif top - bottom > 1:
            return "".join(made) + DIGITS[(bottom + top + 1) // 2]
        elif high is not None and len(high) > common + 1:
            return "".join(made) + DIGITS[top]
        else:
            made.append(DIGITS[bottom])
            high = None
        common += 1
