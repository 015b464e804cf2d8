"""Settings: read whole, refused whole, one sentence for each variable that is wrong."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from realtime.settings import Settings, SettingsError
from tests.harness.budget import ROOT


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.read(environ)
    return caught.value.problems


def test_without_anything_the_node_is_open_and_serves_this_machine_only() -> None:
    settings = Settings.read({})
    assert settings.is_open
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.effective_database_url.startswith("sqlite")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "live.example"])
def test_an_open_node_refuses_every_address_but_loopback(host: str) -> None:
    """Rule A1."""
    (sentence,) = problems(HOST=host)
    assert sentence.startswith("LUNEO_SECRET is needed")
    assert Settings.read({"HOST": host, "LUNEO_SECRET": "long enough"}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_every_loopback_address_may_be_open(host: str) -> None:
    assert Settings.read({"HOST": host}).is_open


WRONG = {
    "PORT": ["eighty", "-1", "65536", "8080.5"],
    "LUNEO_SECRET": [
        "short",
        "long enough,",
        ",long enough",
        "one is long,two is long,three is long",
        "-----BEGIN KEY",
    ],
    "LUNEO_DATABASE_URL": ["mysql://x/y", "nonsense"],
    "LUNEO_REDIS_URL": ["http://x", "localhost:6379"],
    "LUNEO_BLOB_URL": ["s3://bucket/x"],
    "LUNEO_JWT_BRANDS": ["a brand"],
    "LUNEO_ORIGINS": ["live.example", "https://x/path", "*", "ftp://x"],
    "LUNEO_PROXIES": ["everybody", "10.0.0.1/8"],
    "LUNEO_LOG_LEVEL": ["loud"],
    "LUNEO_LOG_FORMAT": ["xml"],
    "LUNEO_REDIS_PREFIX": ["a:b"],
    "LUNEO_MAX_UPDATE_BYTES": ["0", "-5", "1e6", "1_000", "99999999999"],
    "LUNEO_PING_SECONDS": ["0", "-1", "soon", "inf", "nan"],
    "LUNEO_WORKERS": ["65"],
    "OPENAI_BASE_URL": ["api.example"],
}


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_with_a_sentence_that_names_its_variable(variable: str, value: str) -> None:
    """Rule L1."""
    sentences = problems(**{variable: value})
    assert len(sentences) == 1
    assert sentences[0].startswith(variable + " ")
    assert sentences[0].endswith(".")


def test_all_wrong_values_are_said_at_once() -> None:
    """Rule L1."""
    sentences = problems(PORT="x", LUNEO_WORKERS="-1", LUNEO_ORIGINS="y")
    assert {sentence.split()[0] for sentence in sentences} == {"PORT", "LUNEO_WORKERS", "LUNEO_ORIGINS"}


def test_an_identity_provider_needs_an_issuer_brands_and_https() -> None:
    """Rule A5."""
    names = {sentence.split()[0] for sentence in problems(LUNEO_JWKS_URL="https://id.example/keys")}
    assert names == {"LUNEO_JWT_ISSUER", "LUNEO_JWT_BRANDS"}
    bound = {"LUNEO_JWT_ISSUER": "https://id.example", "LUNEO_JWT_BRANDS": "acme,globex"}
    assert not Settings.read({"LUNEO_JWKS_URL": "https://id.example/keys", **bound}).is_open
    assert problems(LUNEO_JWKS_URL="http://id.example/keys", **bound)[0].startswith("LUNEO_JWKS_URL")
    assert Settings.read({"LUNEO_JWKS_URL": "http://127.0.0.1:9/keys", **bound}).jwt_brands == ("acme", "globex")


def test_secrets_do_not_print() -> None:
    environ = {
        "LUNEO_SECRET": "very-secret-one,very-secret-two",
        "LUNEO_DATABASE_URL": "postgresql+asyncpg://u:very-secret@h/d",
        "LUNEO_REDIS_URL": "redis://:very-secret@h",
        "OPENAI_API_KEY": "very-secret",
    }
    assert "very-secret" not in repr(Settings.read(environ))
    assert Settings.read(environ).secrets == ("very-secret-one", "very-secret-two")


def test_zero_is_taken_where_it_means_something_and_only_there() -> None:
    """Rule L1: each setting says what zero means, or refuses it."""
    for field in dataclasses.fields(Settings):
        about: Any = field.metadata["about"]
        if not isinstance(field.default, int | float):
            continue
        if about.zero:
            assert getattr(Settings.read({about.variable: "0"}), field.name) == 0
        else:
            assert problems(**{about.variable: "0"})[0].startswith(about.variable)


def test_the_help_lists_every_setting_with_unit_and_default() -> None:
    described = Settings.describe()
    for field in dataclasses.fields(Settings):
        about: Any = field.metadata["about"]
        assert f"  {about.variable} ({about.unit}; default: " in described
    assert "sk-" not in described


def test_every_setting_does_something() -> None:
    """A limit that nobody reads would be a promise that nobody keeps."""
    sources = "".join(path.read_text() for path in (ROOT / "realtime").rglob("*.py"))
    reserved = {"openai_api_key", "openai_base_url", "image_model"}
    for field in dataclasses.fields(Settings):
        is_read = re.search(rf"(settings|self)\.{field.name}\b", sources) is not None
        assert is_read is (field.name not in reserved), field.name


def test_a_slip_of_the_pen_is_said_and_what_was_meant() -> None:
    assert Settings.unknown({"LUNEO_SECRT": "x", "PATH": "y", "LUNEO_PROVE": "full"}) == (
        "LUNEO_SECRT is not a setting; did you mean LUNEO_SECRET?",
    )


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_postgresql_is_spoken_to_by_asyncpg_however_its_address_begins(scheme: str) -> None:
    settings = Settings.read({"LUNEO_DATABASE_URL": f"{scheme}://u@h/d"})
    assert settings.database_url == "postgresql+asyncpg://u@h/d"
    assert settings.is_postgresql
