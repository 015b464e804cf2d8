"""Folding, cutting and reading documents, with real yjs as the reader (rules W7 to W9, I9)."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pycrdt
import pytest

from canvas.schema import ROOTS
from rooms import engine
from rooms.errors import InvalidUpdate, TaskFailed, WorkerTimeout
from rooms.inspection import (
    EMPTY_STATE_VECTOR,
    Ranges,
    _inspect,
    _Mark,
    cut,
    encode_state_vector,
    inspect,
)
from rooms.knowledge import Knowledge, Verdict
from rooms.tasks import INSPECT_ON_LOOP_BYTES, TASKS, admit_update, find_poison, inspect_update
from rooms.workers import Workers
from tests.harness.budget import SEED, budget, write_table
from tests.rooms import oracle
from tests.rooms.oracle import Yjs
from tests.rooms.test_inspection import bytes_of, edits, lives


def large(client: int) -> bytes:
    """An update that is too large for the loop."""
    writer: pycrdt.Doc[Any] = pycrdt.Doc(client_id=client)
    writer.get("m", type=pycrdt.Map)["k"] = "x" * (INSPECT_ON_LOOP_BYTES + 1)
    return writer.get_update()


def test_nothing_folds_to_nothing() -> None:
    folded = engine.fold([engine.EMPTY_UPDATE])
    assert folded.state == engine.EMPTY_UPDATE
    assert folded.knowledge == Knowledge()


def test_rows_with_a_gap_are_never_folded() -> None:
    """Rule W7: a keyframe over a gap would lose what comes after it."""
    log = edits()
    with pytest.raises(engine.IncompleteHistory):
        engine.fold([log[0], log[2]])


def text_of(pieces: Sequence[bytes]) -> str:
    """The root text `t`, as a scene is read."""
    return str(engine.load(engine.merge(engine.readable(pieces))).get("t", type=pycrdt.Text))


def text_in(answer: dict[str, Any]) -> str:
    """The root text `t` of yjs, without what is embedded."""
    pieces = [piece["insert"] for piece in json.loads(answer["json"])["t"]]
    return "".join(piece for piece in pieces if isinstance(piece, str))


def test_a_keyframe_of_split_pairs_says_what_the_rows_say(yjs: Yjs) -> None:
    """Rule W7: one emoji replaced by another, half by half; yjs reads from the keyframe what it reads from the rows."""
    log = oracle.decode(yjs.ask("half")["log"])
    folded = engine.fold(log)
    assert folded.verified
    keyframe, rows = (yjs.ask("open", updates=oracle.encode(updates)) for updates in ([folded.state], log))
    assert keyframe["json"] == rows["json"]
    assert text_of(log) == text_of([folded.state]) == text_in(rows)


SPLIT = [
    bytes_of("01 01 05 00 04 01 01 74 05 f09f988074 00"),  # 5 writes an emoji and a t
    bytes_of("01 01 06 00 c4 05 00 05 01 01 62 00"),  # 6 writes between the halves
    bytes_of("01 01 05 03 84 05 02 01 75 00"),  # 5 goes on
    bytes_of("01 01 05 04 84 05 03 03 656e64 00"),
]
"""Given these one by one, the engine counts a clock of 5 too few after the third, and takes the fourth for a gap."""


def test_what_is_written_after_a_split_pair_is_not_lost(yjs: Yjs) -> None:
    """Rule W7."""
    live = yjs.ask("open", updates=oracle.encode(SPLIT))
    folded = engine.fold(SPLIT)
    assert folded.verified
    assert dict(folded.knowledge.vector) == oracle.vector(live) == {5: 7, 6: 1}
    assert text_in(live) == text_of(SPLIT) == text_of([folded.state]) == "\ufffdb\ufffdtuend"
    assert yjs.ask("open", updates=oracle.encode([folded.state]))["json"] == live["json"]


async def test_a_scene_is_read_as_browsers_read_it() -> None:
    """Rules W7, C23: of a text in whose emoji somebody wrote, the server and the studio have the same scene."""
    # The same, in the text of an element whose author is 5.
    author: pycrdt.Doc[Any] = pycrdt.Doc(client_id=4)
    author.get(ROOTS["elements"], type=pycrdt.Map)["e1"] = pycrdt.Map({"t": "text", "p": ["front", "a"]})
    element = author.get_update()
    ((_, after),) = inspect(element).structs[4]
    txt = bytes_of("01 01 04") + bytes([after]) + bytes_of("27 00 04 00 03 747874 02 00")
    of_text = bytes_of("04 00 04") + bytes([after])
    log = [element, txt, SPLIT[0].replace(bytes_of("04 01 01 74"), of_text), *SPLIT[1:]]
    as_yjs_reads = bytes_of("01 01 05 00") + of_text + bytes_of("0c efbfbd 62 efbfbd 7475656e64 00")
    async with Workers(1) as workers:
        asked = {"product": "tshirt", "view": "front"}
        split, _ = await workers.call("scene", asked, log)
        plain, _ = await workers.call("scene", asked, [element, txt, as_yjs_reads])
    assert split["layers"] == 1
    assert split["hash"] == plain["hash"]


def test_deleted_content_is_let_go_where_that_is_safe() -> None:
    """Rule W7."""
    writer: pycrdt.Doc[Any] = pycrdt.Doc()
    log: list[bytes] = []
    writer.observe(lambda event: log.append(event.update))
    shapes = writer.get("elements", type=pycrdt.Map)
    for step in range(500):
        shapes["place"] = [step, step / 2]
    folded = engine.fold(log)
    assert folded.compact
    assert folded.verified
    assert len(folded.state) < sum(map(len, log)) / 2


def test_the_first_in_the_log_counts(yjs: Yjs) -> None:
    """Rules I9, W7: a row cannot rewrite what an earlier one said, in keyframes neither."""
    honest = [bytes_of("01 01 05 00 04 01 01 74 01 61 00"), bytes_of("01 01 05 01 84 05 00 02 6263 00")]
    liar = bytes_of("01 01 05 00 04 01 01 74 06 585858585858 00")
    rest = cut(liar, {5: 3})
    assert rest == bytes_of("01 01 05 03 84 05 02 03 585858 00")
    state = engine.fold([*honest, liar]).state
    live = yjs.ask("open", updates=oracle.encode([*honest, rest]))
    assert "abcXXX" in live["json"]
    assert yjs.ask("open", updates=oracle.encode([state]))["json"] == live["json"]


def test_what_is_partly_known_keeps_its_rest() -> None:
    """Rule I9: of each kind that can be known in part; what is not keeps its bytes."""
    cases = {
        "00 05": "00 03",
        "01 01 01 61 05": "81 05 01 03",
        "04 01 01 61 05 6162636465": "84 05 01 03 636465",
        "08 01 01 61 05 7f 7e 7d01 78 79": "88 05 01 03 7d01 78 79",
        "c4 07 00 08 01 05 6162636465": "c4 05 01 08 01 03 636465",
        "44 08 01 05 6162636465": "c4 05 01 08 01 03 636465",
        "28 01 01 61 01 6b 05 7f 7e 7f 7e 7f": "a8 05 01 03 7f 7e 7f",
        "04 01 01 61 05 61f09f9880": "84 05 01 03 efbfbd",  # the second half of a pair
    }
    for whole, rest in cases.items():
        tail = "00 02 01 07 01 00 01"
        length = 3 if "f09f9880" in whole else 5
        update = bytes_of(f"01 02 05 00 {whole} {tail}")
        expected = bytes_of(f"01 02 05 02 {rest} {tail}")
        assert cut(update, {5: 2}) == expected, whole
        assert inspect(expected).structs == {5: ((2, length + 2),)}
        assert cut(update, {}) == update
        assert cut(update, {5: length}) == bytes_of(f"01 01 05 {length:02x} {tail}")
        assert cut(update, {5: 100}) == bytes_of("00 01 07 01 00 01")


def test_holes_that_are_known_are_left_out() -> None:
    """Rule I9."""
    holed = bytes_of("01 03 05 00 00 02 0a 03 00 02 00")
    assert cut(holed, {5: 2}) == bytes_of("01 01 05 05 00 02 00")
    assert cut(holed, {5: 6}) == bytes_of("01 01 05 06 00 01 00")
    assert cut(holed, {5: 1}) == bytes_of("01 03 05 01 00 01 0a 03 00 02 00")
    assert cut(bytes_of("00 01 05 01 00 01"), {}) == bytes_of("00 01 05 01 00 01")


async def test_an_update_is_admitted_without_what_is_known(workers: Workers) -> None:
    """Rule I9: on the loop, and a large one in a worker; its new part is judged by itself."""
    knowledge = Knowledge()
    knowledge.learn(inspect(bytes_of("01 01 05 00 04 01 01 61 01 61 00")))
    update = bytes_of("01 02 05 00 04 01 01 61 01 62 84 05 00 01 62 00")
    rest, inspection, verdict = await admit_update(workers, knowledge, update, inspect(update))
    assert (rest, verdict) == (bytes_of("01 01 05 01 84 05 00 01 62 00"), Verdict.NEW)
    assert inspection == inspect(rest)
    # It says that what is known to be text is a map, and hangs something on it.
    child = bytes_of("01 02 05 00 07 01 01 61 01 28 00 05 00 01 6b 01 7e 00")
    with pytest.raises(InvalidUpdate) as refused:
        await admit_update(workers, knowledge, child, inspect(child))
    assert refused.value.code == "wrong_parent"


async def test_large_updates_are_inspected_and_cut_in_a_worker() -> None:
    """Rules I8, I9: with the same answers, and the same refusals."""
    async with Workers(1) as workers:
        first = large(5)
        assert await inspect_update(workers, first) == inspect(first)
        assert workers.counts.requests == 1
        both = engine.merge([large(6), first])
        knowledge = Knowledge()
        knowledge.learn(inspect(first))
        rest, inspection, verdict = await admit_update(workers, knowledge, both, inspect(both))
        assert verdict is Verdict.NEW
        assert rest == large(6)
        assert inspection == inspect(rest)
        with pytest.raises(InvalidUpdate) as refused:
            await inspect_update(workers, first + b"\x00")
        assert refused.value.code == "malformed_update"
        assert "bytes after the end" in refused.value.message


async def test_every_task_of_the_table_is_there() -> None:
    """Rule W1: a worker is ready with all of them, and does our own over the wire."""
    async with Workers(1) as workers:
        log = edits()
        header, (state, summary) = await workers.call("fold", {}, log)
        assert header["verified"]
        assert Knowledge.decode(summary) == engine.fold(log).knowledge
        _, (empty, again) = await workers.call("fold", {"summary_only": True}, log)
        assert (empty, again) == (b"", summary)
        _, (rest,) = await workers.call("difference", {}, [state, encode_state_vector({123456789: 6})])
        assert inspect(rest).structs == {123456789: ((6, 8),)}
        with pytest.raises(TaskFailed) as failed:
            await workers.call("difference", {}, [state, b"\xff"])
        assert failed.value.code == "malformed_update"
        assert (await workers.call("audit", {}, [state]))[0]["values"] > 0
        assert set(TASKS) >= {"scene", "render", "decode_image"}


async def test_poison_is_found_by_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule W9: of many rows, the one with which the document cannot be read any more."""
    monkeypatch.setattr("rooms.tasks.AUDIT_DEADLINE_SECONDS", 1.0)
    writer: pycrdt.Doc[Any] = pycrdt.Doc(client_id=1)
    rows: list[bytes] = []
    writer.observe(lambda event: rows.append(event.update))
    elements = writer.get(ROOTS["elements"], type=pycrdt.Map)
    elements["list"] = pycrdt.Array([1, 2, 3])
    for step in range(20):
        elements["place"] = step
    honest = list(rows)
    rows.insert(14, bytes_of("01 01 02 00 84 01 01 04 f09f9880 00"))
    async with Workers(1) as workers:
        assert await find_poison(workers, engine.EMPTY_UPDATE, honest) is None
        with pytest.raises(WorkerTimeout):
            await workers.call("audit", {}, rows, deadline_seconds=1.0)
        assert await find_poison(workers, engine.EMPTY_UPDATE, rows) == 14
        assert await find_poison(workers, engine.merge(rows), honest) == -1


