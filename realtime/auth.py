"""Who is asking: a token or a cookie becomes a User, or a refusal that says what to do."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from types import TracebackType
from typing import Any, Final

import aiohttp
import jwt
import orjson
from jwt.algorithms import HMACAlgorithm

from realtime.errors import NotAuthenticated, TokenExpired
from realtime.settings import GUEST_BRAND, Settings
from rooms.permissions import Role, User
from storage.keys import BrandId, UserId, is_id

log = logging.getLogger(__name__)

OWN_ISSUER: Final = "luneo"
GUEST_ISSUER: Final = "luneo-guest"
GUEST_AUDIENCE: Final = "luneo-guest"
GUEST_SECONDS: Final = 365 * 86_400
"""A guest who does not come back for a year is somebody else then."""
NOT_BEFORE_LEEWAY_SECONDS: Final = 30.0
"""How far the clock of a token's maker may be ahead of ours; `exp` has no leeway."""
MAX_SUBJECT_CHARACTERS: Final = 128
MAX_NAME_CHARACTERS: Final = 80
MAX_ROOM_GLOBS: Final = 64
MAX_JWKS_BYTES: Final = 256 * 1024
MAX_JWKS_KEYS: Final = 64
JWKS_FRESH_SECONDS: Final = 600.0
JWKS_STALE_SECONDS: Final = 86_400.0
"""Keys are used this long when their server cannot be reached; then nobody comes in by them."""
JWKS_RETRY_SECONDS: Final = 30.0
"""An unknown key id, or a failure, makes us ask again at most this often."""
JWKS_TIMEOUT_SECONDS: Final = 5.0
MIN_RSA_BITS: Final = 2048
MAX_COOKIE_BYTES: Final = 3800
"""Browsers keep 4096 bytes of a cookie, its name and attributes included."""

_GLOB = re.compile(r"[A-Za-z0-9_*?\[\]!-]{1,128}\Z")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}\Z")
_LOCALE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}\Z")


