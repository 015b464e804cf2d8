"""One log line is one event with fields; who and where are bound once by context, and no token gets through."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TextIO

import orjson

_bound: ContextVar[Mapping[str, object]] = ContextVar("luneo_log_fields", default=MappingProxyType({}))

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}

TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*|(?<=token=)[^&\s\"']+|(?<=Bearer )[^\s\"']+")
"""What looks like a token wherever it stands; our own lines never hold one, other libraries' lines might (RULE A9)."""


@contextlib.contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Every line logged inside has *fields* too (node, room, user, connection)."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The fields of one line: those bound by context, then those given with it."""
    own = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return {**_bound.get(), **own}


class _Formatter(logging.Formatter):
    """The parts every format shares."""

    def event(self, record: logging.LogRecord) -> tuple[str, dict[str, object], str]:
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        return record.getMessage(), fields_of(record), traceback


class JsonFormatter(_Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        message, fields, traceback = self.event(record)
        line: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": message,
            "logger": record.name,
            **fields,
        }
        if traceback:
            line["traceback"] = traceback
        return TOKEN.sub("[token]", orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode())


class TextFormatter(_Formatter):
    """`12:30:01 info  update appended  position=41 bytes=212`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        message, fields, traceback = self.event(record)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        tail = "".join(f" {name}={_plain(value)}" for name, value in fields.items())
        line = f"{clock} {record.levelname.lower():7} {message}{' ' if tail else ''}{tail}"
        return TOKEN.sub("[token]", f"{line}\n{traceback}" if traceback else line)


def _plain(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text and text else repr(text)


def start(level: str, format: str, stream: TextIO | None = None) -> None:
    """Send the log to *stream* (standard error), in the way the settings say; called once, by `__main__`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("engineio", "socketio", "asyncio", "alembic", "sqlalchemy", "aiosqlite", "PIL", "fontTools"):
        logging.getLogger(noisy).setLevel("WARNING")
