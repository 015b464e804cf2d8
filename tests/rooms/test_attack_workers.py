"""One person's uploads and the edits of everybody else."""

from __future__ import annotations

import asyncio
import io

from PIL import Image

from rooms.assets import AssetLimits
from rooms.inspection import inspect
from rooms.tasks import INSPECT_ON_LOOP_BYTES, inspect_update
from rooms.workers import Workers

UPLOADS = 6


async def test_uploads_leave_a_worker_to_the_edits_of_others() -> None:
    """Rule W4: an edit that waited behind uploads for 5 s was refused, and its sender sent away."""
    picture = io.BytesIO()
    Image.effect_noise((1500, 1500), 90).convert("RGB").save(picture, "JPEG")
    limits = AssetLimits()
    content = b"x" * INSPECT_ON_LOOP_BYTES
    update = bytes([1, 1, 5, 0, 4, 1, 1, ord("t"), 0x80, 0x80, 0x02]) + content + b"\x00"
    async with Workers(2) as workers, asyncio.TaskGroup() as group:
        arguments = {"max_bytes": limits.max_image_bytes, "max_pixels": limits.max_image_pixels}
        decoding = [
            group.create_task(
                workers.call("decode_image", arguments, [picture.getvalue()], deadline_seconds=limits.worker_seconds)
            )
            for _ in range(UPLOADS)
        ]
        while workers.queue_depth < UPLOADS - 2:  # they stand before the edit
            await asyncio.sleep(0)
        assert await inspect_update(workers, update) == inspect(update)
        assert sum(task.done() for task in decoding) < UPLOADS - 1
