"""Tasks for the tests of workers: what goes wrong, on demand. No production table names them."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any

import pycrdt

from rooms import engine
from rooms.errors import InvalidUpdate
from rooms.inspection import cut, decode_state_vector, inspect
from rooms.knowledge import Knowledge

Answer = tuple[dict[str, Any], list[bytes]]

TASKS = {
    "echo": "tests.rooms.worker_tasks:echo",
    "sleep": "tests.rooms.worker_tasks:sleep",
    "environment": "tests.rooms.worker_tasks:environment",
    "refuse": "tests.rooms.worker_tasks:refuse",
    "fail": "tests.rooms.worker_tasks:fail",
    "panic": "tests.rooms.worker_tasks:panic",
    "abort": "tests.rooms.worker_tasks:abort",
    "allocate": "tests.rooms.worker_tasks:allocate",
    "allocate_in_c": "tests.rooms.worker_tasks:allocate_in_c",
    "keep": "tests.rooms.worker_tasks:keep",
    "hang_in_c": "tests.rooms.worker_tasks:hang_in_c",
    "apply_each": "tests.rooms.worker_tasks:apply_each",
    "read_array": "tests.rooms.worker_tasks:read_array",
}
BROKEN = {"echo": "tests.rooms.worker_tasks:there_is_no_such_function"}

_kept: list[bytearray] = []


class Panic(BaseException):
    """As the engine's panics: no Exception."""


def echo(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    return {"pid": os.getpid(), **arguments}, buffers


def sleep(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    time.sleep(arguments["seconds"])
    return {"pid": os.getpid()}, []


def environment(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    return {"environment": dict(os.environ)}, []


def refuse(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    raise InvalidUpdate("Not like this.")


def fail(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    raise LookupError("a bug")


def panic(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    raise Panic


def abort(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    os.kill(os.getpid(), signal.SIGABRT)
    return {}, []


def allocate(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    return {"size": len(bytearray(arguments["bytes"]))}, []


def allocate_in_c(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    # A map that declares 2^40 entries: the engine reserves room for them at once.
    declared = bytes([0x80, 0x80, 0x80, 0x80, 0x80, 0x20])
    pycrdt.Doc().apply_update(bytes.fromhex("01010500080101610176") + declared + bytes(8))
    return {}, []


def keep(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    _kept.append(bytearray(b"x") * arguments["bytes"])
    return {"pid": os.getpid()}, []


def hang_in_c(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    # PyDLL calls with the GIL held: no Python code of this process runs again, no signal handler either.
    ctypes.PyDLL(None).usleep(2**31)
    while True:
        ctypes.PyDLL(None).sleep(2**31)


def read_array(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    document = engine.load(engine.merge(buffers))
    return {"values": len(list(document.get(arguments["root"], type=pycrdt.Array)))}, []


def apply_each(arguments: dict[str, Any], buffers: list[bytes]) -> Answer:
    """What pycrdt makes of each update on a fresh document that holds the first *base* of the buffers.

    As in a room, what is partly known is cut first, and the vector is that of a document loaded from the keyframe: one
    that took the rows as they came loses count where a pair is split (RULE W7). What has a gap is never stored: of
    that, only that it is taken without an error, unless it also says something of clocks that are known: nobody ever
    gets that. The buffers are what was applied.
    """
    base, updates = buffers[: arguments["base"]], buffers[arguments["base"] :]
    knowledge = Knowledge()
    for row in base:
        knowledge.learn(inspect(row))
    results: list[dict[str, Any]] = []
    applied: list[bytes] = []
    for update, has_gap in zip(updates, arguments["gaps"], strict=True):
        document: pycrdt.Doc[Any] = pycrdt.Doc()
        for row in base:
            document.apply_update(row)
        rest = update
        try:
            if has_gap and knowledge.overlaps(inspect(update)):
                results.append({"refused": "GAP, partly known"})
                applied.append(engine.EMPTY_UPDATE)
                continue
            if not has_gap and knowledge.overlaps(inspect(update)):
                rest = cut(update, knowledge.vector)
                inspection = inspect(rest)
                assert not knowledge.overlaps(inspection)
                try:
                    knowledge.judge(inspection)
                except InvalidUpdate as error:
                    results.append({"refused": error.code})
                    applied.append(engine.EMPTY_UPDATE)
                    continue
            document.apply_update(rest)
            if not has_gap:
                folded = engine.fold([*base, update])
                assert folded.verified
                document = engine.load(folded.state)
            results.append({"vector": sorted(decode_state_vector(document.get_state()).items())})
        except BaseException as error:
            results.append({"error": repr(error)})
        applied.append(rest)
    return {"results": results}, applied
