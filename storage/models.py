"""The tables. Every key begins with the brand, so that nothing can be asked for across brands (rule D1).

Times are float seconds since the epoch. Positions and epochs are as in `storage/keys.py`. A change here needs a
migration; a test holds the two together.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
AnySelect: TypeAlias = Select[*tuple[Any, ...]]


def _brand() -> Column[str]:
    return Column("brand", String(64), primary_key=True)


designs = Table(
    "designs",
    metadata,
    _brand(),
    Column("id", String(64), primary_key=True),
    Column("title", Text, nullable=False),
    Column("product", String(64), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    # Deleted designs keep their row: the id stays taken, or a tab that reconnects would bring one back.
    Column("deleted_at", Double, nullable=True),
    Column("preview_position", BigInteger, nullable=True),
    Index(None, "brand", "updated_at", "id"),
)

document_heads = Table(
    "document_heads",
    metadata,
    _brand(),
    Column("document", String(64), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
)

updates = Table(
    "updates",
    metadata,
    _brand(),
    Column("document", String(64), primary_key=True),
    # Positions go on through an epoch change, so the epoch is no part of the key.
    Column("position", BigInteger, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("user_id", String(255), nullable=False),
    Column("connection", String(255), nullable=False),
    Column("client", BigInteger, nullable=True),
    Column("origin", String(64), nullable=False),
    Column("at", Double, nullable=False),
)

keyframes = Table(
    "keyframes",
    metadata,
    _brand(),
    Column("document", String(64), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("state", LargeBinary, nullable=False),
    Column("summary", LargeBinary, nullable=False),
    Column("at", Double, nullable=False),
)

assets = Table(
    "assets",
    metadata,
    _brand(),
    Column("sha256", String(64), primary_key=True),
    Column("media_type", String(127), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("uploaded_by", String(255), nullable=False),
    Column("at", Double, nullable=False),
    Index(None, "brand", "at", "sha256"),
)

users = Table(
    "users",
    metadata,
    _brand(),
    Column("id", String(255), primary_key=True),
    Column("name", Text, nullable=False),
    Column("color", String(32), nullable=False),
    Column("avatar", Text, nullable=False),
    Column("locale", String(35), nullable=False),
    Column("seen_at", Double, nullable=False),
)

members = Table(
    "members",
    metadata,
    _brand(),
    Column("design", String(64), primary_key=True),
    Column("user_id", String(255), primary_key=True),
    Column("role", String(32), nullable=False),
    Column("at", Double, nullable=False),
    Index(None, "brand", "user_id"),
)

stream_heads = Table(
    "stream_heads",
    metadata,
    _brand(),
    Column("stream", String(320), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
)

stream_events = Table(
    "stream_events",
    metadata,
    _brand(),
    Column("stream", String(320), primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("user_id", String(255), nullable=False),
    Column("client_message_id", String(64), nullable=True),
    Column("at", Double, nullable=False),
    UniqueConstraint("brand", "stream", "client_message_id"),
)

inbox_items = Table(
    "inbox_items",
    metadata,
    _brand(),
    Column("user_id", String(255), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("dedupe_key", String(255), nullable=False),
    Column("body", Text, nullable=False),
    Column("seen_at", Double, nullable=True),
    Column("read_at", Double, nullable=True),
    Column("at", Double, nullable=False),
    UniqueConstraint("brand", "user_id", "dedupe_key"),
    Index(None, "brand", "user_id", "at", "id"),
    # Counts look at what is not read only; the bell asks for them at every page.
    Index(
        "ix_inbox_items_unread",
        "brand",
        "user_id",
        sqlite_where=text("read_at IS NULL"),
        postgresql_where=text("read_at IS NULL"),
    ),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("at", Double, nullable=False),
)
