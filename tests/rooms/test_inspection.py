"""Inspection of updates: what it says, what it refuses, and that both engines agree (rules I1 to I8)."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.errors import InvalidUpdate
from rooms.inspection import (
    MAX_CLIENT,
    MAX_CLOCK,
    CausalLoop,
    Inspection,
    MalformedUpdate,
    UnsupportedContent,
    UpdateTooComplex,
    WrongParent,
    decode_state_vector,
    encode_state_vector,
    inspect,
    mend_pairs,
)
from rooms.knowledge import Knowledge, Verdict
from rooms.workers import Workers
from tests.harness.budget import FULL, SEED, budget, write_table
from tests.rooms import oracle
from tests.rooms.generate import life, mutate
from tests.rooms.oracle import Yjs

IN_A = "0101 05 00 "
"""One client, one struct, client 5, clock 0."""
ROOT_A = "01 01 61 "


def bytes_of(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def edits() -> list[bytes]:
    log: list[bytes] = []
    document: pycrdt.Doc[Any] = pycrdt.Doc(client_id=123456789)
    document.observe(lambda event: log.append(event.update))
    text = document.get("t", type=pycrdt.Text)
    text += "hello"
    text.insert(3, "x")
    document.get("m", type=pycrdt.Map)["a"] = pycrdt.Map({"x": 1.5})
    del text[1:3]
    return log


def test_an_edit_says_what_it_brings_and_builds_on() -> None:
    """Rules I1, I5."""
    first, second, third, fourth = map(inspect, edits())
    client = 123456789
    assert first.structs == {client: ((0, 5),)}
    assert first.requires == {}
    assert first.roots == {"t"}
    assert second.structs == {client: ((5, 6),)}
    assert second.requires == {client: 5}
    assert third.types == {client: (6,)}
    assert third.structs == {client: ((6, 8),)}
    assert fourth.structs == {}
    assert fourth.deletes == {client: ((1, 3),)}
    assert fourth.requires == {client: 3}


def test_skips_make_segments_and_holes_are_required() -> None:
    """Rule I5: a merge of the first and the third row has a hole; who takes it must know the second."""
    log = edits()
    merged = inspect(pycrdt.merge_updates(log[0], log[2]))
    assert merged.structs == {123456789: ((0, 5), (6, 8))}
    assert merged.requires == {123456789: 6}


def test_lengths_are_in_utf16_units() -> None:
    """Rule I1: an emoji is two; a lone half comes as U+FFFD and is one."""
    for text, units in (("a😀b", 4), ("é", 1), ("\ufffd", 1), ("👩‍👩‍👧", 8)):
        raw = text.encode()
        update = bytes_of(IN_A + "04" + ROOT_A) + bytes([len(raw)]) + raw + b"\x00"
        assert inspect(update).structs == {5: ((0, units),)}


def test_origins_and_parents_in_other_clients_are_required() -> None:
    """Rule I5."""
    origin = inspect(bytes_of(IN_A + "84 07 09 01 62 00"))
    both = inspect(bytes_of(IN_A + "c4 07 09 08 02 01 62 00"))
    parent = inspect(bytes_of(IN_A + "08 00 07 09 01 7e 00"))
    assert origin.requires == {7: 10}
    assert both.requires == {7: 10, 8: 3}
    assert parent.requires == {7: 10}
    assert parent.parents == {(7, 9)}


def test_what_the_update_brings_itself_is_not_required() -> None:
    """Rule I5: client 6 builds on client 5, which is in the same update."""
    update = bytes_of("02 01 06 00 84 05 00 01 62" + "01 05 00 04 01 01 61 01 61" + "00")
    assert inspect(update).requires == {}


REFUSED: dict[str, tuple[str, type[InvalidUpdate]]] = {
    "6 bytes that declare 2^28 clients": ("e5b7cc59c62a", MalformedUpdate),
    "nothing": ("", MalformedUpdate),
    "no delete set": ("00", MalformedUpdate),
    "bytes after the end": ("0000 00", MalformedUpdate),
    "structs that are not there": ("01 ffffff7f 05 00 00 01 00", MalformedUpdate),
    "a client without a struct, at which one engine panics": ("02 01 06 00 00 01 00 05 01 00", MalformedUpdate),
    "a left origin beyond the last clock, which one engine cuts to 32 bits": (
        IN_A + "84 07 808080808001 01 62 00",
        MalformedUpdate,
    ),
    "a right origin beyond the last clock": (IN_A + "44 07 ffffffff07 01 62 00", MalformedUpdate),
    "a parent beyond the last clock": (IN_A + "04 00 07 808080808001 01 62 00", MalformedUpdate),
    "values that are not there": (IN_A + "08" + ROOT_A + "ffffff7f 7e 00", MalformedUpdate),
    "keys that are not there": (IN_A + "08" + ROOT_A + "01 76 ffffff7f 00", MalformedUpdate),
    "ranges that are not there": ("00 01 05 ffffff7f 00 01", MalformedUpdate),
    "a number longer than it need be": ("01 01 8500 00 00 05 00", MalformedUpdate),
    "a number of 54 bits": ("01 01 ffffffffffffff1f 00 00 05 00", MalformedUpdate),
    "a number without an end": ("01 01 " + "ff" * 30, MalformedUpdate),
    "a client twice": ("02 01 05 00 00 01 01 05 01 00 01 00", MalformedUpdate),
    "a client twice in the delete set": ("00 02 05 01 00 01 05 01 02 01", MalformedUpdate),
    "delete ranges that are not sorted": ("00 01 05 02 03 01 00 01", MalformedUpdate),
    "delete ranges that overlap": ("00 01 05 02 00 03 01 02", MalformedUpdate),
    "an empty delete range": ("00 01 05 01 00 00", MalformedUpdate),
    "a delete range beyond the last clock": ("00 01 05 01 ffffffff07 02", MalformedUpdate),
    "an empty string": (IN_A + "04" + ROOT_A + "00 00", MalformedUpdate),
    "an empty gc": (IN_A + "00 00 00", MalformedUpdate),
    "an empty skip": ("01 02 05 00 0a 00 00 01 00", MalformedUpdate),
    "no values": (IN_A + "08" + ROOT_A + "00 00", MalformedUpdate),
    "a clock of 32 bits": ("01 01 05 ffffffff0f 00 01 00", MalformedUpdate),
    "a gc that ends beyond the last clock": (IN_A + "00 8080808008 00", MalformedUpdate),
    "bit 5 of the kind, which one engine ignores": (IN_A + "14" + ROOT_A + "01 62 00", MalformedUpdate),
    "a gc with flags": (IN_A + "20 01 00", MalformedUpdate),
    "a skip with flags": ("01 02 05 00 4a 01 00 01 00", MalformedUpdate),
    "kind 11": (IN_A + "0b" + ROOT_A + "01 00", MalformedUpdate),
    "a parent that is neither name nor id": (IN_A + "04 02 01 61 01 62 00", MalformedUpdate),
    "a root's name that is not UTF-8": (IN_A + "04 01 01 ff 01 62 00", MalformedUpdate),
    "text that is not UTF-8": (IN_A + "04" + ROOT_A + "02 c328 00", MalformedUpdate),
    "a half of a pair as UTF-8": (IN_A + "04" + ROOT_A + "03 eda0bd 00", MalformedUpdate),
    "a key that is not UTF-8": (IN_A + "28 01 01 61 01 ff 01 7e 00", MalformedUpdate),
    "text that goes on after the end": (IN_A + "04" + ROOT_A + "7f 62 00", MalformedUpdate),
    "bytes that go on after the end": (IN_A + "03" + ROOT_A + "7f 62 00", MalformedUpdate),
    "a float that goes on after the end": (IN_A + "08" + ROOT_A + "01 7b 00", MalformedUpdate),
    "an embed that is no JSON": (IN_A + "05" + ROOT_A + "03 7b7d7d 00", MalformedUpdate),
    "an embed with nothing": (IN_A + "05" + ROOT_A + "00 00", MalformedUpdate),
    "a number that is no double": (IN_A + "05" + ROOT_A + "05 3165393939 00", MalformedUpdate),
    "a number that rounds to no double": (
        IN_A + "05" + ROOT_A + "16" + b"1.7976931348623158e308".hex() + "00",
        MalformedUpdate,
    ),
    "an escaped half of a pair": (IN_A + "05" + ROOT_A + "08" + b'"\\ud83d"'.hex() + "00", MalformedUpdate),
    "a format that is no JSON": (IN_A + "06" + ROOT_A + "01 62 01 78 00", MalformedUpdate),
    "a value of no type": (IN_A + "08" + ROOT_A + "01 73 00", MalformedUpdate),
    "a type of no kind": (IN_A + "07" + ROOT_A + "07 00", MalformedUpdate),
    "a subdocument without options": (IN_A + "09" + ROOT_A + "01 67 7e 00", MalformedUpdate),
    "a subdocument with gc null": (IN_A + "09" + ROOT_A + "01 67 76 01 02 6763 7e 00", MalformedUpdate),
    "a subdocument with meta": (IN_A + "09" + ROOT_A + "01 67 76 01 04 6d657461 7e 00", UnsupportedContent),
    "a big integer": (IN_A + "08" + ROOT_A + "01 7a 0010000000000001 00", UnsupportedContent),
    "an XML hook": (IN_A + "07" + ROOT_A + "05 01 6b 00", UnsupportedContent),
    "JSON content": (IN_A + "02" + ROOT_A + "01 03 226222 00", UnsupportedContent),
    "a struct that follows itself": (IN_A + "84 05 00 01 62 00", CausalLoop),
    "a struct that is its own parent": (IN_A + "08 00 05 00 01 7e 00", CausalLoop),
    "a struct that precedes its successor": (IN_A + "44 05 03 01 62 00", CausalLoop),
    "two clients that wait for each other": (
        "02 01 05 00 c4 06 00 06 00 01 62 01 06 00 c4 05 00 05 00 01 62 00",
        CausalLoop,
    ),
    "a child of text": ("01 02 05 00 04 01 01 61 02 6263 08 00 05 00 01 7e 00", WrongParent),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_honest_client_writes_is_refused(name: str) -> None:
    """Rules I1 to I4: each with its code, and a sentence."""
    text, kind = REFUSED[name]
    with pytest.raises(kind) as refused:
        inspect(bytes_of(text))
    assert refused.value.code == kind.code
    assert "Nothing of it was taken." in refused.value.message


def test_the_refused_examples_cost_no_memory() -> None:
    """Rule I2: a declared count is not believed."""
    import tracemalloc

    tracemalloc.start()
    for text, _ in REFUSED.values():
        with pytest.raises(InvalidUpdate):
            inspect(bytes_of(text))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_each_limit_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule I3."""
    deep = bytes_of(IN_A + "08" + ROOT_A + "01") + b"\x75\x01" * 101 + b"\x7e\x00"
    embed = b"[" * 101 + b"]" * 101
    deep_json = bytes_of(IN_A + "05" + ROOT_A) + bytes([len(embed) & 127 | 128, len(embed) >> 7]) + embed + b"\x00"
    for update in (deep, deep_json):
        with pytest.raises(UpdateTooComplex) as refused:
            inspect(update)
        assert (refused.value.limit, refused.value.maximum) == ("MAX_NESTING", 100)
    honest = bytes_of(IN_A + "08" + ROOT_A + "01") + b"\x75\x01" * 100 + b"\x7e\x00"
    assert inspect(honest).struct_count == 1
    many = bytes_of("01 02 05 00 00 01 00 01" + "02 05 01 00 01 06 02 00 01 04 01")
    for name in ("MAX_STRUCTS", "MAX_DELETE_RANGES", "MAX_CLIENTS"):
        with monkeypatch.context() as patch:
            patch.setattr(f"rooms.inspection.{name}", 1)
            with pytest.raises(UpdateTooComplex) as refused:
                inspect(many)
            assert refused.value.limit == name


