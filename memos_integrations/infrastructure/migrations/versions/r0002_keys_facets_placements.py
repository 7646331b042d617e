"""Memories with a key, memories with several vectors, and where memories stood in prompts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "facets",
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("namespace_pk", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("stop", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["cube_pk"], ["cubes.pk"]),
        sa.ForeignKeyConstraint(["namespace_pk"], ["namespaces.pk"]),
        sa.PrimaryKeyConstraint("cube_pk", "part"),
    )
    op.create_index("facets_by_namespace", "facets", ["namespace_pk"], unique=False)
    op.create_table(
        "keys",
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("namespace_pk", sa.Integer(), nullable=False),
        sa.Column("shelf", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("ttl", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["cube_pk"], ["cubes.pk"]),
        sa.ForeignKeyConstraint(["namespace_pk"], ["namespaces.pk"]),
        sa.PrimaryKeyConstraint("cube_pk"),
        sa.UniqueConstraint("namespace_pk", "shelf", "key"),
    )
    op.create_table(
        "placements",
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["cube_pk"], ["cubes.pk"]),
        sa.PrimaryKeyConstraint("cube_pk", "prompt"),
    )
    # Empty unless a reindex was interrupted, and then it starts over.
    op.drop_table("staged_embeddings")
    op.create_table(
        "staged_embeddings",
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("version_pk", sa.Integer(), nullable=False),
        sa.Column("embedder", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["cube_pk"], ["cubes.pk"]),
        sa.PrimaryKeyConstraint("cube_pk", "part"),
    )
