"""The first tables: designs, the log and its keyframes, assets, people, streams, inboxes, secrets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "assets",
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=127), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uploaded_by", sa.String(length=255), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("brand", "sha256", name=op.f("pk_assets")),
    )
    op.create_index(op.f("ix_assets_brand_at_sha256"), "assets", ["brand", "at", "sha256"], unique=False)
    op.create_table(
        "designs",
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("product", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("deleted_at", sa.Double(), nullable=True),
        sa.Column("preview_position", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("brand", "id", name=op.f("pk_designs")),
    )
    op.create_index(op.f("ix_designs_brand_updated_at_id"), "designs", ["brand", "updated_at", "id"], unique=False)
    op.create_table(
        "document_heads",
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("document", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("brand", "document", name=op.f("pk_document_heads")),
    )
    op.create_table(
        "inbox_items",
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("dedupe_key", sa.String(length=255), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=True),
        sa.Column("read_at", sa.Double(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("brand", "user_id", "id", name=op.f("pk_inbox_items")),
        sa.UniqueConstraint("brand", "user_id", "dedupe_key", name=op.f("uq_inbox_items_brand_user_id_dedupe_key")),
    )
    op.create_index(
        op.f("ix_inbox_items_brand_user_id_at_id"), "inbox_items", ["brand", "user_id", "at", "id"], unique=False
    )
    op.create_index(
        "ix_inbox_items_unread",
        "inbox_items",
        ["brand", "user_id"],
        unique=False,
        sqlite_where=sa.text("read_at IS NULL"),
        postgresql_where=sa.text("read_at IS NULL"),
    )
    op.create_table(
        "keyframes",
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("document", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("summary", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("brand", "document", "epoch", "position", name=op.f("pk_keyframes")),
    )
    op.create_table(
        "members",
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("design", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("brand", "design", "user_id", name=op.f("pk_members")),
    )
    op.create_index(op.f("ix_members_brand_user_id"), "members", ["brand", "user_id"], unique=False)
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )
    op.create_table(
        "stream_events",
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=320), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("client_message_id", sa.String(length=64), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("brand", "stream", "position", name=op.f("pk_stream_events")),
        sa.UniqueConstraint(
            "brand", "stream", "client_message_id", name=op.f("uq_stream_events_brand_stream_client_message_id")
        ),
    )
    op.create_table(
        "stream_heads",
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=320), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("brand", "stream", name=op.f("pk_stream_heads")),
    )
    op.create_table(
        "updates",
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("document", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("connection", sa.String(length=255), nullable=False),
        sa.Column("client", sa.BigInteger(), nullable=True),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("brand", "document", "position", name=op.f("pk_updates")),
    )
    op.create_table(
        "users",
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("color", sa.String(length=32), nullable=False),
        sa.Column("avatar", sa.Text(), nullable=False),
        sa.Column("locale", sa.String(length=35), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("brand", "id", name=op.f("pk_users")),
    )


def downgrade() -> None:
    op.drop_table("users")
    op.drop_table("updates")
    op.drop_table("stream_heads")
    op.drop_table("stream_events")
    op.drop_table("secrets")
    op.drop_index(op.f("ix_members_brand_user_id"), table_name="members")
    op.drop_table("members")
    op.drop_table("keyframes")
    op.drop_index(
        "ix_inbox_items_unread",
        table_name="inbox_items",
        sqlite_where=sa.text("read_at IS NULL"),
        postgresql_where=sa.text("read_at IS NULL"),
    )
    op.drop_index(op.f("ix_inbox_items_brand_user_id_at_id"), table_name="inbox_items")
    op.drop_table("inbox_items")
    op.drop_table("document_heads")
    op.drop_index(op.f("ix_designs_brand_updated_at_id"), table_name="designs")
    op.drop_table("designs")
    op.drop_index(op.f("ix_assets_brand_at_sha256"), table_name="assets")
    op.drop_table("assets")