class _Hmac(HMACAlgorithm):
    """HS256 over a secret that the settings have already judged; the stock class parses it as PEM, DER and JSON anew
    for each token, and warns into the log."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: Any) -> str | None:
        return None


_HS256 = jwt.PyJWS(algorithms=[])
_HS256.register_algorithm("HS256", _Hmac(_Hmac.SHA256))
_ASYMMETRIC = jwt.PyJWS(algorithms=["RS256", "ES256"])


def sign(claims: Mapping[str, object], secret: str) -> str:
    """A token over *claims*, with HS256."""
    return _HS256.encode(orjson.dumps(claims), secret, algorithm="HS256", headers={"typ": "JWT"})


def make_token(
    settings: Settings,
    *,
    user: str,
    name: str,
    brand: str,
    role: Role,
    rooms: Sequence[str] = (),
    seconds: float = 3600,
    now: float | None = None,
) -> str:
    """One token as `python -m realtime token` prints it, signed with the newest secret.

    Raises:
        ValueError: there is no secret, or a claim would be refused when it comes back; the sentence says which.
    """
    if not settings.secrets:
        raise ValueError("LUNEO_SECRET is not set: without it nobody needs a token, and none can be signed.")
    at = time.time() if now is None else now
    claims: dict[str, object] = {
        "sub": user,
        "name": name,
        "brand": brand,
        "role": role.value,
        "iat": int(at),
        "exp": int(at + seconds),
        "iss": _own_issuer(settings),
        "aud": _own_audience(settings),
    }
    if rooms:
        claims["rooms"] = list(rooms)
    try:
        read_claims(claims, now=at - 1, issuer=_own_issuer(settings), audience=_own_audience(settings), brands=())
    except NotAuthenticated as refused:
        raise ValueError(refused.message) from refused
    return sign(claims, settings.secrets[0])


def _own_issuer(settings: Settings) -> str:
    """With a JWKS, LUNEO_JWT_* speak of its tokens; without, of those signed with LUNEO_SECRET (RULE A3)."""
    return OWN_ISSUER if settings.jwks_url or not settings.jwt_issuer else settings.jwt_issuer


def _own_audience(settings: Settings) -> str:
    return "luneo-live" if settings.jwks_url else settings.jwt_audience


def read_claims(claims: Mapping[str, Any], *, now: float, issuer: str, audience: str, brands: Sequence[str]) -> User:
    """The user whom verified *claims* speak of; *brands* empty: any brand.

    Raises:
        TokenExpired: its time is over.
        NotAuthenticated: a claim is missing or wrong; the sentence says which, never its value.

    Source: CONTRACT 3; docs/protocol.md, A3 and A4.
    """
    if claims.get("iss") != issuer:
        raise NotAuthenticated("The token's `iss` is not the one this server trusts.")
    audiences = claims.get("aud")
    if not (audiences == audience or (isinstance(audiences, list) and audience in audiences)):
        raise NotAuthenticated("The token's `aud` is not this server.")
    expires_at = _number(claims, "exp", required=True)
    if expires_at <= now:
        raise TokenExpired("The token's time is over. Get a new one and come back.")
    for early in ("nbf", "iat"):
        if _number(claims, early) > now + NOT_BEFORE_LEEWAY_SECONDS:
            raise NotAuthenticated(f"The token's `{early}` lies in the future.")
    subject = claims.get("sub")
    if not _is_line(subject, MAX_SUBJECT_CHARACTERS):
        raise NotAuthenticated(f"The token's `sub` must be a text of 1 to {MAX_SUBJECT_CHARACTERS} characters.")
    name = claims.get("name", subject)
    if not _is_line(name, MAX_NAME_CHARACTERS):
        raise NotAuthenticated(f"The token's `name` must be a text of 1 to {MAX_NAME_CHARACTERS} characters.")
    brand = claims.get("brand")
    if not is_id(brand):
        raise NotAuthenticated("The token's `brand` must match [A-Za-z0-9_-]{1,64}.")
    if brands and brand not in brands:
        raise NotAuthenticated("The token's issuer may not speak for its `brand`.")
    try:
        role = Role(str(claims.get("role")))
    except ValueError:
        raise NotAuthenticated(f"The token's `role` must be one of {', '.join(Role)}.") from None
    globs = claims.get("rooms")
    if globs is None:
        globs = []
    elif not isinstance(globs, list) or not globs or len(globs) > MAX_ROOM_GLOBS:
        # an empty list would read as "no `rooms`", which is the wider grant
        raise NotAuthenticated(f"The token's `rooms` must be a list of 1 to {MAX_ROOM_GLOBS} globs of design ids.")
    if not all(isinstance(glob, str) and _GLOB.match(glob) for glob in globs):
        raise NotAuthenticated("The token's `rooms` must be globs of design ids, such as spring-*.")
    color, avatar, locale = (claims.get(key) or "" for key in ("color", "avatar", "locale"))
    return User(
        id=UserId(str(subject)),
        name=str(name).strip(),
        brand=BrandId(str(brand)),
        role=role,
        color=color if isinstance(color, str) and _COLOR.match(color) else color_of(str(subject)),
        avatar=avatar if isinstance(avatar, str) and avatar.startswith("https://") and len(avatar) <= 512 else "",
        locale=locale if isinstance(locale, str) and _LOCALE.match(locale) else "",
        rooms=tuple(globs),
        expires_at=expires_at,
    )


def _number(claims: Mapping[str, Any], name: str, *, required: bool = False) -> float:
    value = claims.get(name)
    if value is None and not required:
        return 0.0
    # bool is an int, and JSON as Python reads it may hold NaN or an integer without end
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise NotAuthenticated(f"The token's `{name}` must be a number of seconds since 1970.")
    return float(value)


def _is_line(value: object, longest: int) -> bool:
    return isinstance(value, str) and value.strip() != "" and len(value) <= longest and value.isprintable()


# guests


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ADJECTIVES = _words(
    "Amber Bold Brave Bright Calm Cheerful Clever Cosy Curious Dapper Eager Fair Gentle Golden Happy Honest Jolly"
    " Kind Lively Lucky Mellow Merry Mighty Nimble Noble Patient Playful Quick Quiet Radiant Rosy Silver Sunny Swift"
    " Tidy Velvet Warm Wise Witty Zesty"
)
_ANIMALS = _words(
    "Badger Beaver Bee Bison Crane Deer Dolphin Dormouse Eagle Falcon Ferret Finch Fox Gecko Hare Heron Hedgehog Ibex"
    " Kingfisher Koala Lark Lemur Lynx Magpie Marten Mole Newt Otter Owl Panda Penguin Puffin Raccoon Robin Seal"
    " Sparrow Squirrel Swan Tortoise Wombat"
)
_COLORS = _words(
    "#d6336c #ae3ec9 #7048e8 #4263eb #1c7ed6 #1098ad #0ca678 #37b24d #74b816 #e67700 #e8590c #c92a2a #5f3dc4 #087f5b"
)


def color_of(subject: str) -> str:
    """A colour that is always the same for *subject*, and dark enough for white letters on it."""
    return _COLORS[hashlib.sha256(subject.encode()).digest()[0] % len(_COLORS)]


def new_guest() -> User:
    """A visitor nobody has seen before: a random id, and a name and colour that follow from it."""
    subject = f"guest-{secrets.token_hex(8)}"
    chosen = random.Random(subject)
    return User(
        id=UserId(subject),
        name=f"{chosen.choice(_ADJECTIVES)} {chosen.choice(_ANIMALS)}",
        brand=GUEST_BRAND,
        role=Role.ADMIN,
        color=color_of(subject),
        is_guest=True,
    )


def guest_token(guest: User, key: str, now: float | None = None) -> str:
    """What a guest's cookie holds: name, colour and the role they look as, signed with this installation's key."""
    at = int(time.time() if now is None else now)
    return sign(
        {
            "sub": guest.id,
            "name": guest.name,
            "brand": guest.brand,
            "role": guest.role.value,
            "color": guest.color,
            "iat": at,
            "exp": at + GUEST_SECONDS,
            "iss": GUEST_ISSUER,
            "aud": GUEST_AUDIENCE,
        },
        key,
    )


# the customer's own identity provider


@dataclass(frozen=True, slots=True)
class _PinnedKey:
    """A public key and the one algorithm it may be used with, whatever a token's header says."""

    key: Any
    algorithm: str


