"""Forms that never come to their file: refused by name and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.realtime.serving import SECRET, Served, serving

FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path, LUNEO_SECRET=SECRET, LUNEO_REQUEST_SECONDS="1") as served:
        yield served


@pytest.mark.parametrize(
    "form",
    [
        b"--b\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + b"\r\nz\r\n--b--",
        b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\nz\r\n--b--",
    ],
    ids=["many headers", "a long header"],
)
async def test_a_form_whose_part_has_too_much_of_a_header_is_refused(served: Served, form: bytes) -> None:
    """Rules L2, H10: what a client did is not an internal failure."""
    ada = await served.person("ada")
    answer = await ada.ask("POST", "/api/v1/assets", data=form, headers=FORM)
    assert (answer.status, answer.code) == (400, "invalid_form")


async def test_a_form_that_never_comes_to_its_file_is_given_up(served: Served) -> None:
    """Rule L2."""
    ada = await served.person("ada")

    async def stalling() -> AsyncIterator[bytes]:
        yield b"--b\r\nContent-Disposition: form-data"
        await asyncio.sleep(60)  # cancelled with the request, as soon as that is answered

    answer = await ada.ask("POST", "/api/v1/assets", data=stalling(), headers=FORM)
    assert (answer.status, answer.code) == (408, "upload_too_slow")
