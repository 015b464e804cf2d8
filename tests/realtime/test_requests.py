"""Plain requests over real sockets, on a whole node: one in open mode, one in closed mode."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pycrdt
import pytest
import pytest_asyncio

from realtime.auth import sign
from realtime.http.server import ROUTES
from realtime.settings import Settings
from rooms.permissions import Role
from tests.realtime.serving import SECRET, Answer, Browser, Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def open_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("open")) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def closed_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    studio = tmp_path_factory.mktemp("studio")
    for page in ("index", "design", "support", "dashboard", "enter"):
        (studio / f"{page}.html").write_text(f"<!doctype html><title>{page}</title>")
    (studio / "assets").mkdir()
    (studio / "assets" / "main-3f2a.js").write_text("export {};")
    (studio / "secret.txt").write_text("not for anybody")
    async with serving(
        tmp_path_factory.mktemp("closed"),
        LUNEO_SECRET=SECRET,
        LUNEO_STATIC_DIR=str(studio),
        LUNEO_MAX_UPDATE_BYTES="100000",
        LUNEO_MAX_JSON_BYTES="20000",
    ) as served:
        yield served


def edit(document: pycrdt.Doc[Any], text: str) -> bytes:
    before = document.get_state()
    document.get("el", type=pycrdt.Map)[text] = pycrdt.Map(
        {"t": "text", "p": ["front", "a0"], "txt": pycrdt.Text(text)}
    )
    return document.get_update(before)


async def new_design(browser: Browser, **body: Any) -> str:
    answer = await browser.post("/api/v1/designs", {"product": "tshirt", **body})
    assert answer.status == 201, answer.body
    return str(answer.json["id"])


# sessions


async def test_a_guest_keeps_name_colour_and_id_across_reloads(open_node: Served) -> None:
    """Rule A2."""
    browser, other = await open_node.browser(), await open_node.browser()
    first = await browser.get("/api/v1/session")
    assert first.json["mode"] == "open"
    assert (await browser.get("/api/v1/session")).json["user"] == first.json["user"]
    assert (await other.get("/api/v1/session")).json["user"]["id"] != first.json["user"]["id"]
    (cookie,) = first.cookies.values()
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    behind_tls = await (await open_node.browser()).get("/api/v1/session", headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in next(iter(behind_tls.cookies.values()))


async def test_a_page_makes_a_visitor_a_guest_before_its_socket_asks(open_node: Served) -> None:
    """Rule A2: else the first socket would be of somebody else than the page."""
    browser = await open_node.browser()
    answer = await browser.get("/design/anything")
    if answer.status == 503:  # no studio in this checkout
        assert answer.code == "studio_missing"
        assert "make build" in answer.json["detail"]
    else:
        assert answer.cookies
        assert not (await browser.get("/design/anything")).cookies


async def test_a_guest_may_look_as_somebody_else_and_stays_who_they_are(open_node: Served) -> None:
    """CONTRACT 2."""
    browser = await open_node.browser()
    before = (await browser.get("/api/v1/session")).json["user"]
    for role in Role:
        after = (await browser.post("/api/v1/session", {"role": role.value})).json
        assert (after["role"], after["user"]["id"]) == (role.value, before["id"])
        assert (await browser.get("/api/v1/session")).json["role"] == role.value
    assert (await browser.post("/api/v1/session", {"name": "Ada"})).json["user"]["name"] == "Ada"
    wrongs: list[Any] = [{"role": "root"}, {"role": 7}, {"name": "a\nb"}, {"name": "x" * 81}, {"rolle": "viewer"}, []]
    for wrong in wrongs:
        assert (await browser.post("/api/v1/session", wrong)).status == 400


async def test_a_viewer_by_choice_may_not_edit_until_they_choose_again(open_node: Served) -> None:
    browser = await open_node.browser()
    design = await new_design(browser)
    await browser.post("/api/v1/session", {"role": "viewer"})
    refused = await browser.ask("PATCH", f"/api/v1/designs/{design}", json={"title": "x"})
    assert (refused.status, refused.code) == (403, "not_permitted")
    await browser.post("/api/v1/session", {"role": "owner"})
    assert (await browser.ask("PATCH", f"/api/v1/designs/{design}", json={"title": "x"})).status == 200


async def test_a_token_becomes_a_session_and_the_session_ends(closed_node: Served) -> None:
    """Rule A3, CONTRACT 2: /enter."""
    browser = await closed_node.browser()
    assert (await browser.get("/api/v1/session")).code == "not_authenticated"
    answer = await browser.post("/api/v1/session", {"token": closed_node.token("ada", Role.EDITOR, seconds=120)})
    assert (answer.status, answer.json["mode"], answer.json["user"]["id"]) == (200, "closed", "ada")
    (cookie,) = answer.cookies.values()
    assert {"HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    assert 100 < int(re.search(r"Max-Age=(\d+)", cookie)[1]) <= 120  # type: ignore[index]
    assert (await browser.get("/api/v1/session")).json["user"]["id"] == "ada"
    gone = await browser.ask("DELETE", "/api/v1/session")
    assert gone.status == 204
    assert (await browser.get("/api/v1/session")).status == 401


async def test_a_session_is_refused_when_its_token_does_not_hold_or_does_not_fit_a_cookie(closed_node: Served) -> None:
    browser = await closed_node.browser()
    bad = await browser.post("/api/v1/session", {"token": "nonsense"})
    assert (bad.status, bad.code) == (401, "not_authenticated")
    assert bad.headers["WWW-Authenticate"].startswith("Bearer")
    old = sign(_claims(exp=time.time() - 5), SECRET)
    assert (await browser.post("/api/v1/session", {"token": old})).code == "token_expired"
    assert (await browser.post("/api/v1/session", {})).code == "not_authenticated"
    long = sign(_claims(rooms=["x" * 120] * 30), SECRET)
    assert (await browser.post("/api/v1/session", {"token": long})).code == "token_too_long"
    assert not (await browser.get("/enter")).cookies


def _claims(**more: Any) -> dict[str, Any]:
    return {
        "sub": "ada",
        "brand": "acme",
        "role": "editor",
        "iss": "luneo",
        "aud": "luneo-live",
        "exp": time.time() + 60,
        **more,
    }


async def test_no_token_reaches_the_log(closed_node: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Rule A9, RULINGS 22."""
    caplog.set_level(logging.DEBUG)
    token = closed_node.token()
    browser = await closed_node.browser()
    await browser.post("/api/v1/session", {"token": token})
    await browser.get(f"/api/v1/designs?token={token}")
    await browser.get(f"/api/v1/designs?token={token}", headers={"Authorization": f"Bearer {token}x"})
    await browser.get(f"/yjs/spring?token={token}")
    assert "request answered" in caplog.text
    assert token[:20] not in "\n".join(str(vars(record)) for record in caplog.records)


