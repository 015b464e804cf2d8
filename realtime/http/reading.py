"""What comes in with a request, within its bounds: JSON bodies, raw bodies, numbers in an address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from realtime.errors import RequestError
from rooms.errors import LimitExceeded

CHUNK_BYTES = 64 * 1024


async def chunks(
    request: web.Request, seconds: float, read: Callable[[], Awaitable[bytes]] | None = None
) -> AsyncIterator[bytes]:
    """The body as it comes, for *seconds* at most in all.

    Args:
        read: the next bytes of a part of the body, empty at its end; None: the body itself.

    Raises:
        RequestError: it came too slowly (`upload_too_slow`), or compressed, which nobody here opens.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise RequestError("Send the body as it is, without Content-Encoding.", code="unsupported_media_type")
    following = read or (lambda: request.content.read(CHUNK_BYTES))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        # around each read, and not around the loop: what the reader does between two of them is not the sender's time
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await following()
        except TimeoutError:
            raise RequestError(
                f"The body did not arrive within {seconds:g} s (LUNEO_REQUEST_SECONDS).", code="upload_too_slow"
            ) from None
        if not chunk:
            return
        yield chunk


async def whole(request: web.Request, limit: str, max_bytes: int, seconds: float) -> bytes:
    """The whole body, which may have *max_bytes*; *limit* is the name of that bound.

    Raises:
        LimitExceeded: it is longer; no more of it was read.
        RequestError: as `chunks`.
    """
    if (request.content_length or 0) > max_bytes:
        raise _too_long(limit, max_bytes)
    body = bytearray()
    async for chunk in chunks(request, seconds):
        body += chunk
        if len(body) > max_bytes:
            raise _too_long(limit, max_bytes)
    return bytes(body)


def _too_long(limit: str, max_bytes: int) -> LimitExceeded:
    return LimitExceeded(limit, max_bytes, f"The body may have {max_bytes} bytes here ({limit}).")


async def json_object(request: web.Request, max_bytes: int, seconds: float) -> Mapping[str, Any]:
    """The body as a JSON object.

    Raises:
        RequestError: it is none, or not sent as `application/json` (which a foreign page's form cannot).
        LimitExceeded: as `whole`.
    """
    if request.content_type != "application/json":
        raise RequestError("Send a JSON object as application/json.", code="unsupported_media_type")
    body = await whole(request, "LUNEO_MAX_JSON_BYTES", max_bytes, seconds)
    try:
        value = orjson.loads(body)
    except ValueError:
        raise RequestError("The body is not JSON.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise RequestError("The body must be a JSON object.", code="invalid_json")
    return value


def known_fields(body: Mapping[str, Any], *names: str) -> None:
    """Raises RequestError when *body* has a field that is none of *names*: most often a slip of the pen."""
    for name in body:
        if name not in names:
            raise RequestError(f"There is no field `{name[:60]}` here; there are {', '.join(names)}.", field=name[:60])


def text_field(body: Mapping[str, Any], name: str, max_characters: int) -> str | None:
    """A line of text, without space around it; None when it is not given.

    Raises:
        RequestError: it is no text, has line breaks or control characters, or is too long; `field` says which.
    """
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable():
        raise RequestError(f"`{name}` must be one line of text.", field=name)
    value = value.strip()
    if len(value) > max_characters:
        raise RequestError(f"`{name}` may have {max_characters} characters.", field=name)
    return value


def number_in_query(request: web.Request, name: str, lowest: int, highest: int) -> int | None:
    """A whole number of the address; None when it is not given.

    Raises:
        RequestError: it is none, or out of its range; `field` says which.
    """
    raw = request.query.get(name)
    if raw is None:
        return None
    if not raw.isascii() or not raw.isdigit() or len(raw) > 9 or not lowest <= int(raw) <= highest:
        raise RequestError(f"`{name}` must be a whole number from {lowest} to {highest}.", field=name)
    return int(raw)
