"""Host, Origin and connections: what a browser on this machine can be made to do by a page of somebody else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.test_utils import make_mocked_request

from realtime.security import AddressLimit, Security, TooManyConnections
from realtime.settings import Settings
from tests.harness.processes import eventually
from tests.realtime.serving import SECRET, Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTED = "https://live.example,http://shop.example:8080"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def open_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("open")) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def closed_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("closed"), LUNEO_SECRET=SECRET) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def listed_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("listed"), LUNEO_SECRET=SECRET, LUNEO_ORIGINS=LISTED) as served:
        yield served


HOSTS = {
    # Host: open, closed, closed with LUNEO_ORIGINS
    "127.0.0.1": (True, True, True),
    "127.0.0.1:8080": (True, True, True),
    "127.8.8.8": (True, True, True),
    "localhost:1": (True, True, True),
    "app.localhost": (True, True, True),
    "[::1]:8080": (True, True, True),
    "LOCALHOST": (True, True, True),
    "live.example": (False, True, True),
    "live.example:443": (False, True, True),
    "LIVE.example": (False, True, True),
    "live.example:8443": (False, True, False),
    "shop.example:8080": (False, True, True),
    "shop.example": (False, True, True),
    "evil.example": (False, True, False),
    "live.example.evil.example": (False, True, False),
    "127.0.0.1.evil.example": (False, True, False),
    "localhost.evil.example": (False, True, False),
    "evil.example@127.0.0.1": (False, False, False),
    "127.0.0.1:x": (False, False, False),
    "127.0.0.1, evil.example": (False, False, False),
    "[::1": (False, False, False),
    "": (False, False, False),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("which", [0, 1, 2], ids=["open", "closed", "listed"])
async def test_only_our_own_names_are_answered(
    open_node: Served, closed_node: Served, listed_node: Served, host: str, which: int
) -> None:
    """Rule A6, RULINGS 42: a page that rebinds its name to this machine's address gets 421."""
    node = (open_node, closed_node, listed_node)[which]
    nobody = await node.browser()
    answer = await nobody.get("/api/v1/openapi.json", headers={"Host": host})
    if HOSTS[host][which]:
        assert answer.status == 200
    else:
        assert (answer.status, answer.code) == (421, "foreign_host")
    assert (await nobody.get("/healthz", headers={"Host": host})).status == 200


ORIGINS = {
    # Origin, Host: open, closed, closed with LUNEO_ORIGINS
    (None, "127.0.0.1:8080"): (True, True, True),
    ("http://127.0.0.1:8080", "127.0.0.1:8080"): (True, True, True),
    ("http://localhost:8080", "localhost:8080"): (True, True, True),
    ("http://[::1]:8080", "[::1]:8080"): (True, True, True),
    ("http://localhost:8080", "127.0.0.1:8080"): (False, False, False),
    ("http://127.0.0.1:3000", "127.0.0.1:8080"): (False, False, False),
    ("https://127.0.0.1", "127.0.0.1:8080"): (False, False, False),
    ("http://evil.example", "127.0.0.1:8080"): (False, False, False),
    ("null", "127.0.0.1:8080"): (False, False, False),
    ("", "127.0.0.1:8080"): (False, False, False),
    ("file://", "127.0.0.1:8080"): (False, False, False),
    ("http://127.0.0.1:8080.evil.example", "127.0.0.1:8080"): (False, False, False),
    ("http://127.0.0.1:8080@evil.example", "127.0.0.1:8080"): (False, False, False),
    ("https://live.example", "127.0.0.1:8080"): (False, False, True),
    ("https://live.example", "live.example"): (None, True, True),
    ("https://live.example:443", "live.example"): (None, True, True),
    ("http://live.example", "live.example"): (None, True, False),
    ("http://live.example", "live.example:443"): (None, False, False),
    ("http://shop.example:8080", "live.example"): (None, False, True),
    ("https://evil.example", "live.example"): (None, False, False),
    ("https://sub.live.example", "live.example"): (None, False, False),
}


@pytest.mark.parametrize(("origin", "host"), ORIGINS)
@pytest.mark.parametrize("which", [0, 1, 2], ids=["open", "closed", "listed"])
async def test_foreign_pages_neither_write_by_cookie_nor_open_sockets(
    open_node: Served, closed_node: Served, listed_node: Served, origin: str | None, host: str, which: int
) -> None:
    """Rule A7, RULINGS 21 and 42: loopback is not a wall."""
    expected = ORIGINS[origin, host][which]
    if expected is None:
        return  # the Host is refused before, as the test above shows
    node = (open_node, closed_node, listed_node)[which]
    headers = {"Host": host, **({} if origin is None else {"Origin": origin})}
    nobody = await node.browser()
    write = await nobody.ask("DELETE", "/api/v1/session", headers=headers)
    socket = await nobody.get("/socket.io/?EIO=4&transport=websocket", headers=headers)
    raw = await nobody.get("/yjs/spring", headers={**headers, "Connection": "Upgrade", "Upgrade": "websocket"})
    if expected:
        assert write.status == 204
        assert b"foreign_origin" not in socket.body + raw.body
    else:
        for answer in (write, socket, raw):
            assert (answer.status, answer.code) == (403, "foreign_origin")


