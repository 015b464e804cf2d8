"""Unmodified npm providers in one room, on one node and spread over two: they end equal, and so does what is stored."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.browser import Window, chromium
from tests.harness.cluster import Cluster
from tests.harness.designer import Designers, yjs_reads
from tests.harness.node import Node
from tests.harness.processes import eventually
from tests.harness.reading import Stored, read_postgresql, read_sqlite

ROOM = "spring-collection"
NAMES = ("ada", "ben", "cleo")


@dataclass
class Studio:
    """Where the three work: a node for each, and the way to what is stored."""

    nodes: list[Node]
    database_url: str = ""

    def node_of(self, name: str) -> Node:
        return self.nodes[NAMES.index(name) % len(self.nodes)]

    async def stored(self, document: str = ROOM) -> Stored:
        if self.database_url:
            return await read_postgresql(self.database_url, document)
        return read_sqlite(self.nodes[0].database, document)

    async def restart(self) -> None:
        for node in self.nodes:
            await node.kill()
        for node in self.nodes:
            await node.start()


@pytest.fixture(params=["one node", "two nodes"])
async def studio(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Studio]:
    if request.param == "one node":
        async with Node(tmp_path / "data", LUNEO_KEYFRAME_ROWS="20") as node:
            yield Studio([node])
    else:
        database = request.getfixturevalue("postgres_url")
        redis = request.getfixturevalue("redis")
        async with Cluster(tmp_path, 2, database, redis.url, "together") as cluster:
            yield Studio(cluster.nodes, database)


@pytest.fixture
async def people(studio: Studio) -> AsyncIterator[dict[str, Designers]]:
    """Three designers, each in a process of its own, all in the room."""
    async with AsyncExitStack() as stack:
        processes = {name: await stack.enter_async_context(Designers()) for name in NAMES}
        for name, process in processes.items():
            await process.open(name, studio.node_of(name).url, ROOM)
            await process.ready(name)
        yield processes


async def equal(people: dict[str, Designers]) -> str:
    """Wait until all have the same document; returns its digest."""

    async def digests() -> str:
        seen = {await process.digest(name) for name, process in people.items()}
        return seen.pop() if len(seen) == 1 else ""

    return await eventually(digests, "the same document at everybody", within=20, every=0.1)


async def test_three_providers_and_the_database_end_with_the_same_document(
    studio: Studio, people: dict[str, Designers]
) -> None:
    """Rules D2 to D4, B1, S1 to S4; promise 2."""
    for number, (name, process) in enumerate(people.items()):
        await process.do("hammer", name=name, seed=number + 1, every=5)

    async def enough() -> bool:
        reports = [await process.report(name) for name, process in people.items()]
        return all(report["marks"] >= 25 for report in reports)

    await eventually(enough, "25 marks of everybody")
    for name, process in people.items():
        await process.do("rest", names=[name])
    digest = await equal(people)

    await studio.restart()
    for name, process in people.items():
        await process.ready(name)
    assert await equal(people) == digest
    stored = await studio.stored()
    assert stored.is_gapless()
    read = await yjs_reads(stored.rows)
    assert read["digest"] == digest
    assert not read["pending"]
    assert (await yjs_reads(stored.from_keyframe()))["content"] == read["content"]


async def test_a_killed_designers_cursor_is_gone_within_a_second_and_seen_at_once_when_it_comes_back(
    studio: Studio, people: dict[str, Designers]
) -> None:
    """Rule P (RULINGS 11, 33): without goodbye, at the same node and at another."""
    ada = people["ada"]
    client = (await ada.report("ada"))["client"]
    await ada.do("presence", name="ada", state={"cursor": {"x": 1, "y": 2}})
    for name in ("ben", "cleo"):
        await people[name].sees(name, client, key="cursor", value={"x": 1, "y": 2})

    killed_at = time.monotonic()
    await ada.kill()
    for name in ("ben", "cleo"):
        await people[name].misses(name, client)
        assert time.monotonic() - killed_at < 1.0, f"{name} saw the cursor of a dead client for over a second"

    async with Designers() as again:
        await again.open("ada", studio.node_of("ada").url, ROOM, client=client)
        await again.do("presence", name="ada", state={"cursor": {"x": 3, "y": 4}})
        await again.ready("ada")
        came_at = time.monotonic()
        for name in ("ben", "cleo"):
            await people[name].sees(name, client, key="cursor", value={"x": 3, "y": 4})
            assert time.monotonic() - came_at < 1.0, f"{name} did not see at once who came back"


async def test_a_cut_designers_cursor_goes_and_comes_back_by_itself(
    studio: Studio, people: dict[str, Designers]
) -> None:
    """Rule P: the transport is cut, the provider returns with the same client id and a clock that is not above."""
    ada, ben = people["ada"], people["ben"]
    client = (await ada.report("ada"))["client"]
    await ada.do("presence", name="ada", state={"cursor": 1})
    await ben.sees("ben", client, key="cursor", value=1)
    for turn in range(3):
        await ada.do("cut", names=["ada"])
        await ada.ready("ada")
        await ben.sees("ben", client, key="cursor", value=1)
        ben_client = (await ben.report("ben"))["client"]
        # What a stock client says first when it returns (somebody else's id, with null) takes nobody away.
        await people["cleo"].sees("cleo", ben_client)
        await ben.do("presence", name="ben", state={"cursor": turn})
        for name in ("ada", "cleo"):
            await people[name].sees(name, ben_client, key="cursor", value=turn)


async def test_edits_made_offline_arrive_when_the_designer_returns(
    studio: Studio, people: dict[str, Designers]
) -> None:
    """Rules D5, D6: out of the provider's own buffer, which comes before its step 1."""
    ada = people["ada"]
    await ada.edit("ada", "text", place=0, insert="before the cut, ")
    await equal(people)
    await ada.do("cut", names=["ada"])
    for number in range(20):
        await ada.edit("ada", "text", place=0.5, insert=f"{number} ")
        await people["ben"].edit("ben", "text", place=0.2, insert="meanwhile ")
    await ada.edit("ada", "erase", place=0.1, length=5)
    await ada.ready("ada")
    digest = await equal(people)
    assert (await yjs_reads((await studio.stored()).rows))["digest"] == digest


