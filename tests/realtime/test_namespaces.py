"""Chat, inboxes and the live board over real sockets, on real databases, on one node and on two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import socketio

from realtime.auth import make_token
from realtime.namespaces.requests import RequestLimits
from realtime.redis_bus import RedisBus
from rooms.chat import ChatLimits
from rooms.permissions import Grant, Role, User
from rooms.room import Room
from rooms.streams import StreamLimits
from tests.harness.processes import until
from tests.harness.raw_socket import raw_socket
from tests.harness.servers import RedisServer
from tests.harness.talkers import Talker, TalkLimits, TalkNode, talk_node, talkers


@pytest.fixture
async def node(sqlite_url: str) -> AsyncIterator[TalkNode]:
    async with talk_node(sqlite_url) as node:
        await node.design("spring", "ada", "ben")
        yield node


@pytest.fixture
async def two_nodes(postgres_url: str, redis: RedisServer) -> AsyncIterator[tuple[TalkNode, TalkNode]]:
    """One PostgreSQL, one Redis, two nodes that share nothing else."""
    prefix = postgres_url.rpartition("/")[2]
    async with AsyncExitStack() as stack:
        nodes = []
        for _ in range(2):
            bus = await stack.enter_async_context(RedisBus(redis.url, prefix=prefix))
            nodes.append(await stack.enter_async_context(talk_node(postgres_url, bus=bus)))
        await nodes[0].design("spring", "ada", "ben")
        yield nodes[0], nodes[1]


def post(id: str, text: str, *mentions: str, design: str = "spring") -> dict[str, Any]:
    return {"design": design, "id": id, "text": text, "mentions": list(mentions)}


# -- chat -------------------------------------------------------------------------------------------------------------


async def test_a_message_is_acknowledged_and_heard_by_everybody_who_follows(node: TalkNode) -> None:
    """Rules T7, T8."""
    async with talkers(node, "ada", "ben") as (ada, ben):
        state = await ada.do("chat:subscribe", {"design": "spring"})
        assert (state["recovered"], state["epoch"], state["position"]) == (False, 1, 0)
        assert state["state"] == {"messages": [], "has_more": False}
        await ben.do("chat:subscribe", {"design": "spring"})

        message = (await ada.do("chat:post", post("m-1", "Is the logo <b>too</b> small?")))["message"]

        assert message["text"] == "Is the logo <b>too</b> small?"  # plain text: what it looks like is the page's matter
        assert (message["id"], message["position"], message["user"]["name"]) == ("m-1", 1, "Ada")
        for talker in (ada, ben):
            (fact,) = await talker.hears("chat:posted")
            assert fact == {
                "event": "chat:posted",
                "stream": "chat:spring",
                "epoch": 1,
                "position": 1,
                "message": message,
            }


async def test_a_client_resumes_from_its_position_or_is_told_that_it_cannot(node: TalkNode) -> None:
    """Rule T3."""
    async with talkers(node, "ada") as (ada,):
        for number in range(1, 6):
            await ada.do("chat:post", post(f"m-{number}", f"number {number}"))

        some = await ada.do("chat:subscribe", {"design": "spring", "epoch": 1, "position": 3})
        assert some["recovered"] is True
        assert "state" not in some
        assert [event["message"]["text"] for event in some["events"]] == ["number 4", "number 5"]
        assert (some["epoch"], some["position"]) == (1, 5)

        for since in ({"epoch": 1, "position": 6}, {"epoch": 2, "position": 3}, {"epoch": 2, "position": 5}):
            fresh = await ada.do("chat:subscribe", {"design": "spring", **since})
            assert fresh["recovered"] is False
            assert [message["position"] for message in fresh["state"]["messages"]] == [1, 2, 3, 4, 5]
        at_head = await ada.do("chat:subscribe", {"design": "spring", "epoch": 1, "position": 5})
        assert (at_head["recovered"], at_head["events"]) == (True, [])


async def test_more_than_can_be_recovered_is_a_state(sqlite_url: str) -> None:
    """Rule T3: the bound of a recovery."""
    limits = TalkLimits(streams=StreamLimits(max_recovered_events=3))
    async with talk_node(sqlite_url, limits=limits) as node, talkers(node, "ada") as (ada,):
        await node.design("spring", "ada")
        for number in range(4):
            await ada.do("chat:post", post(f"m-{number}", "hello"))
        since = {"design": "spring", "epoch": 1}
        assert (await ada.do("chat:subscribe", {**since, "position": 1}))["recovered"] is True
        assert (await ada.do("chat:subscribe", {**since, "position": 0}))["recovered"] is False


async def test_history_is_paged_back(node: TalkNode) -> None:
    """Rule T11."""
    async with talkers(node, "ada") as (ada,):
        for number in range(1, 8):
            await ada.do("chat:post", post(f"m-{number}", f"number {number}"))
        page = await ada.do("chat:history", {"design": "spring", "limit": 3})
        assert [message["position"] for message in page["messages"]] == [5, 6, 7]
        assert page["has_more"] is True
        page = await ada.do("chat:history", {"design": "spring", "before": 3, "limit": 3})
        assert [message["position"] for message in page["messages"]] == [1, 2]
        assert page["has_more"] is False


async def test_the_same_message_id_is_the_same_message_and_another_body_a_conflict(node: TalkNode) -> None:
    """Rule T8."""
    async with talkers(node, "ada", "ben") as (ada, ben):
        await ben.do("chat:subscribe", {"design": "spring"})
        first = await ada.do("chat:post", post("m-1", "once"))
        assert await ada.do("chat:post", post("m-1", "once")) == first
        for other in (post("m-1", "twice"), post("m-1", "once", "ben")):
            refused = await ada.ask("chat:post", other)
            assert (refused["ok"], refused["code"], refused["retryable"]) == (False, "message_conflict", False)
        assert (await ben.ask("chat:post", post("m-1", "once")))["code"] == "message_conflict"
        await ada.do("chat:post", post("m-2", "after"))
        await ben.hears("chat:posted", 2)
        assert ben.texts() == ["once", "after"]


async def test_a_message_sent_again_under_a_new_name_of_its_author_is_still_the_same(node: TalkNode) -> None:
    """Rule T8: the token was renewed between the message and its repetition."""
    async with talkers(node, "ada") as (ada,):
        first = await ada.do("chat:post", post("m-1", "once", "ben"))
    token = make_token(node.settings, user="ada", name="Ada L.", brand="acme", role=Role.EDITOR)
    renamed = await Talker().connect(node.url, token)
    assert await renamed.do("chat:post", post("m-1", "once", "ben")) == first
    assert (await renamed.ask("chat:post", post("m-1", "else", "ben")))["code"] == "message_conflict"
    await renamed.leave()


async def test_a_viewer_may_chat_and_a_stranger_of_the_brand_may_not(node: TalkNode) -> None:
    """Rule T7."""
    await node.design("summer", "ada", "vera", role=Role.VIEWER)
    async with talkers(node, "vera", role=Role.VIEWER) as (vera,), talkers(node, "carl") as (carl,):
        assert (await vera.do("chat:post", post("v-1", "nice", design="summer")))["message"]["position"] == 1
        for request in ("chat:subscribe", "chat:history", "chat:people"):
            assert (await carl.ask(request, {"design": "summer"}))["code"] == "not_a_member"
        assert (await carl.ask("chat:post", post("c-1", "hi", design="summer")))["code"] == "not_a_member"


async def test_a_design_of_another_brand_is_not_found_whatever_is_asked(node: TalkNode) -> None:
    """Rules D1, T7: it answers like one that does not exist, and hears nothing."""
    async with talkers(node, "ada") as (ada,), talkers(node, "eve", brand="umbrella") as (eve,):
        await ada.do("chat:post", post("m-1", "ours"))
        for design in ("spring", "no-such-design", "../spring", "", "chat:spring"):
            for request, more in (
                ("chat:subscribe", {}),
                ("chat:history", {}),
                ("chat:people", {}),
                ("chat:post", {"id": "e-1", "text": "mine"}),
            ):
                answer = await eve.ask(request, {"design": design, **more})
                assert (answer["code"], answer["retryable"]) == ("not_found", False), (design, request)
        await ada.do("chat:post", post("m-2", "ours", "ben"))
        assert (await eve.ask("inbox:subscribe"))["state"]["items"] == []
        assert eve.heard == []


async def test_the_same_design_id_in_two_brands_is_two_chats(node: TalkNode) -> None:
    """Rule D1."""
    await node.design("spring", "eve", brand="umbrella")
    async with talkers(node, "ada") as (ada,), talkers(node, "eve", brand="umbrella") as (eve,):
        for talker in (ada, eve):
            await talker.do("chat:subscribe", {"design": "spring"})
        await ada.do("chat:post", post("m-1", "ours"))
        await eve.do("chat:post", post("m-1", "theirs"))
        await ada.hears("chat:posted")
        await eve.hears("chat:posted")
        assert (ada.texts(), eve.texts()) == (["ours"], ["theirs"])
        history = await eve.do("chat:history", {"design": "spring"})
        assert [message["text"] for message in history["messages"]] == ["theirs"]


async def test_a_post_that_its_request_did_not_wait_for_is_stored_told_and_the_same_when_sent_again(
    sqlite_url: str,
) -> None:
    """Rules T1, T4, T8: the database is held by somebody else for longer than a request may take."""
    limits = TalkLimits(requests=RequestLimits(request_seconds=0.2))
    async with talk_node(sqlite_url, limits=limits) as node, talkers(node, "ada", "ben") as (ada, ben):
        await node.design("spring", "ada", "ben")
        await ben.do("chat:subscribe", {"design": "spring"})
        await ada.do("chat:people", {"design": "spring"})
        async with node.database.transaction():
            late = await ada.ask("chat:post", post("m-1", "slowly"))
            assert (late["code"], late["retryable"]) == ("unavailable", True)
            assert ben.heard == []
        await ben.hears("chat:posted")
        again = await ada.do("chat:post", post("m-1", "slowly"))
        assert again["message"] == ben.facts("chat:posted")[0]["message"]
        assert ben.texts() == ["slowly"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"design": "spring", "id": "m-1"}, "invalid_request"),
        ({"design": "spring", "id": 7, "text": "x"}, "invalid_request"),
        ({"design": "spring", "id": "m-1", "text": ["x"]}, "invalid_request"),
        ({"design": "spring", "id": "m-1", "text": "x", "html": "<b>"}, "invalid_request"),
        ({"design": "spring", "id": "m-1", "text": "x", "mentions": "ben"}, "invalid_request"),
        ({"design": "spring", "id": "m-1", "text": "x", "mentions": [{"id": "ben"}]}, "invalid_request"),
        ({"design": "spring", "id": "m-1", "text": "x", "mentions": ["\ud800"]}, "invalid_request"),
        ({"design": "spring", "id": "m 1", "text": "x"}, "invalid_message"),
        ({"design": "spring", "id": "m-1", "text": " \n\u0000 "}, "invalid_message"),
        ({"design": "spring", "id": "m-1", "text": "half \ud83d"}, "invalid_message"),
        ({"design": "spring", "id": "m-1", "text": "x" * 101}, "limit_exceeded"),
        ({"design": "spring", "id": "m-1", "text": "x", "mentions": [f"u{n}" for n in range(5)]}, "limit_exceeded"),
        ({"design": "spring", "id": "m-1", "text": "x", "mentions": ["nobody"]}, "unknown_people"),
        ({"design": "spring", "\ud800": 1}, "invalid_request"),
        (["spring"], "invalid_request"),
        ("spring", "invalid_request"),
    ],
)
async def test_what_is_no_message_is_refused_with_a_code_and_a_sentence(
    sqlite_url: str, body: object, code: str
) -> None:
    """Rules T4, T9: and nothing is stored."""
    limits = TalkLimits(chat=ChatLimits(max_message_characters=100, max_mentions=4))
    async with talk_node(sqlite_url, limits=limits) as node, talkers(node, "ada") as (ada,):
        await node.design("spring", "ada", "ben")
        answer = await ada.ask("chat:post", body)
        assert (answer["ok"], answer["code"], answer["retryable"]) == (False, code, False)
        assert answer["message"].endswith(".")
        assert (await ada.do("chat:subscribe", {"design": "spring"}))["position"] == 0


async def test_requests_that_nobody_knows_are_answered(node: TalkNode) -> None:
    """Rule T4: the names of python-socketio's own events are no requests either."""
    async with talkers(node, "ada") as (ada,):
        for request in ("chat:explode", "chat:typing", "inbox:explode", "metrics:explode"):
            assert (await ada.ask(request))["code"] == "unknown_request"
        for name in ("connect", "disconnect", "connect_error"):
            assert (await ada.client.call(name, {"luneo.connection": 1}, namespace="/chat"))["code"] == (
                "unknown_request"
            )
        for arguments in ((1, 2), ("spring", "summer")):
            answer = await ada.client.call("chat:history", arguments, namespace="/chat")
            assert answer["code"] == "invalid_request"
        for since in ({"epoch": 1}, {"position": 1}, {"epoch": "1", "position": 1}, {"epoch": True, "position": -1}):
            assert (await ada.ask("chat:subscribe", {"design": "spring", **since}))["code"] == "invalid_request"
        assert (await ada.ask("inbox:list", {"before": "nonsense"}))["code"] == "invalid_cursor"
        assert (await ada.ask("inbox:read", {}))["code"] == "invalid_request"
        assert (await ada.ask("inbox:read", {"ids": ["x"], "all": True}))["code"] == "invalid_request"
        await ada.do("chat:post", post("m-1", "still here"))


