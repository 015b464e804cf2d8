"""What the workers can do: the table of tasks, and the tasks over documents.

Source: docs/protocol.md, W1, W6 to W9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from rooms import engine
from rooms.errors import InvalidUpdate, TaskFailed, WorkerTimeout
from rooms.inspection import Inspection, cut, decode_state_vector, inspect
from rooms.knowledge import Knowledge, Verdict
from rooms.ports import WorkerPort

TASKS: Final[dict[str, str]] = {
    "inspect": "rooms.tasks:inspect_task",
    "fold": "rooms.tasks:fold_task",
    "difference": "rooms.tasks:difference_task",
    "cut": "rooms.tasks:cut_task",
    "audit": "rooms.tasks:audit_task",
    "scene": "rooms.tasks:scene_task",
    "render": "canvas.tasks:render",
    "decode_image": "canvas.tasks:decode_image",
}
"""Name → `module:function`; workers import every one before they are ready."""

INSPECT_ON_LOOP_BYTES: Final = 32 * 1024
"""Longer updates are inspected in a worker."""
AUDIT_DEADLINE_SECONDS: Final = 2.0
"""A document that takes longer to read is poisoned."""


def warm_up() -> None:
    """Use the engine once, so that the first request does not pay for it."""
    engine.fold([bytes.fromhex("0101050004010161016200")])


def inspect_task(arguments: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """[update] → {inspection}."""
    (update,) = buffers
    return {"inspection": inspect(update).to_json()}, []


def fold_task(arguments: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """[keyframe's state, rows…] → {compact, verified} [state, summary]; {summary_only: true} leaves the state empty."""
    folded = engine.fold(buffers)
    state = b"" if arguments.get("summary_only") else folded.state
    return {"compact": folded.compact, "verified": folded.verified}, [state, folded.knowledge.encode()]


def difference_task(arguments: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """[pieces…, state vector] → {} [update]."""
    *pieces, state_vector = buffers
    return {}, [engine.difference(pieces, state_vector)]


def cut_task(arguments: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """[update, state vector] → {inspection} [what the update brings beyond the state vector]."""
    update, state_vector = buffers
    rest = cut(update, decode_state_vector(state_vector))
    return {"inspection": inspect(rest).to_json()}, [rest]


def audit_task(arguments: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """[pieces…] → {values, excess}: read the document below our schema's roots; poison makes it late.

    Other roots are left alone: what hangs a reader of an Array may be honest text to one who expects Text.
    `excess` has `{limit, message, elements}` for each limit of the schema that the document passes.
    """
    from canvas import document, schema  # here, since only workers read documents
    from canvas.excess import excess

    loaded = engine.load(engine.merge(engine.readable(buffers)))
    values = engine.read(loaded, tuple(schema.ROOTS.values()))
    return {"values": values, "excess": [asdict(one) for one in excess(document.read(loaded))]}, []


def scene_task(arguments: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """As `canvas.tasks.scene`, of the document as yjs has it."""
    from canvas import tasks as drawing  # here, since only workers draw

    return drawing.scene(arguments, list(engine.readable(buffers)))


async def inspect_update(workers: WorkerPort, update: bytes) -> Inspection:
    """Inspect *update* here, or in a worker when it is over `INSPECT_ON_LOOP_BYTES`.

    Raises:
        InvalidUpdate: with the code and sentence that `rooms.inspection` has.
        WorkerError: no worker could say.
    """
    if len(update) <= INSPECT_ON_LOOP_BYTES:
        return inspect(update)
    try:
        header, buffers = await workers.call("inspect", {}, [update], deadline_seconds=5)
    except TaskFailed as error:
        refused = InvalidUpdate(error.message)
        refused.code = error.code
        raise refused from error
    return Inspection.from_answer(header, buffers)


async def admit_update(
    workers: WorkerPort, knowledge: Knowledge, update: bytes, inspection: Inspection
) -> tuple[bytes, Inspection, Verdict]:
    """Judge an inspected update, cut to its new part where it overlaps what is known; what comes back is what to log.

    A large one is cut in a worker; *knowledge* must not change meanwhile.

    Raises:
        InvalidUpdate: it can never be taken.
        WorkerError: no worker could say.

    Source: docs/protocol.md, I5 to I9.
    """
    verdict = knowledge.judge(inspection)
    if verdict is not Verdict.NEW or not knowledge.overlaps(inspection):
        return update, inspection, verdict
    if len(update) <= INSPECT_ON_LOOP_BYTES:
        rest = cut(update, knowledge.vector)
        inspection = inspect(rest)
    else:
        header, (rest,) = await workers.call("cut", {}, [update, knowledge.state_vector_bytes()], deadline_seconds=5)
        inspection = Inspection.from_answer(header)
    # What the update said of known clocks does not count any more, so its new part is judged by itself.
    return rest, inspection, knowledge.judge(inspection)


async def find_poison(workers: WorkerPort, state: bytes, rows: Sequence[bytes]) -> int | None:
    """The index of the first of *rows* with which the document cannot be read in time; None when it can.

    Bisects with one audit a step, each under `AUDIT_DEADLINE_SECONDS`; -1: *state* itself cannot be read.

    Raises:
        WorkerError: a worker was lost for another reason, or none was free.
    """

    async def is_readable(count: int) -> bool:
        try:
            await workers.call("audit", {}, [state, *rows[:count]], deadline_seconds=AUDIT_DEADLINE_SECONDS)
        except WorkerTimeout:
            return False
        except TaskFailed:
            return False
        return True

    if await is_readable(len(rows)):
        return None
    if not await is_readable(0):
        return -1
    readable, unreadable = 0, len(rows)
    while unreadable - readable > 1:
        middle = (readable + unreadable) // 2
        if await is_readable(middle):
            readable = middle
        else:
            unreadable = middle
    return unreadable - 1
