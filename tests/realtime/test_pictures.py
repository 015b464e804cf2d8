"""Images in, pictures out: real workers, real files, real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pycrdt
import pytest
import pytest_asyncio
from PIL import Image

from canvas.products import PRODUCTS
from rooms.permissions import Role
from tests.harness.processes import until
from tests.realtime.serving import SECRET, Answer, Browser, Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_BYTES = 300_000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(
        tmp_path_factory.mktemp("pictures"),
        LUNEO_SECRET=SECRET,
        LUNEO_MAX_IMAGE_BYTES=str(MAX_BYTES),
        LUNEO_MAX_IMAGE_PIXELS="1000000",
        LUNEO_MAX_RENDER_PIXELS="4000000",
        LUNEO_MAX_RENDERS="4",
        LUNEO_MAX_UPLOADS="2",
    ) as served:
        yield served


def picture(format: str = "PNG", size: tuple[int, int] = (60, 40), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, format, **options)
    return out.getvalue()


async def upload(browser: Browser, data: bytes, **headers: str) -> Answer:
    return await browser.ask("POST", "/api/v1/assets", data=data, headers={"Content-Type": "image/png", **headers})


# images in


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_an_image_is_stored_anew_and_served_for_ever_under_what_it_is(node: Served, format: str) -> None:
    """Rules H20, H22; RULINGS 15: the name is the SHA-256 of the bytes that are served."""
    ada = await node.person()
    answer = await upload(ada, picture(format), **{"X-File-Name": "holiday%20%C3%A4.png"})
    assert answer.status == 201
    body = answer.json
    assert (body["width"], body["height"], body["name"]) == (60, 40, "holiday ä.png")
    assert answer.headers["Location"] == body["url"]
    got = await ada.get(body["url"])
    assert hashlib.sha256(got.body).hexdigest() == body["sha256"]
    assert (got.headers["Content-Type"], len(got.body)) == (body["media_type"], body["size"])
    assert got.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert got.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    again = await ada.get(body["url"], headers={"If-None-Match": got.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert (await upload(ada, picture(format))).json["sha256"] == body["sha256"]


async def test_an_image_comes_turned_upright_and_without_its_metadata(node: Served) -> None:
    """Issue 2, limits: EXIF orientation is applied, all metadata dropped."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a place nobody should know"
    ada = await node.person()
    body = (await upload(ada, picture("JPEG", exif=exif))).json
    assert (body["width"], body["height"]) == (40, 60)
    assert b"nobody should know" not in (await ada.get(body["url"])).body