class Jwks:
    """The public keys of an identity provider: fetched when first needed, cached, never more than one fetch at once.

    Source: docs/protocol.md, A5.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, _PinnedKey] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Jwks:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=JWKS_TIMEOUT_SECONDS))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def find(self, key_id: str | None) -> _PinnedKey | None:
        """The key of *key_id*; None: of the only key there is. Asks the server when it is time, or the id is new."""
        if not self._fresh():
            await self._refresh(JWKS_RETRY_SECONDS)
        found = self._look(key_id)
        if found is None:
            await self._refresh(JWKS_RETRY_SECONDS)
            found = self._look(key_id)
        return found

    def _fresh(self) -> bool:
        return time.monotonic() - self._fetched_at < JWKS_FRESH_SECONDS

    def _look(self, key_id: str | None) -> _PinnedKey | None:
        if time.monotonic() - self._fetched_at > JWKS_STALE_SECONDS:
            return None
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    async def _refresh(self, at_most_every_seconds: float) -> None:
        async with self._lock:
            # whoever waited for the lock finds the answer of the one who held it
            if time.monotonic() - self._tried_at < at_most_every_seconds:
                return
            self._tried_at = time.monotonic()
            try:
                keys = await self._fetch()
            except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
                log.warning("identity provider's keys not fetched", extra={"reason": str(error) or repr(error)})
                return
            self._keys = keys
            self._fetched_at = time.monotonic()
            log.info("identity provider's keys fetched", extra={"keys": len(keys)})

    async def _fetch(self) -> dict[str, _PinnedKey]:
        if self._session is None:
            raise ValueError("the key client is closed")
        async with self._session.get(self._url, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(16 * 1024):
                body += chunk
                if len(body) > MAX_JWKS_BYTES:
                    raise ValueError(f"over {MAX_JWKS_BYTES} bytes")
        listed = orjson.loads(body)
        entries = listed.get("keys") if isinstance(listed, dict) else None
        if not isinstance(entries, list):
            raise ValueError("no list of keys")
        keys: dict[str, _PinnedKey] = {}
        for index, entry in enumerate(entries[:MAX_JWKS_KEYS]):
            pinned = _pin(entry)
            if pinned is not None:
                keys[entry["kid"] if isinstance(entry.get("kid"), str) else f"#{index}"] = pinned
        return keys


def _pin(entry: object) -> _PinnedKey | None:
    """A usable signing key, with its algorithm; None for every other: symmetric, weak, for encryption, unknown."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    kinds = {"RSA": "RS256", "EC": "ES256"}
    algorithm = kinds.get(str(entry.get("kty")))
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    if algorithm == "ES256" and entry.get("crv") != "P-256":
        return None
    try:
        # only the public half, whatever the server has published
        public = {name: entry[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in entry}
        key = jwt.PyJWK(public, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if algorithm == "RS256" and key.key_size < MIN_RSA_BITS:
        return None
    return _PinnedKey(key, algorithm)


# the one door


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, and how they showed it: by a token, by a cookie, or not at all (a guest nobody has seen before)."""

    user: User
    shown_by: str
    """`token`, `cookie` or `nothing`."""


class Authenticator:
    """Turns what a request brings into a User; the live part and the plain requests use the same one.

    Args:
        cookie_key: signs the guests' cookies; from the database, the same on all nodes (RULE A2).
        jwks: the identity provider's keys, opened and closed by the composition root.
    """

    def __init__(self, settings: Settings, cookie_key: bytes, jwks: Jwks | None = None) -> None:
        self._settings = settings
        self._cookie_key = cookie_key.hex()
        self._jwks = jwks
        # the name depends on the key, so that two installations on one host do not overwrite each other's cookies
        self.cookie_name = f"luneo_{hashlib.sha256(b'name' + cookie_key).hexdigest()[:8]}"

    @property
    def is_open(self) -> bool:
        return self._settings.is_open

    async def authenticate(self, headers: Mapping[str, str], token: str | None = None) -> User:
        """Who sends *headers*; *token* is what the client gave beside them (Socket.IO `auth`, `?token=`, Hocuspocus).

        A token that is there and does not hold is a refusal, even when a good cookie came with it.

        Raises:
            TokenExpired, NotAuthenticated: nobody is let in; the sentence says what to do.

        Source: docs/protocol.md, A1 to A5.
        """
        return (await self.identify(headers, token)).user

    async def identify(self, headers: Mapping[str, str], token: str | None = None) -> Identity:
        """Like `authenticate`, with how it was shown."""
        cookie = self._cookie(headers)
        if self.is_open:
            guest = self._guest(cookie) if cookie else None
            return Identity(guest, "cookie") if guest else Identity(new_guest(), "nothing")
        if token is None:
            token = _bearer(headers)
        if token is not None:
            return Identity(await self.check(token), "token")
        if cookie:
            return Identity(await self.check(cookie), "cookie")
        raise NotAuthenticated(
            "This needs a token. Send it as `Authorization: Bearer …`, or come in at /enter#token=…."
        )

    async def check(self, token: str) -> User:
        """The user of one token of the closed mode.

        Raises:
            TokenExpired, NotAuthenticated: as `authenticate`.
        """
        if len(token) > self._settings.max_token_bytes:
            raise NotAuthenticated(
                f"A token has at most {self._settings.max_token_bytes} bytes (LUNEO_MAX_TOKEN_BYTES)."
            )
        try:
            header = _HS256.get_unverified_header(token)
        except (jwt.PyJWTError, UnicodeError):
            raise NotAuthenticated("This is not a token.") from None
        algorithm = header.get("alg")
        if algorithm == "HS256" and self._settings.secrets:
            payload = self._verify_own(token)
            return read_claims(
                payload,
                now=time.time(),
                issuer=_own_issuer(self._settings),
                audience=_own_audience(self._settings),
                brands=() if self._settings.jwks_url else self._settings.jwt_brands,
            )
        if algorithm in ("RS256", "ES256") and self._jwks is not None:
            payload = await self._verify_foreign(token, header.get("kid"), self._jwks)
            return read_claims(
                payload,
                now=time.time(),
                issuer=self._settings.jwt_issuer,
                audience=self._settings.jwt_audience,
                brands=self._settings.jwt_brands,
            )
        raise NotAuthenticated("The token is signed in a way this server does not take.")

    def _verify_own(self, token: str) -> dict[str, Any]:
        for secret in self._settings.secrets:
            try:
                return _payload(_HS256.decode(token, secret, algorithms=["HS256"]))
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError):
                raise NotAuthenticated("This is not a token.") from None
        raise NotAuthenticated("The token's signature does not hold.")

    async def _verify_foreign(self, token: str, key_id: str | None, jwks: Jwks) -> dict[str, Any]:
        pinned = await jwks.find(key_id)
        if pinned is None:
            raise NotAuthenticated("The token is signed with a key that its issuer does not publish.")
        try:
            return _payload(_ASYMMETRIC.decode(token, pinned.key, algorithms=[pinned.algorithm]))
        except (jwt.PyJWTError, ValueError):
            raise NotAuthenticated("The token's signature does not hold.") from None

    def _guest(self, cookie: str) -> User | None:
        try:
            claims = _payload(_HS256.decode(cookie, self._cookie_key, algorithms=["HS256"]))
            user = read_claims(
                claims, now=time.time(), issuer=GUEST_ISSUER, audience=GUEST_AUDIENCE, brands=(GUEST_BRAND,)
            )
        except (jwt.PyJWTError, ValueError, NotAuthenticated):
            return None
        return User(user.id, user.name, user.brand, user.role, user.color, is_guest=True)

    def guest_cookie(self, guest: User) -> str:
        """The value of *guest*'s cookie."""
        return guest_token(guest, self._cookie_key)

    def _cookie(self, headers: Mapping[str, str]) -> str | None:
        raw = headers.get("Cookie")
        if not raw or len(raw) > 16 * 1024:
            return None
        try:
            # one bad neighbour must not hide our cookie, so each is read alone
            for part in raw.split(";"):
                name, _, value = part.strip().partition("=")
                if name == self.cookie_name:
                    return SimpleCookie(f"{name}={value}")[name].value or None
        except (CookieError, KeyError):
            pass
        return None


def _bearer(headers: Mapping[str, str]) -> str | None:
    raw = headers.get("Authorization")
    if raw is None:
        return None
    scheme, _, token = raw.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("The Authorization header must be `Bearer` and a token.")
    return token.strip()


def _payload(raw: bytes) -> dict[str, Any]:
    claims = orjson.loads(raw)
    if not isinstance(claims, dict):
        raise ValueError("claims are not an object")
    return claims