async def test_control_characters_are_taken_out_and_line_ends_are_one_kind(node: TalkNode) -> None:
    """Rule T9."""
    async with talkers(node, "ada") as (ada,):
        message = (await ada.do("chat:post", post("m-1", "\u0007 one\r\ntwo\rthree\u0000 é 🦊 \n")))["message"]
        assert message["text"] == "one\ntwo\nthree é 🦊"


async def test_a_flood_is_refused_with_the_time_to_come_back(sqlite_url: str) -> None:
    """Rule T10: it costs its sender only."""
    limits = TalkLimits(chat=ChatLimits(burst=3, per_second=0.5))
    async with talk_node(sqlite_url, limits=limits) as node, talkers(node, "ada", "ben") as (ada, ben):
        await node.design("spring", "ada", "ben")
        for number in range(3):
            await ada.do("chat:post", post(f"m-{number}", "hi"))
        refused = await ada.ask("chat:post", post("m-3", "hi"))
        assert (refused["code"], refused["retryable"]) == ("rate_exceeded", True)
        assert refused["limit"] == "chat_messages_per_user"
        assert 0 < refused["retry_after_seconds"] <= 2
        await ben.do("chat:post", post("b-0", "hi"))


async def codes(node: TalkNode, number: int, request: str) -> list[str | None]:
    """Send one request so many times without waiting, and return the code of each answer; None: it was done."""
    async with raw_socket(node.url) as ada:
        await ada.connect("/chat", {"token": node.token("ada")})
        await ada.next()
        for place in range(number):
            await ada.ws.send_str(f"42/chat,{place}{request}")
        answers = {packet.number: packet.data[0] for packet in [await ada.next() for _ in range(number)]}
    assert all(answer["ok"] or answer["retryable"] for answer in answers.values())
    return [answers[place].get("code") for place in range(number)]


