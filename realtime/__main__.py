"""`python -m realtime`: serve, token, migrate; and how signals become a stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from realtime import logs
from realtime.auth import make_token
from realtime.settings import SHORT_SECRET_BYTES, Settings, SettingsError
from rooms.errors import RoomError
from rooms.permissions import Role
from storage.errors import StorageError

log = logging.getLogger("realtime")

WRONG_SETTINGS = 2
COULD_NOT_START = 1
LAST_RESORT_SECONDS = 20.0
"""How long, after draining, a stop may take; then the process ends without it: what was acknowledged is durable."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Whatever is the operator's to mend is one sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.read(os.environ)
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return WRONG_SETTINGS
    command: Callable[[Settings, argparse.Namespace], int] = options.command
    return command(settings, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m realtime", description="Luneo Live, the design server.")
    commands = parser.add_subparsers(required=True, metavar="command")
    serving = commands.add_parser(
        "serve",
        help="run a node",
        description="Run a node until SIGTERM or SIGINT.",
        epilog="settings, from the environment:\n" + Settings.describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serving.add_argument(
        "--nodes",
        type=int,
        default=1,
        metavar="N",
        help="run N nodes on one port; needs LUNEO_REDIS_URL and PostgreSQL (default: 1)",
    )
    serving.set_defaults(command=_serve)
    token = commands.add_parser(
        "token",
        help="print a token",
        description="Print one token, signed with LUNEO_SECRET; the newest one, if there are two.",
    )
    token.add_argument("--user", required=True, help="the id of a person, stable within the brand")
    token.add_argument("--name", help="the name others see (default: the id)")
    token.add_argument("--brand", required=True, help="the tenant: [A-Za-z0-9_-]{1,64}")
    token.add_argument("--role", required=True, choices=[role.value for role in Role], help="what they may do at most")
    token.add_argument(
        "--room",
        action="append",
        default=[],
        metavar="GLOB",
        help="design ids for which the token itself is the grant, as 'spring-*'; may be repeated",
    )
    token.add_argument("--ttl", type=int, default=3600, metavar="SECONDS", help="how long it holds (default: 3600)")
    token.set_defaults(command=_token)
    migrating = commands.add_parser(
        "migrate",
        help="bring the database to the newest schema",
        description="Bring the database (LUNEO_DATABASE_URL) to the newest schema; `serve` does it by itself.",
    )
    migrating.set_defaults(command=_migrate)
    return parser


# What only some commands need is imported by them: printing a token does not wait for a server to load.


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    from realtime.app import PortTaken, address_of, bind, serve
    from realtime.nodes import NODE_VARIABLE, NodesRefused, run_nodes, stop_with_parent

    logs.start(settings.log_level, settings.log_format)
    for sentence in Settings.unknown(os.environ):
        log.warning(sentence)
    for secret in settings.secrets:
        if len(secret.encode()) < SHORT_SECRET_BYTES:
            log.warning(f"LUNEO_SECRET has fewer than {SHORT_SECRET_BYTES} bytes and can be guessed by trying.")
    node = os.environ.get(NODE_VARIABLE, "")
    try:
        if options.nodes != 1:
            return run_nodes(settings, options.nodes)
        bound = bind(settings.host, settings.port, shared=bool(node))
    except (NodesRefused, PortTaken) as error:
        print(error, file=sys.stderr)
        return COULD_NOT_START

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def begin_to_stop() -> None:
            if not stop.is_set():
                stop.set()
                _end_in_any_case(settings.drain_seconds + LAST_RESORT_SECONDS)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, begin_to_stop)
        if node:
            stop_with_parent(lambda: _hurry(loop, begin_to_stop, settings.drain_seconds))
        await serve(settings, bound, stop, lambda: _say_ready(address_of(settings, bound)))

    with bound, logs.bound(**({"node": node} if node else {})):
        return _reporting(run)


def _hurry(loop: asyncio.AbstractEventLoop, stop: Callable[[], None], drain_seconds: float) -> None:
    """The process that started this node is gone: stop, and do not count on the loop for it."""
    _end_in_any_case(drain_seconds + LAST_RESORT_SECONDS)
    loop.call_soon_threadsafe(stop)


def _say_ready(address: str) -> None:
    print(f"Luneo Live is ready at {address}", flush=True)


def _end_in_any_case(seconds: float) -> None:
    def end() -> None:
        log.error("the stop took too long", extra={"seconds": seconds})
        os._exit(COULD_NOT_START)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _reporting(run: Callable[[], object]) -> int:
    """Run a coroutine function on uvloop where there is one; what an operator can mend becomes one sentence."""
    from realtime.redis_bus import BusUnreachable

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run())  # type: ignore[arg-type]
    except (StorageError, RoomError) as error:
        print(f"Luneo Live did not start: {error.message}", file=sys.stderr)
        return COULD_NOT_START
    except BusUnreachable as error:
        print(error, file=sys.stderr)
        return COULD_NOT_START
    except Exception as error:  # of a driver, say: what kind it is only the driver's layer knows
        log.error("could not start", exc_info=error)
        print(f"Luneo Live did not start: {(str(error) or repr(error)).splitlines()[0]}", file=sys.stderr)
        return COULD_NOT_START
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None


def _token(settings: Settings, options: argparse.Namespace) -> int:
    try:
        token = make_token(
            settings,
            user=options.user,
            name=options.name or options.user,
            brand=options.brand,
            role=Role(options.role),
            rooms=options.room,
            seconds=options.ttl,
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return WRONG_SETTINGS
    print(token)
    return 0


def _migrate(settings: Settings, options: argparse.Namespace) -> int:
    from storage.database import migrate

    logs.start(settings.log_level, settings.log_format)

    async def run() -> None:
        await migrate(settings.effective_database_url)

    status = _reporting(run)
    if status == 0:
        print("The database has the newest schema.")
    return status


if __name__ == "__main__":
    sys.exit(main())
