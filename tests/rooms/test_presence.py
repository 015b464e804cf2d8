"""Presence, against people of real y-protocols (rules P1 to P10)."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from rooms.errors import LimitExceeded
from rooms.inspection import write_varuint
from rooms.permissions import Role, User
from rooms.presence import AHEAD, MAX_CLOCK, MAX_FRAME_ENTRIES, UNHEARD_SECONDS, MalformedPresence, Presence
from storage.keys import BrandId, UserId
from tests.harness.budget import SEED, budget, write_table
from tests.harness.lib0 import Reader
from tests.rooms import oracle
from tests.rooms.oracle import Yjs

ADA = User(UserId("ada"), "Ada", BrandId("acme"), Role.EDITOR, color="#aa0000")
BEN = User(UserId("ben"), "Ben", BrandId("acme"), Role.EDITOR)
NODE = b"node-two"


def frame(*entries: tuple[int, int, Any]) -> bytes:
    """An awareness update; bytes as a state go in as they are."""
    out = bytearray()
    write_varuint(out, len(entries))
    for client, clock, state in entries:
        text = state if isinstance(state, bytes) else json.dumps(state).encode()
        write_varuint(out, client)
        write_varuint(out, clock)
        write_varuint(out, len(text))
        out += text
    return bytes(out)


def entries(data: bytes | None) -> dict[int, tuple[int, Any]]:
    """Client id → (clock, state) of an awareness update."""
    if data is None:
        return {}
    reader = Reader(data)
    found: dict[int, tuple[int, Any]] = {}
    for _ in range(reader.number()):
        client, clock, state = reader.number(), reader.number(), reader.some()
        assert client not in found
        found[client] = (clock, json.loads(state))
    assert reader.ended
    return found


def told(presence: Presence) -> dict[int, tuple[int, Any]]:
    tick = presence.tick(0)
    return entries(tick.frame) if tick is not None else {}


def test_a_state_is_told_once_with_the_true_identity() -> None:
    """Rules P3, P5."""
    presence = Presence(overwrite_names=True)
    state = {"cursor": [1, 2], "user": {"id": "ben", "name": "Ben", "color": "#fff", "mood": "x"}}
    assert presence.heard("a", ADA, frame((7, 3, state)), 0)
    assert told(presence) == {
        7: (5, {"cursor": [1, 2], "user": {"id": "ada", "name": "Ada", "color": "#aa0000", "mood": "x"}})
    }
    assert presence.tick(0) is None


def test_in_open_mode_people_name_and_colour_themselves() -> None:
    """Rule P5."""
    presence = Presence()
    presence.heard("b", BEN, frame((7, 1, {"user": {"name": "B.", "color": "#123"}})), 0)
    assert told(presence)[7][1] == {"user": {"id": "ben", "name": "B.", "color": "#123"}}


@pytest.mark.parametrize("state", [b"[1]", b"7", b'"x"', b"{", b"", b'{"a":NaN}', b"[" * 9000, b'{"a":"\xff"}'])
def test_what_is_no_object_counts_as_null(state: bytes) -> None:
    """Rule P5: and nobody else is touched."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 1, {}), (8, 1, {})), 0)
    presence.heard("b", BEN, frame((9, 1, {})), 0)
    told(presence)
    presence.heard("a", ADA, frame((7, 2, state)), 0)
    assert told(presence) == {7: (4, None)}
    assert set(entries(presence.states())) == {9}