def test_a_long_loop_is_found_and_a_long_chain_is_not_one() -> None:
    """Rule I4: clients that build on one another in turn, many times; linear in their number."""

    def ladder(rungs: int, crossed: bool) -> bytes:
        # 6 builds on 5, 5 on the rung of 6 before; crossed, both begin with the other's last.
        def number(value: int) -> bytes:
            out = bytearray()
            while value > 127:
                out.append(value & 127 | 128)
                value >>= 7
            return bytes([*out, value])

        right = b"".join(b"\x84\x05" + number(rungs - 1 if crossed and not k else k) + b"\x01b" for k in range(rungs))
        left = b"\x04\x01\x01a\x01b" + b"".join(b"\x84\x06" + number(k - 1) + b"\x01b" for k in range(1, rungs))
        return b"\x02" + number(rungs) + b"\x06\x00" + right + number(rungs) + b"\x05\x00" + left + b"\x00"

    assert inspect(ladder(20_000, crossed=False)).requires == {}
    with pytest.raises(CausalLoop):
        inspect(ladder(20_000, crossed=True))


def test_pairs_are_split_by_origins_and_deletions_only() -> None:
    """Rule W7: where the engine would read another text than yjs, and lose count."""
    emoji = "04" + ROOT_A + "04 f09f9880"
    mended = "04" + ROOT_A + "06 efbfbdefbfbd"
    for head, tail in (
        ("01 01 05 00", "01 05 01 01 01"),
        ("01 01 05 00", "01 05 01 00 01"),
        ("01 02 05 00", "84 05 00 01 62 00"),
        ("01 02 05 00", "44 05 01 01 62 00"),
    ):
        assert mend_pairs(bytes_of(head + emoji + tail)) == bytes_of(head + mended + tail)
    for head, tail in (
        ("01 01 05 00", "00"),
        ("01 01 05 00", "01 05 01 00 02"),
        ("01 02 05 00", "84 05 01 01 62 00"),
        ("01 02 05 00", "44 05 00 01 62 00"),
    ):
        assert mend_pairs(bytes_of(head + emoji + tail)) == bytes_of(head + emoji + tail)
    # The pair that is split, and no other.
    three = "04" + ROOT_A + "0f 61f09f988062f09f988063f09f9880"
    split = "04" + ROOT_A + "11 61f09f988062efbfbdefbfbd63f09f9880"
    tail = "84 05 04 01 62 00"
    assert mend_pairs(bytes_of("01 02 05 00" + three + tail)) == bytes_of("01 02 05 00" + split + tail)


