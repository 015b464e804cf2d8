"""kill -9 while two people type: their windows come back by themselves, and nothing shown as saved is gone."""

from __future__ import annotations

import asyncio

from tests.harness.browser import Window, chromium
from tests.harness.node import Node
from tests.harness.processes import eventually


async def words(window: Window) -> list[str]:
    found: list[str] = await window.ask("window.luneo.elements().map(element => element.txt).sort()")
    return found


async def write(window: Window, at: tuple[int, int], text: str) -> None:
    await window.page.keyboard.press("t")
    await window.page.mouse.click(*at)
    await window.page.keyboard.type(text)
    await window.page.keyboard.press("Escape")
    await window.page.keyboard.press("Escape")


async def test_windows_come_back_after_a_kill_with_what_was_saved_and_what_was_not(node: Node) -> None:
    """Promise 1 and rule S5: what was typed while the server was away is sent when it is back."""
    async with chromium() as browser:
        ada, ben = await asyncio.gather(*(Window.open(browser, f"{node.url}/design/spring") for _ in range(2)))
        await write(ada, (700, 320), "saved")
        await ada.ready()
        assert await ada.ask("window.luneo.state()") == "saved"
        await ben.sees("window.luneo.elements().length === 1")
        await node.kill()
        await asyncio.gather(*(window.sees("window.luneo.state() === 'offline'") for window in (ada, ben)))
        await write(ada, (700, 400), "ada, offline")
        await write(ben, (700, 480), "ben, offline")
        assert await ada.ask("window.luneo.state()") == "offline"
        await node.restart()
        await asyncio.gather(ada.ready(), ben.ready())

        async def together() -> bool:
            return await words(ada) == await words(ben) == ["ada, offline", "ben, offline", "saved"]

        await eventually(together, "both windows show everything", within=30.0)
        third = await Window.open(browser, f"{node.url}/design/spring")
        assert await words(third) == ["ada, offline", "ben, offline", "saved"]
        await ben.sees("window.luneo.peers().length === 2")
        assert ada.errors == ben.errors == third.errors == []


async def test_a_reload_in_the_middle_shows_everything(node: Node) -> None:
    """What a person can do: reload, and all is there, author and cursor colour too."""
    async with chromium() as browser:
        ada = await Window.open(browser, f"{node.url}/design/spring")
        await write(ada, (700, 320), "stays")
        await ada.ready()
        who = await ada.ask("fetch('/api/v1/session').then(answer => answer.json()).then(session => session.user.id)")
        await ada.page.reload()
        await ada.sees("window.luneo !== undefined && window.luneo.state() === 'saved'")
        assert await words(ada) == ["stays"]
        again = await ada.ask("fetch('/api/v1/session').then(answer => answer.json()).then(session => session.user.id)")
        assert again == who
