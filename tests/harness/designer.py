"""Designers: people with real Yjs documents in a Node process, driven over a pipe."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from tests.harness.budget import ROOT
from tests.harness.processes import die_with_parent

Answer = dict[str, Any]


class Designers:
    """One Node process with any number of designers; see `designer.mjs` for what they can do.

    Kinds: `stock` is the npm y-socket.io provider as it is published, `y-websocket` and `y-websocket-2` are that
    package in two major versions, `hocuspocus` and `hocuspocus-2` are @hocuspocus/provider 4 and 2, `acked` speaks
    y-socket.io and asks for an acknowledgement of each update.
    """

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Answer]] = {}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "node",
            str(ROOT / "tests" / "harness" / "designer.mjs"),
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 26,
            preexec_fn=die_with_parent,
        )
        self._reader = asyncio.create_task(self._read(self._process))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL: no goodbye of any kind."""
        assert self._process is not None
        if self._process.returncode is None:
            os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None

    def freeze(self) -> None:
        """Stop answering, with every socket open: a silent network."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    async def do(self, command: str, **options: Any) -> Answer:
        """Send one command and return its answer.

        Raises:
            AssertionError: the designer could not do it.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._numbers)
        answered = self._answers[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "do": command, **options}).encode() + b"\n")
        async with asyncio.timeout(float(options.get("within", 0)) + 60):
            answer: Answer = await answered
        if not answer["ok"]:
            raise AssertionError(f"{command} failed: {answer['error']}")
        return answer

    async def open(self, name: str, url: str, room: str, *, kind: str = "stock", **options: Any) -> int:
        """Let a designer enter a room; returns its Yjs client id."""
        answer = await self.do("open", name=name, url=url, room=room, kind=kind, **options)
        return int(answer["client"])

    async def edit(self, name: str, op: str, **options: Any) -> None:
        await self.do("edit", name=name, op=op, **options)

    async def ready(self, *names: str, within: float = 20.0) -> None:
        """Wait until all are connected and have exchanged documents."""
        answer = await self.do("until-ready", names=names, within=within)
        if not answer["met"]:
            reports = {name: (await self.do("report", name=name))["events"][-5:] for name in names}
            raise AssertionError(f"not ready within {within} s: {reports}")

    async def equal(self, *names: str, within: float = 20.0) -> str:
        """Wait until all have the same document; returns its digest."""
        answer = await self.do("until-equal", names=names, within=within)
        if not answer["met"]:
            looks = {name: await self.do("look", name=name) for name in names}
            raise AssertionError(f"not equal within {within} s: {answer['ready']} {summary(looks)}")
        return str(answer["digests"][0])

    async def acked(self, *names: str, within: float = 20.0) -> None:
        """Wait until every update is answered, but those that were under way when a connection ended."""
        answer = await self.do("until-acked", names=names, within=within)
        assert answer["met"], f"not every update was answered within {within} s"

    async def sees(
        self, name: str, client: int, *, key: str | None = None, value: object = None, within: float = 10.0
    ) -> float:
        """Wait until *name* sees the presence of *client* (with state[key] = value); returns the seconds it took."""
        wanted = {} if key is None else {"key": key, "value": value}
        answer = await self.do("until-person", name=name, client=client, within=within, **wanted)
        assert answer["met"], f"{name} did not see {client} with {wanted} within {within} s: {answer['state']}"
        return float(answer["seconds"])

    async def misses(self, name: str, client: int, *, within: float = 10.0) -> float:
        """Wait until *name* does not see *client* any more; returns the seconds it took."""
        answer = await self.do("until-person", name=name, client=client, there=False, within=within)
        assert answer["met"], f"{name} still saw {client} after {within} s: {answer['state']}"
        return float(answer["seconds"])

    async def digest(self, name: str) -> str:
        return str((await self.do("look", name=name))["digest"])

    async def report(self, name: str) -> Answer:
        return await self.do("report", name=name)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            answer = json.loads(line)
            waiting = self._answers.pop(answer["id"], None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(AssertionError("the designers' process ended"))
        self._answers.clear()


def missing(ack: Answer, read: Answer) -> str:
    """What an acknowledged update brought and *read* (a `look`, or what yjs read) has not; empty when all is there."""
    for client, end in ack["ends"].items():
        if read["clocks"].get(client, 0) < end:
            return f"clock {end} of client {client}"
    for client, first, end in ack["deletes"]:
        ranges = read["deleted"].get(str(client), [])
        if not any(clock <= first and end <= clock + length for clock, length in ranges):
            return f"the deletion of {client} from {first} to {end}"
    return ""


def summary(looks: dict[str, Answer]) -> str:
    """Where documents differ, short enough to read."""
    parts = []
    for part in ("clocks", "deleted", "pending", "content"):
        seen = {name: json.dumps(look[part]) for name, look in looks.items()}
        if len(set(seen.values())) > 1:
            parts.append(f"{part}: " + "; ".join(f"{name} {text[:400]}" for name, text in seen.items()))
    return " | ".join(parts) or "the same document, but not connected"


async def yjs_reads(rows: Sequence[bytes]) -> Answer:
    """What yjs, in a process of its own, makes of *rows* in log order: digest, content, clocks, deleted, pending."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(ROOT / "tests" / "harness" / "apply.mjs"),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    out, err = await process.communicate(json.dumps({"rows": [row.hex() for row in rows]}).encode())
    if process.returncode:
        raise AssertionError(f"yjs could not read the rows: {err.decode()[-1000:]}")
    answer: Answer = json.loads(out)
    return answer