# designs


async def test_a_design_from_its_making_to_its_end(closed_node: Served) -> None:
    """Rules H1 to H4, D1."""
    ada = await closed_node.person("ada", Role.OWNER)
    made = await ada.post("/api/v1/designs", {"title": "  Spring ", "product": "mug", "id": "spring-1"})
    assert (made.status, made.headers["Location"]) == (201, "/api/v1/designs/spring-1")
    body = made.json
    assert (body["id"], body["title"], body["product"]) == ("spring-1", "Spring", "mug")
    assert body["owner"] == {"id": "ada", "name": "Ada"}
    assert body["role"] == "owner"
    assert (await ada.get("/api/v1/designs/spring-1")).json == body
    renamed = await ada.ask("PATCH", "/api/v1/designs/spring-1", json={"title": "Summer"})
    assert renamed.json["title"] == "Summer"
    assert (await ada.get("/api/v1/designs")).json["items"][0]["id"] == "spring-1"
    assert (await ada.get("/api/v1/designs/spring-1/members")).json["items"][0]["name"] == "Ada"
    assert (await ada.ask("DELETE", "/api/v1/designs/spring-1")).status == 204
    for method in ("GET", "DELETE"):
        assert (await ada.ask(method, "/api/v1/designs/spring-1")).code == "not_found"
    assert "spring-1" not in (await ada.get("/api/v1/designs")).body.decode()
    again = await ada.post("/api/v1/designs", {"product": "mug", "id": "spring-1"})
    assert (again.status, again.code) == (409, "design_exists")


