"""The studio's pages and their files, as `make build` made them."""

from __future__ import annotations

import contextlib
import html
import re
from pathlib import Path

from aiohttp import web

from realtime.errors import Answer, NotAuthenticated
from realtime.http.catalogue import PUBLIC_FOR_EVER
from realtime.http.parts import Parts
from realtime.http.routes import Handler, Route
from rooms.errors import NotFound, RoomError
from storage.keys import is_id

_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}\Z")
_ROOT_FILES = frozenset({"favicon.ico", "favicon.svg", "robots.txt", "manifest.webmanifest"})

FAVICON = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="9" fill="#4f46e5"/>'
    b'<path d="M20.6 6.6a10 10 0 1 0 4.9 13.1A8.2 8.2 0 0 1 20.6 6.6z" fill="#fff"/>'
    b'<circle cx="22.6" cy="12.4" r="2.6" fill="#fbbf24"/></svg>'
)
"""The mark of `static/src/assets/mark.svg`, for a checkout whose studio is not built, and for `/favicon.ico`."""


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


def failure_page(request: web.Request, parts: Parts, failure: Answer) -> web.StreamResponse | None:
    """What a person sees who followed a bad link, or came before the build; None where a program asked."""
    if request.method not in ("GET", "HEAD") or "text/html" not in request.headers.get("Accept", ""):
        return None
    if request.path.startswith("/api/") or failure.status not in (404, 503):
        return None
    headers = {"Cache-Control": "no-store"}
    file = parts.settings.static_dir / "missing.html"
    if failure.status == 404 and file.is_file():
        return web.FileResponse(file, status=404, headers={**headers, "Content-Type": "text/html; charset=utf-8"})
    said = f"<title>Luneo Live</title><h1>Luneo Live</h1><p>{html.escape(failure.message)}"
    return web.Response(
        status=failure.status,
        headers=headers,
        content_type="text/html",
        charset="utf-8",
        text=f'<!doctype html><html lang="en"><meta charset="utf-8">{said}',
    )


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
