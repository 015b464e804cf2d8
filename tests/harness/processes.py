"""Child processes that end with the test process, however that ends."""

from __future__ import annotations

import asyncio
import ctypes
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """For `preexec_fn`: SIGKILL this child when the process (thread) that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Every process below *pid*."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                below = [int(word) for word in task.read_text().split()]
            except OSError:
                continue
            found += below
            waiting += below
    return found


def is_alive(pid: int) -> bool:
    """Whether *pid* still runs; one that waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status[status.rindex(")") + 2] not in "ZX"


def resident_bytes(pids: list[int]) -> int:
    """The memory of processes: proportional set size, so that what they share is counted once."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


async def until(look: Callable[[], T], what: str, within: float = 10.0, every: float = 0.02) -> T:
    """Wait until *look* returns something true, and return it.

    Raises:
        AssertionError: it did not within the deadline; says *what* was waited for, and what was seen last.
    """

    async def looked() -> T:
        return look()

    return await eventually(looked, what, within, every)


async def eventually(look: Callable[[], Awaitable[T]], what: str, within: float = 10.0, every: float = 0.02) -> T:
    """`until` for a *look* that has to wait itself."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        seen = await look()
        if seen:
            return seen
        if loop.time() > deadline:
            raise AssertionError(f"not within {within} s: {what}; seen last: {seen!r}")
        await asyncio.sleep(every)
