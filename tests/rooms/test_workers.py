"""Worker processes: what hangs, dies or grows costs one request (rules W1 to W6)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pycrdt
import pytest

from rooms.errors import TaskFailed, Unavailable, WorkerDied, WorkersBusy, WorkerTimeout
from rooms.worker_process import EXIT_ORPHAN, PREFIX, encode_frame
from rooms.workers import Workers
from tests.harness.processes import is_alive
from tests.rooms.conftest import TEST_TASKS

ROOT = Path(__file__).parents[2]


async def until(condition: Callable[[], bool], within: float = 15.0) -> None:
    """Wait for a state."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


def poison() -> list[bytes]:
    """An Array with text in it, and a struct whose left origin is inside of an emoji there: reading it never ends.

    Thirteen honest bytes to a Text; only the parent's type makes them poison.
    """
    writer: pycrdt.Doc[Any] = pycrdt.Doc(client_id=1)
    rows: list[bytes] = []
    writer.observe(lambda event: rows.append(event.update))
    writer.get("a", type=pycrdt.Array).extend([1, 2, 3])
    return [*rows, bytes.fromhex("0101020084010004f09f988000")]


async def test_answers_are_values_and_buffers(workers: Workers) -> None:
    """Rule W1."""
    big = os.urandom(3 * 1024 * 1024)
    value, buffers = await workers.call("echo", {"a": [1, None, "ß"]}, [b"", b"\x00\xff", big])
    assert value["a"] == [1, None, "ß"]
    assert buffers == [b"", b"\x00\xff", big]
    assert value["pid"] in workers.pids
    assert workers.ready == 2
    assert workers.counts.requests == 1


async def test_workers_inherit_no_secret_and_have_one_thread_each(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule W6."""
    monkeypatch.setenv("LUNEO_SECRET", "s3cret")
    async with Workers(1, tasks=TEST_TASKS) as fresh:
        value, _ = await fresh.call("environment", {})
    assert "LUNEO_SECRET" not in value["environment"]
    assert value["environment"]["OMP_NUM_THREADS"] == "1"


async def test_a_task_that_refuses_says_why_and_its_worker_stays(workers: Workers) -> None:
    """Rule W2."""
    before = workers.pids
    with pytest.raises(TaskFailed, match=r"Not like this\.") as refused:
        await workers.call("refuse", {})
    assert refused.value.code == "invalid_update"
    with pytest.raises(TaskFailed) as failed:
        await workers.call("fail", {})
    assert failed.value.code == "internal"
    assert "bug" not in failed.value.message
    assert workers.pids == before
    assert workers.counts.failures == 2


async def test_after_a_panic_the_worker_is_replaced(workers: Workers) -> None:
    """Rule W2: what the engine held may stay locked."""
    before = set(workers.pids)
    with pytest.raises(TaskFailed):
        await workers.call("panic", {})
    await until(lambda: workers.ready == 2 and len(before & set(workers.pids)) == 1)
    assert workers.counts.deaths == 0


@pytest.mark.parametrize("task", ["hang_in_c", "sleep"])
async def test_a_late_worker_is_killed_and_its_neighbours_do_not_notice(workers: Workers, task: str) -> None:
    """Rule W2: one request is lost and told so, though it hangs in C code with the interpreter's lock held."""
    before = set(workers.pids)
    async with asyncio.TaskGroup() as group:
        late = group.create_task(_outcome(workers.call(task, {"seconds": 1000}, deadline_seconds=0.3)))
        quick = [group.create_task(workers.call("echo", {"n": n})) for n in range(50)]
    assert isinstance(late.result(), WorkerTimeout)
    assert [answer.result()[0]["n"] for answer in quick] == list(range(50))
    await until(lambda: workers.ready == 2)
    assert len(before & set(workers.pids)) == 1
    assert not any(is_alive(pid) for pid in before - set(workers.pids))
    assert workers.counts.timeouts == 1


async def test_an_array_that_cannot_be_read_costs_one_request(workers: Workers) -> None:
    """Rules W2, W9: bytes that apply cleanly hang a reader of the Array for ever."""
    rows = poison()
    assert isinstance(
        await _outcome(workers.call("read_array", {"root": "a"}, rows, deadline_seconds=0.5)), WorkerTimeout
    )
    value, _ = await workers.call("read_array", {"root": "a"}, rows[:1])
    assert value == {"values": 3}


async def test_a_memory_bomb_costs_one_request(workers: Workers) -> None:
    """Rule W3: in Python, and reserved by the engine's own decoder."""
    bomb = await _outcome(workers.call("allocate", {"bytes": 2**33}))
    assert isinstance(bomb, WorkerDied)
    assert "memory" in bomb.message
    value, _ = await workers.call("allocate", {"bytes": 2**26})
    assert value == {"size": 2**26}
    assert isinstance(await _outcome(workers.call("allocate_in_c", {})), TaskFailed | WorkerDied)
    await until(lambda: workers.ready == 2)
    assert (await workers.call("echo", {"n": 1}))[0]["n"] == 1


async def test_a_worker_killed_under_a_request_is_replaced(workers: Workers) -> None:
    """Rule W2."""
    async with asyncio.TaskGroup() as group:
        lost = group.create_task(_outcome(workers.call("sleep", {"seconds": 1000}, deadline_seconds=60)))
        await until(lambda: workers.running == 1)
        value, _ = await workers.call("echo", {})
        (busy,) = set(workers.pids) - {value["pid"]}
        os.kill(busy, signal.SIGKILL)
    assert isinstance(lost.result(), WorkerDied)
    await until(lambda: workers.ready == 2)
    assert isinstance(await _outcome(workers.call("abort", {})), WorkerDied)
    assert workers.counts.deaths == 2


async def test_a_worker_killed_while_idle_is_replaced_without_a_request(workers: Workers) -> None:
    """Rule W2: and what comes meanwhile waits for the replacement."""
    before = set(workers.pids)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: workers.counts.deaths == 2)
    value, _ = await workers.call("echo", {"n": 1})
    assert value["n"] == 1
    await until(lambda: workers.ready == 2)
    assert not before & set(workers.pids)


