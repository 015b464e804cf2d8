"""Proxy: a bad network between a client and a node: slow, late, in pieces, silent or cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

BUFFER_BYTES = 64 * 1024
"""What the proxy's kernel holds of each side: small, so that a slow client is felt by the node."""
CHUNK_BYTES = 16 * 1024


class Proxy:
    """Carries every connection to `url` on; as `async with` it listens, and ends them all at the end.

    Its behaviour may be changed at any time, for all of its connections:

        down_bytes_per_second, up_bytes_per_second: towards the client, towards the node; 0: as fast as it goes.
        delay_seconds: everything comes so much later, each way.
        halves: what was read in one piece is written in two, the second one a little later.
    """

    def __init__(
        self,
        url: str,
        *,
        down_bytes_per_second: int = 0,
        up_bytes_per_second: int = 0,
        delay_seconds: float = 0.0,
        halves: bool = False,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.host, self.to_port = parts.hostname, parts.port
        self.down_bytes_per_second = down_bytes_per_second
        self.up_bytes_per_second = up_bytes_per_second
        self.delay_seconds = delay_seconds
        self.halves = halves
        self.port = 0
        self.carried_bytes = 0
        """Towards clients."""
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def swallow(self) -> None:
        """Carry nothing on from now, and close nothing: a cable that was pulled."""
        self._open.clear()

    def carry(self) -> None:
        self._open.set()

    def reset(self) -> None:
        """End every connection with RST on both sides."""
        for writer in list(self._writers):
            _reset(writer)

    async def __aenter__(self) -> Self:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        listening.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._accepted, sock=listening)
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = socket.socket()
        onward.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        onward.setblocking(False)
        await asyncio.get_running_loop().sock_connect(onward, (self.host, self.to_port))
        node_reader, node_writer = await asyncio.open_connection(sock=onward, limit=BUFFER_BYTES)
        both = {writer, node_writer}
        for one in both:
            one.transport.set_write_buffer_limits(high=BUFFER_BYTES)
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, node_writer, down=False))
                group.create_task(self._pump(node_reader, writer, down=True))
        except* OSError:
            pass
        finally:
            self._writers -= both
            for one in both:
                one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool) -> None:
        """One direction; its end is carried on too."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=8)
        loop = asyncio.get_running_loop()

        async def read() -> None:
            while data := await reader.read(CHUNK_BYTES):
                await self._open.wait()
                await late.put((loop.time() + self.delay_seconds, data))
            await late.put((loop.time() + self.delay_seconds, b""))

        async def write() -> None:
            while True:
                due, data = await late.get()
                await asyncio.sleep(due - loop.time())
                await self._open.wait()
                if not data:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                pieces = (data[: len(data) // 2], data[len(data) // 2 :]) if self.halves else (data,)
                for piece in filter(None, pieces):
                    writer.write(piece)
                    await writer.drain()
                    if down:
                        self.carried_bytes += len(piece)
                    rate = self.down_bytes_per_second if down else self.up_bytes_per_second
                    await asyncio.sleep(len(piece) / rate if rate else 0.001 * self.halves)

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(write())


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
