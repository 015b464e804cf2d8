"""`python -m realtime` as an operator meets it: in processes of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import jwt
import pytest

from tests.harness.budget import ROOT
from tests.harness.node import Node
from tests.harness.processes import children, die_with_parent, eventually, is_alive, until
from tests.harness.servers import RedisServer

SECRET = "a secret of at least thirty-two bytes"


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "realtime", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", [(), ("serve",), ("token",), ("migrate",)])
def test_every_command_has_its_help(command: tuple[str, ...]) -> None:
    """CONTRACT 1."""
    shown = run(*command, "--help")
    assert shown.returncode == 0
    assert "usage: python -m realtime" in shown.stdout
    if command == ("serve",):
        for variable in ("HOST", "LUNEO_SECRET", "LUNEO_MAX_UPDATE_BYTES", "OPENAI_API_KEY"):
            assert f"  {variable} (" in shown.stdout


def test_a_token_is_one_line_that_says_what_was_asked() -> None:
    """CONTRACT 1."""
    arguments = ("--user", "ada", "--name", "Ada", "--brand", "acme", "--role", "editor", "--room", "spring-*")
    shown = run("token", *arguments, "--ttl", "60", LUNEO_SECRET=f"{SECRET},an older secret of enough bytes too")
    assert (shown.returncode, shown.stderr) == (0, "")
    (line,) = shown.stdout.splitlines()
    claims = jwt.decode(line, SECRET, algorithms=["HS256"], audience="luneo-live", issuer="luneo")
    assert claims["exp"] - claims["iat"] == 60
    wanted = {"sub": "ada", "name": "Ada", "brand": "acme", "role": "editor", "rooms": ["spring-*"]}
    assert claims == {**claims, **wanted}


def test_a_token_that_would_be_refused_is_not_made() -> None:
    arguments = ("token", "--user", "ada", "--brand", "acme/x", "--role", "editor")
    refused = run(*arguments, LUNEO_SECRET=SECRET)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "brand" in refused.stderr
    assert "LUNEO_SECRET is not set" in run(*arguments).stderr
    assert run("token", "--user", "ada", "--brand", "acme", "--role", "root", LUNEO_SECRET=SECRET).returncode == 2


def test_wrong_settings_stop_the_start_with_their_names(tmp_path: Path) -> None:
    """Rule L1."""
    refused = run("serve", LUNEO_DATA_DIR=str(tmp_path), PORT="x", LUNEO_WORKERS="many", HOST="0.0.0.0")
    assert (refused.returncode, refused.stdout) == (2, "")
    lines = refused.stderr.splitlines()
    assert {line.split()[0] for line in lines} == {"PORT", "LUNEO_WORKERS", "LUNEO_SECRET"}
    assert not list(tmp_path.iterdir())


def test_what_the_procfile_runs_asks_for_a_secret_in_a_sentence(tmp_path: Path) -> None:
    """CONTRACT 2, issue 2."""
    line = (ROOT / "Procfile").read_text().partition("web:")[2].strip()
    assert "HOST=0.0.0.0" in line
    refused = run("serve", LUNEO_DATA_DIR=str(tmp_path), HOST="0.0.0.0", PORT="0")
    (sentence,) = refused.stderr.splitlines()
    assert refused.returncode != 0
    assert sentence.startswith("LUNEO_SECRET is needed to listen on 0.0.0.0")


def test_a_port_in_use_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = run("serve", LUNEO_DATA_DIR=str(tmp_path), PORT=str(port))
    (sentence,) = refused.stderr.splitlines()
    assert refused.returncode == 1
    assert sentence.startswith(f"Port {port} of 127.0.0.1 is in use")
    assert "PORT" in run("serve", LUNEO_DATA_DIR=str(tmp_path), HOST="127.0.0.1", PORT="70000").stderr


@pytest.mark.parametrize(
    "environ",
    [{"LUNEO_DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:1/x"}, {"LUNEO_DATABASE_URL": "sqlite:///:memory:"}],
    ids=["absent", "memory"],
)
def test_a_database_that_cannot_be_used_is_said_in_a_sentence(tmp_path: Path, environ: dict[str, str]) -> None:
    refused = run("serve", LUNEO_DATA_DIR=str(tmp_path), PORT="0", **environ)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("Luneo Live did not start: ")


def test_the_database_is_migrated_by_hand_and_again(tmp_path: Path) -> None:
    for _ in range(2):
        shown = run("migrate", LUNEO_DATA_DIR=str(tmp_path / "new"))
        assert (shown.returncode, shown.stdout) == (0, "The database has the newest schema.\n"), shown.stderr
    assert (tmp_path / "new" / "luneo.sqlite3").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_node_says_when_it_can_serve_and_ends_clean_with_its_workers(
    tmp_path: Path, number: signal.Signals
) -> None:
    """CONTRACT 1: exactly one line; Rule H15: SIGTERM and SIGINT."""
    process = await start(tmp_path)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    address = line.removeprefix("Luneo Live is ready at ").strip()
    assert line == f"Luneo Live is ready at http://127.0.0.1:{address.rpartition(':')[2]}\n"
    below = children(process.pid)
    assert below
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{address}/socket.io/?EIO=4&transport=websocket"),
    ):
        async with session.get(f"{address}/readyz") as answer:
            assert answer.status == 200
        os.kill(process.pid, number)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    assert await process.stdout.read() == b""
    await until(lambda: not [pid for pid in below if is_alive(pid)], "the end of the workers")


async def start(directory: Path, *arguments: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "realtime",
        "serve",
        *arguments,
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "LUNEO_DATA_DIR": str(directory),
            "LUNEO_WORKERS": "1",
            "PORT": "0",
            **environ,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )


async def test_a_node_killed_without_goodbye_starts_again_with_all_it_had(tmp_path: Path) -> None:
    async with Node(tmp_path / "data") as node, aiohttp.ClientSession() as session:
        async with session.post(f"{node.url}/api/v1/designs", json={"product": "mug", "id": "kept"}) as made:
            assert made.status == 201
        await node.kill()
        await node.start()
        async with session.get(f"{node.url}/api/v1/designs/kept") as kept:
            assert kept.status == 200


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({}, ("LUNEO_REDIS_URL", "LUNEO_DATABASE_URL")),
        ({"LUNEO_REDIS_URL": "redis://127.0.0.1:1"}, ("LUNEO_DATABASE_URL",)),
        ({"LUNEO_DATABASE_URL": "postgresql+asyncpg://u@127.0.0.1:1/x"}, ("LUNEO_REDIS_URL",)),
    ],
)
def test_several_nodes_need_redis_and_postgresql(
    tmp_path: Path, environ: dict[str, str], missing: tuple[str, ...]
) -> None:
    """RULINGS 17."""
    refused = run("serve", "--nodes", "2", LUNEO_DATA_DIR=str(tmp_path), PORT="0", **environ)
    (sentence,) = refused.stderr.splitlines()
    assert refused.returncode == 1
    assert all(name in sentence for name in missing)
    assert "--nodes 2 needs" in sentence


@pytest.fixture
async def nodes(tmp_path: Path, postgres_url: str, redis: RedisServer) -> asyncio.subprocess.Process:
    return await start(
        tmp_path,
        "--nodes",
        "2",
        LUNEO_DATABASE_URL=postgres_url,
        LUNEO_REDIS_URL=redis.url,
        LUNEO_REDIS_PREFIX=tmp_path.name[:40].replace("[", "").replace("]", ""),
        LUNEO_DRAIN_SECONDS="2",
    )


async def test_several_nodes_are_one_server_and_one_that_dies_is_started_again(
    nodes: asyncio.subprocess.Process,
) -> None:
    """RULINGS 17, 20."""
    assert nodes.stdout is not None
    async with asyncio.timeout(60):
        line = (await nodes.stdout.readline()).decode()
    address = line.removeprefix("Luneo Live is ready at ").strip()
    assert address.startswith("http://127.0.0.1:")
    both = direct_children(nodes.pid)
    assert len(both) == 2
    os.kill(both[0], signal.SIGKILL)

    async def answers() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{address}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    await eventually(answers, "the other node to answer")
    await until(lambda: len(set(direct_children(nodes.pid)) - {both[0]}) == 2, "a new node", within=30)
    everything = [nodes.pid, *children(nodes.pid)]
    nodes.terminate()
    async with asyncio.timeout(40):
        assert await nodes.wait() == 0
    await until(lambda: not [pid for pid in everything if is_alive(pid)], "the end of everything")


async def test_several_nodes_end_with_the_process_that_started_them(nodes: asyncio.subprocess.Process) -> None:
    """RULINGS 17: also when it is killed without a word."""
    assert nodes.stdout is not None
    async with asyncio.timeout(60):
        await nodes.stdout.readline()
    everything = children(nodes.pid)
    assert len(everything) >= 4
    nodes.kill()
    await nodes.wait()
    await until(lambda: not [pid for pid in everything if is_alive(pid)], "the end of nodes and workers", within=30)


def direct_children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in task.read_text().split()]
    return found
