"""Supervised worker processes: bytes in, bytes out, a deadline and a memory limit, killed when late, replaced at once.

Each worker is a process of its own that `exec`s a fresh interpreter and talks over one socket pair. A fork server would
start one in less time, but its children hold each other's pipes, and then a killed parent leaves those that hang.

Source: docs/protocol.md, W1 to W9.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

from rooms.errors import TaskFailed, Unavailable, WorkerDied, WorkersBusy, WorkerTimeout
from rooms.worker_process import EXIT_MEMORY, PREFIX, decode_frame, encode_frame

log = logging.getLogger(__name__)

DEFAULT_DEADLINE_SECONDS: Final = 5.0
SLOW_SECONDS: Final = 10.0
"""A request that may take as long as this never takes the last free worker of several."""
WAIT_SECONDS: Final = 5.0
"""The longest wait in the queue, for requests with a shorter deadline: a worker may have to start first."""
ABANDONED_SECONDS: Final = 2.0
"""How long a request whose caller was cancelled may go on before its worker is killed."""
START_SECONDS: Final = 60.0
MAX_ANSWER_BYTES: Final = 1024 * 1024 * 1024
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""What a worker inherits: no token, key or address."""
_ONE_THREAD: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(slots=True)
class WorkerCounts:
    """What happened since the start; for metrics."""

    requests: int = 0
    """Handed to a worker."""
    failures: int = 0
    """Refused by their task."""
    timeouts: int = 0
    deaths: int = 0
    """Processes that ended under a request or while idle, without being told to."""
    busy: int = 0
    """Requests refused because the queue was full, or because they waited too long."""
    recycled: int = 0
    """Processes replaced for their age or size."""
    starts: int = 0


