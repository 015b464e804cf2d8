"""How long a proof runs: seconds in `make test`, in full with LUNEO_PROVE=full, which also writes its table."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROOFS = ROOT / "docs" / "proof"

FULL = os.environ.get("LUNEO_PROVE") == "full"
"""Whether proofs run in full, with bounds in time asserted (`make prove`)."""

SEED = int(os.environ.get("LUNEO_SEED", "20240"))
"""Where everything drawn by chance begins; printed in every table."""


def budget(short: int, full: int) -> int:
    """How many rounds or examples a proof may take now."""
    return full if FULL else short


def machine() -> str:
    """What a reader needs to judge a number: processors, memory, system, Python."""
    processor = platform.processor() or platform.machine()
    memory = "?"
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    if meminfo.exists():
        memory = f"{int(meminfo.read_text().split()[1]) // 1024 // 1024} GB"
    return (
        f"{os.cpu_count()} × {processor}, {memory}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def commit() -> str:
    """The commit that is proved, with a plus when the tree has changes besides the tables themselves."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = [line for line in git("status", "--porcelain").splitlines() if "docs/proof/" not in line]
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def write_table(name: str, title: str, text: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write `docs/proof/{name}.md`, in full runs only: what was seen, with seed, commit and machine."""
    if not FULL:
        return
    PROOFS.mkdir(parents=True, exist_ok=True)
    lines = [
        f"# {title}",
        "",
        text.strip(),
        "",
        f"Seed {SEED}, commit {commit()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows),
        "",
    ]
    (PROOFS / f"{name}.md").write_text("\n".join(lines))