async def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule W4: what does not fit is refused at once; what waited too long, then."""
    monkeypatch.setattr("rooms.workers.WAIT_SECONDS", 0.1)
    async with Workers(1, tasks=TEST_TASKS, max_queue=2) as workers, asyncio.TaskGroup() as group:
        running = group.create_task(_outcome(workers.call("sleep", {"seconds": 1000}, deadline_seconds=1.5)))
        await until(lambda: workers.running == 1)
        impatient = group.create_task(_outcome(workers.call("echo", {"n": 1}, deadline_seconds=0.2)))
        waiting = group.create_task(_outcome(workers.call("echo", {"n": 2}, deadline_seconds=30)))
        await until(lambda: workers.queue_depth == 2)
        refused = await _outcome(workers.call("echo", {}))
        assert isinstance(refused, WorkersBusy)
        assert refused.retryable
        assert isinstance(await impatient, WorkersBusy)
        assert isinstance(await running, WorkerTimeout)
        assert (await waiting)[0]["n"] == 2  # type: ignore[index]
        assert workers.counts.busy == 2


async def test_slow_requests_leave_a_worker_to_the_quick(workers: Workers) -> None:
    """Rule W4."""
    async with asyncio.TaskGroup() as group:
        slow = [group.create_task(workers.call("sleep", {"seconds": 0.5}, deadline_seconds=30)) for _ in range(4)]
        await until(lambda: workers.running == 1 and workers.queue_depth == 3)
        for n in range(20):
            assert (await workers.call("echo", {"n": n}))[0]["n"] == n
        assert not all(task.done() for task in slow)


async def test_a_caller_that_goes_away_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule W5: in the queue at once, in a worker soon; the next request is served."""
    monkeypatch.setattr("rooms.workers.ABANDONED_SECONDS", 0.1)
    async with Workers(1, tasks=TEST_TASKS) as workers, asyncio.TaskGroup() as group:
        running = group.create_task(workers.call("sleep", {"seconds": 1000}, deadline_seconds=1000))
        await until(lambda: workers.running == 1)
        waiting = group.create_task(workers.call("echo", {}, deadline_seconds=1000))
        await until(lambda: workers.queue_depth == 1)
        waiting.cancel()
        await until(lambda: workers.queue_depth == 0)
        running.cancel()
        assert (await workers.call("echo", {"n": 1}))[0]["n"] == 1
        assert workers.counts.timeouts == 0


async def test_an_answer_of_an_abandoned_request_goes_to_nobody(workers: Workers) -> None:
    """Rule W5: the next caller gets its own."""
    for n in range(30):
        gone = asyncio.ensure_future(workers.call("sleep", {"seconds": 0.01}))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await workers.call("echo", {"n": n}))[0]["n"] == n


async def test_many_callers_get_their_own_answers(workers: Workers) -> None:
    """Rule W1."""

    async def ask(n: int) -> None:
        value, (data,) = await workers.call("echo", {"n": n}, [str(n).encode() * n])
        assert (value["n"], data) == (n, str(n).encode() * n)

    async with asyncio.TaskGroup() as group:
        for n in range(500):
            group.create_task(ask(n))
    assert workers.counts.requests == 500


