"""One worker process: reads a request from its socket, runs one task, writes the answer; ends with its parent.

Started by `rooms.workers` as `python -m rooms.worker_process FD PARENT_PID MEMORY_BYTES TABLE`. No threads, no pickle.

Source: docs/protocol.md, W1 to W9.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

Task = Callable[[dict[str, Any], list[bytes]], tuple[dict[str, Any], list[bytes]]]
"""JSON values and byte buffers in, the same out; refuses its input with an exception that has `code` and `message`."""

PREFIX: Final = struct.Struct(">IQ")
"""Before each frame: bytes of the JSON header, bytes of all buffers together."""
ALARM_GRACE_SECONDS: Final = 1.0
"""The process ends itself this long after the deadline, should its parent not be there to do it."""
NICENESS: Final = 10
"""How much a worker steps back where processors are short; 0 is the serving process."""
EXIT_ORPHAN: Final = 70
EXIT_MEMORY: Final = 71
_PR_SET_PDEATHSIG: Final = 1
_PAGE: Final = resource.getpagesize()


def encode_frame(header: Mapping[str, object], buffers: Sequence[bytes]) -> bytes:
    """One request or answer: prefix, JSON header (with the buffers' sizes), buffers."""
    head = orjson.dumps({**header, "sizes": [len(buffer) for buffer in buffers]})
    return b"".join((PREFIX.pack(len(head), sum(map(len, buffers))), head, *buffers))


def decode_frame(head: bytes | bytearray | memoryview, body: memoryview) -> tuple[dict[str, Any], list[bytes]]:
    """The inverse of `encode_frame`, without the prefix."""
    header: dict[str, Any] = orjson.loads(head)
    buffers: list[bytes] = []
    at = 0
    for size in header["sizes"]:
        buffers.append(bytes(body[at : at + size]))
        at += size
    return header, buffers


def load_tasks(table: str) -> dict[str, Task]:
    """Import every task of *table* (`module:name` of a dict from name to `module:function`) and warm its module up.

    A module may have a `warm_up()`, which is called once. Whatever is missing ends the start.
    """
    module_name, _, attribute = table.partition(":")
    entries: Mapping[str, str] = getattr(importlib.import_module(module_name), attribute)
    tasks: dict[str, Task] = {}
    warmed: set[str] = set()
    for name, target in entries.items():
        module_name, _, function = target.partition(":")
        module = importlib.import_module(module_name)
        tasks[name] = getattr(module, function)
        if module_name not in warmed and hasattr(module, "warm_up"):
            module.warm_up()
        warmed.add(module_name)
    return tasks


def main(arguments: Sequence[str]) -> None:
    """Serve until the socket ends. Never returns an error to the shell: the parent reads the socket, not the code."""
    descriptor, parent, memory_bytes, table = int(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3]
    # The kernel kills this process when its parent ends, in whatever C code it hangs. Asked for after exec, since exec
    # of some files clears it; a parent that ended before is seen by the parent pid.
    # Elsewhere than on Linux the closed socket ends it when idle, and the alarm when it hangs.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_ORPHAN)
    # A terminal or a service manager signals the whole group; the node drains, and ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What people wait for first is the serving process.
    os.nice(NICENESS)
    with socket.socket(fileno=descriptor) as connection:
        connection.setblocking(True)
        tasks = load_tasks(table)
        if memory_bytes and sys.platform == "linux":  # others do not hold a process to it
            limit = _memory()[0] + memory_bytes
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        connection.sendall(encode_frame({"ready": sorted(tasks), "rss": _memory()[1]}, []))
        try:
            while _serve(connection, tasks):
                pass
        except (EOFError, ConnectionError):
            pass  # the parent closed or ended
        except MemoryError:
            os._exit(EXIT_MEMORY)


def _serve(connection: socket.socket, tasks: Mapping[str, Task]) -> bool:
    """Answer one request; False when this process must not be used again."""
    head_size, body_size = PREFIX.unpack(_receive(connection, PREFIX.size))
    head = _receive(connection, head_size)
    request, buffers = decode_frame(head, memoryview(_receive(connection, body_size)))
    again = True
    # With its default action an alarm ends the process also while C code holds the GIL.
    signal.setitimer(signal.ITIMER_REAL, request["deadline"] + ALARM_GRACE_SECONDS)
    try:
        value, results = tasks[request["task"]](request["arguments"], buffers)
        answer: dict[str, object] = {"ok": True, "value": value}
    except MemoryError:
        raise
    except Exception as error:
        results = []
        answer = {"ok": False, "again": True, **_describe(error)}
    except BaseException as error:
        # A panic of the engine: what it held may stay locked.
        again = False
        results = []
        answer = {"ok": False, "again": False, **_describe(error)}
    del buffers
    signal.setitimer(signal.ITIMER_REAL, 0)
    answer["rss"] = _memory()[1]
    connection.sendall(encode_frame(answer, results))
    return again


def _describe(error: BaseException) -> dict[str, object]:
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if isinstance(code, str) and isinstance(message, str):
        return {"code": code, "message": message}
    return {
        "code": "internal",
        "message": "Something unexpected happened while the document was worked on.",
        "traceback": "".join(traceback.format_exception(error))[-8000:],
    }


def _receive(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    at = 0
    while at < size:
        count = connection.recv_into(view[at:])
        if not count:
            raise EOFError
        at += count
    return data


def _memory() -> tuple[int, int]:
    """(address space, resident) of this process in bytes; elsewhere than on Linux its largest resident size so far."""
    if sys.platform != "linux":
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size, size
    with open("/proc/self/statm", "rb") as file:
        fields = file.read().split()
    return int(fields[0]) * _PAGE, int(fields[1]) * _PAGE


if __name__ == "__main__":
    main(sys.argv[1:])