WRONG_DESIGNS: list[tuple[Any, int, str]] = [
    ({"title": "x"}, 422, "unknown_product"),
    ({"product": "spaceship"}, 422, "unknown_product"),
    ({"product": ["mug"]}, 422, "unknown_product"),
    ({"product": "mug", "id": "a/b"}, 400, "invalid_request"),
    ({"product": "mug", "id": "a\n"}, 400, "invalid_request"),
    ({"product": "mug", "id": ""}, 400, "invalid_request"),
    ({"product": "mug", "id": "x" * 65}, 400, "invalid_request"),
    ({"product": "mug", "id": 7}, 400, "invalid_request"),
    ({"product": "mug", "title": "x" * 201}, 400, "invalid_request"),
    ({"product": "mug", "title": "a\u0000b"}, 400, "invalid_request"),
    ({"product": "mug", "title": {}}, 400, "invalid_request"),
    ({"product": "mug", "titel": "x"}, 400, "invalid_request"),
    ({"product": "mug", "template": "t"}, 400, "invalid_request"),
    ([], 400, "invalid_json"),
    ("mug", 400, "invalid_json"),
]


@pytest.mark.parametrize(("body", "status", "code"), WRONG_DESIGNS)
async def test_a_design_that_cannot_be_made_is_refused_with_a_reason(
    closed_node: Served, body: Any, status: int, code: str
) -> None:
    """Rule H1."""
    answer = await (await closed_node.person()).post("/api/v1/designs", body)
    assert (answer.status, answer.code) == (status, code)


async def test_bodies_that_are_no_json_too_long_or_compressed_are_refused(closed_node: Served) -> None:
    """Rule L2: each refusal names its limit."""
    ada = await closed_node.person()
    send = {"data": b"{", "headers": {"Content-Type": "application/json"}}
    assert (await ada.ask("POST", "/api/v1/designs", **send)).code == "invalid_json"
    assert (await ada.ask("POST", "/api/v1/designs", data=b"{}")).code == "unsupported_media_type"
    long = await ada.post("/api/v1/designs", {"product": "mug", "title": "x" * 30000})
    assert (long.status, long.code, long.json["limit"]) == (413, "limit_exceeded", "LUNEO_MAX_JSON_BYTES")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    chunked = await ada.ask("POST", "/api/v1/designs", data=endless(), headers={"Content-Type": "application/json"})
    assert chunked.json["limit"] == "LUNEO_MAX_JSON_BYTES"
    packed = await ada.ask(
        "POST", "/api/v1/designs", data=b"x", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
    )
    assert packed.code == "unsupported_media_type"


async def test_a_list_is_read_page_by_page_and_each_design_comes_once(closed_node: Served) -> None:
    """Rule H3."""
    mona = await closed_node.person("mona", Role.EDITOR)
    made = [await new_design(mona) for _ in range(7)]
    seen: list[str] = []
    address = "/api/v1/designs?limit=3"
    while True:
        page = (await mona.get(address)).json
        seen += [row["id"] for row in page["items"]]
        if page["next"] is None:
            break
        address = f"/api/v1/designs?limit=3&cursor={page['next']}"
    assert seen == list(reversed(made))
    assert (await mona.get("/api/v1/designs?cursor=nonsense")).code == "invalid_cursor"
    for limit in ("0", "201", "x", "-1", "1.5"):
        assert (await mona.get(f"/api/v1/designs?limit={limit}")).code == "invalid_request"


