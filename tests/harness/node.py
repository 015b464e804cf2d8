"""Node: a real `python -m realtime serve` as a child process, to be killed and started again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.budget import ROOT
from tests.harness.processes import children, die_with_parent, is_alive, until

READY = re.compile(r"Luneo Live is ready at (http://\S+)")
START_SECONDS = 60.0
STOP_SECONDS = 30.0
KEPT_LINES = 400


class Node:
    """One server process with a data directory of its own; as `async with` it is started, and killed at the end.

    `env` is all that it gets of the environment besides PATH and HOME. `kill` is SIGKILL, `stop` SIGTERM; `restart`
    starts it again with the same data at the same port.
    """

    program = sys.executable
    command: tuple[str, ...] = ("-m", "realtime", "serve")

    def __init__(self, directory: Path, **env: str) -> None:
        self.directory = directory
        self.env = env
        self.port = 0
        self.starts = 0
        self.output: deque[str] = deque(maxlen=KEPT_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[str] | None = None
        self._below: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def database(self) -> Path:
        return self.directory / "luneo.sqlite3"

    async def start(self, **env: str) -> Self:
        """Start, and return once it says that it can serve; *env* is for this start only."""
        assert not self.running
        self.directory.mkdir(parents=True, exist_ok=True)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            "PORT": str(self.port),
            "LUNEO_DATA_DIR": str(self.directory),
            "LUNEO_WORKERS": "2",
            **self.env,
            **env,
        }
        self._process = await asyncio.create_subprocess_exec(
            self.program,
            *self.command,
            cwd=ROOT,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
            preexec_fn=die_with_parent,
        )
        self.starts += 1
        self._ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(self._process, self._ready))
        try:
            async with asyncio.timeout(START_SECONDS):
                url = await asyncio.shield(self._ready)
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"the node was not ready within {START_SECONDS} s:\n{self.log}") from None
        self.port = int(url.rpartition(":")[2].rstrip("/"))
        self._below = children(self.pid)
        return self

    async def kill(self) -> None:
        """SIGKILL, and wait until it and every worker below it are gone."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        return await self._end(signal.SIGTERM)

    async def restart(self, **env: str) -> None:
        if self.running:
            await self.kill()
        await self.start(**env)

    def freeze(self) -> None:
        """Stop the process as a hung machine would: its sockets stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def ended(self, within: float = 30.0) -> int:
        """Wait until it ends by itself; returns the exit status, negative for a signal."""
        assert self._process is not None
        async with asyncio.timeout(within):
            status = await self._process.wait()
        await self._cleaned_up()
        return status

    @property
    def log(self) -> str:
        return "\n".join(self.output)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()
        if error is not None:
            error.add_note(f"The node at {self.url} said last:\n" + "\n".join(list(self.output)[-60:]))

    async def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._below = list({*self._below, *children(self.pid)})
            os.kill(self.pid, number)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                os.kill(self.pid, signal.SIGKILL)
                await self._process.wait()
                raise AssertionError(f"the node did not end within {STOP_SECONDS} s:\n{self.log}") from None
        await self._cleaned_up()
        return self._process.returncode or 0

    async def _cleaned_up(self) -> None:
        if self._reader is not None:
            await self._reader
            self._reader = None
        # RULE W: workers end with the node, also after SIGKILL and also while hung.
        await until(
            lambda: not [pid for pid in self._below if is_alive(pid)], "the end of all workers of the node", within=20
        )
        self._below = []

    async def _read(self, process: asyncio.subprocess.Process, ready: asyncio.Future[str]) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            text = line.decode(errors="replace").rstrip()
            self.output.append(text)
            found = READY.search(text)
            if found and not ready.done():
                ready.set_result(found[1])
        if not ready.done():
            ready.set_exception(AssertionError(f"the node ended before it was ready:\n{self.log}"))