async def test_requests_beyond_the_rate_are_refused(sqlite_url: str) -> None:
    """Rule T4."""
    limits = TalkLimits(requests=RequestLimits(burst=5, per_second=0.01))
    async with talk_node(sqlite_url, limits=limits) as node:
        await node.design("spring", "ada")
        answered = await codes(node, 20, '["chat:history",{"design":"spring"}]')
        assert answered == [None] * 5 + ["rate_exceeded"] * 15


async def test_requests_beyond_those_that_may_wait_are_refused(sqlite_url: str) -> None:
    """Rule T4: one is being done, for as long as the database is held, and three wait."""
    limits = TalkLimits(requests=RequestLimits(max_waiting_requests=3))
    async with talk_node(sqlite_url, limits=limits) as node:
        await node.design("spring", "ada")
        async with talkers(node, "ada") as (ada,):
            await ada.do("chat:people", {"design": "spring"})  # and so is known
        async with raw_socket(node.url) as ben:
            await ben.connect("/chat", {"token": node.token("ada")})
            await ben.next()
            async with node.database.transaction():
                for place in range(10):
                    body = f'{{"design":"spring","id":"m-{place}","text":"hi"}}'
                    await ben.ws.send_str(f'42/chat,{place}["chat:post",{body}]')
                refused = [await ben.next() for _ in range(6)]
                assert {packet.data[0]["code"] for packet in refused} == {"too_many_requests"}
            done = [await ben.next() for _ in range(4)]
            assert [packet.number for packet in done] == [0, 1, 2, 3]
            assert all(packet.data[0]["ok"] for packet in done)


