"""A state machine over join, edit, cut, leave, return, keyframe and restart, with real sockets: all replicas converge.

Rules D2 to D7, S1 to S7; promise 2. Thresholds are tiny, so that keyframes are taken, rooms closed and folded states
sent within a few edits. Every run uses a room of its own on one node.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.harness.budget import SEED, budget, write_table
from tests.harness.designer import Designers, yjs_reads
from tests.harness.node import Node
from tests.harness.reading import read_sqlite

T = TypeVar("T")

NAMES = ("ada", "ben", "cleo", "dora")
KINDS = {"ada": "stock", "ben": "acked", "cleo": "stock", "dora": "acked"}
MAX_RESTARTS = 2

names = st.sampled_from(NAMES)
picks = st.integers(0, len(NAMES) - 1)
places = st.floats(0, 1, exclude_max=True)
values = st.one_of(st.integers(-5, 5), st.text(max_size=4), st.lists(st.integers(0, 3), max_size=2), st.none())
words = st.sampled_from(["a", "be", "c d", "é", "🙂", "🙂🙃", "\n", "longer than the others "])
edits = st.one_of(
    st.fixed_dictionaries({"op": st.just("map"), "key": st.sampled_from("xyz"), "value": values}),
    st.fixed_dictionaries({"op": st.just("unset"), "key": st.sampled_from("xyz")}),
    st.fixed_dictionaries(
        {"op": st.just("nested"), "key": st.sampled_from("xy"), "field": st.sampled_from("fg"), "value": values}
    ),
    st.fixed_dictionaries({"op": st.just("text"), "place": places, "insert": words}),
    st.fixed_dictionaries({"op": st.just("erase"), "place": places, "length": st.integers(1, 5)}),
    st.fixed_dictionaries({"op": st.just("push"), "place": places, "values": st.lists(values, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"op": st.just("remove"), "place": places}),
)


class World:
    """What outlives one run: the loop, the node and the designers' process."""

    def __init__(self, directory: Path) -> None:
        self.runner = asyncio.Runner()
        self.rooms = itertools.count(1)
        self.counts: dict[str, int] = {}
        self.node = Node(directory, LUNEO_KEYFRAME_ROWS="4", LUNEO_ROOM_IDLE_SECONDS="0", LUNEO_KEYFRAME_BYTES="200")
        self.designers = Designers()
        self.run(self.node.start())
        self.run(self.designers.__aenter__())

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(what)

    def close(self) -> None:
        self.run(self.designers.kill())
        self.run(self.node.kill())
        self.runner.close()

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