async def test_a_token_with_rooms_sees_these_designs_and_no_others(closed_node: Served) -> None:
    """Rule A12: the token itself is the grant, at its role; and it lists what it grants, over several pages."""
    owner = await closed_node.person("otto", Role.ADMIN, "globs")
    for number in range(6):
        await new_design(owner, id=f"spring-{number}")
        await new_design(owner, id=f"autumn-{number}")
    visitor = await closed_node.person("vera", Role.VIEWER, "globs", rooms=["spring-[0-3]", "autumn-5"])
    found: list[str] = []
    address = "/api/v1/designs?limit=2"
    while True:
        page = (await visitor.get(address)).json
        found += [row["id"] for row in page["items"]]
        if page["next"] is None:
            break
        address = f"/api/v1/designs?limit=2&cursor={page['next']}"
    assert sorted(found) == ["autumn-5", "spring-0", "spring-1", "spring-2", "spring-3"]
    assert (await visitor.get("/api/v1/designs/spring-1")).json["role"] == "viewer"
    assert (await visitor.get("/api/v1/designs/spring-4")).code == "not_a_member"
    assert (await visitor.get("/api/v1/designs/spring-9")).code == "not_found"
    maker = await closed_node.person("max", Role.EDITOR, "globs", rooms=["mine-*"])
    assert (await maker.post("/api/v1/designs", {"product": "mug", "id": "yours-1"})).code == "not_permitted"
    assert (await maker.post("/api/v1/designs", {"product": "mug", "id": "mine-1"})).status == 201


ALL_OF_A_DESIGN = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("GET", "/members"),
    ("GET", "/scene"),
    ("GET", "/scene?view=front"),
    ("GET", "/update"),
    ("POST", "/update"),
    ("GET", "/render"),
]


@pytest.mark.parametrize(("method", "path"), ALL_OF_A_DESIGN)
@pytest.mark.parametrize("role", list(Role))
async def test_another_brands_design_answers_exactly_like_none(
    closed_node: Served, method: str, path: str, role: Role
) -> None:
    """Rule A10: byte for byte, for every role, admins and tokens that name every room included."""
    ada = await closed_node.person("ada", Role.OWNER, "acme")
    taken = await ada.post("/api/v1/designs", {"product": "mug", "id": "wall"})
    assert taken.status in (201, 409)
    for rooms in ((), ("*",)):
        stranger = await closed_node.person("ada", role, "globex", **({"rooms": rooms} if rooms else {}))
        body: dict[str, Any] = {}
        if method == "PATCH":
            body = {"json": {"title": "mine"}}
        elif method == "POST":
            body = {"data": b"\x00\x00", "headers": {"Content-Type": "application/octet-stream"}}
        there = await stranger.ask(method, f"/api/v1/designs/wall{path}", **body)
        nowhere = await stranger.ask(method, f"/api/v1/designs/absent{path}", **body)
        assert (there.status, there.code) == (404, "not_found")
        assert (there.status, there.body) == (nowhere.status, nowhere.body)
        drop = {"Date"}
        assert {k: v for k, v in there.headers.items() if k not in drop} == {
            k: v for k, v in nowhere.headers.items() if k not in drop
        }
    assert (await ada.get("/api/v1/designs/wall")).json["title"] == "Untitled design"


# documents


async def test_edits_by_request_are_durable_and_come_back_whole_or_by_state_vector(closed_node: Served) -> None:
    """Rules H5, H6."""
    ada = await closed_node.person("ada")
    design = await new_design(ada)
    mine: pycrdt.Doc[Any] = pycrdt.Doc()
    for number in range(3):
        answer = await post_update(ada, design, edit(mine, f"t{number}"))
        assert answer.json == {"position": number + 1}
    got = await ada.get(f"/api/v1/designs/{design}/update")
    assert (got.headers["Content-Type"], got.headers["Luneo-Position"]) == ("application/octet-stream", "3")
    theirs: pycrdt.Doc[Any] = pycrdt.Doc()
    theirs.apply_update(got.body)
    assert theirs.get_state() == mine.get_state()
    vector = base64.urlsafe_b64encode(mine.get_state()).rstrip(b"=").decode()
    assert (await post_update(ada, design, edit(mine, "more"))).status == 200
    lacking = await ada.get(f"/api/v1/designs/{design}/update?sv={vector}")
    assert len(lacking.body) < len(got.body)
    theirs.apply_update(lacking.body)
    assert theirs.get_state() == mine.get_state()


async def post_update(browser: Browser, design: str, update: bytes) -> Answer:
    return await browser.ask(
        "POST",
        f"/api/v1/designs/{design}/update",
        data=update,
        headers={"Content-Type": "application/octet-stream"},
    )