async def test_the_answer_to_a_subscription_comes_before_its_facts(node: TalkNode) -> None:
    """Rule T2: seen frame by frame, while somebody else talks without a pause."""
    async with talkers(node, "ben") as (ben,), raw_socket(node.url) as ada:
        await ada.connect("/chat", {"token": node.token("ada")})
        await ada.next()

        async def talk() -> None:
            for number in range(60):
                await ben.do("chat:post", post(f"b-{number}", f"{number}"))

        async with asyncio.TaskGroup() as group:
            talking = group.create_task(talk())
            position, number = 0, 0
            while not talking.done():
                number, since = number + 1, position
                place = f'"epoch":1,"position":{since}'
                await ada.ws.send_str(f'42/chat,{number}["chat:subscribe",{{"design":"spring",{place}}}]')
                while (packet := await ada.next()).kind != 3:
                    position += 1  # of the subscription before
                    assert packet.data[1]["position"] == position
                answer = packet.data[0]
                recovered = [event["position"] for event in answer["events"]]
                assert recovered == list(range(since + 1, answer["position"] + 1))
                assert position <= answer["position"]
                position = answer["position"]
        while position < 60:
            position += 1
            assert (await ada.next()).data[1]["position"] == position


async def test_who_unsubscribes_hears_nothing_more(node: TalkNode) -> None:
    async with talkers(node, "ada", "ben") as (ada, ben):
        await ada.do("chat:subscribe", {"design": "spring"})
        await ben.do("chat:subscribe", {"design": "spring"})
        assert (await ada.do("chat:unsubscribe", {"design": "spring"}))["followed"] is True
        assert (await ada.do("chat:unsubscribe", {"design": "spring"}))["followed"] is False
        await ben.do("chat:post", post("m-1", "anybody?"))
        await ben.hears("chat:posted")
        assert ada.heard == []


