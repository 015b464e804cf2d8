"""Debian's Chromium, and studio pages in it, driven through Playwright."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, async_playwright
from playwright.async_api import Error as PlaywrightError

from tests.harness.processes import eventually

ARGUMENTS = [
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MILLISECONDS = 20_000


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a window; it ends with the block."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Window:
    """One person's studio: a page with cookies of its own, and what went wrong in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    @classmethod
    async def open(cls, browser: Browser, url: str, *, width: int = 1440, height: int = 900) -> Window:
        """Open *url* as somebody new, and wait until it shows a design whose state is stored."""
        context = await browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=1)
        context.set_default_timeout(MILLISECONDS)
        page = await context.new_page()
        window = cls(page)
        await page.goto(url)
        await window.sees("window.luneo !== undefined && window.luneo.state() === 'saved'")
        return window

    async def ask(self, script: str, argument: Any = None) -> Any:
        """Evaluate a function in the page."""
        return await self.page.evaluate(script, argument)

    async def ready(self) -> None:
        """Everything that was done here is stored."""
        await self.page.evaluate("window.luneo.ready()")

    async def painted(self) -> None:
        """What the document holds stands on the screen: its scene is settled, and two frames went by."""
        await self.page.evaluate(
            """async () => {
                await window.luneo.scene();
                const frame = () => new Promise((done) => requestAnimationFrame(done));
                await frame();
                await frame();
            }"""
        )

    async def elements(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.page.evaluate("window.luneo.elements()")
        return found

    async def scene_hash(self, view: str = "front") -> str:
        found: str = await self.page.evaluate("view => window.luneo.sceneHash(view)", view)
        return found

    async def sees(self, condition: str, within: float = 20.0) -> None:
        """Wait until a condition on `window.luneo` holds; looked at from outside, since the page allows no eval."""

        async def look() -> bool:
            try:
                return bool(await self.page.evaluate(condition))
            except PlaywrightError:
                return False  # the page is on its way to another

        await eventually(look, condition, within)

    async def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at *start*, move in steps, let go at *end*; CSS pixels of the page."""
        mouse = self.page.mouse
        await mouse.move(*start)
        await mouse.down()
        await mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
        await mouse.move(*end, steps=4)
        await mouse.up()