async def test_updates_that_are_none_are_refused_and_change_nothing(closed_node: Served) -> None:
    ada = await closed_node.person("ada")
    design = await new_design(ada)
    for garbage in (b"", b"\xff" * 40, b"\x01", b"\x01\xff\xff\xff\xff\x0f"):
        answer = await post_update(ada, design, garbage)
        assert answer.status == 422, answer.body
        assert not answer.json["retryable"]
    over = await post_update(ada, design, b"\x00" * 100_001)
    assert (over.status, over.json["limit"]) == (413, "LUNEO_MAX_UPDATE_BYTES")
    wrong_type = await ada.ask("POST", f"/api/v1/designs/{design}/update", data=b"\x00\x00")
    assert wrong_type.status in (200, 415)  # aiohttp's client says octet-stream by itself
    for vector in ("!!", "%ff", "a" * 7000):
        answer = await ada.get(f"/api/v1/designs/{design}/update?sv={vector}")
        assert answer.status in (400, 422), answer.body
    assert (await ada.get(f"/api/v1/designs/{design}/update")).headers["Luneo-Position"] == "0"


async def test_nothing_new_is_taken_from_a_viewer_too_and_something_new_is_not(closed_node: Served) -> None:
    """Rule D5."""
    ada = await closed_node.person("ada", Role.EDITOR, "acme")
    design = await new_design(ada)
    mine: pycrdt.Doc[Any] = pycrdt.Doc()
    update = edit(mine, "one")
    assert (await post_update(ada, design, update)).status == 200
    viewer = await closed_node.person("vic", Role.VIEWER, rooms=[design])
    assert (await post_update(viewer, design, update)).json == {"position": 1}
    refused = await post_update(viewer, design, edit(mine, "two"))
    assert (refused.status, refused.code) == (403, "not_permitted")


async def test_in_open_mode_an_edit_makes_the_design_it_names_and_a_look_does_not(open_node: Served) -> None:
    """CONTRACT 5."""
    guest = await open_node.browser()
    assert (await guest.get("/api/v1/designs/fresh")).code == "not_found"
    assert (await post_update(guest, "fresh", edit(pycrdt.Doc(), "one"))).json == {"position": 1}
    made = (await guest.get("/api/v1/designs/fresh")).json
    me = (await guest.get("/api/v1/session")).json["user"]
    assert (made["product"], made["owner"]["id"]) == ("tshirt", me["id"])
    other = await open_node.browser()
    assert (await post_update(other, "fresh", b"\x00\x00")).status == 200
    assert len((await guest.get("/api/v1/designs/fresh/members")).json["items"]) == 2
    assert (await guest.ask("DELETE", "/api/v1/designs/fresh")).status == 204
    assert (await post_update(guest, "fresh", edit(pycrdt.Doc(), "two"))).code == "not_found"


async def test_the_list_says_what_was_edited_last(closed_node: Served) -> None:
    ada = await closed_node.person("nora")
    first, second = await new_design(ada), await new_design(ada)
    assert [row["id"] for row in (await ada.get("/api/v1/designs")).json["items"]] == [second, first]
    await post_update(ada, first, edit(pycrdt.Doc(), "x"))
    async with asyncio.timeout(10):
        while [row["id"] for row in (await ada.get("/api/v1/designs")).json["items"]] != [first, second]:
            await asyncio.sleep(0.05)


# who sees what at all


async def test_everything_but_pages_and_health_needs_somebody(closed_node: Served) -> None:
    """Every route of the table: a route added without a thought of this fails here."""
    nobody = await closed_node.browser()
    for route in ROUTES:
        path = (
            route.path.replace("{id}", "x")
            .replace("{sha256}", "0" * 64)
            .replace("{path:.+}", "x")
            .replace("{file}", "x")
        )
        if path == "/metrics":
            continue  # for this machine, as the test of metrics says
        answer = await nobody.ask(route.method, path, **({"json": {}} if route.method in ("POST", "PATCH") else {}))
        if route.is_public:
            assert answer.status != 401 or path == "/api/v1/session", path
        else:
            assert (answer.status, answer.code) == (401, "not_authenticated"), path


