"""`python -m bench [--rounds 3] [--only latency,cold_open,render,memory]`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable

from bench import figures
from bench.measuring import Figure, spare_processor, table
from tests.harness.budget import commit, machine

SCENARIOS: dict[str, Callable[[int], AsyncIterator[Figure]]] = {
    "latency": figures.latency,
    "cold_open": figures.cold_open,
    "render": figures.render,
    "memory": figures.memory,
}


async def run(names: list[str], rounds: int) -> None:
    """Run the scenarios one after another; a line as soon as a figure is known, the table at the end."""
    seen: list[Figure] = []
    for name in names:
        async for figure in SCENARIOS[name](rounds):
            print(figure.line(), flush=True)
            seen.append(figure)
    print(f"\ncommit {commit()}, {machine()}\n{table(seen)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="median, min and max are over these (default: 3)")
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, with commas")
    options = parser.parse_args()
    names = options.only.split(",")
    unknown = set(names) - set(SCENARIOS)
    if unknown or options.rounds < 1:
        parser.error(f"there are {', '.join(SCENARIOS)}")
    spare_processor()
    asyncio.run(run(names, options.rounds))


if __name__ == "__main__":
    main()