@given(st.dictionaries(st.integers(0, MAX_CLIENT), st.integers(0, MAX_CLOCK), max_size=20))
def test_state_vectors_come_back_as_they_went(vector: dict[int, int]) -> None:
    assert decode_state_vector(encode_state_vector(vector)) == vector


@pytest.mark.parametrize("text", ["", "01", "0105", "ffffff7f", "02 05 01 05 01", "01 05 01 00", "01 05 ffffffff0f"])
def test_what_is_no_state_vector_is_refused(text: str) -> None:
    with pytest.raises(MalformedUpdate):
        decode_state_vector(bytes_of(text))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Rule I1: no other exception, whatever comes."""
    try:
        inspection = inspect(data)
    except InvalidUpdate:
        return
    assert Inspection.from_json(inspection.to_json()) == inspection


def lives(yjs: Yjs, rng: random.Random, steps: int) -> dict[str, tuple[list[bytes], list[bytes]]]:
    """The life of a document by each engine: its log, and other honest updates of it."""
    answer = yjs.ask("generate", seed=rng.randrange(2**31), steps=steps, ids=rng.choice((32, 53)))
    return {
        "yjs": (oracle.decode(answer["log"]), oracle.decode(answer["extras"])),
        "pycrdt": life(random.Random(rng.randrange(2**31)), steps),
    }


@pytest.mark.prove
def test_what_is_honest_is_accepted(yjs: Yjs) -> None:
    """Rule I1: logs, states, differences, merges with holes, halves of emoji, of both engines."""
    seen: Counter[str] = Counter()
    for number in range(budget(15, 1500)):
        seed = SEED + number
        for engine, (log, extras) in lives(yjs, random.Random(seed), 60).items():
            for update in (*log, *extras):
                try:
                    inspection = inspect(update)
                except InvalidUpdate as error:
                    pytest.fail(f"seed {seed}: {engine} wrote {update.hex()}: {error!r}")
                assert Inspection.from_json(inspection.to_json()) == inspection
                seen[engine] += 1
    write_table(
        "inspection-honest",
        "Honest updates are accepted",
        "Updates of random lives of documents; every one was accepted by inspection.",
        ("written by", "updates", "refused"),
        [(engine, count, 0) for engine, count in seen.items()],
    )


@pytest.mark.prove
async def test_what_is_accepted_both_engines_accept(yjs: Yjs, workers: Workers) -> None:
    """Rules I1, I5, I9: mutations of honest updates. What inspection accepts, cut to its new part as rooms do, neither
    engine refuses, nor waits for anything where the verdict is NEW; where it is GAP, yjs waits."""
    seen: Counter[str] = Counter()
    begun = time.monotonic()
    for number in range(budget(12, 1200)):
        seed = SEED + number
        rng = random.Random(seed)
        for log, extras in lives(yjs, rng, 40).values():
            at = rng.randrange(len(log) + 1)
            base, pool = log[:at], [*log, *extras]
            knowledge = Knowledge()
            for row in base:
                knowledge.learn(inspect(row))
            accepted: list[tuple[bytes, Verdict]] = []
            for _ in range(400):
                # Mostly what fits the document as it is: then a mutation is likely to be taken.
                source = log[min(at, len(log) - 1)] if rng.random() < 0.6 else rng.choice(pool)
                mutant = mutate(rng, source, pool)
                seen["mutants"] += 1
                try:
                    inspection = inspect(mutant)
                    verdict = knowledge.judge(inspection)
                except InvalidUpdate as error:
                    seen[error.code] += 1
                    continue
                seen[verdict.name] += 1
                accepted.append((mutant, verdict))
            updates = [mutant for mutant, _ in accepted]
            gaps = [verdict is Verdict.GAP for _, verdict in accepted]
            header, applied = await workers.call(
                "apply_each", {"base": len(base), "gaps": gaps}, [*base, *updates], deadline_seconds=30
            )
            answer = yjs.ask("apply", base=oracle.encode(base), updates=oracle.encode(applied))
            for (mutant, verdict), theirs, ours in zip(accepted, answer["results"], header["results"], strict=True):
                if "refused" in ours:  # its new part alone
                    seen[ours["refused"]] += 1
                    continue
                about = f"seed {seed}: {mutant.hex()} on {[row.hex() for row in base]}"
                assert "error" not in theirs, f"{about}: yjs: {theirs['error']}"
                assert "error" not in ours, f"{about}: pycrdt: {ours['error']}"
                if verdict is Verdict.NEW:
                    assert not theirs["pending"], f"{about}: yjs waits"
                    learned = knowledge.copy()
                    learned.learn(inspect(mutant))
                    assert oracle.vector(theirs) == dict(learned.vector), about
                    assert {client: clock for client, clock in ours["vector"] if clock} == dict(learned.vector), about
                elif verdict is Verdict.GAP:
                    assert theirs["pending"], f"{about}: a gap, but yjs waits for nothing"
    if not FULL:
        assert seen["NEW"] > 100
    write_table(
        "inspection-mutated",
        "What inspection accepts, both engines accept",
        "Mutations of honest updates, each judged against a document. Those that were accepted went to yjs and to "
        f"pycrdt (in a worker with a deadline): neither refused one or hung. {time.monotonic() - begun:.0f} s.",
        ("outcome", "updates"),
        sorted(seen.items()),
    )