async def test_a_form_brings_an_image_too(node: Served) -> None:
    ada = await node.person()
    form = aiohttp.FormData()
    form.add_field("note", "before the file")
    form.add_field("file", picture(size=(50, 30)), filename="../../etc/passwd", content_type="image/png")
    answer = await ada.ask("POST", "/api/v1/assets", data=form)
    assert (answer.status, answer.json["name"]) == (201, "passwd")
    empty = aiohttp.FormData()
    empty.add_field("note", "no file")
    empty.add_field("more", "x")
    # with two text fields aiohttp makes no multipart by itself
    writer = aiohttp.MultipartWriter("form-data")
    writer.append("text").set_content_disposition("form-data", name="note")
    assert (await ada.ask("POST", "/api/v1/assets", data=writer)).code == "invalid_form"
    broken = await ada.ask(
        "POST", "/api/v1/assets", data=b"nothing", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert broken.code == "invalid_form"
    nameless = await ada.ask("POST", "/api/v1/assets", data=b"x", headers={"Content-Type": "multipart/form-data"})
    assert nameless.code == "invalid_form"


async def test_an_upload_over_the_limit_is_refused_by_its_length_or_while_it_comes(node: Served) -> None:
    """Rule L2."""
    ada = await node.person()
    announced = await upload(ada, b"\x89PNG" + bytes(MAX_BYTES))
    assert (announced.status, announced.json["limit"], announced.json["maximum"]) == (
        413,
        "LUNEO_MAX_IMAGE_BYTES",
        MAX_BYTES,
    )
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 200 * MAX_BYTES:
            sent += 10_000
            yield bytes(10_000)

    try:
        chunked = await ada.ask("POST", "/api/v1/assets", data=endless(), headers={"Content-Type": "image/png"})
        assert chunked.json["limit"] == "LUNEO_MAX_IMAGE_BYTES"
    except aiohttp.ClientError:
        pass  # the server has closed while the client was still sending
    assert sent < 200 * MAX_BYTES
    form = aiohttp.FormData()
    form.add_field("file", bytes(MAX_BYTES + 1), filename="big.png")
    assert (await ada.ask("POST", "/api/v1/assets", data=form)).json["limit"] == "LUNEO_MAX_IMAGE_BYTES"


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims to be large, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    rows = zlib.compress(bytes(1000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


HOSTILE = {
    "nothing": b"",
    "text": b"just words",
    "markup": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "a page": b"<!doctype html><script>alert(1)</script>",
    "half an image": picture()[:100],
    "a header only": b"\x89PNG\r\n\x1a\n",
    "a bomb": bomb(30_000, 30_000),
    "a bomb beyond 32 bits": bomb(2**31 - 1, 2**31 - 1),
    "a wide line": bomb(200_000, 1),
    "too many pixels": picture(size=(1200, 1000)),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n(/etc/passwd) run\n",
    "a PDF": b"%PDF-1.7\n",
    "an archive": b"PK\x03\x04" + bytes(100),
    "TIFF": picture("TIFF"),
    "BMP": picture("BMP"),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=list(HOSTILE))
async def test_what_is_no_image_is_refused_with_a_reason_and_nothing_is_kept(node: Served, data: bytes) -> None:
    """Rule H21: decoded in a worker only, by an allow-list; and the node goes on."""
    ada = await node.person()
    answer = await upload(ada, data)
    assert answer.status in (413, 415, 422), answer.body
    assert answer.code.startswith("image_")
    name = hashlib.sha256(data).hexdigest()
    assert (await ada.get(f"/api/v1/assets/{name}")).code == "not_found"
    assert (await upload(ada, picture())).status == 201


async def test_an_image_of_another_brand_answers_exactly_like_none(node: Served) -> None:
    """Rules A10, H23."""
    ada = await node.person("ada", Role.OWNER, "acme")
    body = (await upload(ada, picture(size=(33, 44)))).json
    stranger = await node.person("ada", Role.ADMIN, "globex", rooms=["*"])
    there = await stranger.get(body["url"])
    nowhere = await stranger.get(f"/api/v1/assets/{'0' * 64}")
    assert (there.status, there.code) == (404, "not_found")
    assert there.body == nowhere.body
    named = await stranger.get(body["url"], headers={"If-None-Match": f'"{body["sha256"]}"'})
    assert (named.status, named.body) == (404, nowhere.body)
    for name in ("x", "0" * 63, "0" * 65, "A" * 64, "..%2f" + "0" * 59):
        assert (await ada.get(f"/api/v1/assets/{name}")).code == "not_found"


async def test_uploads_at_once_are_bounded_and_the_next_is_refused_as_passing(node: Served) -> None:
    """Rule L5."""
    ada = await node.person()
    go = asyncio.Event()
    image = picture()

    async def slow() -> AsyncIterator[bytes]:
        yield image[:10]
        await go.wait()
        yield image[10:]

    async with asyncio.TaskGroup() as group:
        sending = [
            group.create_task(ada.ask("POST", "/api/v1/assets", data=slow(), headers={"Content-Type": "image/png"}))
            for _ in range(2)
        ]
        try:
            await until(lambda: node.parts.images.under_way == 2, "both to be under way")
            refused = await upload(ada, image)
            assert (refused.status, refused.code, refused.json["retryable"]) == (503, "overloaded", True)
            assert "Retry-After" in refused.headers
        finally:
            go.set()
    assert [task.result().status for task in sending] == [201, 201]


# pictures out


async def drawn(node: Served, name: str, image: str | None = None, product: str = "poster-a3") -> Browser:
    """A design with a rectangle, and perhaps a picture."""
    ada = await node.person("ada", Role.EDITOR)
    assert (await ada.post("/api/v1/designs", {"product": product, "id": name})).status == 201
    await edit(ada, name, "#ff0000", image)
    return ada


async def edit(browser: Browser, name: str, color: str, image: str | None = None) -> None:
    document: pycrdt.Doc[Any] = pycrdt.Doc()
    elements = document.get("el", type=pycrdt.Map)
    shape: dict[str, Any] = {"t": "shape", "p": ["front", "a0"], "xf": [10, 10, 100, 100, 0, 0, 0, 0], "fill": color}
    elements[f"shape{color[1:]}"] = pycrdt.Map(shape)
    if image is not None:
        register = {"a": image, "crop": [0, 0, 1, 1]}
        elements["picture"] = pycrdt.Map(
            {"t": "image", "p": ["front", "a1"], "xf": [150, 150, 60, 40, 0, 0, 0, 0], "img": register}
        )
    answer = await browser.ask(
        "POST",
        f"/api/v1/designs/{name}/update",
        data=document.get_update(),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
async def test_a_picture_shows_the_design_and_is_named_by_what_it_shows(node: Served, format: str) -> None:
    """Rule H12."""
    ada = await drawn(node, f"show-{format}")
    address = f"/api/v1/designs/show-{format}/render?width=297&format={format}"
    answer = await ada.get(address)
    assert (answer.status, answer.headers["Content-Type"]) == (200, f"image/{format}")
    image = Image.open(io.BytesIO(answer.body)).convert("RGB")
    assert image.size == (297, 420)
    red, green, blue = image.getpixel((60, 60))  # type: ignore[misc]
    assert red > 240
    assert max(green, blue) < 15
    tag = {"If-None-Match": answer.headers["ETag"]}
    unchanged = await ada.get(address, headers=tag)
    assert (unchanged.status, unchanged.body, unchanged.headers["ETag"]) == (304, b"", answer.headers["ETag"])
    await edit(ada, f"show-{format}", "#0000ff")
    changed = await ada.get(address, headers=tag)
    assert changed.status == 200
    assert changed.headers["ETag"] != answer.headers["ETag"]


async def test_equal_requests_at_one_moment_are_drawn_once(node: Served) -> None:
    """Rule H13: a hundred requests, one picture; the counter of pictures says so."""
    ada = await drawn(node, "many")
    assert (await ada.get("/api/v1/designs/many/scene?view=front")).status == 200
    before = pictures_made(node)
    (worker,) = node.parts.workers.pids  # type: ignore[attr-defined]
    os.kill(worker, signal.SIGSTOP)  # nothing is finished before everybody has asked
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ada.get("/api/v1/designs/many/render?width=301")) for _ in range(100)]
        try:
            await until(lambda: node.parts.renders.waiting == 100, "everybody to wait")
        finally:
            os.kill(worker, signal.SIGCONT)
    answers = [task.result() for task in asking]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert pictures_made(node) == before + 1
    assert (await ada.get("/api/v1/designs/many/render?width=301")).body == answers[0].body
    assert pictures_made(node) == before + 1


def pictures_made(node: Served) -> float:
    value = node.parts.metrics.registry.get_sample_value("luneo_renders_total")
    assert value is not None
    return value


async def test_different_pictures_at_once_are_bounded(node: Served) -> None:
    """Rule L5: over LUNEO_MAX_RENDERS the rest are refused as passing, and what is under way is finished."""
    ada = await drawn(node, "crowd")
    assert (await ada.get("/api/v1/designs/crowd/scene?view=front")).status == 200
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ada.get(f"/api/v1/designs/crowd/render?width={w}")) for w in range(900, 930)]
    statuses = [task.result().status for task in asking]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 4
    refused = next(task.result() for task in asking if task.result().status == 503)
    assert (refused.code, refused.json["retryable"]) == ("overloaded", True)


