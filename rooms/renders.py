"""Pictures of designs: equal requests are made once, different ones are bounded, each has a name that never lies."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar, cast

from rooms.errors import LimitExceeded, Overloaded
from rooms.metrics import Metrics
from rooms.ports import WorkerPort
from storage.assets import MAX_NAMES, Assets
from storage.blobs import Blobs
from storage.keys import DocumentKey, Position

log = logging.getLogger(__name__)

MEDIA_TYPES: Final = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""The formats on offer, by their names in a request."""
SCENE_CACHE_BYTES: Final = 32 * 1024 * 1024
RENDERING: Final = "1"
"""Part of every picture's name: raised when the compositor draws differently, so that old pictures are not served."""

T = TypeVar("T")


class StatePort(Protocol):
    """What of a room is needed here; `rooms.registry.RoomRegistry` is one."""

    async def state(self, key: DocumentKey) -> tuple[Position, list[bytes]]:
        """The head, and updates that together are everything up to it."""


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """Bounds of pictures; each has its setting in `realtime/settings.py`."""

    max_renders: int = 32
    render_seconds: float = 30.0
    cache_bytes: int = 64 * 1024 * 1024
    max_image_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SceneAt:
    """One view of a design at a position: canonical JSON, its SHA-256, and the images it shows."""

    position: Position
    hash: str
    body: bytes
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PictureRequest:
    """What is asked for: a view of the product, a format of `MEDIA_TYPES`, and its width in pixels or its dpi.

    `part` is `area`, the print area alone, or `view`, the product with it.
    """

    view: str
    part: str
    format: str
    width: int | None = None
    dpi: int | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A composited view; `etag` is a pure function of everything that can be seen in it."""

    etag: str
    media_type: str
    body: bytes
    width: int
    height: int


class Renders:
    """Scenes and pictures, made in workers. Use as `async with`; leaving it gives up what is being made.

    Whoever asks for what is already being made waits for that; over `max_renders` different ones: refuse (RULE L5).
    """

    def __init__(
        self,
        rooms: StatePort,
        workers: WorkerPort,
        assets: Assets,
        blobs: Blobs,
        metrics: Metrics,
        limits: RenderLimits,
    ) -> None:
        self._rooms = rooms
        self._workers = workers
        self._assets = assets
        self._blobs = blobs
        self._metrics = metrics
        self._limits = limits
        self._scenes: _Cache[SceneAt] = _Cache(SCENE_CACHE_BYTES)
        self._pictures: _Cache[Picture] = _Cache(limits.cache_bytes)
        self._making: dict[Hashable, asyncio.Task[Any]] = {}
        self.waiting = 0
        """Requests that wait for something that is being made."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        making = list(self._making.values())
        for task in making:
            task.cancel()
        if making:
            await asyncio.wait(making, timeout=5)

    async def scenes(self, key: DocumentKey, product: str, views: list[str]) -> list[SceneAt]:
        """Views of a design as it is now, all at one position, in the order asked for.

        Raises:
            Overloaded, WorkerError, Unavailable: they could not be made now.
            TaskFailed: the document cannot be read as a design, or the product has no such view.
        """
        position, pieces = await self._rooms.state(key)
        names = [(key, position, product, view) for view in views]
        known = [self._scenes.get(name) for name in names]
        if any(scene is None for scene in known):
            # one view, or all of them: the document is read once for either
            view = views[0] if len(views) == 1 else None
            made = await self._once(
                ("scene", key, position, product, view),
                lambda: self._make_scenes(key, position, pieces, product, view),
            )
            return [made[view] for view in views]
        return [scene for scene in known if scene is not None]

    async def _make_scenes(
        self, key: DocumentKey, position: Position, pieces: list[bytes], product: str, view: str | None
    ) -> dict[str, SceneAt]:
        facts, bodies = await self._workers.call(
            "scene", {"product": product, "view": view}, pieces, deadline_seconds=self._limits.render_seconds
        )
        scenes: dict[str, SceneAt] = {}
        for about, body in zip(cast("list[dict[str, Any]]", facts["views"]), bodies, strict=True):
            scene = SceneAt(position, about["hash"], body, tuple(about["images"]))
            scenes[about["view"]] = scene
            self._scenes.put((key, position, product, about["view"]), scene, len(body))
        return scenes

    async def etag(self, key: DocumentKey, scene: SceneAt, request: PictureRequest) -> tuple[str, tuple[str, ...]]:
        """The picture's name, and the images of the scene that are there to be drawn."""
        present: set[str] = set()
        for start in range(0, len(scene.images), MAX_NAMES):
            present |= (await self._assets.find(key.brand, scene.images[start : start + MAX_NAMES])).keys()
        drawn = tuple(name for name in scene.images if name in present)
        # an image may come after the design that shows it, so which ones are there is part of what is seen
        seen = (
            RENDERING,
            scene.hash,
            *drawn,
            "",
            request.view,
            request.part,
            request.format,
            request.width,
            request.dpi,
        )
        return hashlib.sha256("\n".join(map(str, seen)).encode()).hexdigest()[:40], drawn

    async def picture(
        self, key: DocumentKey, scene: SceneAt, request: PictureRequest, etag: str, drawn: tuple[str, ...]
    ) -> Picture:
        """The picture that `etag` named: from memory, from whoever makes it already, or made now.

        Raises:
            Overloaded: `max_renders` different pictures are being made.
            LimitExceeded: the scene's images are too many bytes together.
            TaskFailed: size or format is refused, with a code and a sentence.
            WorkerError: it was given up; nothing else was.
        """
        name = (key.brand, etag)
        known = self._pictures.get(name)
        if known is not None:
            return known
        return await self._once(("picture", *name), lambda: self._make_picture(key, scene, request, etag, drawn))

    async def _make_picture(
        self, key: DocumentKey, scene: SceneAt, request: PictureRequest, etag: str, drawn: tuple[str, ...]
    ) -> Picture:
        images: list[bytes] = []
        names: list[str] = []
        total = 0
        for sha256 in drawn:
            image = await self._blobs.get(key.brand, sha256)
            if image is None:
                continue
            total += len(image)
            if total > self._limits.max_image_bytes:
                raise LimitExceeded(
                    "LUNEO_MAX_RENDER_IMAGE_BYTES",
                    self._limits.max_image_bytes,
                    f"The images of this view have over {self._limits.max_image_bytes} bytes together"
                    " (LUNEO_MAX_RENDER_IMAGE_BYTES). Use smaller ones.",
                )
            images.append(image)
            names.append(sha256)
        arguments: dict[str, object] = {"images": names, "format": request.format, "part": request.part}
        arguments.update({"width": request.width} if request.width is not None else {"dpi": request.dpi})
        facts, (body,) = await self._workers.call(
            "render", arguments, [scene.body, *images], deadline_seconds=self._limits.render_seconds
        )
        self._metrics.renders.inc()
        picture = Picture(
            etag, MEDIA_TYPES[request.format], body, cast(int, facts["width"]), cast(int, facts["height"])
        )
        self._pictures.put((key.brand, etag), picture, len(body))
        return picture

    async def _once(self, name: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """The result of *make*, which runs once however many ask while it runs; who stops waiting stops nobody."""
        task = self._making.get(name)
        if task is None:
            if len(self._making) >= self._limits.max_renders:
                raise Overloaded(
                    f"This server makes {self._limits.max_renders} pictures at once (LUNEO_MAX_RENDERS)."
                    " Try again in a moment."
                )
            task = asyncio.get_running_loop().create_task(_run(make))
            self._making[name] = task
            task.add_done_callback(lambda _: self._making.pop(name, None))
        self.waiting += 1
        try:
            outcome = await asyncio.shield(task)
        finally:
            self.waiting -= 1
        if isinstance(outcome, Exception):
            raise outcome
        return cast(T, outcome)


async def _run(make: Callable[[], Awaitable[T]]) -> T | Exception:
    """A task whose failure is a value: nobody may be waiting any more, and then it must not be reported as lost."""
    try:
        return await make()
    except Exception as error:
        return error


class _Cache(Generic[T]):
    """The last used values, up to a number of bytes; policy: drop the least lately used."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._bytes = 0

    def get(self, name: Hashable) -> T | None:
        found = self._values.get(name)
        if found is None:
            return None
        self._values.move_to_end(name)
        return found[0]

    def put(self, name: Hashable, value: T, size: int) -> None:
        # a value is charged for the entry too, so that many small ones are bounded as well
        size += 512
        if size > self._max_bytes or name in self._values:
            return
        self._values[name] = (value, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, (_, freed) = self._values.popitem(last=False)
            self._bytes -= freed