async def test_three_providers_and_a_studio_page_end_with_the_same_document(
    studio: Studio, people: dict[str, Designers]
) -> None:
    """Promise 2: npm providers draw, type and move what the page shows; the page types; everybody and the log agree."""
    async with chromium() as browser:
        page = await Window.open(browser, f"{studio.nodes[-1].url}/design/{ROOM}")
        for number, (name, process) in enumerate(people.items()):
            for field, value in {
                "t": "shape",
                "p": ["front", f"a{number}V"],
                "xf": [20.0 * number, 30.0, 60.0, 40.0, 15.0, 0, 0, 0],
                "fill": "#224466",
                "geo": {"k": "rect", "r": 3},
            }.items():
                await process.edit(name, "nested", key=f"shape-by-{name}", field=field, value=value)
            await process.do("hammer", name=name, seed=number + 40, every=20)
        await page.sees("window.luneo.elements().length >= 3")
        await page.page.keyboard.press("t")
        await page.page.mouse.click(700, 420)
        await page.page.keyboard.type("typed in the page")
        await page.page.keyboard.press("Escape")
        for name, process in people.items():
            await process.do("rest", names=[name])
        await page.ready()

        async def page_agrees() -> bool:
            update = await page.ask("() => Array.from(window.luneo.update())")
            return bool((await yjs_reads([bytes(update)]))["digest"] == await equal(people))

        await eventually(page_agrees, "the page has the document of the three", within=20, every=0.2)
        read = await yjs_reads((await studio.stored()).rows)
        assert read["digest"] == await equal(people)
        assert "typed in the page" in [element.get("txt") for element in read["content"]["el"].values()]
        assert page.errors == []

        await studio.restart()
        for name, process in people.items():
            await process.ready(name)
        await page.sees("window.luneo.state() === 'saved'")
        await eventually(page_agrees, "the page, the three and what is stored, after a restart", within=20, every=0.2)
        assert (await yjs_reads((await studio.stored()).rows))["digest"] == await equal(people)


async def everybody_sees_everybody(people: dict[str, Designers], within: float) -> None:
    clients = {name: (await process.report(name))["client"] for name, process in people.items()}
    for name, process in people.items():
        for other, client in clients.items():
            await process.sees(name, client, key="name", value=other, within=within)


async def test_after_a_cut_and_after_a_kill_everybody_sees_everybody_at_once(
    studio: Studio, people: dict[str, Designers]
) -> None:
    """RULE P11: nobody moves; a provider knows the clocks of the others, and takes nothing that is not above them."""
    for name, process in people.items():
        await process.do("presence", name=name, state={"name": name})
    await everybody_sees_everybody(people, within=5)
    for _ in range(3):
        await people["ada"].do("cut", names=["ada"])
        await people["ada"].ready("ada")
        await everybody_sees_everybody(people, within=1.5)
    for _ in range(3):
        for name, process in people.items():
            await process.do("cut", names=[name])
        for name, process in people.items():
            await process.ready(name)
        await everybody_sees_everybody(people, within=1.5)
    for _ in range(3):
        await studio.restart()
        for name, process in people.items():
            await process.ready(name)
        await everybody_sees_everybody(people, within=1.5)
