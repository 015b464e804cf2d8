"""Scenes and pictures of designs."""

from __future__ import annotations

import orjson
from aiohttp import web

from canvas import products
from realtime.errors import RequestError
from realtime.http.designs import enter
from realtime.http.parts import Parts
from realtime.http.reading import number_in_query
from realtime.http.routes import DESIGN_ID, Parameter, Reply, Route, integer, json_response, text, thing
from rooms.access import Entry
from rooms.errors import LimitExceeded
from rooms.permissions import Action
from rooms.renders import MEDIA_TYPES, PictureRequest

DEFAULT_WIDTH = 1200
PREVIEW_WIDTH = 2048
"""Wider pictures, and those asked for by dpi, are print files: they need the right to export (CONTRACT 3)."""
WIDTHS = (16, 8192)
DPIS = (10, 1200)
MM_PER_INCH = 25.4
PARTS = ("area", "view")
NOT_YET = frozenset({"svg", "pdf"})


def _view(request: web.Request, entry: Entry) -> products.View:
    product = products.product(entry.design.product)
    wanted = request.query.get("view")
    return next(iter(product.views.values())) if wanted is None else product.view(wanted)


async def get_scene(request: web.Request, parts: Parts) -> web.StreamResponse:
    entry = await enter(request, parts, Action.SEE)
    if "view" in request.query:
        scene = (await parts.renders.scenes(entry.key, entry.design.product, [_view(request, entry).id]))[0]
        headers = {
            "ETag": f'"{scene.hash}"',
            "Cache-Control": "private, no-cache",
            "Luneo-Position": str(scene.position),
        }
        if _matches(request, scene.hash):
            return web.Response(status=304, headers=headers)
        return web.Response(body=scene.body, content_type="application/json", headers=headers)
    views = list(products.product(entry.design.product).views)
    scenes = await parts.renders.scenes(entry.key, entry.design.product, views)
    body = {
        "id": entry.design.id,
        "title": entry.design.title,
        "product": entry.design.product,
        "position": scenes[0].position,
        "views": [
            {"view": view, "hash": scene.hash, "scene": orjson.Fragment(scene.body)}
            for view, scene in zip(views, scenes, strict=True)
        ],
    }
    return json_response(body)


def _matches(request: web.Request, etag: str) -> bool:
    return any(tag.value in (etag, "*") for tag in request.if_none_match or ())


def picture_request(request: web.Request, view: products.View, max_pixels: int) -> PictureRequest:
    """What the query asks for, within its bounds.

    Raises:
        RequestError: a format that is not offered, or a number out of its range.
        LimitExceeded: more pixels than one picture may have.
    """
    format = request.query.get("format", "png")
    if format == "jpg":
        format = "jpeg"
    if format not in MEDIA_TYPES:
        word = "not offered yet" if format in NOT_YET else "not a format of this server"
        raise RequestError(
            f"`{format[:20]}` is {word}. There are {', '.join(MEDIA_TYPES)}.",
            code="format_not_offered",
            offered=list(MEDIA_TYPES),
        )
    if "position" in request.query:
        raise RequestError("Pictures of older positions are not offered yet.", field="position")
    width = number_in_query(request, "width", *WIDTHS)
    dpi = number_in_query(request, "dpi", *DPIS)
    if width is not None and dpi is not None:
        raise RequestError("Give `width` or `dpi`, not both: one follows from the other.", field="dpi")
    if width is None and dpi is None:
        width = DEFAULT_WIDTH
    part = request.query.get("part", "area")
    if part not in PARTS:
        raise RequestError(f"`part` must be one of {', '.join(PARTS)}.", field="part")
    width_mm, height_mm = view.size_mm if part == "view" else view.area_mm[2:]
    scale = width / width_mm if width is not None else (dpi or 0) / MM_PER_INCH
    if width_mm * scale * height_mm * scale > max_pixels:
        raise LimitExceeded(
            "LUNEO_MAX_RENDER_PIXELS",
            max_pixels,
            f"A picture may have {max_pixels} pixels (LUNEO_MAX_RENDER_PIXELS). Ask for a smaller one.",
        )
    return PictureRequest(view.id, part, format, width, dpi)


async def get_render(request: web.Request, parts: Parts) -> web.StreamResponse:
    entry = await enter(request, parts, Action.SEE)
    wanted = picture_request(request, _view(request, entry), parts.settings.max_render_pixels)
    if wanted.dpi is not None or (wanted.width or 0) > PREVIEW_WIDTH:
        entry.grant.require(Action.EXPORT)
    scene = (await parts.renders.scenes(entry.key, entry.design.product, [wanted.view]))[0]
    etag, drawn = await parts.renders.etag(entry.key, scene, wanted)
    headers = {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache", "Luneo-Position": str(scene.position)}
    if _matches(request, etag):
        return web.Response(status=304, headers=headers)
    picture = await parts.renders.picture(entry.key, scene, wanted, etag, drawn)
    return web.Response(
        body=picture.body,
        content_type=picture.media_type,
        headers={
            **headers,
            "Content-Disposition": f'inline; filename="{entry.design.id}-{wanted.view}.{wanted.format}"',
        },
    )


SCENE = thing("docs/protocol.md, C9", product=text("of the catalogue"), view=text("of the product"))
_VIEW = Parameter("view", "a view of the product; without it the first")
_ERRORS = ("not_found", "not_a_member", "unknown_view", "unavailable", "worker_timeout")

ROUTES = (
    Route(
        "GET",
        "/api/v1/designs/{id}/scene",
        get_scene,
        "The design as plain JSON",
        "With `view`, exactly the canonical bytes whose SHA-256 is the `ETag`; without, all views at one position.",
        "Pictures",
        parameters=(DESIGN_ID, Parameter("view", "one view only")),
        reply=Reply(
            "The scenes",
            {
                "application/json": thing(
                    position=integer("of the log"),
                    views={
                        "type": "array",
                        "items": thing(view=text("its id"), hash=text("SHA-256 of the scene"), scene=SCENE),
                    },
                )
            },
        ),
        errors=_ERRORS,
    ),
    Route(
        "GET",
        "/api/v1/designs/{id}/render",
        get_render,
        "The composited picture of one view",
        "`ETag` names what can be seen: an `If-None-Match` with it is answered 304 without drawing. Equal requests at"
        f" one moment are drawn once. By `dpi`, or wider than {PREVIEW_WIDTH} pixels, it needs the right to export.",
        "Pictures",
        parameters=(
            DESIGN_ID,
            _VIEW,
            Parameter(
                "part",
                "`area`: the print area alone; `view`: the product with it",
                {"type": "string", "enum": list(PARTS), "default": "area"},
            ),
            Parameter("format", "svg and pdf are not offered yet", {"type": "string", "enum": list(MEDIA_TYPES)}),
            Parameter(
                "width",
                f"pixels; default {DEFAULT_WIDTH}",
                {"type": "integer", "minimum": WIDTHS[0], "maximum": WIDTHS[1]},
            ),
            Parameter("dpi", "instead of `width`", {"type": "integer", "minimum": DPIS[0], "maximum": DPIS[1]}),
        ),
        reply=Reply("The picture", {media: {"type": "string", "format": "binary"} for media in MEDIA_TYPES.values()}),
        errors=(*_ERRORS, "format_not_offered", "limit_exceeded", "not_permitted", "overloaded"),
    ),
)