async def test_health_readiness_and_metrics(closed_node: Served) -> None:
    """CONTRACT 4, RULINGS 42."""
    nobody = await closed_node.browser()
    assert (await nobody.get("/healthz", headers={"Host": "balancer"})).status == 200
    ready = await nobody.get("/readyz", headers={"Host": "balancer"})
    assert (ready.status, ready.json["status"]) == (200, "ready")
    closed_node.parts.draining = True
    try:
        draining = await nobody.get("/readyz")
        assert (draining.status, draining.json["checks"]["not_draining"]) == (503, False)
        assert (await nobody.get("/healthz")).status == 200
        socket = await nobody.get("/yjs/x", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        assert (socket.status, socket.code, socket.json["retryable"]) == (503, "draining", True)
    finally:
        closed_node.parts.draining = False
    local = await nobody.get("/metrics")
    assert local.status == 200
    assert b'luneo_http_requests_total{method="GET",route="/readyz",status="200"}' in local.body
    for header in ({"X-Forwarded-For": "203.0.113.9"}, {"Host": "live.example"}, {"Via": "1.1 proxy"}):
        assert (await nobody.get("/metrics", headers=header)).status == 401
        editor = await closed_node.person("ada", Role.EDITOR)
        assert (await editor.get("/metrics", headers=header)).code == "not_permitted"
        admin = await closed_node.person("root", Role.ADMIN)
        assert (await admin.get("/metrics", headers=header)).status == 200


async def test_a_proxied_metrics_page_of_an_open_node_is_nobodys(open_node: Served) -> None:
    """In open mode everybody is an admin, so the role does not help."""
    guest = await open_node.browser()
    assert (await guest.get("/metrics")).status == 200
    assert (await guest.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})).status == 401


# pages and files


PAGES = {"/": "index", "/design/x": "design", "/support": "support", "/dashboard": "dashboard", "/enter": "enter"}


@pytest.mark.parametrize(("path", "name"), PAGES.items())
async def test_pages_have_one_policy_and_run_no_inline_script(closed_node: Served, path: str, name: str) -> None:
    """Rule A8, RULINGS 23."""
    answer = await (await closed_node.browser()).get(path)
    assert (answer.status, answer.body) == (200, f"<!doctype html><title>{name}</title>".encode())
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self' 'wasm-unsafe-eval'" in policy
    assert "unsafe-inline" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "aiohttp" not in answer.headers["Server"]


async def test_built_files_are_kept_for_ever_and_nothing_else_is_served(closed_node: Served) -> None:
    """Rule H8."""
    nobody = await closed_node.browser()
    script = await nobody.get("/assets/main-3f2a.js")
    assert script.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert script.headers["Content-Type"].startswith("text/javascript")
    for path in (
        "/assets/absent.js",
        "/assets/../secret.txt",
        "/assets/%2e%2e/secret.txt",
        "/assets/..%2fsecret.txt",
        "/assets/.hidden",
        "/assets//etc/passwd",
        "/secret.txt",
        "/design/a.b",
        "/design/a/b",
        "/fonts/../fonts.json",
        "/fonts/absent.ttf",
    ):
        assert (await nobody.get(path)).code == "not_found", path
    assert (await nobody.get("/favicon.ico")).headers["Content-Type"] == "image/svg+xml"
    assert (await nobody.ask("POST", "/dashboard")).code == "method_not_allowed"
    assert (await nobody.ask("HEAD", "/")).status == 200


async def test_a_studio_that_was_never_built_says_what_to_run(tmp_path: Path) -> None:
    async with serving(tmp_path, LUNEO_STATIC_DIR=str(tmp_path / "nothing")) as served:
        answer = await (await served.browser()).get("/")
        assert (answer.status, answer.code) == (503, "studio_missing")
        assert "make build" in answer.json["detail"]


