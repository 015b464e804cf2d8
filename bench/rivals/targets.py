"""The targets: our node in each of its protocols, and the rivals; each run gets a fresh one."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.rivals.plans import Plan
from tests.harness.node import Node
from tests.harness.processes import die_with_parent

HERE = Path(__file__).parent
HOST = "127.0.0.1"
RUN_SECONDS = 200.0
"""The generator gives up by itself after 180."""
FSYNC_ROUNDS = 50
FSYNC_BYTES = 4096


@dataclass(frozen=True)
class Target:
    """A server to measure: what starts it, and how it is spoken to."""

    protocol: str
    path: str = ""
    package: str = ""
    """The npm package of a rival; empty for our own."""
    server: str = ""
    """The rival's launcher, in `servers/`."""
    env: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return not self.server


TARGETS: dict[str, Target] = {
    "luneo": Target("ysio"),
    "luneo-yws": Target("yws", "/yjs"),
    "luneo-hocuspocus": Target("hocuspocus", "/hocuspocus"),
    "hocuspocus": Target("hocuspocus", package="@hocuspocus/server", server="hocuspocus.mjs"),
    "hocuspocus-flush10": Target(
        "hocuspocus", package="@hocuspocus/server", server="hocuspocus.mjs", env={"FLUSH_MS": "10"}
    ),
    "y-websocket": Target("yws", package="@y/websocket-server", server="y-websocket.mjs"),
    "y-socket.io": Target("ysio", package="y-socket.io", server="y-socket.io.mjs"),
}

PACKAGES = (
    "@hocuspocus/server",
    "crossws",
    "@y/websocket-server",
    "y-socket.io",
    "socket.io",
    "engine.io",
    "ws",
    "yjs",
)
"""Whose versions a reader of the table must know."""


def versions() -> dict[str, str]:
    """The installed versions of the rivals and of what carries them."""
    found = {}
    for package in PACKAGES:
        about = HERE / "node_modules" / package / "package.json"
        if about.exists():
            found[package] = json.loads(about.read_text())["version"]
    return found


def cores() -> tuple[int, int]:
    """The processor of the server and the one of the generator; the same when there is only one."""
    processors = sorted(os.sched_getaffinity(0))
    return processors[0], processors[-1]


class Pinned(Node):
    """A server on one processor, with everything below it: its workers count as it does."""

    program = "taskset"

    def __init__(self, target: Target, plan: Plan, core: int, directory: Path) -> None:
        super().__init__(directory, **target.env, **(plan.env if target.ours else {}))
        started = (
            (sys.executable, "-m", "realtime", "serve")
            if target.ours
            else ("node", str(HERE / "servers" / target.server))
        )
        self.command = ("-c", str(core), *started)
        self.port = _free_port()


@asynccontextmanager
async def _server(target: Target, plan: Plan) -> AsyncIterator[Pinned]:
    with tempfile.TemporaryDirectory(prefix="luneo-rivals-") as directory:
        async with Pinned(target, plan, cores()[0], Path(directory) / "data") as server:
            yield server


async def measure(target: Target, plan: Plan) -> dict[str, Any]:
    """Run one plan against a fresh server; returns the generator's figures, or an `error`, and what one fsync took."""
    try:
        async with _server(target, plan) as server:
            figures = await _load(target, plan, server)
            if "error" in figures:
                figures["complaint"] = server.log[-1000:]
            return figures | {"fsyncMs": fsync_ms(server.directory)}
    except AssertionError as error:  # it did not start or did not end: one run is lost, not the others
        return {"error": str(error).partition("\n")[0], "complaint": str(error)[-1000:]}


async def _load(target: Target, plan: Plan, server: Pinned) -> dict[str, Any]:
    arguments = [
        *("-c", str(cores()[1]), "node", str(HERE / "load" / "load.mjs"), plan.scenario),
        *("--target", f"{target.protocol}:ws://{HOST}:{server.port}{target.path}", "--pid", str(server.pid)),
        *(("--metrics", f"{server.url}/metrics") if target.ours else ()),
        *(part for name, value in plan.options.items() for part in (f"--{name}", str(value))),
    ]
    process = await asyncio.create_subprocess_exec(
        "taskset", *arguments, stdout=asyncio.subprocess.PIPE, preexec_fn=die_with_parent
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return {"error": f"no result within {RUN_SECONDS:.0f} s"}
    try:
        figures: dict[str, Any] = json.loads(said.decode().strip().rpartition("\n")[2])
    except ValueError:
        return {"error": f"no result, exit status {process.returncode}"}
    return figures


def fsync_ms(directory: Path) -> float:
    """What it takes to make a page durable where the server's data lie: the median of write and fdatasync, ms."""
    took = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(FSYNC_ROUNDS):
            began = time.perf_counter()
            file.write(bytes(FSYNC_BYTES))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return round(statistics.median(took) * 1000, 3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