async def test_people_who_can_be_mentioned_are_members_and_who_has_written(node: TalkNode) -> None:
    """Rule T12: a token's `rooms` are a grant without a membership."""
    async with talkers(node, "ada") as (ada,), talkers(node, "gus", rooms=["sp*"]) as (gus,):
        assert [person["id"] for person in (await ada.do("chat:people", {"design": "spring"}))["people"]] == [
            "ada",
            "ben",
        ]
        assert (await ada.ask("chat:post", post("m-1", "Gus?", "gus")))["code"] == "unknown_people"
        await gus.do("chat:post", post("g-1", "I am Gus"))
        people = (await ada.do("chat:people", {"design": "spring"}))["people"]
        assert [(person["id"], person["name"]) for person in people] == [("gus", "Gus"), ("ada", "Ada"), ("ben", "ben")]
        message = (await ada.do("chat:post", post("m-2", "hello Gus", "gus")))["message"]
        assert message["mentions"] == [{"id": "gus", "name": "Gus"}]


# -- inboxes ----------------------------------------------------------------------------------------------------------


async def test_a_mention_fills_the_inbox_of_every_page_and_reading_in_one_clears_the_other(node: TalkNode) -> None:
    """Rules T13 to T15."""
    async with talkers(node, "ada", "ben", "ben") as (ada, page, other):
        for bell in (page, other):
            state = (await bell.do("inbox:subscribe"))["state"]
            assert state == {"items": [], "next": None, "has_more": False, "counts": {"unseen": 0, "unread": 0}}

        await ada.do("chat:post", post("m-1", "Look here, Ben", "ben", "ada"))
        for bell in (page, other):
            (added,) = await bell.hears("inbox:added")
            assert added["counts"] == {"unseen": 1, "unread": 1}
        item = added["item"]
        assert {name: item[name] for name in ("kind", "design", "title", "text", "message", "seen", "read")} == {
            "kind": "mention",
            "design": "spring",
            "title": "Spring",
            "text": "Look here, Ben",
            "message": "m-1",
            "seen": False,
            "read": False,
        }
        assert item["from"]["id"] == "ada"

        assert (await page.do("inbox:seen"))["counts"] == {"unseen": 0, "unread": 1}
        assert (await page.do("inbox:read", {"ids": [item["id"]]}))["counts"] == {"unseen": 0, "unread": 0}
        seen, read = await other.hears("inbox:changed", 2)
        assert (seen["state"], seen["all"], seen["counts"]) == ("seen", True, {"unseen": 0, "unread": 1})
        assert (read["state"], read["ids"], read["counts"]) == ("read", [item["id"]], {"unseen": 0, "unread": 0})
        assert [fact["position"] for _, fact in other.heard] == [1, 2, 3]

        # What changes nothing is told to nobody, and who mentions themselves is not told either.
        assert (await page.do("inbox:read", {"all": True}))["counts"] == {"unseen": 0, "unread": 0}
        assert (await ada.do("inbox:subscribe"))["position"] == 0
        assert (await page.do("inbox:subscribe"))["position"] == 3


async def test_a_message_sent_twice_is_one_item(node: TalkNode) -> None:
    """Rules T8, T13."""
    async with talkers(node, "ada", "ben") as (ada, ben):
        for _ in range(2):
            await ada.do("chat:post", post("m-1", "Ben!", "ben", "ben"))
        state = (await ben.do("inbox:subscribe"))["state"]
        assert (len(state["items"]), state["counts"]) == (1, {"unseen": 1, "unread": 1})


