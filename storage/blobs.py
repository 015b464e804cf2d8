"""Blobs: bytes under the hash of what they are, within their brand; whole or not there at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import time
from pathlib import Path

from storage.errors import BlobDamaged, BlobNotStored
from storage.keys import BrandId, is_id

MAX_AT_ONCE = 4
"""Files read or written at the same time; others wait."""
STALE_SECONDS = 3600.0
"""A file that was begun longer ago and has no name yet is of a process that was killed."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Blobs:
    """A directory of blobs, which several nodes may share.

    The name is (brand, SHA-256 of the bytes served); a name that is none, of another brand, or unknown, answers alike
    (rule D1).
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def put(self, brand: BrandId, data: bytes) -> str:
        """Keep *data* and return its SHA-256 in hex, once it is durable; the same bytes twice are one blob.

        Raises:
            BlobNotStored: the disk refused; nothing can be read under the name.
        """
        if not is_id(brand):
            raise ValueError("not a brand")
        async with self._turns:
            return await asyncio.to_thread(self._put, brand, data)

    async def get(self, brand: BrandId, sha256: str) -> bytes | None:
        """The bytes, checked against their name; None when there are none.

        Raises:
            BlobDamaged: the disk has something else under that name.
        """
        path = self.path(brand, sha256)
        if path is None:
            return None
        async with self._turns:
            return await asyncio.to_thread(_read, path, sha256)

    async def exists(self, brand: BrandId, sha256: str) -> bool:
        """Whether `get` would find something."""
        path = self.path(brand, sha256)
        return path is not None and await asyncio.to_thread(path.is_file)

    def path(self, brand: BrandId, sha256: str) -> Path | None:
        """Where the bytes are if there are any, for whoever sends the file itself; None when the name is none."""
        if not is_id(brand) or not _SHA256.match(sha256):
            return None
        return self._brand_directory(brand) / sha256[:2] / sha256

    async def sweep(self) -> int:
        """Remove what killed processes left half-written, `STALE_SECONDS` ago or earlier, and return how many."""
        return await asyncio.to_thread(self._sweep)

    def _brand_directory(self, brand: BrandId) -> Path:
        # With a piece of its hash, since some file systems hold "Acme" and "acme" for the same name.
        return self._directory / f"{brand}-{hashlib.sha256(brand.encode()).hexdigest()[:8]}"

    @property
    def _incoming(self) -> Path:
        return self._directory / ".incoming"

    def _put(self, brand: BrandId, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._brand_directory(brand) / sha256[:2] / sha256
        unfinished = self._incoming / secrets.token_hex(16)
        try:
            self._make_durable_directory(self._incoming)
            self._make_durable_directory(path.parent)
            if not path.exists():
                with unfinished.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(path)
            # Also when it was there: whoever wrote it may not have come to this line yet.
            _sync_directory(path.parent)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise BlobNotStored("The file could not be stored. Try again in a moment.") from error
        return sha256

    def _make_durable_directory(self, path: Path) -> None:
        if path.is_dir():
            return
        if path != self._directory:
            self._make_durable_directory(path.parent)
        path.mkdir(parents=True, exist_ok=True)
        _sync_directory(path.parent)

    def _sweep(self) -> int:
        removed = 0
        stale = time.time() - STALE_SECONDS
        for path in self._incoming.glob("*"):
            try:
                if path.stat().st_mtime < stale:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # another node sweeps too
        return removed


def _read(path: Path, sha256: str) -> bytes | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BlobDamaged("The file on the disk is damaged.")
    return data


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
