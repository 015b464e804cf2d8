"""What the server ships: products and fonts."""

from __future__ import annotations

from aiohttp import web

from canvas import fonts, products
from realtime.http.parts import Parts
from realtime.http.routes import Reply, Route, json_response, text, thing
from rooms.errors import NotFound

PUBLIC_FOR_EVER = "public, max-age=31536000, immutable"
_BRIEFLY = {"Cache-Control": "private, max-age=300"}


async def get_products(request: web.Request, parts: Parts) -> web.StreamResponse:
    await parts.who(request)
    return json_response({"items": products.catalogue(), "next": None}, headers=_BRIEFLY)


async def get_fonts(request: web.Request, parts: Parts) -> web.StreamResponse:
    await parts.who(request)
    return json_response({"items": fonts.catalogue(), "fallback": list(fonts.FALLBACK), "next": None}, headers=_BRIEFLY)


async def get_font_file(request: web.Request, parts: Parts) -> web.StreamResponse:
    path = fonts.path(request.match_info["file"])
    if path is None:
        raise NotFound("font")
    return web.FileResponse(path, headers={"Cache-Control": PUBLIC_FOR_EVER, "Content-Type": "font/ttf"})


_LIST = thing(items={"type": "array", "items": thing(id=text("its name in a design"))})

ROUTES = (
    Route(
        "GET",
        "/api/v1/products",
        get_products,
        "The products one can design, with their views and print areas in millimetres",
        tag="Catalogue",
        reply=Reply("All products", {"application/json": _LIST}),
    ),
    Route(
        "GET",
        "/api/v1/fonts",
        get_fonts,
        "The fonts one can use, with the address of each file",
        tag="Catalogue",
        reply=Reply("All fonts", {"application/json": _LIST}),
    ),
    Route("GET", "/fonts/{file}", get_font_file, is_public=True),
)
