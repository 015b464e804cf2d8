"""Who may be spoken to, from where, and what a page may load: Host, Origin, page headers, connections per address."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from realtime.errors import ForeignHost, ForeignOrigin, RequestError
from realtime.settings import Settings, is_loopback

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)
"""One policy for all pages, no inline scripts or styles (RULE A8)."""

PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HOSTLESS_PATHS = frozenset({"/healthz", "/readyz"})
"""Asked by load balancers under whatever name they like (RULINGS 42)."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?\Z")


class TooManyConnections(RequestError):
    """This address, or this node, has its connections; others are not touched (RULE L3)."""

    code = "too_many_connections"
    retryable = True


class Security:
    """The checks of one node, made from its settings.

    Source: RULINGS 21, 23, 42; docs/protocol.md, A6 to A8.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._origins = frozenset(_origin(origin) for origin in settings.origins)
        self._hosts = frozenset((host, port) for _, host, port in self._origins)
        self._any_host = not settings.is_open and not settings.origins

    def check_host(self, request: web.BaseRequest) -> None:
        """Raises ForeignHost unless the Host header names one of ours: loopback, or a host of LUNEO_ORIGINS."""
        match = _HOST.match(request.headers.get("Host", ""))
        if match is not None:
            host, port = match[1].lower(), match[2]
            if self._any_host or is_loopback(host):
                return
            for known, known_port in self._hosts:
                if host == known and (port is None or int(port) == known_port):
                    return
        raise ForeignHost(
            "This server does not answer to that host name. Its names are those of LUNEO_ORIGINS, and loopback."
        )

    def check_origin(self, request: web.BaseRequest) -> None:
        """Raises ForeignOrigin when a page of another origin asks; programs, which send no Origin, pass."""
        raw = request.headers.get("Origin")
        if raw is None:
            # older browsers and privacy tools may leave Origin away; what they do say is believed
            if request.headers.get("Sec-Fetch-Site", "none") in ("cross-site", "same-site"):
                raise _foreign()
            return
        try:
            origin = _origin(raw)
        except ValueError:
            raise _foreign() from None
        if origin in self._origins:
            return
        scheme, host, port = origin
        match = _HOST.match(request.headers.get("Host", ""))
        if match is not None and not (self._settings.origins and not is_loopback(host)):
            own_port = int(match[2]) if match[2] else _default_port(scheme)
            if (match[1].lower(), own_port) == (host, port):
                return
        raise _foreign()

    def check_handshake(self, request: web.BaseRequest) -> None:
        """Both checks, for every WebSocket, Socket.IO and Hocuspocus handshake, before anything is read.

        Raises:
            ForeignHost, ForeignOrigin: answer with `realtime.errors.answer(error).problem()` and upgrade nothing.
        """
        self.check_host(request)
        self.check_origin(request)

    def opens_socket(self, request: web.BaseRequest, socket_paths: tuple[str, ...]) -> bool:
        """Whether a GET of this kind may become a live connection."""
        return request.path.startswith(socket_paths) or "upgrade" in request.headers.get("Connection", "").lower()

    def check_request(self, request: web.BaseRequest, socket_paths: tuple[str, ...]) -> None:
        """Host on everything but health, Origin on handshakes and on writes that a cookie may authenticate.

        Raises:
            ForeignHost, ForeignOrigin.
        """
        if request.path not in HOSTLESS_PATHS:
            self.check_host(request)
        # a foreign page cannot set Authorization without asking first, and nobody here answers that question
        is_write = request.method not in SAFE_METHODS and "Authorization" not in request.headers
        if is_write or self.opens_socket(request, socket_paths):
            self.check_origin(request)

    def peer_address(self, request: web.BaseRequest) -> str:
        """The client's address: of the connection, or what a trusted proxy (LUNEO_PROXIES) says it was."""
        remote = request.remote or ""
        if not self._trusted(remote):
            return remote
        # from the right: each hop that we trust vouches for the one before it
        for hop in reversed(",".join(request.headers.getall("X-Forwarded-For", [])).split(",")):
            candidate = hop.strip()
            try:
                ipaddress.ip_address(candidate)
            except ValueError:
                return remote
            remote = candidate
            if not self._trusted(candidate):
                return candidate
        return remote

    def _trusted(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._settings.proxies)

    def is_local(self, request: web.BaseRequest) -> bool:
        """Whether a program of this machine asks, and not a proxy on it for somebody else."""
        forwarded = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
        if any(name in request.headers for name in forwarded):
            return False
        match = _HOST.match(request.headers.get("Host", ""))
        return is_loopback(request.remote or "") and match is not None and is_loopback(match[1])

    def is_https(self, request: web.BaseRequest) -> bool:
        """Whether the browser came by https, as far as one can tell; a false claim binds only its maker's cookie."""
        return request.secure or request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip() == "https"


def _foreign() -> ForeignOrigin:
    return ForeignOrigin("A page of another origin may not do this. Name its origin in LUNEO_ORIGINS to allow it.")


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _origin(raw: str) -> tuple[str, str, int]:
    """Scheme, host (with brackets if IPv6) and port. Raises ValueError for `null` and everything that is none."""
    parts = urlsplit(raw)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(raw)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.scheme, host.lower(), parts.port or _default_port(parts.scheme)


def add_page_headers(response: web.StreamResponse) -> None:
    """The headers every answer carries; what an answer has set by itself stays."""
    for name, value in PAGE_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "Luneo Live"  # aiohttp has put its own and Python's version there


class AddressLimit:
    """How many live connections one address, and the whole node, may hold; policy: refuse (RULE L3).

    Args:
        per_address, total: 0 is no limit. Loopback counts for the total only: it is a proxy, or a developer.
    """

    def __init__(self, per_address: int, total: int) -> None:
        self._per_address = per_address
        self._total = total
        self._held: Counter[str] = Counter()
        self.connections = 0

    def hold(self, address: str) -> Callable[[], None]:
        """Count one connection of *address* until what is returned is called; call it once.

        Raises:
            TooManyConnections: nothing was counted; `retryable`.
        """
        if self._total and self.connections >= self._total:
            raise TooManyConnections(f"This node has {self._total} connections (LUNEO_MAX_CONNECTIONS). Try another.")
        if self._per_address and self._held[address] >= self._per_address and not is_loopback(address):
            raise TooManyConnections(
                f"This address has {self._per_address} connections (LUNEO_MAX_CONNECTIONS_PER_ADDRESS). Close some."
            )
        self._held[address] += 1
        self.connections += 1
        return functools.partial(self._release, address)

    def _release(self, address: str) -> None:
        self.connections -= 1
        self._held[address] -= 1
        if not self._held[address]:
            del self._held[address]