def test_what_browsers_write_and_strict_readers_refuse_is_a_state() -> None:
    """Rule P5: an escaped half of a surrogate pair, a number beyond 64 bits."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 1, b'{"name":"\\ud83d","n":123456789012345678901234567890}')), 0)
    assert told(presence)[7][1]["name"] == "\ud83d"


def test_only_the_newest_state_of_a_tick_is_told() -> None:
    """Rule P3."""
    presence = Presence()
    for n in range(1, 50):
        presence.heard("a", ADA, frame((7, n, {"n": n})), 0)
    assert told(presence)[7] == (51, {"n": 49, "user": {"id": "ada", "color": "#aa0000"}})


def test_other_ids_are_ignored_and_not_punished() -> None:
    """Rule P2: stock clients repeat what they hear; nobody moves another's cursor, or takes it away."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 1, {"n": 1})), 0)
    presence.heard("b", BEN, frame((8, 1, {"n": 1})), 0)
    told(presence)
    assert not presence.heard("b", BEN, frame((7, 9, {"n": 666}), (7, 10, None)), 0)
    assert presence.heard("b", BEN, frame((7, 11, None), (8, 2, {"n": 2})), 0)
    assert set(told(presence)) == {8}
    assert entries(presence.states())[7][1]["n"] == 1


def test_an_echo_never_binds() -> None:
    """Rule P2: the first frame after a cut is somebody else's id with null; a late repetition of who left has no newer
    clock."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 5, {"n": 1})), 0)
    told(presence)
    presence.states("b", BEN.id)
    presence.left("a", 0)
    told(presence)
    assert not presence.heard("b", BEN, frame((7, 5, None)), 0)
    assert not presence.heard("b", BEN, frame((7, 5, {"n": 1})), 0)
    assert presence.heard("b", BEN, frame((8, 1, {"n": 1})), 0)
    assert set(told(presence)) == {8}


def test_a_guest_without_a_cookie_comes_back_with_its_id() -> None:
    """Rule P2: another person now, and the same client; gone before this connection came, or with a newer clock."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 5, {"n": 1})), 0)
    told(presence)
    presence.left("a", 0)
    told(presence)
    assert presence.heard("b", BEN, frame((7, 5, {"n": 1})), 0)
    assert told(presence)[7][0] == 10
    assert not presence.heard("c", ADA, frame((7, 5, {"n": 1})), 0)
    presence.left("b", 0)
    told(presence)
    assert not presence.heard("c", ADA, frame((7, 5, None)), 0)
    assert presence.heard("c", ADA, frame((7, 11, {"n": 1})), 0)


def test_a_repetition_costs_nothing_outgoing() -> None:
    """Rule P4: an older or equal clock of the own id is nothing; an equal one with null takes the state back."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 5, {"n": 1})), 0)
    told(presence)
    for clock in (5, 4, 0):
        assert not presence.heard("a", ADA, frame((7, clock, {"n": 2})), 0)
    assert presence.tick(0) is None
    assert presence.heard("a", ADA, frame((7, 5, None)), 0)
    assert told(presence) == {7: (8, None)}
    assert not presence.heard("a", ADA, frame((7, 5, None)), 0)
    assert presence.tick(0) is None


def test_who_comes_back_is_seen_at_once_and_does_not_hear_its_state() -> None:
    """Rules P6, P7, P9, P11: after its removal, with the clock that it had; it is told to say its own again, above."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 5, {"n": 1})), 0)
    presence.heard("b", BEN, frame((8, 1, {})), 0)
    before = told(presence)
    assert presence.left("a", 0)
    gone = told(presence)
    assert gone[7][0] > before[7][0]
    assert gone[7][1] is None
    assert not presence.left("a", 0)
    presence.heard("a2", ADA, frame((7, 5, {"n": 1})), 0)
    presence.heard("b", BEN, frame((8, 60, {})), 0)
    tick = presence.tick(0)
    assert tick is not None
    back = entries(tick.frame)[7]
    assert back[0] > gone[7][0]
    assert set(tick.exceptions) == {"a2"}
    own = entries(tick.exceptions["a2"])
    assert set(own) == {7, 8}
    assert own[7] == (back[0] + AHEAD, None)
    assert presence.heard("a2", ADA, frame((7, own[7][0] + 1, {"n": 1})), 0)  # as y-protocols does
    tick = presence.tick(0)
    assert tick is not None
    assert entries(tick.frame)[7][0] == own[7][0] + 1
    assert tick.exceptions == {}