async def test_an_image_that_comes_after_the_design_changes_the_picture(node: Served) -> None:
    """Rule H12: what is not there yet is part of what is seen, so an old name never hides it."""
    data = picture(size=(61, 41))
    stored = (await upload(await node.person("eve", Role.OWNER, "other"), data)).json["sha256"]
    ada = await drawn(node, "late", stored)
    address = "/api/v1/designs/late/render?width=297"
    without = await ada.get(address)
    assert (await upload(ada, data)).json["sha256"] == stored
    with_it = await ada.get(address, headers={"If-None-Match": without.headers["ETag"]})
    assert with_it.status == 200
    assert with_it.body != without.body


async def test_a_picture_by_dpi_is_a_print_file_and_a_viewer_gets_previews_only(node: Served) -> None:
    """CONTRACT 3: export."""
    ada = await drawn(node, "print")
    viewer = await node.person("vic", Role.VIEWER, rooms=["print"])
    assert (await viewer.get("/api/v1/designs/print/render?width=200")).status == 200
    for query in ("dpi=20", "width=2049"):
        assert (await viewer.get(f"/api/v1/designs/print/render?{query}")).code in ("not_permitted", "limit_exceeded")
    by_dpi = Image.open(io.BytesIO((await ada.get("/api/v1/designs/print/render?dpi=20")).body))
    assert by_dpi.width == round(297 / 25.4 * 20)


