"""`serve --nodes N`: several processes behind one port of one machine, which end with the one that started them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from realtime.app import address_of, bind
from realtime.settings import Settings

log = logging.getLogger(__name__)

NODE_VARIABLE: Final = "LUNEO_NODE"
"""Set for the processes that this module starts: their number, from 1."""
MAX_NODES: Final = 64
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0
STOP_SECONDS: Final = 30.0
"""How long, after draining, a node may take to end; then it is killed."""
READY_PREFIX: Final = b"Luneo Live is ready"


class NodesRefused(Exception):
    """What is set does not make several nodes one server."""


def run_nodes(settings: Settings, count: int) -> int:
    """Run *count* nodes until SIGTERM or SIGINT; one that ends is started again. Returns the exit status.

    The kernel spreads new connections over them (SO_REUSEPORT). Prints one line when all can serve.

    Raises:
        NodesRefused: without Redis and PostgreSQL they would be separate servers that share a port.
        PortTaken: as `bind`.
    """
    if not 1 <= count <= MAX_NODES:
        raise NodesRefused(f"--nodes must be from 1 to {MAX_NODES}.")
    missing = [
        name
        for name, there in (("LUNEO_REDIS_URL", settings.redis_url), ("LUNEO_DATABASE_URL", settings.is_postgresql))
        if not there
    ]
    if missing:
        raise NodesRefused(
            f"--nodes {count} needs {' and '.join(missing)}: several nodes are one server only through one Redis"
            " (redis://…) and one PostgreSQL (postgresql+asyncpg://…)."
        )
    # finds a port if none was chosen, and keeps others from it before the nodes have bound it
    with bind(settings.host, settings.port, shared=True) as bound:
        return asyncio.run(_supervise(settings, count, bound.getsockname()[1], address_of(settings, bound)))


async def _supervise(settings: Settings, count: int, port: int, address: str) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ready: set[int] = set()

    def say(number: int) -> None:
        before = len(ready)
        ready.add(number)
        if before < count == len(ready):
            sys.stdout.write(f"Luneo Live is ready at {address}\n")
            sys.stdout.flush()

    async with asyncio.TaskGroup() as group:
        keepers = [
            group.create_task(_keep(number, port, stop, settings.drain_seconds, partial(say, number)))
            for number in range(1, count + 1)
        ]
    return max(keeper.result() for keeper in keepers)


async def _keep(number: int, port: int, stop: asyncio.Event, drain_seconds: float, on_ready: Callable[[], None]) -> int:
    """Run one node, again and again, until *stop*; a node that never became ready ends its part for good."""
    pause = FIRST_PAUSE_SECONDS
    was_ready = False
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "realtime",
            "serve",
            # the node reads its end: when the writer is gone, so is its parent
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, NODE_VARIABLE: str(number), "PORT": str(port)},
        )
        reading = asyncio.ensure_future(_read(process, on_ready))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            status = await _end(process, drain_seconds + STOP_SECONDS)
            await reading
            return status
        stopping.cancel()
        status = await process.wait()
        became_ready = reading.result()
        was_ready = was_ready or became_ready
        log.error("a node ended", extra={"node": number, "status": status})
        if not was_ready:
            stop.set()  # what keeps the first start from success is the operator's to mend, and is on stderr
            return status or 1
        pause = FIRST_PAUSE_SECONDS if became_ready else min(pause * 2, LONGEST_PAUSE_SECONDS)
        try:
            async with asyncio.timeout(pause):
                await stop.wait()
            return 0
        except TimeoutError:
            continue


async def _read(process: asyncio.subprocess.Process, on_ready: Callable[[], None]) -> bool:
    """Pass on what the node prints but its line of readiness; whether that came."""
    assert process.stdout is not None
    is_ready = False
    while line := await process.stdout.readline():
        if line.startswith(READY_PREFIX):
            is_ready = True
            on_ready()
        else:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    return is_ready


async def _end(process: asyncio.subprocess.Process, seconds: float) -> int:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(seconds):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


def stop_with_parent(stop: Callable[[], None]) -> None:
    """Call *stop* (from a thread) when the process that started this one ends, however it ends.

    The pipe on stdin says so at once, on every system, and lets the node drain.
    """

    def wait() -> None:
        while os.read(0, 1024):
            pass
        stop()

    threading.Thread(target=wait, name="parent", daemon=True).start()
