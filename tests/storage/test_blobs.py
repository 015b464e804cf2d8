"""Blobs are whole or not there, under the hash of what they are."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.blobs import STALE_SECONDS, Blobs
from storage.errors import BlobDamaged, BlobNotStored
from storage.keys import BrandId

ACME = BrandId("acme")
RIVAL = BrandId("rival")

# Puts blobs as fast as it can and prints each name once it may be relied on.
WRITER = """
import asyncio, pathlib, sys
from storage.blobs import Blobs
async def write():
    blobs = Blobs(pathlib.Path(sys.argv[1]))
    async def some(first):
        for number in range(first, 1_000_000, 4):
            print(await blobs.put("acme", b"%d " % number * 40_000), flush=True)
    await asyncio.gather(*map(some, range(4)))
asyncio.run(write())
"""


def files(directory: Path) -> list[Path]:
    return [found for found in directory.rglob("*") if found.is_file()]


async def test_the_same_bytes_are_one_blob(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    data = b"pixels" * 1000
    names = await asyncio.gather(*(blobs.put(ACME, data) for _ in range(20)))
    assert set(names) == {hashlib.sha256(data).hexdigest()}
    assert await blobs.get(ACME, names[0]) == data
    assert await blobs.exists(ACME, names[0])
    path = blobs.path(ACME, names[0])
    assert path is not None
    assert path.read_bytes() == data
    assert files(tmp_path) == [path]


async def test_another_brand_does_not_see_a_blob_by_its_hash(tmp_path: Path) -> None:
    """Rule D1; also where the file system holds two spellings for one name."""
    blobs = Blobs(tmp_path)
    name = await blobs.put(ACME, b"pixels")
    for brand in (RIVAL, BrandId("ACME"), BrandId("../acme"), BrandId("")):
        assert await blobs.get(brand, name) is None
        assert not await blobs.exists(brand, name)
    mine, other = blobs.path(ACME, name), blobs.path(BrandId("ACME"), name)
    assert mine is not None
    assert other is not None
    assert str(mine).lower() != str(other).lower()


@pytest.mark.parametrize("name", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "../" * 21 + "a", "0" * 64 + "\n"])
async def test_a_name_that_is_none_answers_like_an_absent_blob(tmp_path: Path, name: str) -> None:
    """Rule D1: nothing outside of the directory can be named."""
    blobs = Blobs(tmp_path)
    assert blobs.path(ACME, name) is None
    assert await blobs.get(ACME, name) is None
    assert not await blobs.exists(ACME, name)


async def test_damaged_bytes_are_never_served(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    name = await blobs.put(ACME, b"pixels")
    path = blobs.path(ACME, name)
    assert path is not None
    path.write_bytes(b"pixelz")
    with pytest.raises(BlobDamaged):
        await blobs.get(ACME, name)


async def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    name = hashlib.sha256(b"pixels").hexdigest()
    path = blobs.path(ACME, name)
    assert path is not None
    path.parent.parent.mkdir(parents=True)
    path.parent.write_bytes(b"a file where a directory should be")
    with pytest.raises(BlobNotStored) as refused:
        await blobs.put(ACME, b"pixels")
    assert refused.value.retryable
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_a_killed_writer_leaves_whole_blobs_only(tmp_path: Path) -> None:
    """Rule D2: kill -9 at any moment; every name that was told is there, every name that is there is true."""
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            told = [writer.stdout.readline().decode().strip() for _ in range(8)]
            os.kill(writer.pid, signal.SIGKILL)
            told += [line.decode().strip() for line in writer.stdout if line.endswith(b"\n")]
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.glob("acme-*/*/*")}
        assert set(told) <= set(found)
        assert all(name == content for name, content in found.items())


async def test_what_killed_writers_left_is_swept_when_it_is_old(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    kept = await blobs.put(ACME, b"pixels")
    old, new = tmp_path / ".incoming" / "old", tmp_path / ".incoming" / "new"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    past = new.stat().st_mtime - STALE_SECONDS - 60
    os.utime(old, (past, past))
    assert await blobs.sweep() == 1
    assert not old.exists()
    assert new.exists()
    assert await blobs.get(ACME, kept) == b"pixels"