async def test_products_and_fonts_are_listed_and_fonts_served_under_what_they_are(closed_node: Served) -> None:
    ada = await closed_node.person()
    products = (await ada.get("/api/v1/products")).json["items"]
    assert {"tshirt", "mug", "poster-a3"} <= {product["id"] for product in products}
    fonts = (await ada.get("/api/v1/fonts")).json["items"]
    nobody = await closed_node.browser()
    font = await nobody.get(fonts[0]["path"])
    assert (font.status, font.headers["Content-Type"], len(font.body)) == (200, "font/ttf", fonts[0]["bytes"])
    assert "immutable" in font.headers["Cache-Control"]


# the description


async def test_the_description_has_every_route_and_every_reference_in_it_leads_somewhere(closed_node: Served) -> None:
    """Rule H9."""
    nobody = await closed_node.browser()
    described = (await nobody.get("/api/v1/openapi.json")).json
    assert described["openapi"].startswith("3.1")
    for route in ROUTES:
        if route.path.startswith("/api/"):
            assert route.method.lower() in described["paths"][route.path], route.path
            assert route.summary
    identifiers = [op["operationId"] for path in described["paths"].values() for op in path.values()]
    assert len(identifiers) == len(set(identifiers))
    for reference in re.findall(r'"\$ref":\s*"#/([^"]+)"', json.dumps(described)):
        here: Any = described
        for step in reference.split("/"):
            here = here[step]
    page = (await nobody.get("/api/docs")).body.decode()
    assert "<script" not in page
    assert "style=" not in page
    assert (await nobody.get("/api/docs.css")).headers["Content-Type"].startswith("text/css")


# failures


async def test_the_unexpected_is_a_reference_outside_and_a_traceback_inside(
    closed_node: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule H10: no part of the failure goes out."""

    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("the password is swordfish")

    ada = await closed_node.person()
    with monkeypatch.context() as broken:
        broken.setattr(type(closed_node.parts.access), "list", fails)
        answer = await ada.get("/api/v1/designs")
    assert (answer.status, answer.code) == (500, "internal")
    assert "swordfish" not in answer.body.decode()
    (record,) = [record for record in caplog.records if record.getMessage() == "unexpected failure"]
    assert vars(record)["reference"] == answer.json["reference"]
    assert record.exc_info


async def test_a_first_request_that_never_ends_is_cut(tmp_path: Path) -> None:
    """Rule L4: bytes without a request do not hold a connection."""
    async with serving(tmp_path, LUNEO_UNAUTHENTICATED_SECONDS="0.3") as served:
        port = int(served.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_a_first_request_without_an_end_is_cut(tmp_path: Path) -> None:
    """Rule L4: many small header lines, each within its own bound; and one that is whole is answered."""
    async with serving(tmp_path, LUNEO_UNAUTHENTICATED_BYTES="4096", LUNEO_UNAUTHENTICATED_SECONDS="60") as served:
        port = int(served.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        for _ in range(10):  # fewer lines, and shorter ones, than aiohttp refuses by itself
            writer.write(b"X-More: " + b"x" * 500 + b"\r\n")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        guest = await served.browser()
        big = await guest.post("/api/v1/designs", {"product": "mug", "title": "x" * 20_000})
        assert big.code == "invalid_request"
        assert (await guest.get("/readyz")).status == 200


async def test_a_body_that_stops_arriving_is_given_up(tmp_path: Path) -> None:
    """Rule L2."""
    async with serving(tmp_path, LUNEO_REQUEST_SECONDS="0.3") as served:
        guest = await served.browser()

        async def stalls() -> AsyncIterator[bytes]:
            yield b'{"product":'
            await asyncio.sleep(30)

        answer = await guest.ask("POST", "/api/v1/designs", data=stalls(), headers={"Content-Type": "application/json"})
        assert (answer.status, answer.code) == (408, "upload_too_slow")


async def test_an_open_node_knows_the_guest_of_an_earlier_one_with_its_database(tmp_path: Path) -> None:
    """Rule A2: the cookie's key lives in the database."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with serving(tmp_path) as one:
            me = (await Browser(one.url, session).get("/api/v1/session")).json["user"]
        async with serving(tmp_path) as two:
            assert (await Browser(two.url, session).get("/api/v1/session")).json["user"] == me
            assert isinstance(two.settings, Settings)
