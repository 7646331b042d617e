"""What the scheduler decided, and relations between memories that are no provenance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["cube_pk"], ["cubes.pk"]),
        sa.PrimaryKeyConstraint("pk"),
    )
    op.create_index("jobs_by_status", "jobs", ["status"], unique=False)
    op.create_index("jobs_by_cube", "jobs", ["cube_pk"], unique=False)
    op.create_table(
        "links",
        sa.Column("subject_pk", sa.Integer(), nullable=False),
        sa.Column("object_pk", sa.Integer(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("activity_pk", sa.Integer(), nullable=False),
        sa.CheckConstraint("object_pk < subject_pk", name="links_point_to_the_past"),
        sa.ForeignKeyConstraint(["subject_pk"], ["versions.pk"]),
        sa.ForeignKeyConstraint(["object_pk"], ["versions.pk"]),
        sa.ForeignKeyConstraint(["activity_pk"], ["activities.pk"]),
        sa.PrimaryKeyConstraint("subject_pk", "object_pk", "relation"),
    )
    op.create_index("links_by_object", "links", ["object_pk"], unique=False)
