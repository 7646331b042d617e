"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "namespaces",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("live", sa.Integer(), nullable=False),
        sa.Column("churn", sa.Integer(), nullable=False),
        sa.Column("collection", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("path"),
    )
    op.create_table(
        "settings",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "activities",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("namespace_pk", sa.Integer(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["namespace_pk"],
            ["namespaces.pk"],
        ),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("namespace_pk", "idempotency_key"),
    )
    op.create_table(
        "cubes",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("namespace_pk", sa.Integer(), nullable=False),
        sa.Column("head_pk", sa.Integer(), nullable=False),
        sa.Column("deleted_by", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["deleted_by"],
            ["activities.pk"],
        ),
        sa.ForeignKeyConstraint(
            ["namespace_pk"],
            ["namespaces.pk"],
        ),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("cubes_by_namespace", "cubes", ["namespace_pk", "id"], unique=False)
    op.create_table(
        "embeddings",
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("namespace_pk", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cube_pk"],
            ["cubes.pk"],
        ),
        sa.ForeignKeyConstraint(
            ["namespace_pk"],
            ["namespaces.pk"],
        ),
        sa.PrimaryKeyConstraint("cube_pk"),
    )
    op.create_index("embeddings_by_namespace", "embeddings", ["namespace_pk"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("namespace_pk", sa.Integer(), nullable=False),
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace_pk"],
            ["namespaces.pk"],
        ),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("outbox_by_namespace", "outbox", ["namespace_pk", "cube_pk"], unique=False)
    op.create_table(
        "staged_embeddings",
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("version_pk", sa.Integer(), nullable=False),
        sa.Column("embedder", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cube_pk"],
            ["cubes.pk"],
        ),
        sa.PrimaryKeyConstraint("cube_pk"),
    )
    op.create_table(
        "usage",
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.Column("heat", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cube_pk"],
            ["cubes.pk"],
        ),
        sa.PrimaryKeyConstraint("cube_pk"),
    )
    op.create_table(
        "versions",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("activity_pk", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("memory_type", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("event_time", sa.BigInteger(), nullable=True),
        sa.Column("said_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("speaker", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("semantic_type", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        sa.Column("context_fingerprint", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["activity_pk"],
            ["activities.pk"],
        ),
        sa.ForeignKeyConstraint(
            ["cube_pk"],
            ["cubes.pk"],
        ),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("cube_pk", "version"),
    )
    op.create_index("versions_by_activity", "versions", ["activity_pk"], unique=False)
    op.create_table(
        "edges",
        sa.Column("subject_pk", sa.Integer(), nullable=False),
        sa.Column("object_pk", sa.Integer(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.CheckConstraint("object_pk < subject_pk", name="edges_point_to_the_past"),
        sa.ForeignKeyConstraint(
            ["object_pk"],
            ["versions.pk"],
        ),
        sa.ForeignKeyConstraint(
            ["subject_pk"],
            ["versions.pk"],
        ),
        sa.PrimaryKeyConstraint("subject_pk", "object_pk", "relation"),
    )
    op.create_index("edges_by_object", "edges", ["object_pk"], unique=False)
    op.execute(
        "CREATE VIRTUAL TABLE lexicon USING "
        "fts5(namespace, words, tokenize='porter unicode61 remove_diacritics 2')"
    )
