"""A whole node within the test: every part real, on a free port, with the settings the test gives."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from realtime.app import bind, listening, open_parts
from realtime.auth import make_token
from realtime.http.parts import Parts
from realtime.settings import Settings
from rooms.permissions import Role

SECRET = "a secret of at least thirty-two bytes"


@dataclass(frozen=True)
class Answer:
    """An answer, read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    cookies: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem, whose other parts are checked on the way."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self.body
        problem = self.json
        assert problem["status"] == self.status
        assert problem["detail"].endswith(".")
        assert problem["type"] == f"urn:luneo:problem:{problem['code']}"
        return str(problem["code"])


class Browser:
    """A client with cookies of its own, and perhaps a token."""

    def __init__(self, url: str, session: aiohttp.ClientSession, token: str | None = None) -> None:
        self.url = url
        self.session = session
        self.token = token

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        async with self.session.request(
            method, self.url + path, headers=headers, allow_redirects=False, **options
        ) as response:
            body = await response.read()
            cookies = {name: morsel.OutputString() for name, morsel in response.cookies.items()}
            return Answer(response.status, response.headers, body, cookies)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.ask("POST", path, json=json, **options)


class Served:
    """One node and those who come to it."""

    def __init__(self, settings: Settings, parts: Parts, url: str, stack: contextlib.AsyncExitStack) -> None:
        self.settings = settings
        self.parts = parts
        self.url = url
        self._stack = stack

    async def browser(self, token: str | None = None) -> Browser:
        """Somebody new."""
        jar = aiohttp.CookieJar(unsafe=True)  # unsafe: cookies of an IP address are kept
        session = await self._stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))
        return Browser(self.url, session, token)

    def token(self, user: str = "ada", role: Role = Role.EDITOR, brand: str = "acme", **more: Any) -> str:
        return make_token(self.settings, user=user, name=user.title(), brand=brand, role=role, **more)

    async def person(self, user: str = "ada", role: Role = Role.EDITOR, brand: str = "acme", **more: Any) -> Browser:
        """Somebody with a token."""
        return await self.browser(self.token(user, role, brand, **more))


@contextlib.asynccontextmanager
async def serving(directory: Path, **environ: str) -> AsyncIterator[Served]:
    """Run a node while the block runs."""
    settings = Settings.read({"LUNEO_DATA_DIR": str(directory), "PORT": "0", "LUNEO_WORKERS": "1", **environ})
    async with contextlib.AsyncExitStack() as stack:
        parts, sockets = await stack.enter_async_context(open_parts(settings))
        bound = stack.enter_context(bind(settings.host, settings.port))
        await stack.enter_async_context(listening(settings, parts, sockets, bound))
        clients = await stack.enter_async_context(contextlib.AsyncExitStack())
        yield Served(settings, parts, f"http://127.0.0.1:{bound.getsockname()[1]}", clients)
