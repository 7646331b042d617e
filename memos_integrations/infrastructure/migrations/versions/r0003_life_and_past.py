"""Changes of state, what memories were found by before, named moments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("activities_by_time", "activities", ["at"], unique=False)
    op.create_table(
        "transitions",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("activity_pk", sa.Integer(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["cube_pk"], ["cubes.pk"]),
        sa.ForeignKeyConstraint(["activity_pk"], ["activities.pk"]),
        sa.PrimaryKeyConstraint("pk"),
    )
    op.create_index("transitions_by_cube", "transitions", ["cube_pk", "activity_pk"], unique=False)
    op.create_table(
        "past",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("cube_pk", sa.Integer(), nullable=False),
        sa.Column("namespace_pk", sa.Integer(), nullable=False),
        sa.Column("since_pk", sa.Integer(), nullable=False),
        sa.Column("until_pk", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["cube_pk"], ["cubes.pk"]),
        sa.ForeignKeyConstraint(["namespace_pk"], ["namespaces.pk"]),
        sa.ForeignKeyConstraint(["since_pk"], ["activities.pk"]),
        sa.ForeignKeyConstraint(["until_pk"], ["activities.pk"]),
        sa.PrimaryKeyConstraint("pk"),
    )
    op.create_index("past_by_cube", "past", ["cube_pk", "until_pk"], unique=False)
    op.create_index("past_by_namespace", "past", ["namespace_pk", "until_pk"], unique=False)
    op.create_table(
        "moments",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("namespace_pk", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("activity_pk", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["namespace_pk"], ["namespaces.pk"]),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("namespace_pk", "name"),
    )
    op.execute(
        "CREATE VIRTUAL TABLE past_lexicon USING "
        "fts5(namespace, words, tokenize='porter unicode61 remove_diacritics 2')"
    )
