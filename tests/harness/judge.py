"""Judge: yjs in a process of its own, asked again and again what rows of a log are as a document."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from tests.harness.budget import ROOT
from tests.harness.processes import die_with_parent

Look = dict[str, Any]


class Judge:
    """As `async with` it is started, and killed at the end."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = itertools.count(1)
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "node",
            str(ROOT / "tests" / "harness" / "judge.mjs"),
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 28,
            preexec_fn=die_with_parent,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def looks(self, *sets: Sequence[bytes]) -> list[Look]:
        """What each set of updates, applied in order, makes: digest, content, clocks, deleted, pending.

        Raises:
            AssertionError: yjs cannot apply one of them.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        number = next(self._numbers)
        asked = {"id": number, "sets": [[base64.b64encode(row).decode() for row in rows] for rows in sets]}
        async with self._turn, asyncio.timeout(60):
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            await self._process.stdin.drain()
            answer = json.loads(await self._process.stdout.readline())
        assert answer["id"] == number
        looks: list[Look] = answer["looks"]
        for place, look in enumerate(looks):
            assert "error" not in look, f"yjs cannot read set {place}: {look['error']}"
        return looks