def test_who_comes_back_is_told_again_of_those_who_did_not_move_meanwhile() -> None:
    """Rule P11: it remembers their clocks, and takes nothing that is not above; they are told to follow."""
    presence = Presence()
    for n, name in enumerate(("a", "b", "c")):
        presence.heard(name, User(UserId(name), name, BrandId("acme"), Role.EDITOR), frame((n, 70, {"n": 1})), 0)
    told(presence)
    for n, name in enumerate(("a", "b", "c")):
        user = User(UserId(name), name, BrandId("acme"), Role.EDITOR)
        presence.heard(name, user, frame((n, 71 + AHEAD, {"n": 1})), 0)  # each followed
    before = told(presence)
    presence.left("a", 0)
    told(presence)
    cleo = User(UserId("c"), "c", BrandId("acme"), Role.EDITOR)
    presence.heard("c", cleo, frame((2, 200, {"n": 2})), 0)
    moved = told(presence)
    presence.heard("a2", User(UserId("a"), "a", BrandId("acme"), Role.EDITOR), frame((0, 71 + AHEAD, {"n": 1})), 0)
    tick = presence.tick(0)
    assert tick is not None
    assert set(entries(tick.frame)) == {0}
    again = entries(tick.exceptions["a2"])
    assert again.pop(0)[1] is None  # its own, which it is to say again
    assert set(again) == {1}, "who moved since was heard of in the answer to the join"
    assert again[1][0] > before[1][0]
    assert again[1][1] == before[1][1]
    assert moved[2][0] == 200
    assert entries(tick.exceptions["b"])[1] == (again[1][0] + AHEAD, None)
    assert not tick.asks


def test_clocks_are_above_those_of_before_a_restart() -> None:
    """Rule P11: of a client that was at rest, of one that moved fast, and of one of another node that is asked."""
    now = 1_800_000_000.0
    for clock in (0, 5, 900_000_000):
        first = Presence()
        first.heard("a", ADA, frame((7, clock, {})), now)
        tick = first.tick(now)
        assert tick is not None
        remembered = entries(tick.frame)[7][0]
        assert clock < remembered <= MAX_CLOCK
        own = entries(tick.exceptions["a"])[7][0] + 1
        second = Presence()
        second.heard("a2", ADA, frame((7, own, {})), now + 1)
        tick = second.tick(now + 1)
        assert tick is not None
        assert entries(tick.frame)[7][0] > own > remembered
        told_again = entries(second.own_states(now + 1))[7][0]
        assert told_again > entries(tick.frame)[7][0]


def test_a_new_connection_takes_over_from_the_old() -> None:
    """Rule P2: the client is back before its old connection has ended, and stays when that does."""
    presence = Presence()
    presence.heard("old", ADA, frame((7, 5, {"n": 1})), 0)
    told(presence)
    assert presence.heard("new", ADA, frame((7, 5, {"n": 1})), 0)
    assert told(presence)[7][0] == 8
    assert not presence.left("old", 0)
    assert presence.heard("new", ADA, frame((7, 6, {"n": 2})), 0)
    assert told(presence)[7][1]["n"] == 2


def test_a_tab_that_only_repeats_gives_the_id_back() -> None:
    """Rule P2: two tabs of one person; the one that raises the clock is the owner."""
    presence = Presence()
    presence.heard("tab", ADA, frame((7, 5, {"n": 1})), 0)
    told(presence)
    presence.heard("other", ADA, frame((7, 5, {"n": 1})), 0)
    told(presence)
    assert not presence.heard("tab", ADA, frame((7, 5, {"n": 1})), 0)
    assert not presence.heard("tab", ADA, frame((7, 6, {"n": 2})), 0)
    assert presence.heard("tab", ADA, frame((7, 9, {"n": 2})), 0)
    assert told(presence)[7][1]["n"] == 2
    assert not presence.left("other", 0)
    assert set(entries(presence.states())) == {7}


