"""Faults for the proofs: the process kills itself at a named place, the nth time that it comes there.

`LUNEO_FAULT=kill:{place}:{nth}`, only with `LUNEO_TESTING=1`; otherwise `reached` is a call that does nothing. Places
are those of `PLACES`. A proof could wait for chance to hit the few microseconds between a commit and its
acknowledgement; this makes it certain, and counted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Final

PLACES: Final = ("after-inspection", "after-commit", "before-ack")
"""An update is judged and not yet logged; it is in the log and nobody knows; it is relayed and not yet acknowledged."""


def _nothing(place: str) -> None:
    pass


def armed(environ: Mapping[str, str]) -> Callable[[str], None]:
    """What *environ* asks for, as the function to call at each place.

    Raises:
        ValueError: a fault without LUNEO_TESTING=1, or one that cannot be read.
    """
    fault = environ.get("LUNEO_FAULT", "")
    if not fault:
        return _nothing
    if environ.get("LUNEO_TESTING") != "1":
        raise ValueError("LUNEO_FAULT kills the server on purpose and is for tests, with LUNEO_TESTING=1 only.")
    kind, _, rest = fault.partition(":")
    chosen, _, nth = rest.partition(":")
    if kind != "kill" or chosen not in PLACES or not nth.isdecimal() or int(nth) < 1:
        raise ValueError(f"LUNEO_FAULT must be kill:{{{'|'.join(PLACES)}}}:{{nth}}.")
    left = int(nth)

    def reached(place: str) -> None:
        nonlocal left
        if place == chosen:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached


reached: Final = armed(os.environ)
"""Called at each place by the room."""
