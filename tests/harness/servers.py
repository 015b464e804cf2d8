"""The servers that tests talk to: real PostgreSQL and Redis, as child processes on free ports.

They end with the process that started them, also when that one is killed; start them from its main thread, since the
kernel's signal for this follows the thread.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 30.0
STOP_SECONDS = 15.0
COMMAND_SECONDS = 60.0
POLL_SECONDS = 0.02
START_ATTEMPTS = 5
"""Somebody may take a free port between our look and the server's."""

# Changing the user clears the parent-death signal, and so it is set after that; a parent that has died in between is
# noticed by its id.
_LAUNCH = """
import ctypes, os, sys
parent, user, group, death = map(int, sys.argv[1:5])
if user >= 0:
    os.setgroups([]); os.setgid(group); os.setuid(user)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, death)
if os.getppid() != parent:
    sys.exit(1)
os.execv(sys.argv[5], sys.argv[5:])
"""


class ServerFailed(Exception):
    """A server did not start or did not obey; the end of its log is the message."""


class Server(ABC):
    """One server process in a directory of its own; a context manager.

    `port` is chosen at the first start and kept at every later one.
    """

    name: str
    death_signal = signal.SIGKILL

    def __init__(self, user: pwd.struct_passwd | None = None) -> None:
        self.port = 0
        self.user = user
        self._process: subprocess.Popen[bytes] | None = None
        _sweep(self.name)
        self.directory = Path(tempfile.mkdtemp(prefix=f"luneo-{self.name}-{os.getpid()}-"))
        if user is not None:
            os.chown(self.directory, user.pw_uid, user.pw_gid)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._remove()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, on the same port as before, and return when it answers.

        Raises:
            ServerFailed: it ended, or did not answer within `START_SECONDS`.
        """
        chosen = self.port
        for attempt in range(START_ATTEMPTS):
            self.port = chosen or _free_port()
            self._process = self._launch(self.command())
            if self._answers():
                return
            self.kill()
            if chosen and attempt == START_ATTEMPTS - 1:
                break
        raise ServerFailed(f"{self.name} does not start:\n{self.log()[-2000:]}")

    def stop(self) -> None:
        """Ask it to end as its operators would, and wait for that."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does, with SIGKILL, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay open and nothing answers, until `resume`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        """What it has printed since the directory was made."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it takes requests now."""

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        user, group = (self.user.pw_uid, self.user.pw_gid) if self.user is not None else (-1, -1)
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), str(user), str(group)]
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [*launcher, str(int(self.death_signal)), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )

    def _run(self, command: list[str]) -> str:
        """A tool of the server's, run to its end."""
        process = self._launch(command)
        if process.wait(COMMAND_SECONDS):
            raise ServerFailed(f"{command[0]} failed:\n{self.log()[-2000:]}")
        return self.log()

    def _answers(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while self.is_running and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(with_signal)
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)

    def _remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


class PostgresServer(Server):
    """PostgreSQL with a cluster of its own. As root it runs under the user `postgres`, since it refuses root.

    With fsync off it forgets nothing when it is killed, only when the machine fails: right for all tests but those
    that measure.
    """

    name = "postgres"
    death_signal = signal.SIGQUIT  # its immediate shutdown: SIGKILL would leave its children to notice by themselves

    def __init__(self, *, fsync: bool = False) -> None:
        super().__init__(_unprivileged() if os.geteuid() == 0 else None)
        self.fsync = fsync
        self._databases = 0

    def start(self) -> None:
        if not (self.directory / "data").exists():
            self._run(
                [
                    *(str(_postgres_tool("initdb")), "-D", str(self.directory / "data"), "-U", "luneo"),
                    *("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"),
                ]
            )
        super().start()

    def stop(self) -> None:
        """End it in order, without waiting for its clients."""
        self._end(signal.SIGINT)

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://luneo@127.0.0.1:{self.port}/{database}"

    def create_database(self, *, template: str = "template0", name: str | None = None) -> str:
        """Make a database, a copy of *template*, and return its address."""
        self._databases += 1
        name = name or f"test_{self._databases}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        name = url.rpartition("/")[2]
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run SQL as the superuser, in a process of its own, and return its rows as text."""
        done = subprocess.run(
            [
                *(str(_postgres_tool("psql")), "-h", "127.0.0.1", "-p", str(self.port), "-U", "luneo", "-d", database),
                *("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement),
            ],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            raise ServerFailed(done.stderr)
        return done.stdout

    def command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "on" if self.fsync else "off",
            "full_page_writes": "on" if self.fsync else "off",
            "max_connections": "300",
            "shared_buffers": "32MB",
            "autovacuum": "off",
            "max_wal_size": "256MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(_postgres_tool("postgres")), "-D", str(self.directory / "data"), *options]

    def answers(self) -> bool:
        ready = subprocess.run(
            [str(_postgres_tool("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        )
        return ready.returncode == 0


class RedisServer(Server):
    """Redis without persistence: what it knew is gone when it restarts."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        program = shutil.which("redis-server")
        if program is None:
            raise ServerFailed("redis-server is not installed")
        return [
            *(program, "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--dir", str(self.directory)),
        ]

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as client:
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        return False


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerFailed("PostgreSQL does not run as root, and there is no other user for it")


def _postgres_tool(name: str) -> Path:
    def version(directory: Path) -> int:
        return int(directory.name) if directory.name.isdigit() else 0

    for directory in sorted(Path("/usr/lib/postgresql").glob("*"), key=version, reverse=True):
        if (directory / "bin" / name).exists():
            return directory / "bin" / name
    found = shutil.which(name)
    if found is None:
        raise ServerFailed(f"{name} of PostgreSQL is not installed")
    return Path(found)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _sweep(name: str) -> None:
    """Remove the directories of processes that were killed."""
    for directory in Path(tempfile.gettempdir()).glob(f"luneo-{name}-*-*"):
        owner = directory.name.split("-")[2]
        if owner.isdigit():
            try:
                os.kill(int(owner), 0)
            except ProcessLookupError:
                shutil.rmtree(directory, ignore_errors=True)
            except PermissionError:
                continue
