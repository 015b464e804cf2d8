"""Every knob once: its variable, unit, default, and what zero means; read whole from a mapping, or refused whole."""

# ruff: noqa: RUF009  (a field that knows its variable is a call by nature, and its result is a dataclass field)

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from storage.keys import BrandId, is_id

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

GUEST_BRAND = BrandId("demo")
"""The one brand of the open mode."""

SHORT_SECRET_BYTES = 32
"""A signing secret below this is taken, with a warning: HS256 wants as many bytes as its digest has."""
MIN_SECRET_BYTES = 8
"""A signing secret below this is refused."""


class SettingsError(Exception):
    """The environment is wrong; `problems` has one sentence for each wrong variable, which it names."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Wrong(Exception):
    """One value is wrong; the sentence goes on after the variable's name."""


@dataclass(frozen=True, slots=True)
class _About:
    """What `serve --help` says of one setting."""

    variable: str
    unit: str
    help: str
    zero: str = ""
    minimum: float = 0
    maximum: float = float("inf")
    secret: bool = False


def _setting(
    variable: str,
    default: Any,
    unit: str,
    help: str,
    *,
    zero: str = "",
    minimum: float = 0,
    maximum: float = float("inf"),
    secret: bool = False,
) -> Any:
    """A dataclass field that knows its variable; *zero* says what 0 means, and is empty where 0 is refused."""
    lowest = minimum if zero or minimum else 1
    about = _About(variable, unit, help, zero, lowest, maximum, secret)
    return dataclasses.field(default=default, repr=not secret, metadata={"about": about})


KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one node was told. Values are plain and are passed down as such; secrets do not print.

    Source: CONTRACT 2; docs/protocol.md, L1.
    """

    # where
    host: str = _setting("HOST", "127.0.0.1", "address", "the address to listen on")
    port: int = _setting(
        "PORT", 8080, "number", "the port to listen on", zero="the system chooses a free one", maximum=65535
    )
    data_dir: Path = _setting("LUNEO_DATA_DIR", Path("data"), "directory", "where the embedded database and blobs live")
    database_url: str = _setting(
        "LUNEO_DATABASE_URL",
        "",
        "address",
        "where the tables are, postgresql+asyncpg://… for many nodes; unset: SQLite in the data directory",
        secret=True,
    )
    redis_url: str = _setting(
        "LUNEO_REDIS_URL",
        "",
        "address",
        "what joins the nodes, redis://…; unset: one node, in-process bus",
        secret=True,
    )
    redis_prefix: str = _setting(
        "LUNEO_REDIS_PREFIX",
        "luneo",
        "name",
        "the first part of every channel name, so that installations share a Redis",
    )
    blob_url: str = _setting(
        "LUNEO_BLOB_URL", "", "address", "a directory for images; unset: `blobs` in the data directory"
    )
    # who
    secrets: tuple[str, ...] = _setting(
        "LUNEO_SECRET", (), "text", "signs tokens (HS256); `new,old` during a rotation; unset: open mode", secret=True
    )
    jwks_url: str = _setting(
        "LUNEO_JWKS_URL", "", "address", "keys of the customer's identity provider (RS256, ES256); https, or loopback"
    )
    jwt_issuer: str = _setting(
        "LUNEO_JWT_ISSUER", "", "text", "the `iss` to insist on; needed with LUNEO_JWKS_URL; unset: luneo"
    )
    jwt_audience: str = _setting("LUNEO_JWT_AUDIENCE", "luneo-live", "text", "the `aud` to insist on")
    jwt_brands: tuple[str, ...] = _setting(
        "LUNEO_JWT_BRANDS", (), "brands, with commas", "the brands the issuer may speak for; needed with LUNEO_JWKS_URL"
    )
    origins: tuple[str, ...] = _setting(
        "LUNEO_ORIGINS",
        (),
        "addresses, with commas",
        "where pages may come from, as https://live.example; their hosts are the hosts this node answers to",
    )
    proxies: tuple[Network, ...] = _setting(
        "LUNEO_PROXIES",
        (),
        "networks, with commas",
        "proxies whose X-Forwarded-For is believed, as 10.0.0.0/8; unset: nobody's",
    )
    # images from words
    openai_api_key: str = _setting("OPENAI_API_KEY", "", "text", "key of the image model (not used yet)", secret=True)
    openai_base_url: str = _setting(
        "OPENAI_BASE_URL", "", "address", "a server that speaks the same protocol (not used yet)"
    )
    image_model: str = _setting("LUNEO_IMAGE_MODEL", "", "name", "the image model (not used yet)")
    # the node
    log_level: str = _setting("LUNEO_LOG_LEVEL", "info", "debug, info, warning, error", "what is logged")
    log_format: str = _setting("LUNEO_LOG_FORMAT", "text", "text or json", "how a line of the log is written")
    static_dir: Path = _setting(
        "LUNEO_STATIC_DIR", Path(__file__).parents[1] / "static" / "dist", "directory", "the built studio"
    )
    worker_count: int = _setting(
        "LUNEO_WORKERS", 0, "processes", "worker processes", zero="one per processor, at least 2, at most 8", maximum=64
    )
    worker_memory_bytes: int = _setting(
        "LUNEO_WORKER_MEMORY_BYTES", 1024 * MIB, "bytes", "memory of one request in a worker", minimum=256 * MIB
    )
    worker_seconds: float = _setting(
        "LUNEO_WORKER_SECONDS", 10.0, "seconds", "a request in a worker is killed after this"
    )
    worker_queue: int = _setting(
        "LUNEO_WORKER_QUEUE", 256, "requests", "requests waiting for a worker; more are refused"
    )
    loop_watch_seconds: float = _setting(
        "LUNEO_LOOP_WATCH_SECONDS",
        0.05,
        "seconds",
        "between two looks at how late the event loop is; 0.002 sees more and costs 2 percent of a processor",
        maximum=10,
    )
    drain_seconds: float = _setting(
        "LUNEO_DRAIN_SECONDS",
        10.0,
        "seconds",
        "how long a stopping node waits for what is under way",
        zero="it does not wait",
        maximum=600,
    )
    # documents
    max_update_bytes: int = _setting("LUNEO_MAX_UPDATE_BYTES", 4 * MIB, "bytes", "one update")
    max_document_bytes: int = _setting("LUNEO_MAX_DOCUMENT_BYTES", 16 * MIB, "bytes", "one document, as one update")
    max_message_characters: int = _setting("LUNEO_MAX_MESSAGE_CHARACTERS", 4000, "characters", "one chat message")
    keyframe_rows: int = _setting("LUNEO_KEYFRAME_ROWS", 500, "rows", "rows of the log after which a keyframe is taken")
    keyframe_bytes: int = _setting(
        "LUNEO_KEYFRAME_BYTES", 256 * KIB, "bytes", "bytes of the log after which a keyframe is taken"
    )
    max_inbox_updates: int = _setting(
        "LUNEO_MAX_INBOX_UPDATES", 1024, "updates", "updates waiting in one room; more make their sender wait"
    )
    max_inbox_bytes: int = _setting(
        "LUNEO_MAX_INBOX_BYTES", 8 * MIB, "bytes", "updates waiting in one room; more make their sender wait"
    )
    max_rooms: int = _setting("LUNEO_MAX_ROOMS", 20_000, "rooms", "rooms open on one node", zero="no limit")
    room_idle_seconds: float = _setting(
        "LUNEO_ROOM_IDLE_SECONDS", 30.0, "seconds", "an empty room closes after this", zero="it closes at once"
    )
    # connections
    max_connections: int = _setting(
        "LUNEO_MAX_CONNECTIONS", 20_000, "connections", "live connections of one node", zero="no limit"
    )
    max_connections_per_address: int = _setting(
        "LUNEO_MAX_CONNECTIONS_PER_ADDRESS",
        200,
        "connections",
        "live connections from one address (loopback is not counted)",
        zero="no limit",
    )
    max_documents_per_connection: int = _setting(
        "LUNEO_MAX_DOCUMENTS_PER_CONNECTION", 32, "documents", "documents open over one connection"
    )
    unauthenticated_bytes: int = _setting(
        "LUNEO_UNAUTHENTICATED_BYTES",
        32 * KIB,
        "bytes",
        "what a connection may send before its first request, which says who it is, is whole",
        minimum=1024,
    )
    unauthenticated_seconds: float = _setting(
        "LUNEO_UNAUTHENTICATED_SECONDS",
        10.0,
        "seconds",
        "how long that may take, and until a live one has joined something",
    )
    max_token_bytes: int = _setting("LUNEO_MAX_TOKEN_BYTES", 8 * KIB, "bytes", "one token", minimum=256)
    outbox_bytes: int = _setting(
        "LUNEO_OUTBOX_BYTES", MIB, "bytes", "waiting for one connection's reader; over it, updates wait in the log"
    )
    max_outbox_bytes: int = _setting(
        "LUNEO_MAX_OUTBOX_BYTES", 32 * MIB, "bytes", "waiting for one connection's reader; over it, it is cut"
    )
    ping_seconds: float = _setting("LUNEO_PING_SECONDS", 10.0, "seconds", "between two pings of a connection")
    ping_timeout_seconds: float = _setting(
        "LUNEO_PING_TIMEOUT_SECONDS", 10.0, "seconds", "a connection that does not answer a ping is closed after this"
    )
    # plain requests
    max_json_bytes: int = _setting("LUNEO_MAX_JSON_BYTES", 64 * KIB, "bytes", "a JSON body of a plain request")
    request_seconds: float = _setting(
        "LUNEO_REQUEST_SECONDS", 60.0, "seconds", "how long a request's body may take to arrive"
    )
    max_uploads: int = _setting("LUNEO_MAX_UPLOADS", 16, "uploads", "uploads under way on one node; more are refused")
    max_image_bytes: int = _setting("LUNEO_MAX_IMAGE_BYTES", 25 * MIB, "bytes", "one uploaded image")
    max_image_pixels: int = _setting("LUNEO_MAX_IMAGE_PIXELS", 50_000_000, "pixels", "one uploaded image, decoded")
    max_render_pixels: int = _setting("LUNEO_MAX_RENDER_PIXELS", 40_000_000, "pixels", "one picture of a design")
    max_render_image_bytes: int = _setting(
        "LUNEO_MAX_RENDER_IMAGE_BYTES", 256 * MIB, "bytes", "the images of one picture together"
    )
    max_renders: int = _setting(
        "LUNEO_MAX_RENDERS", 32, "pictures", "different pictures being made or waited for; more are refused"
    )
    render_seconds: float = _setting("LUNEO_RENDER_SECONDS", 30.0, "seconds", "one picture is given up after this")
    render_cache_bytes: int = _setting(
        "LUNEO_RENDER_CACHE_BYTES", 64 * MIB, "bytes", "pictures kept in memory", zero="none are kept"
    )
    # the bus
    bus_queue_bytes: int = _setting(
        "LUNEO_BUS_QUEUE_BYTES", 8 * MIB, "bytes", "messages waiting for the bus; over it the oldest are dropped (B3)"
    )
    bus_heartbeat_seconds: float = _setting(
        "LUNEO_BUS_HEARTBEAT_SECONDS", 2.0, "seconds", "between a node's messages to itself; three missing: reconnect"
    )

    @property
    def is_open(self) -> bool:
        """The open mode: nobody has an account, and only this machine is served (CONTRACT 2)."""
        return not self.secrets and not self.jwks_url

    @property
    def is_postgresql(self) -> bool:
        return self.database_url.startswith("postgresql")

    @property
    def effective_database_url(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'luneo.sqlite3'}"

    @property
    def blob_dir(self) -> Path:
        return Path(self.blob_url) if self.blob_url else self.data_dir / "blobs"

    @property
    def effective_worker_count(self) -> int:
        return self.worker_count or max(2, min(8, os.cpu_count() or 2))

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """What the environment says, validated whole.

        Raises:
            SettingsError: one sentence for each variable that is wrong; nothing was started.
        """
        values: dict[str, Any] = {}
        problems: list[str] = []
        for field in dataclasses.fields(cls):
            about: _About = field.metadata["about"]
            raw = environ.get(about.variable, "").strip()
            if not raw:
                continue
            try:
                values[field.name] = _READERS.get(field.name, _PLAIN[type(field.default)])(raw, about)
            except _Wrong as wrong:
                problems.append(f"{about.variable} {wrong}")
        settings = cls(**values)
        # a value that could not be read must not make a second sentence, so only what was read is compared
        problems.extend(_contradictions(settings, wrong={problem.split(" ", 1)[0] for problem in problems}))
        if problems:
            raise SettingsError(tuple(problems))
        return settings

    @classmethod
    def unknown(cls, environ: Mapping[str, str]) -> tuple[str, ...]:
        """A sentence for each LUNEO_ variable that nobody reads: most often a slip of the pen."""
        known = {field.metadata["about"].variable for field in dataclasses.fields(cls)}
        sentences = []
        for name in sorted(environ):
            if name.startswith("LUNEO_") and name not in known and name not in _NOT_SETTINGS:
                near = difflib.get_close_matches(name, known, n=1)
                sentences.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "."))
        return tuple(sentences)

    @classmethod
    def describe(cls) -> str:
        """Every setting with unit, default and what zero means, for `serve --help`."""
        lines = []
        for field in dataclasses.fields(cls):
            about: _About = field.metadata["about"]
            lines.append(f"  {about.variable} ({about.unit}; default: {_shown(field)})")
            zero = f" 0: {about.zero}." if about.zero else ""
            lines.append(f"      {about.help[0].upper()}{about.help[1:]}.{zero}")
        return "\n".join(lines)


_NOT_SETTINGS = frozenset({"LUNEO_PROVE", "LUNEO_SEED", "LUNEO_TESTING", "LUNEO_FAULT", "LUNEO_NODE"})
"""Read by the proofs and by `serve --nodes`."""


def _shown(field: dataclasses.Field[Any]) -> str:
    if field.name == "static_dir":
        return "static/dist"
    if isinstance(field.default, tuple) or field.default == "":
        return "unset"
    return str(field.default)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach *host* (a name or an address, without a port)."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


# readers: each takes the text and what is known of its setting, and raises _Wrong with the rest of a sentence


def _integer(raw: str, about: _About) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", raw):
        raise _Wrong(f"must be a whole number ({about.unit}), not {_quoted(raw)}.")
    return int(_bounded(int(raw), about))


def _seconds(raw: str, about: _About) -> float:
    if not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,9})?", raw):
        raise _Wrong(f"must be a number ({about.unit}), not {_quoted(raw)}.")
    value = float(raw)
    if value == 0 and not about.zero:
        raise _Wrong("must be above 0.")
    if value < 0 or value > about.maximum:
        raise _Wrong(f"must be between 0 and {about.maximum:g} {about.unit}, not {raw}.")
    return value


def _bounded(value: int, about: _About) -> int:
    if value < about.minimum or value > about.maximum:
        most = "" if about.maximum == float("inf") else f" and at most {about.maximum:.0f}"
        raise _Wrong(f"must be at least {about.minimum:.0f}{most} ({about.unit}), not {value}.")
    return value


def _quoted(raw: str) -> str:
    return repr(raw if len(raw) <= 60 else raw[:60] + "…")


def _text(raw: str, about: _About) -> str:
    if not raw.isprintable():
        raise _Wrong("has characters that cannot be printed.")
    return raw


def _path(raw: str, about: _About) -> Path:
    return Path(raw).expanduser()


def _listed(raw: str, about: _About) -> tuple[str, ...]:
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def _split(raw: str) -> SplitResult:
    try:
        parts = urlsplit(raw)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError:
        raise _Wrong("is not an address.") from None
    return parts


def _database(raw: str, about: _About) -> str:
    parts = _split(raw)
    if parts.scheme in ("postgres", "postgresql"):
        return "postgresql+asyncpg" + raw[len(parts.scheme) :]
    if parts.scheme not in ("postgresql+asyncpg", "sqlite+aiosqlite", "sqlite"):
        raise _Wrong("must begin with postgresql+asyncpg:// or sqlite:///.")
    return raw


def _redis(raw: str, about: _About) -> str:
    if _split(raw).scheme not in ("redis", "rediss", "unix"):
        raise _Wrong("must begin with redis://, rediss:// or unix://.")
    return raw


def _blobs(raw: str, about: _About) -> str:
    if raw.startswith("file://"):
        raw = raw[len("file://") :]
    if "://" in raw:
        raise _Wrong("must be a directory; object stores such as s3:// are not offered yet.")
    return str(Path(raw).expanduser())


def _signing(raw: str, about: _About) -> tuple[str, ...]:
    secrets = tuple(part.strip() for part in raw.split(","))
    if len(secrets) > 2:
        raise _Wrong("takes at most two secrets, `new,old`, and no secret may have a comma in it.")
    for secret in secrets:
        if secret.startswith(("-----BEGIN", "ssh-")):
            raise _Wrong("looks like an asymmetric key; it must be a random text, as `openssl rand -hex 32` makes it.")
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise _Wrong(
                f"must have at least {MIN_SECRET_BYTES} bytes ({SHORT_SECRET_BYTES} or more are wise);"
                " `openssl rand -hex 32` makes one."
            )
    return secrets


def _web(raw: str, about: _About) -> str:
    parts = _split(raw)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _Wrong("must be an http or https address.")
    return raw


def _jwks(raw: str, about: _About) -> str:
    parts = urlsplit(_web(raw, about))
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise _Wrong("must be https: whoever can change these keys can be anybody.")
    return raw


def _brands(raw: str, about: _About) -> tuple[str, ...]:
    brands = _listed(raw, about)
    for brand in brands:
        if not is_id(brand):
            raise _Wrong(f"has {_quoted(brand)}, which is not a brand ([A-Za-z0-9_-], 1 to 64).")
    return brands


def _origins(raw: str, about: _About) -> tuple[str, ...]:
    origins = []
    for part in _listed(raw, about):
        parts = _split(part)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise _Wrong(f"has {_quoted(part)}, which is not an origin such as https://live.example.")
        origins.append(f"{parts.scheme}://{parts.netloc.lower()}")
    return tuple(origins)


def _networks(raw: str, about: _About) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part) for part in _listed(raw, about))
    except ValueError:
        raise _Wrong(f"must be networks such as 10.0.0.0/8, not {_quoted(raw)}.") from None


def _level(raw: str, about: _About) -> str:
    if raw.lower() not in ("debug", "info", "warning", "error"):
        raise _Wrong(f"must be debug, info, warning or error, not {_quoted(raw)}.")
    return raw.lower()


def _format(raw: str, about: _About) -> str:
    if raw.lower() not in ("text", "json"):
        raise _Wrong(f"must be text or json, not {_quoted(raw)}.")
    return raw.lower()


def _prefix(raw: str, about: _About) -> str:
    if not is_id(raw):
        raise _Wrong(f"must match [A-Za-z0-9_-]{{1,64}}, not {_quoted(raw)}.")
    return raw


_PLAIN: dict[type, Any] = {int: _integer, float: _seconds, str: _text, tuple: _listed}
_PLAIN.update(dict.fromkeys((Path, type(Path())), _path))
_READERS: dict[str, Any] = {
    "database_url": _database,
    "redis_url": _redis,
    "redis_prefix": _prefix,
    "blob_url": _blobs,
    "secrets": _signing,
    "jwks_url": _jwks,
    "jwt_brands": _brands,
    "openai_base_url": _web,
    "origins": _origins,
    "proxies": _networks,
    "log_level": _level,
    "log_format": _format,
}


def _contradictions(settings: Settings, wrong: set[str]) -> list[str]:
    """What is wrong between settings that are each right."""
    problems = []
    if settings.is_open and not is_loopback(settings.host) and not wrong & {"LUNEO_SECRET", "LUNEO_JWKS_URL"}:
        problems.append(
            f"LUNEO_SECRET is needed to listen on {settings.host}: without it (or LUNEO_JWKS_URL) everybody is a guest"
            " who may do everything, so the node serves this machine only. `openssl rand -hex 32` makes a secret."
        )
    if settings.jwks_url and not settings.jwt_issuer:
        problems.append("LUNEO_JWT_ISSUER is needed with LUNEO_JWKS_URL: the `iss` that these keys may sign for.")
    if settings.jwks_url and not settings.jwt_brands and "LUNEO_JWT_BRANDS" not in wrong:
        problems.append("LUNEO_JWT_BRANDS is needed with LUNEO_JWKS_URL: the brands that this issuer may speak for.")
    if settings.max_update_bytes > settings.max_document_bytes:
        problems.append("LUNEO_MAX_UPDATE_BYTES must not be above LUNEO_MAX_DOCUMENT_BYTES.")
    if settings.max_outbox_bytes < settings.max_document_bytes:
        problems.append(
            "LUNEO_MAX_OUTBOX_BYTES must not be below LUNEO_MAX_DOCUMENT_BYTES: a joiner is sent all of it."
        )
    return problems