def test_another_person_never_takes_a_living_id() -> None:
    """Rule P2."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 5, {"n": 1})), 0)
    told(presence)
    assert not presence.heard("b", BEN, frame((7, 900, {"n": 666})), 0)
    presence.left("a", 0)
    assert presence.heard("b", BEN, frame((7, 900, {"n": 2})), 0)
    assert told(presence)[7][1]["user"]["id"] == "ben"


def test_a_connection_has_one_id_and_another_once_it_withdrew() -> None:
    """Rule P2."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 1, {})), 0)
    assert not presence.heard("a", ADA, frame((8, 1, {})), 0)
    presence.heard("a", ADA, frame((7, 2, None)), 0)
    assert presence.heard("a", ADA, frame((8, 1, {})), 0)
    assert {client: state is not None for client, (_, state) in told(presence).items()} == {7: False, 8: True}
    presence.left("a", 0)
    assert told(presence) == {8: (4, None)}


def test_a_first_clock_of_zero_is_told_above() -> None:
    """Rule P6: peers never take an unknown client's clock of 0."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 0, {})), 0)
    assert told(presence)[7][0] > 0


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x01\x07\x01", b"\x01\x07\x01\x05{}", frame((7, 1, {})) + b"\x00", frame((7, MAX_CLOCK + 1, {}))],
)
def test_what_is_no_awareness_update_is_refused(data: bytes) -> None:
    """Rule P1."""
    presence = Presence()
    with pytest.raises(MalformedPresence) as refused:
        presence.heard("a", ADA, data, 0)
    assert refused.value.code == "malformed_presence"
    assert presence.tick(0) is None


def test_each_bound_has_its_name() -> None:
    """Rule P1: over the bound of its own state, the state stays as it was; what others said is not its fault."""
    presence = Presence(max_state_bytes=100)
    presence.heard("a", ADA, frame((7, 1, {"n": 1})), 0)
    big = {"x": "y" * 100}
    assert not presence.heard("a", ADA, frame((8, 1, big)), 0)
    for data, limit in (
        (frame((7, 2, big)), "max_presence_bytes"),
        (frame(*[(n, 1, {}) for n in range(MAX_FRAME_ENTRIES + 1)]), "max_presence_entries"),
        (frame((7, 2, {"x": "y" * 1024 * 1024})), "max_presence_frame_bytes"),
    ):
        with pytest.raises(LimitExceeded) as refused:
            presence.heard("a", ADA, data, 0)
        assert refused.value.limit == limit
    assert told(presence)[7][1]["n"] == 1


def test_people_of_other_nodes_come_and_go() -> None:
    """Rule P8: they are told here, and not sent back to the nodes."""
    presence = Presence()
    remote = {"n": 1, "user": {"id": "ben"}}
    presence.heard("a", ADA, frame((7, 1, {})), 0)
    told(presence)
    presence.heard("a", ADA, frame((7, 90, {})), 0)
    assert presence.heard_from_node(NODE, frame((8, 4, remote)), 0)
    tick = presence.tick(0)
    assert tick is not None
    assert entries(tick.frame)[8] == (4, remote)
    assert tick.own is not None
    assert set(entries(tick.own)) == {7}
    assert not presence.heard_from_node(NODE, frame((8, 4, remote)), 0)
    assert not presence.heard_from_node(b"another", frame((8, 5, None)), 0)
    assert presence.heard_from_node(NODE, frame((8, 5, None)), 0)
    tick = presence.tick(0)
    assert tick is not None
    assert entries(tick.frame) == {8: (5, None)}
    assert tick.own is None


def test_a_silent_node_takes_its_people_with_it_and_is_believed_when_it_is_back() -> None:
    """Rule P8."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 1, {})), 0)
    presence.heard_from_node(NODE, frame((8, 4, {"n": 1}), (9, 1, {})), 0)
    told(presence)
    assert presence.node_silent(NODE, 0)
    assert told(presence) == {8: (5, None), 9: (2, None)}
    assert not presence.node_silent(NODE, 0)
    assert presence.heard_from_node(NODE, frame((8, 4, {"n": 1}), (9, 1, {})), 0)
    assert told(presence) == {8: (6, {"n": 1}), 9: (3, {})}