class _Job:
    """One request: waits in the queue, then belongs to one worker, then is settled once."""

    __slots__ = ("deadline", "done", "frame", "slow", "task", "timer")

    def __init__(self, task: str, frame: bytes, deadline: float, done: asyncio.Future[Any]) -> None:
        self.task = task
        self.frame = frame
        self.deadline = deadline
        self.slow = deadline >= SLOW_SECONDS
        self.done = done
        self.timer: asyncio.TimerHandle | None = None

    def settle(self, answer: tuple[dict[str, Any], list[bytes]]) -> None:
        if not self.done.done():
            self.done.set_result(answer)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _Channel(asyncio.Protocol):
    """The parent's end of a worker's socket: gives each whole answer, and its end, to who waits."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[tuple[dict[str, Any], list[bytes]]] | None = None
        self.job: asyncio.Future[_Job | None] | None = None
        """What an idle worker waits for; None, once the process ended."""
        self.ended = False
        self._data = bytearray()
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._size:
            if len(self._data) < PREFIX.size:
                return
            head, body = PREFIX.unpack_from(self._data)
            self._size = PREFIX.size + head + body
            if self._size > MAX_ANSWER_BYTES:
                self.close()
                return
        if len(self._data) < self._size:
            return
        head, _ = PREFIX.unpack_from(self._data)
        whole, self._data, self._size = self._data, bytearray(), 0
        if self.answer is None or self.answer.done():
            return
        view = memoryview(whole)
        self.answer.set_result(decode_frame(view[PREFIX.size : PREFIX.size + head], view[PREFIX.size + head :]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(EOFError())
        if self.job is not None and not self.job.done():
            self.job.set_result(None)

    def send(self, frame: bytes) -> asyncio.Future[tuple[dict[str, Any], list[bytes]]]:
        """Write a request; the future is its answer, or EOFError when the process ends."""
        self.answer = self.listen()
        if self.transport is not None:
            self.transport.write(frame)
        return self.answer

    def listen(self) -> asyncio.Future[tuple[dict[str, Any], list[bytes]]]:
        self.answer = asyncio.get_running_loop().create_future()
        if self.ended:
            self.answer.set_exception(EOFError())
        return self.answer

    def rest(self) -> asyncio.Future[_Job | None]:
        """The next job, or None when the process ends meanwhile."""
        self.job = asyncio.get_running_loop().create_future()
        if self.ended:
            self.job.set_result(None)
        return self.job

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _Worker:
    """One process, from its start to its end."""

    def __init__(self, process: Process, channel: _Channel, ready_bytes: int) -> None:
        self.process = process
        self.channel = channel
        self.ready_bytes = ready_bytes
        self.requests = 0

    @property
    def pid(self) -> int:
        return self.process.pid


class Workers:
    """A fixed number of worker processes behind one bounded queue; a `rooms.ports.WorkerPort`.

    Use as `async with Workers(...)`: entering returns when every worker is warm, leaving ends them all.
    """

    def __init__(
        self,
        count: int,
        memory_bytes: int = 1024 * 1024 * 1024,
        tasks: str = "rooms.tasks:TASKS",
        *,
        max_queue: int = 1000,
        recycle_requests: int = 10_000,
        recycle_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        """
        Args:
            count: processes, at least one; with two or more, slow requests leave one for the quick.
            memory_bytes: what a request may allocate beyond a warm process; 0: no limit.
            tasks: `module:name` of the table of tasks, imported by the workers only.
            max_queue: requests that wait; more are refused with WorkersBusy.
            recycle_requests: a process is replaced after this many.
            recycle_bytes: and when its memory grew by this much since it was warm.
        """
        if count < 1:
            raise ValueError("at least one worker")
        self.count = count
        self.counts = WorkerCounts()
        self._memory_bytes = memory_bytes
        self._tasks = tasks
        self._max_queue = max_queue
        self._recycle_requests = recycle_requests
        self._recycle_bytes = recycle_bytes
        self._quick: deque[_Job] = deque()
        self._slow: deque[_Job] = deque()
        self._slow_running = 0
        self._idle: deque[_Worker] = deque()
        self._alive: dict[int, _Worker] = {}
        self._jobs: set[_Job] = set()
        self._group = asyncio.TaskGroup()
        self._slots: list[asyncio.Task[None]] = []
        self._open = False

    @property
    def queue_depth(self) -> int:
        """Requests that wait for a worker."""
        return len(self._quick) + len(self._slow)

    @property
    def ready(self) -> int:
        """Warm processes, busy ones included."""
        return len(self._alive)

    @property
    def running(self) -> int:
        """Requests being worked on."""
        return len(self._alive) - len(self._idle)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the warm workers."""
        return tuple(self._alive)

    async def __aenter__(self) -> Workers:
        await self._group.__aenter__()
        loop = asyncio.get_running_loop()
        first: list[asyncio.Future[None]] = [loop.create_future() for _ in range(self.count)]
        self._slots = [self._group.create_task(self._slot(future)) for future in first]
        try:
            async with asyncio.timeout(START_SECONDS):
                for future in first:
                    await future
        except BaseException as error:
            await self._end()
            for future in first:
                if not future.cancel() and not future.cancelled():
                    future.exception()  # seen: one failure is told
            if isinstance(error, TimeoutError):
                raise Unavailable("The worker processes did not start in time.") from error
            raise
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        self._open = False
        for slot in self._slots:
            slot.cancel()
        for job in self._jobs:
            if job.timer is not None:
                job.timer.cancel()
            job.fail(Unavailable("The node is closing. Nothing was changed."))
        await self._group.__aexit__(None, None, None)

    async def call(
        self, task: str, arguments: Mapping[str, object], buffers: Sequence[bytes] = (), *, deadline_seconds: float = 0
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Run *task* in a worker: JSON values and byte buffers in, the same out.

        The deadline (0: 5 s) counts from the start of the work; and it is the longest wait in the queue, if that is
        more than `WAIT_SECONDS`.
        A caller that is cancelled lets its request go on for at most `ABANDONED_SECONDS`.

        Raises:
            WorkerTimeout: it was killed at its deadline; nothing else was.
            WorkerDied: the process ended under it (memory limit, crash).
            TaskFailed: the task refused its input, with a code and a sentence.
            WorkersBusy: the queue is full, or the wait was too long.
            Unavailable: the workers are closed.

        Source: docs/protocol.md, W1 to W5.
        """
        if not self._open:
            raise Unavailable("The node is closing. Nothing was changed.")
        deadline = deadline_seconds or DEFAULT_DEADLINE_SECONDS
        frame = encode_frame({"task": task, "arguments": arguments, "deadline": deadline}, buffers)
        loop = asyncio.get_running_loop()
        job = _Job(task, frame, deadline, loop.create_future())
        if self.queue_depth >= self._max_queue:
            self._dispatch()
            if self.queue_depth >= self._max_queue:
                self.counts.busy += 1
                raise WorkersBusy("Too many documents are being worked on. Try again in a moment.")
        queue = self._slow if job.slow else self._quick
        queue.append(job)
        self._jobs.add(job)
        job.timer = loop.call_later(max(deadline, WAIT_SECONDS), self._waited_too_long, job)
        self._dispatch()
        try:
            return cast(tuple[dict[str, Any], list[bytes]], await job.done)
        except asyncio.CancelledError:
            if job in queue:
                queue.remove(job)
                job.timer.cancel()
            raise
        finally:
            self._jobs.discard(job)

    def _waited_too_long(self, job: _Job) -> None:
        (self._slow if job.slow else self._quick).remove(job)
        self.counts.busy += 1
        job.fail(WorkersBusy("No worker was free in time. Nothing was changed."))

    def _dispatch(self) -> None:
        """Hand what waits to who is idle: the quick first; the slow leave one worker to them."""
        while self._idle:
            waiting = self._idle[0].channel.job
            if waiting is None or waiting.done():
                self._idle.popleft()  # it ended; its slot is about to notice
                continue
            if self._quick:
                job = self._quick.popleft()
            elif self._slow and self._slow_running < max(1, self.count - 1):
                job = self._slow.popleft()
            else:
                return
            self._idle.popleft()
            if job.timer is not None:
                job.timer.cancel()
            self._slow_running += job.slow
            waiting.set_result(job)

    async def _slot(self, first: asyncio.Future[None]) -> None:
        """Keep one worker alive for ever: start it, serve with it, replace it. Fails the start, never later."""
        failures = 0
        while True:
            if failures:
                # The first replacement comes at once; what ends before its first answer is waited for longer each time.
                await asyncio.sleep(min(5.0, 0.05 * 2.0**failures) if failures > 1 else 0)
            worker: _Worker | None = None
            try:
                worker = await self._start()
                if not first.done():
                    first.set_result(None)
                await self._live(worker)
                failures = 0 if worker.requests else failures + 1
            except Exception as error:
                failures += 1
                log.error("worker did not start", extra={"failures": failures}, exc_info=error)
                if not first.done() and failures >= 3:
                    first.set_exception(Unavailable(f"A worker process does not start: {error}"))
                    return
            finally:
                if worker is not None:
                    await self._stop(worker)

    async def _start(self) -> _Worker:
        """Start a process and wait until it is warm."""
        self.counts.starts += 1
        ours, theirs = socket.socketpair()
        process: Process | None = None
        channel: _Channel | None = None
        try:
            environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            environment |= dict.fromkeys(_ONE_THREAD, "1")
            environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "rooms.worker_process"),
                    *(str(theirs.fileno()), str(os.getpid()), str(self._memory_bytes), self._tasks),
                    pass_fds=(theirs.fileno(),),
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    env=environment,
                )
            ours.setblocking(False)
            _, channel = await asyncio.get_running_loop().create_connection(_Channel, sock=ours)
            async with asyncio.timeout(START_SECONDS):
                header, _ = await channel.listen()
            worker = _Worker(process, channel, header["rss"])
        except BaseException as error:
            if channel is not None:
                channel.close()
            else:
                ours.close()
            if process is not None:
                await _reap(process, ended=isinstance(error, EOFError))
                if isinstance(error, EOFError):
                    raise RuntimeError(f"it ended with code {process.returncode}; see its output above") from error
            raise
        self._alive[worker.pid] = worker
        return worker

    async def _live(self, worker: _Worker) -> None:
        """Serve with one worker until it must be replaced."""
        while True:
            waiting = worker.channel.rest()
            self._idle.append(worker)
            self._dispatch()
            job = await waiting
            if job is None:
                self.counts.deaths += 1
                log.warning("idle worker ended", extra={"pid": worker.pid})
                return
            try:
                again = await self._serve(worker, job)
            finally:
                self._slow_running -= job.slow
            if not again:
                return

    async def _serve(self, worker: _Worker, job: _Job) -> bool:
        """Run one request and settle it; False when the worker must be replaced."""
        if job.done.done():
            return True  # its caller went away while it was handed over
        self.counts.requests += 1
        worker.requests += 1
        answer = worker.channel.send(job.frame)
        job.frame = b""
        try:
            async with asyncio.timeout(job.deadline) as limit:
                # A caller that goes away shortens the deadline; nobody waits for the answer any more.
                job.done.add_done_callback(lambda done: _shorten(limit) if done.cancelled() else None)
                header, buffers = await answer
        except TimeoutError:
            if not job.done.cancelled():
                self.counts.timeouts += 1
            log.warning("worker killed at the deadline", extra={"task": job.task, "deadline": job.deadline})
            job.fail(WorkerTimeout(f"The work on this document took longer than {job.deadline:g} s and was stopped."))
            return False
        except EOFError:
            self.counts.deaths += 1
            code = await _reap(worker.process, ended=True)
            log.warning("worker died", extra={"task": job.task, "returncode": code})
            why = "ran out of memory" if code == EXIT_MEMORY else f"ended with code {code}"
            job.fail(WorkerDied(f"The process that worked on this document {why}."))
            return False
        if header["ok"]:
            job.settle((header["value"], buffers))
        else:
            self.counts.failures += 1
            if "traceback" in header:
                log.error("task failed", extra={"task": job.task, "traceback": header["traceback"]})
            job.fail(TaskFailed(header["code"], header["message"]))
            if not header["again"]:
                return False
        if worker.requests >= self._recycle_requests or header["rss"] > worker.ready_bytes + self._recycle_bytes:
            self.counts.recycled += 1
            return False
        return True

    async def _stop(self, worker: _Worker) -> None:
        self._alive.pop(worker.pid, None)
        if worker in self._idle:
            self._idle.remove(worker)
        ended = worker.channel.ended
        worker.channel.close()
        await _reap(worker.process, ended=ended)


def _shorten(limit: asyncio.Timeout) -> None:
    when = limit.when()
    soon = asyncio.get_running_loop().time() + ABANDONED_SECONDS
    if when is not None and when > soon:
        with contextlib.suppress(RuntimeError):  # the answer came in the same turn
            limit.reschedule(soon)


async def _reap(process: Process, *, ended: bool) -> int:
    """Wait for the end of the process, which is near; a cancellation waits for it, too.

    One that *ended* by itself is not killed at once: `kill` looks whether it is there, and takes its exit code away.
    """
    end = asyncio.ensure_future(process.wait())
    cancelled: asyncio.CancelledError | None = None
    killed = False
    while not end.done():
        if not ended and not killed:
            killed = True
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        try:
            await asyncio.wait([end], timeout=None if killed else 1.0)
        except asyncio.CancelledError as error:
            cancelled = error
        ended = False
    if cancelled is not None:
        raise cancelled
    return end.result()
