"""Knowledge against the documents of both engines (rules D5, D6, I5 to I7)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.errors import InvalidUpdate
from rooms.inspection import Inspection, MalformedUpdate, WrongParent, inspect
from rooms.knowledge import Knowledge, Verdict
from tests.harness.budget import SEED, budget, write_table
from tests.rooms import oracle
from tests.rooms.generate import life
from tests.rooms.oracle import Yjs
from tests.rooms.test_inspection import bytes_of, edits


def knowing(*updates: bytes) -> Knowledge:
    knowledge = Knowledge()
    for update in updates:
        knowledge.learn(inspect(update))
    return knowledge


def test_an_update_is_new_once() -> None:
    """Rule D5."""
    knowledge = Knowledge()
    for update in edits():
        inspection = inspect(update)
        assert knowledge.judge(inspection) is Verdict.NEW
        knowledge.learn(inspection)
        assert knowledge.judge(inspection) is Verdict.NOTHING_NEW


def test_a_gap_names_what_is_missing() -> None:
    """Rule D6."""
    log = edits()
    knowledge = knowing(log[0])
    later = inspect(log[2])
    assert knowledge.judge(later) is Verdict.GAP
    assert knowledge.missing(later) == {123456789: 6}
    assert knowledge.judge(inspect(log[1])) is Verdict.NEW
    assert knowledge.missing(inspect(log[1])) == {}


def test_an_update_that_is_partly_known_is_new() -> None:
    """Rules I5, I6: it overlaps what is known, and goes on."""
    update = bytes_of("01 01 05 00 00 0a 00")  # clocks 0 to 10
    knowledge = knowing(bytes_of("01 01 05 00 00 04 00"))
    assert knowledge.judge(inspect(update)) is Verdict.NEW
    knowledge.learn(inspect(update))
    assert knowledge.vector == {5: 10}


def test_a_hole_that_is_known_is_no_gap() -> None:
    """Rule I5."""
    holed = inspect(bytes_of("01 03 05 00 00 02 0a 03 00 02 00"))
    assert holed.structs == {5: ((0, 2), (5, 7))}
    assert knowing(bytes_of("01 01 05 00 00 05 00")).judge(holed) is Verdict.NEW
    almost = knowing(bytes_of("01 01 05 00 00 04 00"))
    assert almost.judge(holed) is Verdict.GAP
    almost.learn(holed)
    assert almost.vector == {5: 4}


def test_a_deletion_alone_is_new_until_it_is_known() -> None:
    """Rule I6."""
    knowledge = knowing(bytes_of("01 01 05 00 04 01 01 61 04 61626364 00"))
    middle = inspect(bytes_of("00 01 05 01 01 02"))
    around = inspect(bytes_of("00 01 05 01 00 04"))
    assert knowledge.judge(middle) is Verdict.NEW
    knowledge.learn(middle)
    assert knowledge.judge(middle) is Verdict.NOTHING_NEW
    assert knowledge.judge(around) is Verdict.NEW
    knowledge.learn(around)
    assert knowledge.deletes == {5: ((0, 4),)}
    beyond = inspect(bytes_of("00 01 05 01 03 02"))
    assert knowledge.judge(beyond) is Verdict.GAP
    assert knowledge.missing(beyond) == {5: 5}


def test_what_arrives_deleted_counts_as_deleted() -> None:
    """Rule I6: its sender tells it as a deletion with its next answer to step 1."""
    knowledge = knowing(bytes_of("01 02 05 00 00 02 01 01 01 61 03 00"))
    assert knowledge.judge(inspect(bytes_of("00 01 05 01 00 05"))) is Verdict.NOTHING_NEW


def test_only_types_can_be_parents() -> None:
    """Rule I4: yrs would refuse every document that holds a child of a text's characters."""
    child = inspect(bytes_of("01 01 06 00 08 00 05 00 01 7e 00"))
    text = knowing(bytes_of("01 01 05 00 04 01 01 61 01 61 00"))
    a_map = knowing(bytes_of("01 01 05 00 07 01 01 61 01 00"))
    gone = knowing(bytes_of("01 01 05 00 00 01 00"))
    with pytest.raises(WrongParent):
        text.judge(child)
    text.learn(inspect(bytes_of("00 01 05 01 00 01")))
    with pytest.raises(WrongParent):
        text.judge(child)
    assert a_map.judge(child) is Verdict.NEW
    assert gone.judge(child) is Verdict.NEW
    assert Knowledge().judge(child) is Verdict.GAP
    for knowledge in (text, a_map, gone):
        assert Knowledge.decode(knowledge.encode()) == knowledge
    with pytest.raises(WrongParent):
        Knowledge.decode(text.encode()).judge(child)


