"""Closed mode, as people meet it: a token in the fragment of /enter, a cookie, and roles that hold in the page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.harness.browser import Window, chromium
from tests.harness.node import Node

SECRET = "a secret of this test and of no other place"


def token(user: str, role: str, brand: str = "acme") -> str:
    """What an operator's command prints."""
    arguments = [
        "token",
        "--user",
        user,
        "--name",
        user.title(),
        "--brand",
        brand,
        "--role",
        role,
        "--room",
        "spring-*",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "realtime", *arguments],
        env={**os.environ, "LUNEO_SECRET": SECRET},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
async def closed_node(tmp_path: Path) -> AsyncIterator[Node]:
    async with Node(tmp_path / "data", LUNEO_SECRET=SECRET) as node:
        yield node


async def test_people_come_in_by_a_token_and_may_what_their_role_allows(closed_node: Node) -> None:
    """Rules A: the owner draws, the viewer looks on, another brand finds nothing, nobody without a token comes in."""
    url = closed_node.url
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/api/v1/designs") as answer:
            assert answer.status == 401
        headers = {"Authorization": f"Bearer {token('ada', 'owner')}"}
        body = {"title": "Spring", "product": "tshirt", "id": "spring-1"}
        async with session.post(f"{url}/api/v1/designs", json=body, headers=headers) as answer:
            assert answer.status == 201, await answer.text()
        foreign = {"Authorization": f"Bearer {token('eve', 'admin', brand='other')}"}
        answers = []
        for design in ("spring-1", "never-made"):
            async with session.get(f"{url}/api/v1/designs/{design}", headers=foreign) as answer:
                answers.append((answer.status, (await answer.json())["code"]))
        assert answers == [(404, "not_found")] * 2

    async with chromium() as browser:
        windows = []
        for user, role in (("ada", "owner"), ("ben", "viewer")):
            context = await browser.new_context(viewport={"width": 1440, "height": 900})
            page = await context.new_page()
            window = Window(page)
            await page.goto(f"{url}/enter?next=/design/spring-1#token={token(user, role)}")
            await page.wait_for_url("**/design/spring-1")
            assert "token" not in page.url
            await window.sees("window.luneo !== undefined && window.luneo.state() === 'saved'")
            windows.append(window)
        ada, ben = windows
        await ada.page.keyboard.press("r")
        await ada.drag((640, 420), (780, 500))
        await ada.ready()
        await ben.sees("window.luneo.elements().length === 1")
        await ben.page.keyboard.press("r")
        await ben.drag((640, 300), (700, 380))
        await ben.sees("window.luneo.peers().some(peer => peer.name === 'Ada')")
        assert len(await ben.elements()) == len(await ada.elements()) == 1

        assert await ben.page.get_by_text("Viewing", exact=True).is_visible()

        nobody = Window(await (await browser.new_context()).new_page())
        await nobody.page.goto(f"{url}/design/spring-1")
        await nobody.page.get_by_text("You are not signed in").wait_for()
        assert not await nobody.page.evaluate("window.luneo !== undefined && window.luneo.state() === 'saved'")
        assert ada.errors == ben.errors == []