WRONG = [
    ("format=svg", 406, "format_not_offered"),
    ("format=pdf", 406, "format_not_offered"),
    ("format=exe", 406, "format_not_offered"),
    ("width=0", 400, "invalid_request"),
    ("width=9000", 400, "invalid_request"),
    ("width=-5", 400, "invalid_request"),
    ("width=1e3", 400, "invalid_request"),
    ("width=٣٠٠", 400, "invalid_request"),
    ("dpi=5", 400, "invalid_request"),
    ("width=100&dpi=20", 400, "invalid_request"),
    ("part=whole", 400, "invalid_request"),
    ("position=1", 400, "invalid_request"),
    ("dpi=1200", 413, "limit_exceeded"),
    ("width=8000", 413, "limit_exceeded"),
    ("view=inside", 422, "unknown_view"),
]


@pytest.mark.parametrize(("query", "status", "code"), WRONG)
async def test_a_picture_that_is_not_offered_is_refused_by_name(
    node: Served, query: str, status: int, code: str
) -> None:
    """Rule H14."""
    ada = await node.person("ada", Role.EDITOR)
    await ada.post("/api/v1/designs", {"product": "poster-a3", "id": "wrong"})
    answer = await ada.get(f"/api/v1/designs/wrong/render?{query}")
    assert (answer.status, answer.code) == (status, code)
    if code == "format_not_offered":
        assert answer.json["offered"] == ["png", "jpeg", "webp"]


async def test_the_scene_is_served_as_the_bytes_that_its_name_is_the_hash_of(node: Served) -> None:
    """Rule H11, C10."""
    ada = await drawn(node, "scene", product="tshirt")
    answer = await ada.get("/api/v1/designs/scene/scene?view=front")
    digest = hashlib.sha256(answer.body).hexdigest()
    assert answer.headers["ETag"] == f'"{digest}"'
    unchanged = await ada.get("/api/v1/designs/scene/scene?view=front", headers={"If-None-Match": f'"{digest}"'})
    assert unchanged.status == 304
    whole = (await ada.get("/api/v1/designs/scene/scene")).json
    assert [view["view"] for view in whole["views"]] == list(PRODUCTS["tshirt"].views)
    assert (whole["position"], whole["views"][0]["hash"]) == (1, digest)
    assert whole["views"][0]["scene"] == answer.json