def test_a_copy_goes_its_own_way() -> None:
    log = edits()
    knowledge = knowing(*log[:2])
    twin = knowledge.copy()
    assert twin == knowledge
    twin.learn(inspect(log[2]))
    twin.learn(inspect(log[3]))
    assert twin != knowledge
    assert knowledge == knowing(*log[:2])
    knowledge.learn_all(twin)
    assert knowledge == twin


def test_covers_compares_every_client() -> None:
    knowledge = knowing(bytes_of("01 01 05 00 00 04 00"))
    assert knowledge.covers({})
    assert knowledge.covers({5: 4})
    assert not knowledge.covers({5: 5})
    assert not knowledge.covers({6: 1})


RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=30)


@given(RANGES)
def test_deleted_ranges_are_a_set(ranges: list[tuple[int, int]]) -> None:
    """The delete set is what a set of clocks is, whatever overlaps or touches; and its encoding comes back."""
    knowledge, model = knowing(bytes_of("01 01 05 00 00 7f 00")), set(range(0))
    knowledge = knowing(bytes_of("01 01 05 00 04 01 01 61 7f" + "61" * 127 + "00"))
    for first, length in ranges:
        deletion = inspect(bytes([0, 1, 5, 1, first, length]))
        known = model.issuperset(range(first, first + length))
        assert knowledge.judge(deletion) is (Verdict.NOTHING_NEW if known else Verdict.NEW)
        knowledge.learn(deletion)
        model.update(range(first, first + length))
        ours = [clock for begin, end in knowledge.deletes.get(5, ()) for clock in range(begin, end)]
        assert ours == sorted(model)
    assert Knowledge.decode(knowledge.encode()) == knowledge


@given(st.binary(max_size=40))
def test_a_summary_is_read_or_refused(data: bytes) -> None:
    try:
        knowledge = Knowledge.decode(data)
    except MalformedUpdate:
        return
    assert Knowledge.decode(knowledge.encode()) == knowledge


@pytest.mark.prove
def test_gaps_and_news_are_what_yjs_says(yjs: Yjs) -> None:
    """Rules D5, D6, I7: updates in any order, some lost. GAP is said exactly where yjs has to wait; what is taken
    otherwise gives the state vector of yjs; NOTHING_NEW is said only where nothing changes."""
    verdicts = dict.fromkeys(Verdict, 0)
    for number in range(budget(15, 1500)):
        seed = SEED + number
        rng = random.Random(seed)
        answer = yjs.ask("generate", seed=seed, steps=40)
        log, extras = oracle.decode(answer["log"]), oracle.decode(answer["extras"])
        if number % 2:
            log, extras = life(rng, 40)
        arriving = [*log, *rng.sample(extras, min(6, len(extras)))]
        for _ in range(len(arriving) // 3):
            at = rng.randrange(len(arriving))
            arriving.insert(rng.randrange(len(arriving)), arriving.pop(at))
        taken: list[bytes] = []
        asked: list[tuple[Inspection, Verdict, Knowledge]] = []
        knowledge = Knowledge()
        probes: list[list[str]] = []
        for update in arriving:
            inspection = inspect(update)
            try:
                verdict = knowledge.judge(inspection)
            except InvalidUpdate as error:
                pytest.fail(f"seed {seed}: {error!r} for {update.hex()}")
            verdicts[verdict] += 1
            asked.append((inspection, verdict, knowledge.copy()))
            probes.append(oracle.encode([*taken, update]))
            if verdict is Verdict.NEW:
                knowledge.learn(inspection)
                taken.append(update)
        before = yjs.ask("open", updates=[])
        for (_, verdict, known), updates in zip(asked, probes, strict=True):
            after = yjs.ask("open", updates=updates)
            assert after["pending"] is (verdict is Verdict.GAP), f"seed {seed}: {verdict} for {updates[-1]}"
            if verdict is Verdict.NOTHING_NEW:
                assert after["json"] == before["json"], f"seed {seed}"
            if verdict is Verdict.NEW:
                before = after
            told = oracle.deletes(after) if verdict is not Verdict.GAP else {}
            for client, ranges in known.deletes.items() if told else ():
                ours = {clock for first, end in ranges for clock in range(first, end)}
                theirs = {clock for first, end in told.get(client, ()) for clock in range(first, end)}
                assert ours <= theirs, f"seed {seed}: something counts as deleted that is not"
        assert oracle.vector(before) == dict(knowledge.vector), f"seed {seed}"
        assert Knowledge.decode(knowledge.encode()) == knowledge
        assert knowledge.covers(oracle.vector(before))
    assert all(verdicts.values())
    write_table(
        "knowledge",
        "What a room knows is what yjs knows",
        "Updates of random documents out of order, each judged and compared with a yjs document that took the same.",
        ("verdict", "updates"),
        [(verdict.name, count) for verdict, count in verdicts.items()],
    )
