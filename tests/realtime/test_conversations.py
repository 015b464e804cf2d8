"""`GET /api/v1/conversations`: where people talk, for those who may see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from realtime.app import open_parts
from realtime.http import conversations, server
from realtime.settings import Settings
from rooms.permissions import Role
from tests.harness.talkers import SECRET, TalkNode, talk_node, talkers


@pytest.fixture
async def node(sqlite_url: str) -> AsyncIterator[TalkNode]:
    """Chats of three designs: ada's and ben's, ada's alone, and another brand's; and one design where nobody spoke."""
    async with talk_node(sqlite_url) as node:
        for design in ("spring", "summer", "winter"):
            await node.design(design, "ada", *(("ben",) if design == "spring" else ()))
        await node.design("spring", "eve", brand="umbrella")
        async with talkers(node, "ada", "ben") as (ada, ben), talkers(node, "eve", brand="umbrella") as (eve,):
            for talker, design, text in (
                (ada, "spring", "first"),
                (ada, "summer", "alone"),
                (ben, "spring", "second"),
                (eve, "spring", "foreign"),
            ):
                await talker.do("chat:post", {"design": design, "id": text, "text": text})
        yield node


@pytest.fixture
async def url(node: TalkNode, sqlite_url: str, tmp_path: Path) -> AsyncIterator[str]:
    environ = {"LUNEO_DATA_DIR": str(tmp_path), "LUNEO_WORKERS": "1", "LUNEO_SECRET": SECRET}
    address = sqlite_url.replace("sqlite:", "sqlite+aiosqlite:", 1)
    settings = Settings.read({**environ, "LUNEO_DATABASE_URL": address})
    async with open_parts(settings) as (parts, _):
        routes = [route for route in conversations.ROUTES if route not in server.ROUTES]
        runner = web.AppRunner(server.build_app(parts, routes), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


async def ask(url: str, token: str, query: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{url}/api/v1/conversations{query}") as response,
    ):
        return await response.json(content_type=None)


async def test_conversations_are_those_of_ones_designs_the_last_first(node: TalkNode, url: str) -> None:
    """Rules D1, T7: members see their designs', admins all of the brand's, a token with `rooms` what it names."""
    page = await ask(url, node.token("ada"))
    assert [(row["design"], row["title"], row["last_message"]["text"], row["position"]) for row in page["items"]] == [
        ("spring", "Spring", "second", 2),
        ("summer", "Summer", "alone", 1),
    ]
    assert [person["name"] for person in page["items"][0]["people"]] == ["Ben", "Ada"]
    assert page["items"][0]["last_message"]["user"]["name"] == "Ben"
    assert page["next"] is None

    async def designs(token: str) -> list[str]:
        return [row["design"] for row in (await ask(url, token))["items"]]

    assert await designs(node.token("ben")) == ["spring"]
    assert await designs(node.token("carl")) == []
    assert await designs(node.token("zoe", role=Role.ADMIN)) == ["spring", "summer"]
    assert await designs(node.token("gus", rooms=["su*"])) == ["summer"]
    foreign = await ask(url, node.token("eve", brand="umbrella"))
    assert [row["last_message"]["text"] for row in foreign["items"]] == ["foreign"]


async def test_conversations_are_paged(node: TalkNode, url: str) -> None:
    first = await ask(url, node.token("ada"), "?limit=1")
    rest = await ask(url, node.token("ada"), f"?limit=1&cursor={first['next']}")
    assert [row["design"] for row in first["items"] + rest["items"]] == ["spring", "summer"]
    assert rest["next"] is None
    assert (await ask(url, node.token("ada"), "?cursor=nonsense"))["code"] == "invalid_cursor"
