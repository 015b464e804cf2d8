"""Who is let in: tokens of our own, tokens of an identity provider, guests; and everything that must not be."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from realtime import auth
from realtime.auth import Authenticator, Jwks, make_token, sign
from realtime.errors import NotAuthenticated, TokenExpired
from realtime.settings import Settings
from rooms.permissions import Role

SECRET = "the newest secret of thirty-two bytes"
OLD = "the oldest secret of thirty-two bytes"
COOKIE_KEY = bytes(range(32))


def closed(**environ: str) -> Settings:
    return Settings.read({"LUNEO_SECRET": f"{SECRET},{OLD}", **environ})


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "sub": "ada",
        "name": "Ada",
        "brand": "acme",
        "role": "editor",
        "exp": time.time() + 60,
        "iss": "luneo",
        "aud": "luneo-live",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


async def check(token: str, settings: Settings | None = None, jwks: Jwks | None = None) -> Any:
    return await Authenticator(settings or closed(), COOKIE_KEY, jwks).authenticate({}, token)


async def refused(token: str, settings: Settings | None = None, jwks: Jwks | None = None) -> NotAuthenticated:
    with pytest.raises(NotAuthenticated) as caught:
        await check(token, settings, jwks)
    assert token not in caught.value.message
    return caught.value


async def test_a_token_says_who_somebody_is() -> None:
    """Rule A3."""
    user = await check(sign(claims(rooms=["spring-*"], color="#112233", locale="de-AT"), SECRET))
    assert (user.id, user.name, user.brand, user.role, user.rooms) == ("ada", "Ada", "acme", Role.EDITOR, ("spring-*",))
    assert (user.color, user.locale, user.is_guest) == ("#112233", "de-AT", False)
    assert user.expires_at > time.time()


async def test_what_the_command_prints_is_what_the_server_takes() -> None:
    token = make_token(closed(), user="ada", name="Ada", brand="acme", role=Role.AGENT, rooms=["x*"], seconds=60)
    assert (await check(token)).role is Role.AGENT


async def test_the_old_secret_holds_during_a_rotation_and_not_after() -> None:
    """Rule A3, RULINGS 22."""
    token = sign(claims(), OLD)
    assert (await check(token)).id == "ada"
    await refused(token, Settings.read({"LUNEO_SECRET": SECRET}))


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "no expiry": {"exp": ...},
    "expiry as text": {"exp": "9999999999"},
    "expiry true": {"exp": True},
    "expiry beyond all time": {"exp": 1e300},
    "no issuer": {"iss": ...},
    "another issuer": {"iss": "somebody"},
    "our guests' issuer": {"iss": "luneo-guest", "aud": "luneo-guest"},
    "issuers in a list": {"iss": ["luneo"]},
    "no audience": {"aud": ...},
    "another audience": {"aud": "somebody"},
    "an audience among others, not ours": {"aud": ["a", "b"]},
    "begins in the future": {"nbf": time.time() + 3600},
    "made in the future": {"iat": time.time() + 3600},
    "no subject": {"sub": ...},
    "an empty subject": {"sub": " "},
    "a subject as number": {"sub": 7},
    "a subject with a line break": {"sub": "ada\nben"},
    "a subject without end": {"sub": "a" * 129},
    "a name with a line break": {"name": "Ada\r\n"},
    "a name as object": {"name": {}},
    "no brand": {"brand": ...},
    "a brand with a slash": {"brand": "acme/../globex"},
    "a brand as list": {"brand": ["acme"]},
    "no role": {"role": ...},
    "an unknown role": {"role": "root"},
    "roles in a list": {"role": ["editor"]},
    "rooms as text": {"rooms": "spring"},
    "an empty list of rooms": {"rooms": []},
    "a room that is no glob": {"rooms": ["a/b"]},
    "rooms without end": {"rooms": ["a"] * 65},
}


@pytest.mark.parametrize("wrong", WRONG_CLAIMS.values(), ids=list(WRONG_CLAIMS))
async def test_a_well_signed_token_with_a_wrong_claim_is_refused(wrong: dict[str, Any]) -> None:
    """Rules A3, A4."""
    assert (await refused(sign(claims(**wrong), SECRET))).code == "not_authenticated"


async def test_a_token_whose_time_is_over_says_so() -> None:
    with pytest.raises(TokenExpired):
        await check(sign(claims(exp=time.time() - 1), SECRET))


async def test_several_audiences_may_be_named_if_ours_is_one() -> None:
    assert (await check(sign(claims(aud=["other", "luneo-live"]), SECRET))).id == "ada"


def unsigned(header: dict[str, Any], body: dict[str, Any], signature: str = "") -> str:
    def encode(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{encode(header)}.{encode(body)}.{signature}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "HS384", "HS512", "RS256", "ES256", None])
async def test_a_token_that_nobody_signed_is_refused_whatever_it_says(algorithm: str | None) -> None:
    """Rule A4: algorithms are pinned per key."""
    await refused(unsigned({"alg": algorithm, "typ": "JWT"}, claims()))
    await refused(unsigned({"alg": algorithm}, claims(), "AAAA"))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_our_secret_is_for_hs256_only(algorithm: str) -> None:
    """Rule A4."""
    await refused(jwt.encode(claims(), SECRET * 3, algorithm=algorithm), closed(LUNEO_SECRET=SECRET * 3))


@pytest.mark.parametrize(
    "garbage", ["", "x", "a.b.c", "....", "é.é.é", "e30.e30.", "a" * 9000, "null", "e30.bnVsbA.AA"]
)
async def test_garbage_is_refused(garbage: str) -> None:
    await refused(garbage + "?")
    with pytest.raises(NotAuthenticated):
        await check(garbage)


async def test_a_flipped_bit_anywhere_in_a_token_is_noticed() -> None:
    token = sign(claims(exp=9_999_999_999), SECRET)
    for at in range(0, len(token) - 1, 3):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(NotAuthenticated):
            await check(changed)


# the identity provider


class Provider:
    """An identity provider on this machine: its keys, and how often it was asked."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.keys: list[dict[str, Any]] = [self.public(self.rsa, "r1"), self.public(self.ec, "e1")]
        self.asked = 0
        self.status = 200
        self.url = ""

    @staticmethod
    def public(key: Any, kid: str, **more: Any) -> dict[str, Any]:
        algorithm: Any = jwt.algorithms.RSAAlgorithm if hasattr(key, "decrypt") else jwt.algorithms.ECAlgorithm
        entry = json.loads(algorithm.to_jwk(key.public_key()))
        entry.pop("key_ops", None)
        return {**entry, "kid": kid, **more}

    def token(self, key: Any, kid: str | None, algorithm: str, **changes: Any) -> str:
        headers = {} if kid is None else {"kid": kid}
        changes = {"iss": "https://id.example", "aud": "shop", **changes}
        return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"keys": self.keys}, status=self.status)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = web.Application()
    app.router.add_get("/keys", provider.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield provider
    await runner.cleanup()


@asynccontextmanager
async def trusting(provider: Provider, **environ: str) -> AsyncIterator[Authenticator]:
    settings = Settings.read(
        {
            "LUNEO_JWKS_URL": provider.url,
            "LUNEO_JWT_ISSUER": "https://id.example",
            "LUNEO_JWT_AUDIENCE": "shop",
            "LUNEO_JWT_BRANDS": "acme,globex",
            **environ,
        }
    )
    async with Jwks(settings.jwks_url) as jwks:
        yield Authenticator(settings, COOKIE_KEY, jwks)


async def test_tokens_of_the_identity_provider_are_taken_and_its_keys_are_fetched_once(provider: Provider) -> None:
    """Rule A5."""
    async with trusting(provider) as door:
        tokens = [provider.token(provider.rsa, "r1", "RS256"), provider.token(provider.ec, "e1", "ES256")]
        users = await asyncio.gather(*(door.check(token) for token in tokens * 20))
        assert {user.id for user in users} == {"ada"}
        assert provider.asked == 1


async def test_an_issuer_speaks_for_its_brands_only(provider: Provider) -> None:
    """Rule A5, RULINGS 22: well signed, and of another tenant."""
    async with trusting(provider) as door:
        assert (await door.check(provider.token(provider.rsa, "r1", "RS256", brand="globex"))).brand == "globex"
        with pytest.raises(NotAuthenticated, match="brand"):
            await door.check(provider.token(provider.rsa, "r1", "RS256", brand="initech"))


@pytest.mark.parametrize("changes", [{"iss": "luneo"}, {"aud": "luneo-live"}, {"iss": ...}, {"aud": ...}])
async def test_the_provider_is_held_to_its_own_issuer_and_audience(provider: Provider, changes: dict[str, Any]) -> None:
    async with trusting(provider, LUNEO_SECRET=SECRET) as door:
        with pytest.raises(NotAuthenticated):
            await door.check(provider.token(provider.rsa, "r1", "RS256", **changes))


async def test_a_public_key_is_no_secret_and_a_secret_no_key(provider: Provider) -> None:
    """Rule A4: the classic confusion, both ways round, with every encoding of the public key."""
    public = provider.rsa.public_key()
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    encodings = [
        public.public_bytes(serialization.Encoding.PEM, subject),
        public.public_bytes(serialization.Encoding.DER, subject),
        json.dumps(provider.keys[0]).encode(),
    ]
    hs256 = jwt.PyJWS(algorithms=[])
    hs256.register_algorithm("HS256", auth._Hmac(auth._Hmac.SHA256))
    for environ in ({}, {"LUNEO_SECRET": SECRET}):
        async with trusting(provider, **environ) as door:
            for key in encodings:
                for issuer, audience in (("https://id.example", "shop"), ("luneo", "luneo-live")):
                    body = json.dumps(claims(iss=issuer, aud=audience)).encode()
                    for kid in ("r1", "e1", None):
                        forged = hs256.encode(body, key, algorithm="HS256", headers={"kid": kid} if kid else {})
                        with pytest.raises(NotAuthenticated):
                            await door.check(forged)


async def test_a_key_is_used_with_its_own_algorithm_only(provider: Provider) -> None:
    """Rule A4."""
    async with trusting(provider) as door:
        for token in (
            provider.token(provider.rsa, "r1", "PS256"),
            provider.token(provider.rsa, "r1", "RS512"),
            provider.token(provider.ec, "r1", "ES256"),
            provider.token(provider.rsa, "e1", "RS256"),
        ):
            with pytest.raises(NotAuthenticated):
                await door.check(token)


async def test_without_a_secret_no_hs256_token_is_taken_at_all(provider: Provider) -> None:
    async with trusting(provider) as door:
        with pytest.raises(NotAuthenticated):
            await door.check(sign(claims(iss="https://id.example", aud="shop"), ""))


async def test_weak_symmetric_and_encrypting_keys_are_passed_over(provider: Provider) -> None:
    """Rule A5."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    p384 = ec.generate_private_key(ec.SECP384R1())
    encrypting = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    provider.keys = [
        provider.public(weak, "weak"),
        provider.public(p384, "p384"),
        provider.public(encrypting, "enc", use="enc"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kid": "nothing"},
        provider.public(provider.rsa, "good"),
    ]
    async with trusting(provider) as door:
        assert (await door.check(provider.token(provider.rsa, "good", "RS256"))).id == "ada"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how weak the key is
            by_weak_key = provider.token(weak, "weak", "RS256")
        with pytest.raises(NotAuthenticated):
            await door.check(by_weak_key)
        for key, kid, algorithm in ((p384, "p384", "ES384"), (encrypting, "enc", "RS256")):
            with pytest.raises(NotAuthenticated):
                await door.check(provider.token(key, kid, algorithm))
        with pytest.raises(NotAuthenticated):
            await door.check(jwt.encode(claims(), "secret" * 6, algorithm="HS256", headers={"kid": "oct"}))


async def test_a_new_key_is_asked_for_but_not_without_end(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule A5: an unknown key id makes one request per pause, however many tokens name it."""
    async with trusting(provider) as door:
        await door.check(provider.token(provider.rsa, "r1", "RS256"))
        fresh = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        for number in range(50):
            with pytest.raises(NotAuthenticated):
                await door.check(provider.token(fresh, f"unknown-{number}", "RS256"))
        assert provider.asked == 1
        monkeypatch.setattr(auth, "JWKS_RETRY_SECONDS", 0.0)
        provider.keys.append(provider.public(fresh, "r2"))
        assert (await door.check(provider.token(fresh, "r2", "RS256"))).id == "ada"
        assert provider.asked == 2


async def test_known_keys_hold_while_the_provider_is_away_and_a_removed_one_does_not(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule A5."""
    async with trusting(provider) as door:
        token = provider.token(provider.rsa, "r1", "RS256")
        await door.check(token)
        monkeypatch.setattr(auth, "JWKS_FRESH_SECONDS", -1.0)
        monkeypatch.setattr(auth, "JWKS_RETRY_SECONDS", 0.0)
        provider.status = 500
        assert (await door.check(token)).id == "ada"
        provider.status = 200
        provider.keys = [provider.public(provider.ec, "e1")]
        with pytest.raises(NotAuthenticated):
            await door.check(token)


async def test_an_endless_or_redirecting_provider_costs_nothing_but_its_tokens(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule A5: bounded in bytes, and no redirect is followed."""
    monkeypatch.setattr(auth, "MAX_JWKS_BYTES", 500)
    async with trusting(provider) as door:
        with pytest.raises(NotAuthenticated):
            await door.check(provider.token(provider.rsa, "r1", "RS256"))
    monkeypatch.undo()
    provider.status = 302
    async with trusting(provider) as door:
        with pytest.raises(NotAuthenticated):
            await door.check(provider.token(provider.rsa, "r1", "RS256"))


# headers and cookies


async def test_a_token_beside_the_headers_comes_before_one_in_them_and_a_wrong_one_is_not_passed_over() -> None:
    """Rule A3: what is there and does not hold is a refusal."""
    door = Authenticator(closed(), COOKIE_KEY)
    ada, ben = sign(claims(), SECRET), sign(claims(sub="ben"), SECRET)
    cookie = f"other=1; {door.cookie_name}={ada}; bad[name]=x"
    assert (await door.authenticate({"Authorization": f"Bearer {ada}"}, ben)).id == "ben"
    assert (await door.authenticate({"Authorization": f"bearer {ben}", "Cookie": cookie})).id == "ben"
    assert (await door.authenticate({"Cookie": cookie})).id == "ada"
    for headers, token in (
        ({"Cookie": cookie}, "nonsense"),
        ({"Cookie": cookie, "Authorization": "Bearer nonsense"}, None),
        ({"Cookie": cookie, "Authorization": "Basic YTpi"}, None),
        ({"Cookie": cookie, "Authorization": ""}, None),
        ({"Cookie": f"luneo={ada}"}, None),
        ({}, None),
    ):
        with pytest.raises(NotAuthenticated):
            await door.authenticate(headers, token)


async def test_a_guest_is_known_again_by_a_cookie_that_nobody_else_can_make() -> None:
    """Rule A2."""
    door = Authenticator(Settings.read({}), COOKIE_KEY)
    guest = await door.authenticate({}, "tokens are ignored here")
    assert (guest.brand, guest.is_guest, guest.role) == ("demo", True, Role.ADMIN)
    assert len(guest.name.split()) == 2
    assert (await door.authenticate({})).id != guest.id
    cookie = door.guest_cookie(guest)
    assert await door.authenticate({"Cookie": f"{door.cookie_name}={cookie}"}) == guest
    other = Authenticator(Settings.read({}), bytes(32))
    forged = other.guest_cookie(guest)
    assert (await door.authenticate({"Cookie": f"{door.cookie_name}={forged}"})).id != guest.id
    assert door.cookie_name != other.cookie_name


async def test_a_guests_cookie_is_no_token_of_the_closed_mode() -> None:
    """Rule A2: not even where the key of the cookies has become the secret."""
    guest = Authenticator(Settings.read({}), COOKIE_KEY)
    cookie = guest.guest_cookie(await guest.authenticate({}))
    door = Authenticator(Settings.read({"LUNEO_SECRET": COOKIE_KEY.hex()}), COOKIE_KEY)
    with pytest.raises(NotAuthenticated):
        await door.authenticate({"Cookie": f"{door.cookie_name}={cookie}"})
    with pytest.raises(NotAuthenticated):
        await door.authenticate({}, cookie)
