"""The studio's pages and their files, as `make build` made them."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from aiohttp import web

from realtime.errors import NotAuthenticated
from realtime.http.catalogue import PUBLIC_FOR_EVER
from realtime.http.parts import Parts
from realtime.http.routes import Handler, Route
from rooms.errors import NotFound, RoomError
from storage.keys import is_id

_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}\Z")
_ROOT_FILES = frozenset({"favicon.ico", "favicon.svg", "robots.txt", "manifest.webmanifest"})

FAVICON = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="14" fill="#1d2a4d"/>'
    b'<path d="M22 21a9 9 0 1 1-2-13 11 11 0 0 0 2 13z" fill="#ef6f5e"/></svg>'
)


class StudioMissing(RoomError):
    """Nobody has built the studio in this checkout."""

    code = "studio_missing"

    def __init__(self) -> None:
        super().__init__("The studio is not built yet. Run `make build`, then load this page again.")


def page(name: str) -> Handler:
    """Serve `static/dist/{name}.html`, never from a cache unasked: it names the files that are."""

    async def handler(request: web.Request, parts: Parts) -> web.StreamResponse:
        if "id" in request.match_info and not is_id(request.match_info["id"]):
            raise NotFound("design")
        file = parts.settings.static_dir / f"{name}.html"
        if not file.is_file():
            raise StudioMissing
        response = web.FileResponse(
            file, headers={"Cache-Control": "no-cache", "Content-Type": "text/html; charset=utf-8"}
        )
        with contextlib.suppress(NotAuthenticated):  # the page itself says how to come in
            await parts.identify(request)
        return response

    return handler


async def get_built_file(request: web.Request, parts: Parts) -> web.StreamResponse:
    """A file whose name changes with its content."""
    names = request.match_info["path"].split("/")
    if not all(_FILE.match(name) for name in names):
        raise NotFound("file")
    file = parts.settings.static_dir.joinpath("assets", *names)
    if not file.is_file():
        raise NotFound("file") if parts.settings.static_dir.is_dir() else StudioMissing
    return web.FileResponse(file, headers={"Cache-Control": PUBLIC_FOR_EVER, **_type_of(file)})


def _type_of(file: Path) -> dict[str, str]:
    # what `mimetypes` says depends on the machine, and with nosniff a wrong word is a blank page
    known = {
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".wasm": "application/wasm",
        ".svg": "image/svg+xml",
        ".map": "application/json",
        ".woff2": "font/woff2",
        ".json": "application/json",
    }
    media_type = known.get(file.suffix)
    return {"Content-Type": media_type} if media_type else {}


async def get_root_file(request: web.Request, parts: Parts) -> web.StreamResponse:
    name = request.path.lstrip("/")
    file = parts.settings.static_dir / name
    if name in _ROOT_FILES and file.is_file():
        return web.FileResponse(file, headers={"Cache-Control": "public, max-age=86400", **_type_of(file)})
    if name.startswith("favicon"):
        return web.Response(
            body=FAVICON, content_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"}
        )
    raise NotFound("file")


ROUTES = (
    Route("GET", "/", page("index"), is_public=True),
    Route("GET", "/design/{id}", page("design"), is_public=True),
    Route("GET", "/support", page("support"), is_public=True),
    Route("GET", "/dashboard", page("dashboard"), is_public=True),
    Route("GET", "/enter", page("enter"), is_public=True),
    Route("GET", "/assets/{path:.+}", get_built_file, is_public=True),
    *(Route("GET", f"/{name}", get_root_file, is_public=True) for name in sorted(_ROOT_FILES)),
)
