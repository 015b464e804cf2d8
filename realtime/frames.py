"""WebSocket frames and Socket.IO packets as bytes, ready for a transport.

Document sockets are written by us and not by python-socketio: one write holds a packet's header and its attachment,
which the stock writer may part with another frame in between (RULE O1).
"""

from __future__ import annotations

import orjson

TEXT, BINARY = 1, 2
CLOSE = 8
MAX_REASON_BYTES = 123
PING = b"\x89\x00"
_PLACEHOLDER = b'{"_placeholder":true,"num":0}'


def websocket_head(opcode: int, length: int) -> bytes:
    """What stands before a payload of *length* bytes in one unmasked, unfragmented server frame (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((0x80 | opcode, length))
    if length < 65536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big")


def websocket_frame(opcode: int, payload: bytes) -> bytes:
    """One server frame."""
    return websocket_head(opcode, len(payload)) + payload


def close(code: int, reason: str) -> bytes:
    """A close frame; of *reason* as much as fits."""
    cut = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()
    return websocket_frame(CLOSE, code.to_bytes(2, "big") + cut)


def connected(namespace: bytes, sid: str) -> bytes:
    return websocket_frame(TEXT, b"40" + namespace + b"," + orjson.dumps({"sid": sid}))


def connect_error(namespace: bytes, message: str, data: object) -> bytes:
    """A permanent refusal: a stock client never tries again by itself."""
    return websocket_frame(TEXT, b"44" + namespace + b"," + orjson.dumps({"message": message, "data": data}))


def disconnect(namespace: bytes) -> bytes:
    return websocket_frame(TEXT, b"41" + namespace + b",")


def event(namespace: bytes, name: str, payload: object) -> bytes:
    return websocket_frame(TEXT, b"42" + namespace + b"," + orjson.dumps([name, payload]))


def acknowledgement(namespace: bytes, number: int, payload: object) -> bytes:
    return websocket_frame(TEXT, b"43%b,%d" % (namespace, number) + orjson.dumps([payload]))


def binary_event(
    namespace: bytes, name: str, attachment: bytes, extra: bytes = b"", *, number: int | None = None
) -> bytes:
    """An event with one attachment; *extra* is JSON for a further argument, *number* asks for an acknowledgement."""
    header = b'451-%b,%b["%b",%b%b]' % (
        namespace,
        b"" if number is None else b"%d" % number,
        name.encode(),
        _PLACEHOLDER,
        b"," + extra if extra else b"",
    )
    return websocket_frame(TEXT, header) + websocket_frame(BINARY, attachment)


def binary_acknowledgement(namespace: bytes, number: int, attachment: bytes, extra: bytes) -> tuple[bytes, bytes]:
    """An acknowledgement with one attachment, which is the second part as it came: it may be large."""
    header = b"461-%b,%d[%b,%b]" % (namespace, number, _PLACEHOLDER, extra)
    return websocket_frame(TEXT, header) + websocket_head(BINARY, len(attachment)), attachment