async def test_a_worker_is_replaced_for_its_age_and_for_its_size() -> None:
    """Rule W6."""
    async with Workers(1, tasks=TEST_TASKS, recycle_requests=3, recycle_bytes=64 * 1024 * 1024) as workers:
        pids = [(await workers.call("echo", {}))[0]["pid"] for _ in range(4)]
        assert len(set(pids[:3])) == 1
        assert pids[3] != pids[0]
        await workers.call("keep", {"bytes": 100 * 1024 * 1024})
        assert (await workers.call("echo", {}))[0]["pid"] != pids[3]
        assert workers.counts.recycled == 2
        assert workers.counts.deaths == 0


async def test_a_table_with_something_missing_ends_the_start() -> None:
    """Rule W1: a node is not ready with half of its tasks."""
    with pytest.raises(Unavailable, match="does not start"):
        async with Workers(2, tasks="tests.rooms.worker_tasks:BROKEN"):
            pytest.fail("it started")


async def test_leaving_ends_every_process_and_tells_every_caller() -> None:
    """Rule W6."""
    async with asyncio.TaskGroup() as group, Workers(1, tasks=TEST_TASKS) as workers:
        pids = workers.pids
        running = group.create_task(_outcome(workers.call("hang_in_c", {}, deadline_seconds=1000)))
        waiting = group.create_task(_outcome(workers.call("echo", {}, deadline_seconds=1000)))
        await until(lambda: workers.queue_depth == 1 or workers.running == 1)
    assert isinstance(running.result(), Unavailable)
    assert isinstance(waiting.result(), Unavailable)
    assert not any(is_alive(pid) for pid in pids)
    with pytest.raises(Unavailable):
        await workers.call("echo", {})


PARENT = """
import asyncio, sys
from rooms.workers import Workers

async def main():
    async with Workers(1, tasks="tests.rooms.worker_tasks:TASKS") as workers:
        if sys.argv[1] != "idle":
            task = asyncio.ensure_future(workers.call(sys.argv[1], {"seconds": 1000}, deadline_seconds=1000))
            while not workers.running:
                await asyncio.sleep(0.01)
        print(*workers.pids, flush=True)
        await asyncio.sleep(1000)

if sys.argv[2:]:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("task", ["idle", "sleep", "hang_in_c"])
def test_a_killed_parent_leaves_no_process(task: str, loop: str) -> None:
    """Rule W6: SIGKILL of the node, while its worker is idle, busy, or hangs in C with the lock held."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, task, *(["uvloop"] if loop == "uvloop" else [])],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as parent:
        assert parent.stdout is not None
        try:
            pids = [int(word) for word in parent.stdout.readline().split()]
            assert pids
            assert all(is_alive(pid) for pid in pids)
        finally:
            parent.kill()
    deadline = time.monotonic() + 15
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {pids}"
        time.sleep(0.01)


@contextmanager
def bare_worker(parent: int) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A worker process without `Workers` around it, and our end of its socket."""
    ours, theirs = socket.socketpair()
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-m", "rooms.worker_process", str(theirs.fileno()), str(parent), "0", TEST_TASKS],
            pass_fds=(theirs.fileno(),),
            cwd=ROOT,
        ) as process,
    ):
        theirs.close()
        try:
            yield process, ours
        finally:
            process.kill()


def test_a_process_started_for_a_parent_that_is_gone_ends() -> None:
    """Rule W6: between its start and its wish to die with its parent, the parent may have ended."""
    with bare_worker(parent=1) as (process, _):
        assert process.wait(15) == EXIT_ORPHAN


def test_the_alarm_ends_a_hung_process_by_itself() -> None:
    """Rule W6: a second line, should the parent be stopped: ITIMER_REAL with SIGALRM at its default."""
    with bare_worker(parent=os.getpid()) as (process, ours):
        ours.recv(PREFIX.size)
        ours.sendall(encode_frame({"task": "hang_in_c", "arguments": {}, "deadline": 0.1}, []))
        assert process.wait(15) == -signal.SIGALRM


async def test_the_loop_is_not_held_while_workers_work(workers: Workers) -> None:
    """Rule W1: a sleeper of 1 ms wakes in time while both workers are busy and killed."""
    worst = 0.0
    async with asyncio.TaskGroup() as group:
        lost = [group.create_task(_outcome(workers.call("hang_in_c", {}, deadline_seconds=0.3))) for _ in range(2)]
        while not all(task.done() for task in lost):
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - begun)
    assert worst < 1.0


async def _outcome(call: Any) -> object:
    try:
        return await call
    except (TaskFailed, Unavailable, WorkerDied, WorkersBusy, WorkerTimeout) as error:
        return error
