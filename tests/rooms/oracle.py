"""Real yjs as a second opinion, in a Node process that is asked over lines of JSON."""

from __future__ import annotations

import base64
import json
import select
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

SCRIPT = Path(__file__).with_name("yjs_oracle.mjs")
DEADLINE_SECONDS = 60.0


class Yjs:
    """One Node process; `ask` names an operation of `yjs_oracle.mjs`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", "--stack-size=900", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Yjs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """The answer; an error of yjs fails the test, and so does no answer in time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": operation, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], DEADLINE_SECONDS)
        if not ready:
            self._process.kill()
            raise TimeoutError(f"yjs hangs in {operation}")
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer


def encode(updates: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(update).decode() for update in updates]


def decode(texts: Sequence[str]) -> list[bytes]:
    return [base64.b64decode(text) for text in texts]


def vector(answer: dict[str, Any]) -> dict[int, int]:
    """The state vector in an answer."""
    return {int(client): clock for client, clock in answer["vector"].items() if clock}


def deletes(answer: dict[str, Any]) -> dict[int, tuple[tuple[int, int], ...]]:
    """The delete set in an answer."""
    return {
        int(client): tuple((first, end) for first, end in ranges)
        for client, ranges in answer["deletes"].items()
        if ranges
    }
