"""What the studio's pages do for people: pictures come in, calls are heard, a phone is enough."""

from __future__ import annotations

import asyncio
import base64
import io

from PIL import Image
from playwright.async_api import Page

from tests.harness.browser import Window, chromium
from tests.harness.node import Node
from tests.harness.processes import eventually

HAND_OVER = """([kind, name, type, data, x, y]) => {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, { type }));
    if (kind === 'paste') {
        document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: carried, cancelable: true }));
        return;
    }
    for (const step of ['dragenter', 'dragover', 'drop']) {
        const at = { bubbles: true, cancelable: true, clientX: x, clientY: y };
        document.querySelector('.stage').dispatchEvent(new DragEvent(step, { dataTransfer: carried, ...at }));
    }
}"""


def picture(color: str, size: tuple[int, int] = (120, 80)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return out.getvalue()


async def hand_over(window: Window, kind: str, name: str, media_type: str, data: bytes) -> None:
    """Let go of a file over the stage, or paste it, as a desktop does."""
    await window.ask(HAND_OVER, [kind, name, media_type, base64.b64encode(data).decode(), 660, 430])


async def test_pictures_come_by_drop_and_by_paste_and_what_is_none_is_told_why(node: Node) -> None:
    """Rule C29; every refusal names its limit in a sentence."""
    async with chromium() as browser:
        ada, ben = await asyncio.gather(*(Window.open(browser, f"{node.url}/design/spring") for _ in range(2)))
        await hand_over(ada, "drop", "dropped.png", "image/png", picture("crimson"))
        await ben.sees("window.luneo.elements().some(element => element.name === 'dropped')")
        await hand_over(ben, "paste", "pasted.png", "image/png", picture("navy"))
        await ada.sees("window.luneo.elements().some(element => element.name === 'pasted')")
        await asyncio.gather(ada.ready(), ben.ready())
        assert await ada.scene_hash() == await ben.scene_hash()

        notices = ada.page.get_by_role("region", name="Notices")
        for name, media_type, data, sentence in (
            ("letter.pdf", "application/pdf", b"%PDF-1.4", "PNG, JPEG, WebP, GIF and AVIF"),
            ("broken.png", "image/png", b"no picture", "Use PNG, JPEG, WebP, GIF or AVIF"),
            ("wide.png", "image/png", picture("black", (16_400, 1)), "at most 16384 pixels"),
        ):
            await hand_over(ada, "drop", name, media_type, data)
            notice = notices.get_by_role("alert").filter(has_text=name)
            await notice.wait_for()
            assert sentence in await notice.inner_text()
            assert await notice.get_by_role("button", name="Try again").count() == 0  # it would be refused again
        assert len(await ada.elements()) == 2
        assert ada.errors == ben.errors == []


async def unread(page: Page) -> int:
    label = await page.get_by_role("button", name="Notifications").first.get_attribute("aria-label")
    words = (label or "").split()
    return int(words[1]) if len(words) > 1 else 0


async def test_a_call_in_the_chat_rings_on_every_page_and_is_read_where_it_is_seen(node: Node) -> None:
    """A mention is live in pages that know nothing of the design; opening the conversation clears it on all of them."""
    async with chromium() as browser:
        ada, ben = await asyncio.gather(*(Window.open(browser, f"{node.url}/design/spring") for _ in range(2)))
        pages: list[Page] = []
        for path in ("/", "/support", "/dashboard"):
            page = await ben.page.context.new_page()
            await page.goto(f"{node.url}{path}")
            await page.get_by_role("button", name="Notifications").wait_for()
            pages.append(page)
        await ben.page.bring_to_front()

        name = (await ada.ask("window.luneo.peers().map(peer => peer.name)"))[0]
        await ada.page.get_by_role("tab", name="Chat").click()
        await ada.page.get_by_role("textbox", name="Message").type(f"Look here @{name[:4]}")
        await ada.page.keyboard.press("Enter")  # completes the name
        await ada.page.keyboard.type("please")
        await ada.page.keyboard.press("Enter")

        async def rings(count: int) -> bool:
            return all([await unread(page) == count for page in [ben.page, *pages]])

        await eventually(lambda: rings(1), "one call on every page", 10)
        assert await unread(ada.page) == 0
        await ben.page.get_by_role("tab", name="Chat").click()
        await ben.page.locator(".calls-me", has_text="please").wait_for()
        await eventually(lambda: rings(0), "the call read on every page", 10)
        assert ada.errors == ben.errors == []


async def test_a_phone_is_enough(node: Node) -> None:
    """At 390 by 844 with fingers: write, add, move, pinch, and type above the keyboard."""
    async with chromium() as browser:
        desk = await Window.open(browser, f"{node.url}/design/spring")
        context = await browser.new_context(
            viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2
        )
        context.set_default_timeout(10_000)
        page = await context.new_page()
        phone = Window(page)
        await page.goto(f"{node.url}/design/spring")
        await phone.sees("window.luneo !== undefined && window.luneo.state() === 'saved'")

        await page.get_by_role("button", name="Text").tap()
        await page.keyboard.type("Moon")
        await desk.sees("window.luneo.elements().some(element => element.txt === 'Moon')")
        await phone.painted()
        await page.touchscreen.tap(20, 720)
        await phone.sees("window.luneo.selection().length === 0")

        # One finger moves what it is on, two move the paper and nothing else.
        touches = await context.new_cdp_session(page)

        async def touch(kind: str, *points: tuple[float, float]) -> None:
            spots = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
            await touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

        async def frame() -> list[float]:
            found: list[float] = (await phone.elements())[0]["xf"]
            return found

        start = await frame()
        await touch("touchStart", (195, 367))
        for step in range(1, 11):
            await touch("touchMove", (195, 367 + step * 22))
        await touch("touchEnd")
        moved = await frame()
        assert moved[1] - start[1] > 100
        await touch("touchStart", (100, 300))
        await touch("touchStart", (100, 300), (260, 300))
        for step in range(1, 6):
            await touch("touchMove", (100 + step * 5, 300), (260 - step * 5, 300))
        await touch("touchEnd")
        assert await frame() == moved

        # The keyboard takes half of the screen: what is typed stays above it, and typing goes on.
        await page.get_by_role("button", name="Layers").tap()
        await page.get_by_role("option", name="Moon").tap()
        await page.get_by_role("button", name="Close", exact=True).tap()
        await page.keyboard.press("Enter")
        field = page.get_by_role("textbox", name="Text")
        await field.wait_for()
        await page.set_viewport_size({"width": 390, "height": 460})

        async def in_sight() -> bool:
            box = await field.bounding_box()
            return box is not None and box["y"] > 52 and box["y"] + box["height"] < 460 - 64

        await eventually(in_sight, "the text above the keyboard", 5)
        await page.keyboard.press("End")
        await page.keyboard.type("light")
        await desk.sees("window.luneo.elements().some(element => element.txt === 'Moonlight')")
        assert desk.errors == phone.errors == []
