"""The description of the API, made from the table that the server itself is made from; and a page that shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from aiohttp import web

from realtime.errors import PROBLEM_TYPE, STATUSES
from realtime.http.parts import Parts
from realtime.http.routes import Reply, Route, integer, json_response, text, thing

VERSION = "1"

PROBLEM = thing(
    "RFC 9457 problem details",
    ("type", "title", "status", "detail", "code"),
    type=text("urn:luneo:problem:{code}"),
    title=text("of the status"),
    status=integer("as the answer's"),
    detail=text("a sentence that says what to do"),
    code=text("stable; what programs look at"),
    retryable={"type": "boolean", "description": "whether the same request may succeed later"},
    reference=text("of an unexpected failure, to be found in the log"),
)


def openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 of every described route."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.summary:
            path = re.sub(r"\{(\w+):[^}]+\}", r"{\1}", route.path)
            paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Luneo Live",
            "version": VERSION,
            "description": "Designs that people edit together. Errors are problem details with a stable `code`.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{route.handler.__name__}",
        "summary": route.summary,
        "tags": [route.tag],
        "security": [] if route.is_public else [{"token": []}],
        "responses": _responses(route),
    }
    if route.about:
        operation["description"] = route.about
    if route.parameters:
        operation["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.where,
                "required": parameter.required,
                "description": parameter.about,
                "schema": parameter.schema,
            }
            for parameter in route.parameters
        ]
    if route.body is not None:
        operation["requestBody"] = {
            "description": route.body.about,
            "required": True,
            "content": {media: {"schema": schema} for media, schema in route.body.content.items()},
        }
    return operation


def _errors(route: Route) -> dict[int, list[str]]:
    codes = [*route.errors, "foreign_host", "internal"]
    if not route.is_public:
        codes += ["not_authenticated", "token_expired"]
    if route.method not in ("GET", "HEAD"):
        codes.append("foreign_origin")
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(STATUSES.get(code, 400 if code.startswith("invalid") else 422), []).append(code)
    return by_status


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(route.reply.status): {
            "description": route.reply.about,
            **({"content": {m: {"schema": s} for m, s in route.reply.content.items()}} if route.reply.content else {}),
        }
    }
    for status, codes in sorted(_errors(route).items()):
        responses[str(status)] = {
            "description": " · ".join(f"`{code}`" for code in codes),
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return responses


def docs_page(routes: Sequence[Route]) -> str:
    """The same as a page of plain HTML: nothing is loaded but its style sheet."""
    sections: dict[str, list[Route]] = {}
    for route in routes:
        if route.summary:
            sections.setdefault(route.tag, []).append(route)
    parts = []
    for tag, described in sections.items():
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts += [_section(route) for route in described]
    return _PAGE.replace("{{body}}", "\n".join(parts))


def _section(route: Route) -> str:
    rows = [
        f"<tr><td><code>{escape(parameter.name)}</code></td><td>{escape(parameter.where)}</td>"
        f"<td>{escape(parameter.about)}</td></tr>"
        for parameter in route.parameters
    ]
    sent = ""
    if route.body is not None:
        sent = f"<p><b>Send</b> {escape(route.body.about)}: {_codes(route.body.content)}</p>"
    got = f"<p><b>{route.reply.status}</b> {escape(route.reply.about)} {_codes(route.reply.content)}</p>"
    errors = "".join(f"<li><b>{status}</b> {_codes(codes)}</li>" for status, codes in sorted(_errors(route).items()))
    about = f"<p>{escape(route.about)}</p>" if route.about else ""
    table = f"<table>{''.join(rows)}</table>" if rows else ""
    return (
        f"<section><h3><span>{route.method}</span> <code>{escape(route.path)}</code></h3>"
        f"<p>{escape(route.summary)}.</p>{about}{table}{sent}{got}<ul>{errors}</ul></section>"
    )


def _codes(names: Sequence[str] | dict[str, Any]) -> str:
    return " ".join(f"<code>{escape(name)}</code>" for name in names)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>API · Luneo Live</title><link rel="icon" href="/favicon.svg"><link rel="stylesheet" href="/api/docs.css"></head>
<body><main><h1>Luneo Live API</h1>
<p>Send <code>Authorization: Bearer</code> and a token, or come in by the browser. Errors are problem details
(<a href="https://www.rfc-editor.org/rfc/rfc9457">RFC 9457</a>) with a stable <code>code</code>. The same for programs:
<a href="/api/v1/openapi.json">openapi.json</a>.</p>
{{body}}
</main></body></html>
"""

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 52rem; margin: 0 auto; padding: 2rem 1rem 6rem; }
h2 { margin-top: 3rem; }
section { border: 1px solid #8884; border-radius: 12px; padding: 0 1.25rem .5rem; margin: 1rem 0; }
h3 { font-size: 1rem; }
h3 span { display: inline-block; min-width: 4.5em; font-weight: 700; color: #4263eb; }
code { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid #8884; padding: .3rem .75rem .3rem 0; vertical-align: top; }
ul { padding-left: 1.1rem; }
"""


def describe(routes: Sequence[Route]) -> tuple[Route, ...]:
    """The routes that show *routes*, and themselves."""

    async def get_openapi(request: web.Request, parts: Parts) -> web.StreamResponse:
        return json_response(document, headers={"Cache-Control": "no-cache"})

    async def get_docs(request: web.Request, parts: Parts) -> web.StreamResponse:
        return web.Response(text=html, content_type="text/html", headers={"Cache-Control": "no-cache"})

    async def get_style(request: web.Request, parts: Parts) -> web.StreamResponse:
        return web.Response(text=STYLE, content_type="text/css", headers={"Cache-Control": "no-cache"})

    own = (
        Route(
            "GET",
            "/api/v1/openapi.json",
            get_openapi,
            "This description",
            tag="Operation",
            reply=Reply("OpenAPI 3.1", {"application/json": {"type": "object"}}),
            is_public=True,
        ),
        Route("GET", "/api/docs", get_docs, is_public=True),
        Route("GET", "/api/docs.css", get_style, is_public=True),
    )
    document = openapi([*routes, *own])
    html = docs_page([*routes, *own])
    return own