@pytest.mark.prove
def test_yjs_reads_from_keyframes_and_differences_what_it_reads_from_rows(yjs: Yjs) -> None:
    """Rules W7, W8, I7, I9: whole lives of documents by both engines, halves of emoji included."""
    seen: Counter[str] = Counter()
    for number in range(budget(25, 2500)):
        seed = SEED + number
        rng = random.Random(seed)
        for log, extras in lives(yjs, rng, 50).values():
            live = yjs.ask("open", updates=oracle.encode(log))
            assert not live["pending"]
            # In several steps, each upon the last keyframe, as a room folds.
            state, at = engine.EMPTY_UPDATE, 0
            while at < len(log):
                to = min(len(log), at + rng.randint(1, 40))
                folded = engine.fold([state, *log[at:to]])
                state, at = folded.state, to
                seen["compact" if folded.compact else "merged"] += 1
                assert folded.verified, f"seed {seed}"
            read = yjs.ask("open", updates=oracle.encode([state]))
            assert read["json"] == live["json"], f"seed {seed}: the keyframe says something else"
            assert text_of(log) == text_of([state]) == text_in(live), f"seed {seed}: we read something else"
            assert not read["pending"]
            assert dict(folded.knowledge.vector) == oracle.vector(live), f"seed {seed}"
            if folded.compact:
                _check_deletes(folded.knowledge.deletes, oracle.deletes(live), log, f"seed {seed}")
            assert inspect(engine.difference([state], EMPTY_STATE_VECTOR)).structs == inspect(state).structs
            known = rng.randint(0, len(log))
            vector = oracle.vector(yjs.ask("open", updates=oracle.encode(log[:known])))
            for pieces in ([state], log):
                rest = engine.difference(pieces, encode_state_vector(vector))
                caught_up = yjs.ask(
                    "caught_up", updates=oracle.encode(log), known=known, difference=oracle.encode([rest])[0]
                )
                assert not caught_up["pending"], f"seed {seed}"
                assert caught_up["json"] == live["json"], f"seed {seed}: the difference leaves something out"
            seen["differences"] += 2
            seen["cuts"] += _check_cuts(yjs, rng, log, extras, seed)
    write_table(
        "keyframes",
        "yjs reads from keyframes and differences what it reads from rows",
        "Random lives of documents, folded in steps; every keyframe and difference was read back by yjs.",
        ("what", "number"),
        sorted(seen.items()),
    )


