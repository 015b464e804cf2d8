"""Link: what the kernel knows of one TCP connection: how much of what was written the other machine has taken."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
import termios
from typing import Final

_ACKNOWLEDGED: Final = slice(120, 128)
"""`tcpi_bytes_acked` in `struct tcp_info` (Linux 4.1 and later)."""


def taken_bytes(transport: asyncio.BaseTransport) -> int | None:
    """Bytes that the other machine has acknowledged since the connection began; None where the kernel does not say."""
    tcp_info = getattr(socket, "TCP_INFO", None)
    if tcp_info is None or sys.platform != "linux":
        return None
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, tcp_info, _ACKNOWLEDGED.stop)
    except (OSError, AttributeError):  # no TCP, or closed
        return None
    return int.from_bytes(info[_ACKNOWLEDGED], sys.byteorder) if len(info) == _ACKNOWLEDGED.stop else None


def kernel_bytes(transport: asyncio.BaseTransport) -> int:
    """Bytes that the kernel holds and the other machine has not acknowledged; 0 where it does not say."""
    try:
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, AttributeError, ValueError):
        return 0
    return int.from_bytes(answer, sys.byteorder)