async def test_a_token_in_the_header_needs_no_origin_and_a_cross_site_write_without_one_is_refused(
    closed_node: Served,
) -> None:
    """Rule A7: a foreign page cannot set Authorization; and what fetch metadata says is believed."""
    ada = await closed_node.person("ada")
    body = {"product": "mug"}
    assert (await ada.post("/api/v1/designs", body, headers={"Origin": "https://evil.example"})).status == 201
    nobody = await closed_node.browser()
    for site in ("cross-site", "same-site"):
        answer = await nobody.ask("DELETE", "/api/v1/session", headers={"Sec-Fetch-Site": site})
        assert answer.code == "foreign_origin"
    for site in ("same-origin", "none"):
        assert (await nobody.ask("DELETE", "/api/v1/session", headers={"Sec-Fetch-Site": site})).status == 204


async def test_nobody_is_told_that_foreign_pages_may_ask(closed_node: Served) -> None:
    nobody = await closed_node.browser()
    ask = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await nobody.ask("OPTIONS", "/api/v1/designs", headers=ask)
    assert answer.status == 405
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


async def test_a_real_handshake_of_a_foreign_page_opens_nothing(open_node: Served) -> None:
    async with aiohttp.ClientSession() as session:
        address = open_node.url + "/socket.io/?EIO=4&transport=websocket"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(address, headers={"Origin": "http://evil.example"})
        assert refused.value.status == 403
        async with session.ws_connect(address, headers={"Origin": open_node.url}) as socket:
            assert str((await socket.receive(timeout=5)).data).startswith("0{")


async def test_an_address_has_its_connections_and_no_more(tmp_path: Path) -> None:
    """Rule L3: over the bound of the node, the next one is refused, retryable; and one that ends makes room."""
    async with serving(tmp_path, LUNEO_MAX_CONNECTIONS="2") as node, aiohttp.ClientSession() as session:
        address = node.url + "/socket.io/?EIO=4&transport=websocket"
        first = await session.ws_connect(address)
        second = await session.ws_connect(address)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(address)
        assert refused.value.status == 429
        await first.close()

        async def another() -> aiohttp.ClientWebSocketResponse | None:
            with contextlib.suppress(aiohttp.WSServerHandshakeError):
                return await session.ws_connect(address)
            return None

        third = await eventually(another, "a place for one more")
        assert third is not None
        await second.close()
        await third.close()


async def test_addresses_are_counted_apart_and_loopback_for_the_node_only() -> None:
    """Rule L3."""
    limit = AddressLimit(per_address=2, total=5)
    with ExitStack() as held:
        for address in ("203.0.113.1", "203.0.113.1", "203.0.113.2", "127.0.0.1"):
            held.callback(limit.hold(address))
        with pytest.raises(TooManyConnections, match="PER_ADDRESS"):
            limit.hold("203.0.113.1")
        held.callback(limit.hold("127.0.0.1"))
        with pytest.raises(TooManyConnections, match="LUNEO_MAX_CONNECTIONS"):
            limit.hold("203.0.113.3")
        assert limit.connections == 5
    assert limit.connections == 0
    unlimited = AddressLimit(0, 0)
    with ExitStack() as free:
        for _ in range(500):
            free.callback(unlimited.hold("203.0.113.1"))


PROXIED = [
    # LUNEO_PROXIES, connection, X-Forwarded-For, whose address it is
    ("", "203.0.113.5", "198.51.100.1", "203.0.113.5"),
    ("10.0.0.0/8", "203.0.113.5", "198.51.100.1", "203.0.113.5"),
    ("10.0.0.0/8", "10.1.1.1", "198.51.100.1", "198.51.100.1"),
    ("10.0.0.0/8", "10.1.1.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),
    ("10.0.0.0/8", "10.1.1.1", "198.51.100.1, 10.2.2.2", "198.51.100.1"),
    ("10.0.0.0/8", "10.1.1.1", "nonsense", "10.1.1.1"),
    ("10.0.0.0/8", "10.1.1.1", None, "10.1.1.1"),
]


@pytest.mark.parametrize(("proxies", "connection", "forwarded", "expected"), PROXIED)
async def test_a_forwarded_address_is_believed_from_trusted_proxies_only(
    proxies: str, connection: str, forwarded: str | None, expected: str
) -> None:
    """Rule L3: else anybody could fill another's connections, or have endless ones."""
    security = Security(Settings.read({"LUNEO_PROXIES": proxies}))
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = make_mocked_request("GET", "/", headers=headers).clone(remote=connection)
    assert security.peer_address(request) == expected