class Replicas(RuleBasedStateMachine):
    world: World

    @initialize()
    def a_room(self) -> None:
        self.room = f"room-{next(self.world.rooms)}"
        self.open: set[str] = set()
        self.away: set[str] = set()
        self.restarts = 0

    def _name(self, name: str) -> str:
        return f"{name}@{self.room}"

    def _do(self, command: str, name: str, **options: Any) -> dict[str, Any]:
        return self.world.run(self.world.designers.do(command, name=self._name(name), **options))

    @rule(name=names)
    def join(self, name: str) -> None:
        if name not in self.open:
            self.open.add(name)
            self._do("open", name, url=self.world.node.url, room=self.room, kind=KINDS[name])
            self.world.count("join")

    def _one(self, of: set[str], pick: int) -> str:
        return sorted(of)[pick % len(of)]

    @precondition(lambda self: self.open)
    @rule(pick=picks, edit=edits)
    def edit(self, pick: int, edit: dict[str, Any]) -> None:
        self._do("edit", self._one(self.open, pick), **edit)
        self.world.count("edit")

    @precondition(lambda self: self.open)
    @rule(pick=picks, burst=st.lists(edits, min_size=3, max_size=12))
    def edit_much(self, pick: int, burst: list[dict[str, Any]]) -> None:
        for edit in burst:
            self._do("edit", self._one(self.open, pick), **edit)
        self.world.count("burst")

    @precondition(lambda self: self.open - self.away)
    @rule(pick=picks)
    def cut(self, pick: int) -> None:
        """The transport ends without a word; the provider comes back by itself."""
        name = self._one(self.open - self.away, pick)
        self.world.run(self.world.designers.do("cut", names=[self._name(name)]))
        self.world.count("cut")

    @precondition(lambda self: self.open - self.away)
    @rule(pick=picks)
    def leave(self, pick: int) -> None:
        name = self._one(self.open - self.away, pick)
        self._do("disconnect", name)
        self.away.add(name)
        self.world.count("leave")

    @precondition(lambda self: self.away)
    @rule(pick=picks)
    def come_back(self, pick: int) -> None:
        name = self._one(self.away, pick)
        self._do("connect", name)
        self.away.discard(name)
        self.world.count("come back")

    @precondition(lambda self: self.open and self.restarts < MAX_RESTARTS)
    @rule(gently=st.booleans(), edit=edits)
    def restart(self, gently: bool, edit: dict[str, Any]) -> None:
        """The server is killed, or told to stop, with an edit under way; edits are made while it is gone."""
        self.restarts += 1
        for name in self.open:
            self._do("edit", name, **edit)
        self.world.run(self.world.node.stop() if gently else self.world.node.kill())
        for name in self.open:
            self._do("edit", name, **edit)
        self.world.run(self.world.node.start())
        self.world.count("stop" if gently else "kill")

    @precondition(lambda self: len(self.open - self.away) > 1)
    @rule()
    def settle(self) -> None:
        """Everybody who is there has the same document."""
        there = [self._name(name) for name in sorted(self.open - self.away)]
        self.world.run(self.world.designers.equal(*there))
        self.world.count("settle")

    def teardown(self) -> None:
        if not getattr(self, "open", None):
            return
        for name in sorted(self.away):
            self._do("connect", name)
        self.world.run(self._converged([self._name(name) for name in sorted(self.open)]))
        for name in self.open:
            self._do("close", name)
        self.world.count("runs")

    async def _converged(self, everybody: list[str]) -> None:
        designers = self.world.designers
        await designers.ready(*everybody)
        digest = await designers.equal(*everybody)
        await designers.acked(*[name for name in everybody if KINDS[name.partition("@")[0]] == "acked"])
        for name in everybody:
            report = await designers.report(name)
            assert not report["refused"], report["refused"]
        # One who comes last has the same, and so has the database, by its rows and by its newest keyframe.
        late = f"late@{self.room}"
        await designers.open(late, self.world.node.url, self.room)
        assert await designers.equal(late, *everybody) == digest
        await designers.do("close", name=late)
        stored = read_sqlite(self.world.node.database, self.room)
        assert stored.is_gapless()
        read = await yjs_reads(stored.rows)
        assert not read["pending"]
        assert read["digest"] == digest
        folded = await yjs_reads(stored.from_keyframe())
        assert folded["content"] == read["content"]
        assert folded["clocks"] == read["clocks"]
        if stored.keyframes:
            self.world.count("runs with keyframes")


@pytest.mark.prove
def test_all_replicas_converge_whatever_is_cut_left_folded_and_restarted() -> None:
    """Promise 2; `make prove` runs it at length and writes a table."""
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory) / "data")

        class Machine(Replicas):
            pass

        Machine.world = world
        try:
            run_state_machine_as_test(
                seed(SEED)(Machine),
                settings=settings(
                    max_examples=budget(8, 120),
                    stateful_step_count=budget(15, 30),
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                    phases=[Phase.generate],  # a run takes seconds: what fails is printed as it is
                ),
            )
        finally:
            world.close()
    print(world.counts)
    write_table(
        "convergence",
        "Convergence",
        "Random runs over joining, editing, cutting, leaving, returning, keyframes and restarts, with real sockets and"
        " npm providers. After each run all replicas, one who comes late, the rows of the log and the newest keyframe"
        " with the rows after it are the same document to yjs; nobody was refused.",
        ("what", "how often"),
        sorted(world.counts.items()),
    )
