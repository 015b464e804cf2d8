"""What every figure is made of: samples, their spread, the generator's own lag, and the line that is printed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from types import TracebackType
from typing import Self

GENERATOR_SHARE = 0.85
"""A generator that has taken more of a processor than this had none left."""
GENERATOR_LAG = 0.25
"""A generator whose own timers come late by more than this part of a figure has made much of it."""


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample below which *share* of all lie; *samples* need not be sorted."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Figure:
    """One number of the report: its value in each round."""

    name: str
    unit: str
    server: str
    fsync: str
    rounds: list[float] = field(default_factory=list)
    generator_bound: bool = False
    note: str = ""

    def add(self, value: float, *, generator_bound: bool = False) -> None:
        self.rounds.append(value)
        self.generator_bound |= generator_bound

    def line(self) -> str:
        """The JSON line."""
        values = {"median": median(self.rounds), "min": min(self.rounds), "max": max(self.rounds)}
        return json.dumps(
            {
                "figure": self.name,
                "server": self.server,
                "unit": self.unit,
                **{name: round(value, 3) for name, value in values.items()},
                "rounds": len(self.rounds),
                "fsync": self.fsync,
                "generator_bound": self.generator_bound,
                **({"note": self.note} if self.note else {}),
            }
        )


class Generator:
    """Watches this process while it makes load: how late its timers come, and how much processor it takes."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self.share = 0.0

    async def __aenter__(self) -> Self:
        self._began, self._cpu = time.perf_counter(), time.process_time()
        self._watch = asyncio.create_task(self._look())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.cancel()
        self.share = (time.process_time() - self._cpu) / (time.perf_counter() - self._began)

    async def _look(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            self.lags.append((time.perf_counter() - before - 0.005) * 1000)

    def bound(self, value_ms: float, share: float = 0.5) -> bool:
        """Whether the generator, and not the server, may have made a figure that is the percentile *share*."""
        lag = percentile(self.lags, share) if self.lags else 0.0
        return self.share > GENERATOR_SHARE or lag > GENERATOR_LAG * value_ms


def table(figures: Sequence[Figure]) -> str:
    """All figures for people."""
    rows = [("figure", "server", "median", "min", "max", "unit", "rounds", "fsync", "")]
    for figure in figures:
        values = [median(figure.rounds), min(figure.rounds), max(figure.rounds)]
        bound = "generator was the limit" if figure.generator_bound else figure.note
        rows.append(
            (
                figure.name,
                figure.server,
                *(f"{value:.2f}" for value in values),  # type: ignore[arg-type]
                figure.unit,
                str(len(figure.rounds)),
                figure.fsync,
                bound,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def say(text: str) -> None:
    """What is under way, on stderr: stdout has the lines and the table only."""
    print(text, file=sys.stderr, flush=True)


def spare_processor() -> None:
    """Keep the generator on one processor when there are two or more, so that it does not take the server's."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        os.sched_setaffinity(0, {processors[-1]})
