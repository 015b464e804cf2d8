"""The studio's own tests run with the others: its types, and its suite in vitest."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_studio_passes_its_own_suite() -> None:
    run("npx", "vitest", "run", "--silent")


def test_the_studio_has_sound_types() -> None:
    run("npx", "tsc", "--noEmit", "-p", "static/tsconfig.json")