def test_people_of_other_nodes_who_are_not_heard_of_any_more_are_gone() -> None:
    """Rules B1, P8: the word that 8 left was lost, its node lives; 9 renews; 10 has come here."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 1, {})), 0)
    presence.heard_from_node(NODE, frame((8, 4, {}), (9, 1, {}), (10, 1, {"user": {"id": "ada"}})), 0)
    presence.heard("b", ADA, frame((10, 1, {})), 0)
    told(presence)
    presence.heard_from_node(NODE, frame((9, 2, {})), 30)
    told(presence)
    assert not presence.expire(UNHEARD_SECONDS)
    assert presence.expire(UNHEARD_SECONDS + 1)
    assert told(presence) == {8: (5, None)}
    assert set(entries(presence.states())) == {7, 9, 10}
    assert presence.heard_from_node(NODE, frame((8, 4, {"n": 1})), 60)
    assert told(presence) == {8: (6, {"n": 1})}


def test_a_client_that_went_to_another_node_is_not_taken_away_by_its_old_connection() -> None:
    """Rules P2, P8: and the other way round."""
    here, there = Presence(), Presence()
    here.heard("old", ADA, frame((7, 5, {"n": 1})), 0)
    tick = here.tick(0)
    assert tick is not None
    assert tick.own is not None
    there.heard_from_node(b"here", tick.own, 0)
    told(there)
    there.heard("new", ADA, frame((7, 5, {"n": 1})), 0)
    tick = there.tick(0)
    assert tick is not None
    assert tick.own is not None
    assert here.heard_from_node(b"there", tick.own, 0)
    assert told(here)[7][0] == 9
    assert not here.left("old", 0)
    assert set(entries(here.states())) == set(entries(there.states())) == {7}


def test_a_late_word_of_a_node_brings_nobody_back() -> None:
    """Rule P8: the client came from there to here, and left; then its old node's last word arrives."""
    presence = Presence()
    ada = {"n": 1, "user": {"id": "ada"}}
    presence.heard_from_node(NODE, frame((7, 8, ada)), 0)
    assert presence.heard("a", ADA, frame((7, 8, {"n": 2})), 0)
    presence.left("a", 0)
    assert not presence.heard_from_node(NODE, frame((7, 9, ada)), 0)
    assert told(presence) == {7: (11, None)}
    assert presence.heard_from_node(NODE, frame((7, 12, ada)), 0)


