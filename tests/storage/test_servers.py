"""The servers of the tests are real, obey, and never outlive the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.harness.servers import PostgresServer, RedisServer

DEADLINE_SECONDS = 20.0
STARTED = """
import sys
from tests.harness.servers import PostgresServer, RedisServer
with PostgresServer() as postgres, RedisServer() as redis:
    print(postgres.pid, redis.pid, flush=True)
    sys.stdin.read()
"""


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_servers_end_with_a_test_run_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        pids = [int(pid) for pid in run.stdout.readline().split()]
        assert [_is_alive(pid) for pid in pids] == [True, True]
        os.kill(run.pid, signal.SIGKILL)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while any(_is_alive(pid) for pid in pids):
            assert time.monotonic() < deadline, "a server outlived its test run"
            time.sleep(0.02)


def test_postgres_keeps_its_port_and_its_rows_when_it_is_killed() -> None:
    with PostgresServer() as server:
        port = server.port
        server.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        server.kill()
        assert not server.answers()
        server.start()
        assert server.port == port
        assert server.execute("SELECT n FROM kept") == "7\n"


def test_redis_keeps_its_port_when_it_restarts() -> None:
    with RedisServer() as server:
        port = server.port
        for end in (server.stop, server.kill):
            end()
            assert not server.answers()
            server.start()
            assert server.port == port