def _check_deletes(ours: Mapping[int, Ranges], theirs: Mapping[int, Ranges], log: Sequence[bytes], about: str) -> None:
    """The same clocks are deleted, but for formats that say nothing any more: yjs clears them away by itself (I7)."""

    def clocks(ranges: Mapping[int, Ranges]) -> set[tuple[int, int]]:
        return {(client, at) for client, pairs in ranges.items() for pair in pairs for at in range(*pair)}

    marks: list[_Mark] = []
    for row in log:
        _inspect(row, marks=marks)
    formats = {(mark.client, mark.first) for mark in marks if mark.info & 31 == 6}
    assert clocks(ours) <= clocks(theirs) <= clocks(ours) | formats, about


def _check_cuts(yjs: Yjs, rng: random.Random, log: list[bytes], extras: list[bytes], seed: int) -> int:
    """Honest updates that overlap a prefix of the log: cut, they say to yjs what they said."""
    cuts = 0
    for update in rng.sample(extras, min(4, len(extras))):
        base = log[: rng.randint(1, len(log))]
        knowledge = Knowledge()
        for row in base:
            knowledge.learn(inspect(row))
        inspection = inspect(update)
        if knowledge.judge(inspection) is not Verdict.NEW or not knowledge.overlaps(inspection):
            continue
        rest = cut(update, knowledge.vector)
        assert knowledge.judge(inspect(rest)) is Verdict.NEW, f"seed {seed}"
        assert not knowledge.overlaps(inspect(rest)), f"seed {seed}"
        whole = yjs.ask("open", updates=oracle.encode([*base, update]))
        part = yjs.ask("open", updates=oracle.encode([*base, rest]))
        assert part["json"] == whole["json"], f"seed {seed}: {update.hex()}"
        assert part["vector"] == whole["vector"]
        cuts += 1
    return cuts