def test_a_client_whose_id_another_node_took_does_not_hear_it() -> None:
    """Rule P7: the node's word may be late, and the client be here still; its next renewal says so."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 5, {"n": 2})), 0)
    told(presence)
    presence.heard_from_node(NODE, frame((7, 8, {"n": 1, "user": {"id": "ada"}})), 0)
    tick = presence.tick(0)
    assert tick is not None
    assert tick.exceptions == {"a": None}
    presence.heard_from_node(NODE, frame((7, 9, None)), 0)
    assert presence.heard("a", ADA, frame((7, 6, {"n": 3})), 0)
    assert told(presence)[7] == (11, {"n": 3, "user": {"id": "ada", "color": "#aa0000"}})


def test_a_client_whose_id_another_node_took_does_not_take_its_neighbours_by_repeating_them() -> None:
    """Rules P2, P7: Ada's tab repeats her other window, living or gone, while a late word of a node holds its id; once
    it had another id, it would have heard of itself."""
    presence = Presence()
    presence.heard("tab", ADA, frame((7, 5, {"n": 1})), 0)
    presence.heard("window", ADA, frame((9, 5, {"n": 1})), 0)
    told(presence)
    presence.heard_from_node(NODE, frame((7, 8, {"n": 0, "user": {"id": "ada"}})), 0)
    assert not presence.heard("tab", ADA, frame((9, 5, {"n": 1})), 0)
    presence.heard_from_node(NODE, frame((7, 9, {"n": 0, "user": {"id": "ada"}})), 0)
    tick = presence.tick(0)
    assert tick is not None
    assert tick.exceptions == {"tab": None}
    presence.left("window", 0)
    told(presence)
    assert not presence.heard("tab", ADA, frame((9, 5, {"n": 1})), 0)
    assert presence.heard("tab", ADA, frame((7, 10, {"n": 2})), 0)
    assert told(presence) == {7: (11, {"n": 2, "user": {"id": "ada", "color": "#aa0000"}})}


def test_an_id_that_went_through_several_hands_is_told_to_none_of_them() -> None:
    """Rule P7: each that had it may be its client still."""
    presence = Presence()
    presence.heard("a", ADA, frame((7, 5, {"n": 1})), 0)
    told(presence)
    presence.heard_from_node(NODE, frame((7, 8, {"n": 0, "user": {"id": "ada"}})), 0)
    presence.heard_from_node(b"node-3rd", frame((7, 9, {"n": 0, "user": {"id": "ada"}})), 0)
    tick = presence.tick(0)
    assert tick is not None
    assert tick.exceptions == {"a": None}


def test_who_joins_does_not_hear_an_older_self() -> None:
    """Rule P7: ids of the same person follow once its own is known."""
    presence = Presence()
    presence.heard("old", ADA, frame((7, 5, {"n": 1})), 0)
    presence.heard("tab", ADA, frame((9, 5, {"n": 1})), 0)
    presence.heard("b", BEN, frame((8, 5, {"n": 1})), 0)
    told(presence)
    assert set(entries(presence.states("new", ADA.id))) == {8}
    assert set(entries(presence.states("b2", BEN.id))) == {7, 9}
    assert set(entries(presence.states())) == {7, 8, 9}
    presence.heard("new", ADA, frame((7, 5, {"n": 1})), 0)
    tick = presence.tick(0)
    assert tick is not None
    heard = entries(tick.exceptions["new"])
    assert heard.pop(7)[1] is None
    assert heard == {client: entries(presence.states())[client] for client in (8, 9)}


def test_who_left_is_forgotten_in_the_end() -> None:
    """Rule P10."""
    presence = Presence()
    for n in range(50):
        presence.heard(f"c{n}", ADA, frame((n, 1, {})), n)
        presence.left(f"c{n}", n)
    presence.tick(100)
    assert len(presence._clients) == 50
    presence.tick(24 * 3600 + 20)
    assert len(presence._clients) == 30
    presence.tick(48 * 3600)
    assert not presence._clients
    assert len(presence) == 0


class Life:
    """People of y-protocols around one room on some nodes, who come, go, are cut and come back."""

    def __init__(self, yjs: Yjs, rng: random.Random, nodes: int, about: str) -> None:
        self.yjs, self.rng, self.about = yjs, rng, about
        self.nodes = [Presence() for _ in range(nodes)]
        self.bus: list[list[tuple[int, bytes]]] = [[] for _ in range(nodes)]
        users = [ADA, ADA, BEN, *(User(UserId(f"u{n}"), "U", BrandId("acme"), Role.VIEWER) for n in range(3))]
        self.people = [f"p{n}" for n in range(len(users))]
        self.user = dict(zip(self.people, users, strict=True))
        self.client = {name: 100 + n for n, name in enumerate(self.people)}
        self.local: dict[str, Any] = {name: {} for name in self.people}
        self.connection: dict[str, str] = {}
        self.at: dict[str, int] = {}
        self.dead: list[str] = []
        self.queued: dict[str, list[str]] = {name: [] for name in self.people}
        self.clocks: dict[str, dict[int, int]] = {}
        self.number = 0
        self.outgoing = 0
        self.now = 1_800_000_000.0
        for name in self.people:
            yjs.ask("aware", name=name, client=self.client[name])

    def say(self, name: str, frames: list[str]) -> None:
        """A client's frames go to its room at once, or later."""
        self.queued[name] += frames
        if name in self.connection and self.rng.random() < 0.7:
            self.flush(name)

    def flush(self, name: str) -> None:
        connection = self.connection[name]
        frames, self.queued[name] = self.queued[name], []
        for data in oracle.decode(frames):
            self.nodes[self.at[connection]].heard(connection, self.user[name], data, self.now)

    def deliver(self, name: str, data: bytes | None) -> None:
        if data is None:
            return
        connection = self.connection[name]
        clocks = self.clocks[connection]
        for client, (clock, _) in entries(data).items():
            self.outgoing += 1
            known = clocks.get(client, -1)
            # What a joiner was given may come once more in the next tick; never anything older.
            assert clock >= known, f"{self.about}: {name} was told an older clock of {client}, {clock} after {known}"
            clocks[client] = clock
        before = self.yjs.ask("sees", name=name)["local"]
        self.yjs.ask("hear", name=name, frame=oracle.encode([data])[0])
        assert self.yjs.ask("sees", name=name)["local"] == before, f"{self.about}: a local state was overwritten"
        self.say(name, self.yjs.ask("sent", name=name)["frames"])

    def connect(self, name: str) -> None:
        self.number += 1
        if (
            self.local[name] is None
        ):  # who never says its id is not known when it is back: it sees others when they renew
            self.local[name] = {"n": self.number}
            self.say(name, self.yjs.ask("set_state", name=name, state=self.local[name])["frames"])
        connection = self.connection[name] = f"{name}-{self.number}"
        self.at[connection] = self.rng.randrange(len(self.nodes))
        self.clocks[connection] = {}
        node = self.nodes[self.at[connection]]
        early = self.rng.random() < 0.5
        if early:
            self.deliver(name, node.states(connection, self.user[name].id))
        self.flush(name)  # socket.io-client sends what it kept: first of all, that everybody is gone
        if self.local[name] is not None:
            self.queued[name] += self.yjs.ask("announce", name=name)["frames"]
            self.flush(name)
        if not early:
            self.deliver(name, node.states(connection, self.user[name].id))

    def end(self, connection: str) -> None:
        self.nodes[self.at[connection]].left(connection, self.now)

    def ask(self, index: int) -> None:
        """A node asks the others who is with them; they answer at once, and what was on its way comes before."""
        for other, node in enumerate(self.nodes):
            states = node.own_states(self.now) if other != index else None
            if states is not None:
                self.bus[index].append((other, states))

    def tick(self, index: int) -> bool:
        tick = self.nodes[index].tick(self.now)
        if tick is None:
            return False
        for other, queue in enumerate(self.bus):
            if other != index and tick.own is not None:
                queue.append((index, tick.own))
        if tick.asks:
            self.ask(index)
        for name, connection in list(self.connection.items()):
            if self.at[connection] == index and self.connection.get(name) == connection:
                self.deliver(name, tick.exceptions.get(connection, tick.frame))
        return True

    def hear_bus(self, index: int, most: int) -> bool:
        queue = self.bus[index]
        for sender, data in queue[:most]:
            self.nodes[index].heard_from_node(b"node %d" % sender, data, self.now)
        heard = bool(queue[:most])
        del queue[:most]
        return heard

    def step(self) -> None:
        name = self.rng.choice(self.people)
        self.now += 30
        match self.rng.randrange(11):
            case 0 | 1 | 2:
                self.number += 1
                self.local[name] = None if self.rng.random() < 0.15 else {"n": self.number}
                self.say(name, self.yjs.ask("set_state", name=name, state=self.local[name])["frames"])
            case 3 | 4:
                if name not in self.connection:
                    self.connect(name)
            case 5:
                if name in self.connection:  # the network is gone; the room does not know yet
                    connection = self.connection.pop(name)
                    self.queued[name].clear()  # what was on its way is lost; what is said from now on is kept
                    self.say(name, self.yjs.ask("cut", name=name)["frames"])
                    if self.rng.random() < 0.5:
                        self.end(connection)
                    else:
                        self.dead.append(connection)
                    if self.rng.random() < 0.5:
                        self.connect(name)
            case 6:
                if self.dead:
                    self.end(self.dead.pop(self.rng.randrange(len(self.dead))))
            case 7:
                self.hear_bus(self.rng.randrange(len(self.nodes)), self.rng.randint(1, 3))
            case 8:
                if self.rng.random() < 0.2:
                    self.restart(self.rng.randrange(len(self.nodes)))
            case _:
                self.tick(self.rng.randrange(len(self.nodes)))

    def settle(self) -> None:
        """Everything arrives, and it ends by itself; on one node nobody has to renew anything (RULE P11).

        On several nodes everybody renews once, as y-protocols does every 15 s: a node that dies may not have told yet
        who was with it, and so it is not known elsewhere that they are back.
        """
        while self.dead:
            self.end(self.dead.pop())
        for renewal in range(len(self.nodes)):
            if renewal:
                for name in self.connection:
                    if self.local[name] is not None:
                        self.say(name, self.yjs.ask("set_state", name=name, state=self.local[name])["frames"])
            for _ in range(50):
                for name in self.connection:
                    self.flush(name)
                moved = [self.tick(index) or self.hear_bus(index, 1000) for index in range(len(self.nodes))]
                if not any(moved) and not any(self.queued[name] for name in self.connection):
                    break
            else:
                pytest.fail(f"{self.about}: echoes never end")

    def restart(self, index: int) -> None:
        """A node is killed and begins anew: it remembers nothing, and its people have to come back."""
        others = [node for node in range(len(self.nodes)) if node != index]
        gone = [name for name, connection in self.connection.items() if self.at[connection] == index]
        self.dead = [connection for connection in self.dead if self.at[connection] != index]
        self.nodes[index] = Presence()
        self.bus[index].clear()
        for other in others:
            self.bus[other] = [(sender, data) for sender, data in self.bus[other] if sender != index]
            self.nodes[other].node_silent(b"node %d" % index, self.now)
        self.ask(index)
        for name in gone:
            del self.connection[name]
            self.queued[name].clear()
            self.say(name, self.yjs.ask("cut", name=name)["frames"])
            if self.rng.random() < 0.8:
                self.connect(name)

    def check(self) -> None:
        there = {name for name in self.connection if self.local[name] is not None}
        for name in self.connection:
            seen = self.yjs.ask("sees", name=name)
            assert seen["local"] == self.local[name], f"{self.about}: {name} lost its own state"
            for other in self.people:
                if other == name or (self.local[name] is None and self.user[other] is self.user[name]):
                    continue  # who announces nothing may hear nothing of its own person
                state = seen["states"].get(str(self.client[other]))
                if self.local[name] is None and state is None:
                    continue  # nor is it known that it is back: it sees the others when they renew
                if other not in there:
                    assert state is None, f"{self.about}: {name} sees {other}, who is not there"
                    continue
                user = {"id": self.user[other].id} | ({"color": "#aa0000"} if self.user[other] is ADA else {})
                assert state == {**self.local[other], "user": user}, f"{self.about}: {name} does not see {other}"


@pytest.mark.prove
@pytest.mark.parametrize("nodes", [1, 2])
def test_everybody_sees_who_is_there_whatever_happened(yjs: Yjs, nodes: int) -> None:
    """Rules P2 to P9: cuts, returns before the old connection ended, echoes, other nodes; by real y-protocols."""
    steps = outgoing = 0
    for number in range(budget(10, 1000)):
        seed = SEED + number
        life = Life(yjs, random.Random(seed), nodes, f"seed {seed}, {nodes} nodes")
        for _ in range(4):
            for _ in range(30):
                life.step()
                steps += 1
            life.settle()
            life.check()
        outgoing += life.outgoing
    write_table(
        f"presence-{nodes}",
        f"Everybody sees who is there, on {nodes} node(s)",
        "Random lives of six people of y-protocols; checked after everything had arrived, four times a life.",
        ("steps", "entries delivered"),
        [(steps, outgoing)],
    )
