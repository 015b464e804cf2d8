"""Images that people bring: decoded in a worker only, kept re-encoded under the hash of what is served."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, cast

from rooms.errors import LimitExceeded, NotFound, NotPermitted, Overloaded
from rooms.permissions import ALLOWED, Action, User
from rooms.ports import WorkerPort
from storage.assets import Asset, Assets
from storage.blobs import Blobs

SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
MAX_NAME_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class AssetLimits:
    """Bounds of uploads; each has its setting in `realtime/settings.py`."""

    max_image_bytes: int = 25 * 1024 * 1024
    max_image_pixels: int = 50_000_000
    max_uploads: int = 16
    worker_seconds: float = 10.0


class ImageStore:
    """The images of all brands, from the first byte of an upload to what is served.

    Source: docs/protocol.md, H20 to H23.
    """

    def __init__(self, assets: Assets, blobs: Blobs, workers: WorkerPort, limits: AssetLimits) -> None:
        self._assets = assets
        self._blobs = blobs
        self._workers = workers
        self._limits = limits
        self.under_way = 0
        """Uploads that have begun and not ended."""

    def check(self, user: User) -> None:
        """Raises NotPermitted unless *user*'s role may bring images: whoever may edit or propose somewhere."""
        if not ALLOWED[user.role] & {Action.EDIT, Action.PROPOSE}:
            raise NotPermitted(user.role.value, "upload images")

    async def store(self, user: User, name: str, chunks: AsyncIterator[bytes], announced_bytes: int | None) -> Asset:
        """Take an upload whole, decode and re-encode it in a worker, and keep the result durably.

        Args:
            name: what the file was called, for people; it names nothing here.
            announced_bytes: the length the sender states, to refuse early; what comes is counted all the same.

        Raises:
            NotPermitted: as `check`.
            LimitExceeded: over `max_image_bytes`; nothing more was read, nothing kept.
            Overloaded: `max_uploads` are under way.
            TaskFailed: no picture, broken, or of a format that is not taken.
            WorkerError: it was too much for a worker; nothing was kept.
        """
        self.check(user)
        if announced_bytes is not None and announced_bytes > self._limits.max_image_bytes:
            raise self._too_long()
        if self.under_way >= self._limits.max_uploads:
            raise Overloaded(
                f"This server takes {self._limits.max_uploads} uploads at once (LUNEO_MAX_UPLOADS). Try again soon."
            )
        self.under_way += 1
        try:
            upload = bytearray()
            async for chunk in chunks:
                upload += chunk
                if len(upload) > self._limits.max_image_bytes:
                    raise self._too_long()
            return await self._keep(user, _clean(name), bytes(upload))
        finally:
            self.under_way -= 1

    async def _keep(self, user: User, name: str, upload: bytes) -> Asset:
        facts, (image,) = await self._workers.call(
            "decode_image",
            {"max_bytes": self._limits.max_image_bytes, "max_pixels": self._limits.max_image_pixels},
            [upload],
            deadline_seconds=self._limits.worker_seconds,
        )
        # the blob before its row: a row without bytes would be a promise broken by a crash in between
        sha256 = await self._blobs.put(user.brand, image)
        return await self._assets.put(
            Asset(
                brand=user.brand,
                sha256=sha256,
                media_type=str(facts["media_type"]),
                width=cast(int, facts["width"]),
                height=cast(int, facts["height"]),
                size=len(image),
                name=name,
                uploaded_by=user.id,
                at=time.time(),
            )
        )

    async def read(self, user: User, sha256: str) -> tuple[Asset, bytes]:
        """One image of the user's brand.

        Raises:
            NotFound: absent, or of another brand.
            BlobDamaged: the disk has something else under its name.
        """
        asset = await self.describe(user, sha256)
        data = await self._blobs.get(user.brand, sha256)
        if data is None:
            raise NotFound("image")
        return asset, data

    async def describe(self, user: User, sha256: str) -> Asset:
        """What is known of an image, without its bytes. Raises NotFound as `read`."""
        asset = await self._assets.get(user.brand, sha256) if SHA256.match(sha256) else None
        if asset is None:
            raise NotFound("image")
        return asset

    def _too_long(self) -> LimitExceeded:
        return LimitExceeded(
            "LUNEO_MAX_IMAGE_BYTES",
            self._limits.max_image_bytes,
            f"An image may have {self._limits.max_image_bytes} bytes (LUNEO_MAX_IMAGE_BYTES). Save it smaller.",
        )


def _clean(name: str) -> str:
    """A file's name as a label: one line, no path, bounded."""
    label = "".join(character for character in name.replace("\\", "/").rsplit("/", 1)[-1] if character.isprintable())
    return label[:MAX_NAME_CHARACTERS]
