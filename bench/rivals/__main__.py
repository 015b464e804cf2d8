"""`python -m bench.rivals [--plans fanout200,join] [--targets luneo,hocuspocus] [--rounds 3] [--out results]`.

`make bench-rivals ARGS='--out results --into docs/performance.md'` measures everything and renews the page.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from bench.rivals.plans import ALWAYS, PLANS
from bench.rivals.report import replaced, report
from bench.rivals.targets import TARGETS, measure, versions
from tests.harness.budget import commit, machine

Row = dict[str, Any]


async def run(plans: list[str], targets: list[str], rounds: int, out: Path | None) -> list[Row]:
    """Every plan against every target in every round; a line as soon as a run has ended."""
    rows: list[Row] = []
    about = {"commit": commit(), "machine": machine(), "versions": versions()}
    for turn in range(rounds):
        for plan in plans:
            # in another order each round, so that no target always follows the same one
            for name in targets[turn % len(targets) :] + targets[: turn % len(targets)]:
                target = TARGETS[name]
                if PLANS[plan].protocols and target.protocol not in PLANS[plan].protocols:
                    continue
                print(f"round {turn + 1} of {rounds}: {plan}, {name}", file=sys.stderr, flush=True)
                row = {"round": turn + 1, "plan": plan, "target": name, **await measure(target, PLANS[plan]), **about}
                rows.append(row)
                line = json.dumps(row)
                print(line, flush=True)
                if out is not None:
                    with out.with_suffix(".jsonl").open("a") as lines:
                        lines.write(line + "\n")
    return rows


def _names(given: str, known: dict[str, Any], parser: argparse.ArgumentParser) -> list[str]:
    names = given.split(",")
    if unknown := set(names) - set(known):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rivals", description=__doc__)
    parser.add_argument("--plans", default=",".join(ALWAYS), help=f"with commas, of {', '.join(PLANS)}")
    parser.add_argument("--targets", default=",".join(TARGETS), help=f"with commas, of {', '.join(TARGETS)}")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over these (default: 3)")
    parser.add_argument("--out", type=Path, help="lines are added to OUT.jsonl, and OUT.md is made of all of them")
    parser.add_argument("--report", action="store_true", help="run nothing, make the tables of OUT.jsonl")
    parser.add_argument("--into", type=Path, help="a page between whose two marks the tables are put as well")
    options = parser.parse_args()
    plans, targets = _names(options.plans, PLANS, parser), _names(options.targets, TARGETS, parser)
    if options.report and options.out is None:
        parser.error("--report needs --out")
    rows = [] if options.report else asyncio.run(run(plans, targets, options.rounds, options.out))
    if options.out is not None:
        rows = [json.loads(line) for line in options.out.with_suffix(".jsonl").read_text().splitlines()]
    text = report(rows)
    if options.out is not None:
        options.out.with_suffix(".md").write_text(text)
    if options.into is not None:
        options.into.write_text(replaced(options.into.read_text(), text))
    print(f"\n{text}")


if __name__ == "__main__":
    main()