async def test_an_inbox_resumes_from_its_position_with_the_counts_of_each_change(node: TalkNode) -> None:
    """Rules T3, T15: the state before, with the events after it, is what a fresh read gives."""
    async with talkers(node, "ada", "ben") as (ada, ben):
        old = await ben.do("inbox:subscribe")
        await ben.do("inbox:unsubscribe")
        for number in range(3):
            await ada.do("chat:post", post(f"m-{number}", f"Ben {number}", "ben"))
        first = (await ben.do("inbox:list", {"limit": 1}))["items"][0]
        await ben.do("inbox:read", {"ids": [first["id"]]})
        await ben.do("inbox:seen")

        missed = await ben.do("inbox:subscribe", {"epoch": old["epoch"], "position": old["position"]})
        assert missed["recovered"] is True
        assert [event["event"] for event in missed["events"]] == ["inbox:added"] * 3 + ["inbox:changed"] * 2
        state = applied(old["state"], missed["events"])
        fresh = (await ben.do("inbox:subscribe"))["state"]
        assert state == {"items": fresh["items"], "counts": fresh["counts"]}
        assert fresh["counts"] == {"unseen": 0, "unread": 2}


def applied(state: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    """An inbox after *events*, as a page would have it (rule T15)."""
    items = {item["id"]: item for item in state["items"]}
    counts = state["counts"]
    for event in events:
        counts = event["counts"]
        if event["event"] == "inbox:added":
            items[event["item"]["id"]] = event["item"]
        else:
            for item in items.values():
                if event["all"] or item["id"] in event["ids"]:
                    item["seen"] = True
                    item["read"] = item["read"] or event["state"] == "read"
    return {"items": sorted(items.values(), key=lambda item: item["at"], reverse=True), "counts": counts}


async def test_inbox_pages(node: TalkNode) -> None:
    """Rule T16."""
    async with talkers(node, "ada", "ben") as (ada, ben):
        for number in range(5):
            await ada.do("chat:post", post(f"m-{number}", f"Ben {number}", "ben"))
        page = await ben.do("inbox:list", {"limit": 3})
        rest = await ben.do("inbox:list", {"limit": 3, "before": page["next"]})
        assert [item["text"] for item in page["items"] + rest["items"]] == [f"Ben {n}" for n in (4, 3, 2, 1, 0)]
        assert (page["has_more"], rest["has_more"], rest["next"]) == (True, False, None)


# -- two nodes --------------------------------------------------------------------------------------------------------


async def test_messages_and_mentions_cross_nodes(two_nodes: tuple[TalkNode, TalkNode]) -> None:
    """Rules T1, T5: ada on the one, ben on both."""
    one, two = two_nodes
    async with talkers(one, "ada", "ben") as (ada, near), talkers(two, "ben") as (far,):
        for talker in (ada, near, far):
            await talker.do("chat:subscribe", {"design": "spring"})
            await talker.do("inbox:subscribe")
        for number in range(10):
            await ada.do("chat:post", post(f"a-{number}", f"ada {number}", "ben"))
            await far.do("chat:post", post(f"b-{number}", f"ben {number}", "ada"))
        for talker in (ada, near, far):
            await talker.hears("chat:posted", 20)
            assert [fact["position"] for fact in talker.facts("chat:posted")] == list(range(1, 21))
        assert ada.texts() == near.texts() == far.texts()
        await far.hears("inbox:added", 10)
        assert far.facts("inbox:added")[-1]["counts"] == {"unseen": 10, "unread": 10}
        await far.do("inbox:read", {"all": True})
        (cleared,) = await near.hears("inbox:changed")
        assert (cleared["all"], cleared["counts"]) == (True, {"unseen": 0, "unread": 0})


async def test_two_nodes_at_once_count_every_mention(two_nodes: tuple[TalkNode, TalkNode]) -> None:
    """Rule T15: counts are those after the change at its position, whoever else writes at the same moment."""
    one, two = two_nodes
    await one.design("summer", "ada", "ben")
    async with talkers(one, "ada") as (ada,), talkers(two, "ada", "ben") as (again, ben):
        await ben.do("inbox:subscribe")

        async def mention(talker: Talker, design: str) -> None:
            for number in range(10):
                await talker.do("chat:post", post(f"m-{number}", "Ben", "ben", design=design))

        async with asyncio.TaskGroup() as group:
            group.create_task(mention(ada, "spring"))
            group.create_task(mention(again, "summer"))
        await ben.hears("inbox:added", 20)
        counts = [(fact["position"], fact["counts"]["unread"]) for fact in ben.facts("inbox:added")]
        assert counts == [(number, number) for number in range(1, 21)]


async def test_what_was_said_while_redis_was_gone_is_heard_when_it_returns(postgres_url: str) -> None:
    """Rules T5, B1."""
    with RedisServer() as redis:
        async with AsyncExitStack() as stack:
            nodes = []
            for _ in range(2):
                bus = await stack.enter_async_context(RedisBus(redis.url, heartbeat_seconds=0.2))
                nodes.append(await stack.enter_async_context(talk_node(postgres_url, bus=bus)))
            await nodes[0].design("spring", "ada", "ben")
            (ada,) = await stack.enter_async_context(talkers(nodes[0], "ada"))
            (ben,) = await stack.enter_async_context(talkers(nodes[1], "ben"))
            await ben.do("chat:subscribe", {"design": "spring"})
            await ada.do("chat:post", post("m-1", "before"))
            await ben.hears("chat:posted", 1)
            await asyncio.to_thread(redis.kill)
            await ada.do("chat:post", post("m-2", "meanwhile"))
            await ada.do("chat:post", post("m-3", "still"))
            await asyncio.to_thread(redis.start)
            await ben.hears("chat:posted", 3)
            assert ben.texts() == ["before", "meanwhile", "still"]


# -- the live board ---------------------------------------------------------------------------------------------------


async def test_the_board_ticks_for_those_who_watch(node: TalkNode) -> None:
    """Rules T17, T18."""
    async with talkers(node, "ada", "ben") as (ada, ben):
        subscribed = await ada.do("metrics:subscribe", {"board": "live"})
        assert (subscribed["recovered"], subscribed["state"]) == (False, {"samples": []})
        await ada.hears("metrics:ticked", 3)
        ticks = ada.facts("metrics:ticked")
        assert [tick["position"] for tick in ticks[:3]] == [1, 2, 3]
        assert {tick["epoch"] for tick in ticks} == {subscribed["epoch"]}
        sample = ticks[-1]["sample"]
        assert (sample["connections"], sample["people"], sample["node_count"]) == (2, 2, 1)
        assert sample["memory_bytes"] > 10_000_000
        assert sample["ack"] == {"count": 0, "p50_ms": None, "p99_ms": None}

        late = await ben.do("metrics:subscribe", {"board": "live"})
        assert len(late["state"]["samples"]) >= 3
        assert late["epoch"] == subscribed["epoch"]
        resumed = await ben.do("metrics:subscribe", {"board": "live", "epoch": late["epoch"], "position": 1})
        assert resumed["recovered"] is True
        assert [event["position"] for event in resumed["events"]] == list(range(2, resumed["position"] + 1))

        await ada.do("metrics:unsubscribe", {"board": "live"})
        await ben.do("metrics:unsubscribe", {"board": "live"})
        assert node.live.watchers == 0


async def test_the_board_shows_its_own_brand_only(node: TalkNode) -> None:
    """Rule T20."""
    await node.design("autumn", "eve", brand="umbrella")
    async with talkers(node, "ada") as (ada,), talkers(node, "eve", brand="umbrella") as (eve,):
        await ada.do("metrics:subscribe", {"board": "live"})
        await eve.do("metrics:subscribe", {"board": "live"})
        await ada.hears("metrics:ticked")
        await eve.do("chat:post", post("e-1", "hello", design="autumn"))
        await until(
            lambda: any(tick["sample"]["messages_per_second"] for tick in eve.facts("metrics:ticked")), "eve's message"
        )
        await ada.hears("metrics:ticked", len(ada.facts("metrics:ticked")) + 2)
        for tick in ada.facts("metrics:ticked"):
            assert (tick["sample"]["connections"], tick["sample"]["people"]) == (1, 1)
            assert tick["sample"]["messages_per_second"] == 0


@pytest.mark.parametrize("role", [Role.VIEWER, Role.COMMENTER, Role.CUSTOMER, Role.AGENT])
async def test_the_board_is_for_those_who_see_dashboards(node: TalkNode, role: Role) -> None:
    """Rule T20, CONTRACT 3."""
    async with talkers(node, "vera", role=role) as (vera,):
        assert (await vera.ask("metrics:subscribe", {"board": "live"}))["code"] == "not_permitted"
        assert (await vera.ask("metrics:subscribe", {"board": "secret"}))["code"] == "not_found"


async def test_a_board_adds_what_all_nodes_count(two_nodes: tuple[TalkNode, TalkNode]) -> None:
    """Rule T19."""
    one, two = two_nodes
    async with talkers(one, "ada") as (ada,), talkers(two, "ada", "ben"):
        await ada.do("metrics:subscribe", {"board": "live"})
        await until(
            lambda: any(tick["sample"]["node_count"] == 2 for tick in ada.facts("metrics:ticked")), "both nodes"
        )
        await until(lambda: ada.facts("metrics:ticked")[-1]["sample"]["node_count"] == 2, "both nodes still")
        sample = ada.facts("metrics:ticked")[-1]["sample"]
        assert (sample["connections"], sample["people"], len(sample["nodes"])) == (3, 2, 2)
        one.metrics.ack_seconds.observe(0.003)
        two.metrics.ack_seconds.observe(0.3)
        ticks = await until(
            lambda: [t["sample"]["ack"] for t in ada.facts("metrics:ticked") if t["sample"]["ack"]["count"]],
            "acknowledgements",
        )
        assert sum(ack["count"] for ack in ticks) >= 1


# -- coming and going -------------------------------------------------------------------------------------------------


async def test_who_has_no_token_is_unauthorized(node: TalkNode) -> None:
    """Rule T4: said for good, with the reason beside the word."""
    for token in (None, "nonsense"):
        async with raw_socket(node.url) as stranger:
            for namespace in ("/chat", "/notifications", "/metrics"):
                await stranger.connect(namespace, {"token": token} if token else None)
                refusal = await stranger.next()
                assert (refusal.kind, refusal.data["message"]) == (4, "Unauthorized")
                assert refusal.data["data"]["code"] == "not_authenticated"
    with pytest.raises(socketio.exceptions.ConnectionError):
        await Talker().connect(node.url)
    assert node.sessions == 0


async def test_when_the_door_fails_the_client_is_asked_to_come_back(node: TalkNode) -> None:
    """Rule T4: never a refusal that a stock client would take for final."""

    class Stuck:
        async def admit(self, headers: Mapping[str, str], token: str | None) -> User:
            raise OSError("the key server does not answer")

        async def enter(self, user: User, design: str) -> tuple[Room, Grant]:
            raise AssertionError

    door, node.server.door = node.server.door, Stuck()
    async with raw_socket(node.url) as ada:
        await ada.connect("/chat", {"token": node.token("ada")})
        with pytest.raises(ConnectionError):
            assert (await ada.next()).kind != 4
    node.server.door = door
    async with talkers(node, "ada") as (again,):
        await again.do("chat:subscribe", {"design": "spring"})


async def test_a_client_that_leaves_without_goodbye_leaves_nothing_behind(node: TalkNode) -> None:
    """Rule T6: no session, subscription, stream, board or task."""
    for goodbye in (True, False):
        ada = await Talker().connect(node.url, node.token("ada"))
        await ada.do("chat:subscribe", {"design": "spring"})
        await ada.do("inbox:subscribe")
        await ada.do("metrics:subscribe", {"board": "live"})
        assert (len(node.streams), node.sessions, node.live.watchers) == (2, 3, 1)
        if not goodbye:
            for connection in list(node.server.connections):
                connection.outbox.abort()
        await ada.leave()
        await until(
            lambda: (len(node.streams), node.sessions, node.live.watchers, len(node.server.connections)) == (0,) * 4,
            "everything to be let go",
        )
    await until(lambda: "WebSocket._guard" not in str(asyncio.all_tasks()), "the tasks to end")


async def test_leaving_one_namespace_lets_go_what_it_followed(node: TalkNode) -> None:
    async with raw_socket(node.url) as ada:
        for namespace in ("/chat", "/notifications"):
            await ada.connect(namespace, {"token": node.token("ada")})
            await ada.next()
        await ada.ws.send_str('42/chat,1["chat:subscribe",{"design":"spring"}]')
        await ada.acknowledged(1)
        await ada.ws.send_str('42/notifications,2["inbox:subscribe"]')
        await ada.acknowledged(2)
        assert str(asyncio.all_tasks()).count("WebSocket._guard") == 2
        await ada.ws.send_str("41/chat,")
        await until(lambda: (len(node.streams), node.sessions) == (1, 1), "the chat to be let go")
        await until(lambda: str(asyncio.all_tasks()).count("WebSocket._guard") == 1, "its task to end")
        await ada.ws.send_str('42/chat,3["chat:history",{"design":"spring"}]')  # of nobody: it is nothing
        await ada.ws.send_str('42/notifications,4["inbox:list"]')
        assert (await ada.acknowledged(4))[0]["ok"] is True


async def test_one_connection_follows_so_many_streams_and_no_more(sqlite_url: str) -> None:
    """Rule T6."""
    limits = TalkLimits(requests=RequestLimits(max_subscriptions=2))
    async with talk_node(sqlite_url, limits=limits) as node, talkers(node, "ada") as (ada,):
        for design in ("one", "two", "three"):
            await node.design(design, "ada")
        for design in ("one", "two", "one"):
            await ada.do("chat:subscribe", {"design": design})
        refused = await ada.ask("chat:subscribe", {"design": "three"})
        assert (refused["code"], refused["limit"], refused["maximum"]) == ("limit_exceeded", "max_subscriptions", 2)
        assert len(node.streams) == 2
        await ada.do("chat:unsubscribe", {"design": "one"})
        await ada.do("chat:subscribe", {"design": "three"})
