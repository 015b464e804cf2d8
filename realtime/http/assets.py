"""Images: uploaded whole, served for ever under the hash of what they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import unquote

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from realtime.errors import RequestError
from realtime.http.parts import Parts
from realtime.http.reading import CHUNK_BYTES, chunks
from realtime.http.routes import Body, Parameter, Reply, Route, integer, json_response, text, thing
from storage.assets import Asset

MAX_FORM_PARTS = 8
"""Parts of a form that are looked through for its file."""
IMMUTABLE = "private, max-age=31536000, immutable"
"""Private: the brand is a wall, and a shared cache knows no brands."""


def asset_json(asset: Asset) -> dict[str, object]:
    return {
        "sha256": asset.sha256,
        "url": f"/api/v1/assets/{asset.sha256}",
        "media_type": asset.media_type,
        "width": asset.width,
        "height": asset.height,
        "size": asset.size,
        "name": asset.name,
    }


async def post_asset(request: web.Request, parts: Parts) -> web.StreamResponse:
    user = await parts.who(request)
    parts.images.check(user)
    seconds = parts.settings.request_seconds
    if request.content_type == "multipart/form-data":
        try:
            async with asyncio.timeout(seconds):
                name, body = await _file_of_form(request)
        except TimeoutError:
            raise RequestError("The form's file did not begin in time.", code="upload_too_slow") from None
        stream, announced = _bounded(body, request, seconds), None
    else:
        name = unquote(request.headers.get("X-File-Name", ""))
        stream, announced = chunks(request, seconds), request.content_length
    asset = await parts.images.store(user, name, stream, announced)
    return json_response(asset_json(asset), status=201, headers={"Location": f"/api/v1/assets/{asset.sha256}"})


async def _file_of_form(request: web.Request) -> tuple[str, BodyPartReader]:
    try:
        form = await request.multipart()
        for _ in range(MAX_FORM_PARTS):
            part = await form.next()
            if part is None:
                break
            if isinstance(part, BodyPartReader) and part.filename is not None:
                return unquote(part.filename), part
            if not isinstance(part, BodyPartReader) or not await _passed_over(part):
                break
    except (ValueError, AssertionError, HttpProcessingError):
        raise RequestError("The form cannot be read.", code="invalid_form") from None
    raise RequestError("The form has no file. Send one part with a file name.", code="invalid_form")


async def _passed_over(part: BodyPartReader) -> bool:
    """Read a field that stands before the file, if it is a short one."""
    size = 0
    while chunk := await part.read_chunk(CHUNK_BYTES):
        size += len(chunk)
        if size > CHUNK_BYTES:
            return False
    return True


async def _bounded(part: BodyPartReader, request: web.Request, seconds: float) -> AsyncIterator[bytes]:
    async for chunk in chunks(request, seconds, read=lambda: part.read_chunk(CHUNK_BYTES)):
        yield chunk


async def get_asset(request: web.Request, parts: Parts) -> web.StreamResponse:
    user = await parts.who(request)
    sha256 = request.match_info["sha256"]
    headers = {
        "ETag": f'"{sha256}"',
        "Cache-Control": IMMUTABLE,
        "Vary": "Authorization, Cookie",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": "inline",
    }
    if any(tag.value == sha256 for tag in request.if_none_match or ()):
        await parts.images.describe(user, sha256)
        return web.Response(status=304, headers=headers)
    asset, data = await parts.images.read(user, sha256)
    return web.Response(body=data, content_type=asset.media_type, headers=headers)


ASSET = thing(
    sha256=text("its name: the SHA-256 of the bytes that are served"),
    url=text("where it is served"),
    media_type=text("of what is served"),
    width=integer("pixels"),
    height=integer("pixels"),
    size=integer("bytes"),
    name=text("what the file was called"),
)
_BINARY: dict[str, object] = {"type": "string", "format": "binary"}

ROUTES = (
    Route(
        "POST",
        "/api/v1/assets",
        post_asset,
        "Upload an image",
        "PNG, JPEG, WebP, GIF or AVIF. It is decoded, turned upright and encoded anew, without its metadata; the same"
        " image twice is one asset.",
        "Images",
        parameters=(Parameter("X-File-Name", "what the file is called, percent-encoded", where="header"),),
        body=Body(
            "The file as the body, or as the one file of a form",
            {"image/*": _BINARY, "multipart/form-data": thing(file=_BINARY)},
        ),
        reply=Reply("The asset", {"application/json": ASSET}, 201),
        errors=(
            "image_format",
            "image_broken",
            "image_too_large",
            "limit_exceeded",
            "overloaded",
            "upload_too_slow",
            "not_permitted",
        ),
    ),
    Route(
        "GET",
        "/api/v1/assets/{sha256}",
        get_asset,
        "One image",
        "It never changes, so it may be kept for ever.",
        "Images",
        parameters=(Parameter("sha256", "its name", {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "path", True),),
        reply=Reply("The image", {"image/*": _BINARY}),
        errors=("not_found",),
    ),
)
