"""The SQL tables. The records are the truth; every index is made from them.

Integer keys stay inside the database (small, fast, opaque to the vector index); ids that
leave it are UUIDv7 strings. Times are microseconds since 1970 in UTC, so they compare exactly.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

APPLICATION_ID = 0x4D43_7562
"""``MCub``: written into the SQLite header, so that a folder can be told to be ours."""

HEAD_REVISION = "0005"
"""The newest migration; a test keeps it equal to alembic's head."""

metadata = sa.MetaData()

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

namespaces = sa.Table(
    "namespaces",
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("path", sa.Text, nullable=False, unique=True),  # JSON list of the parts
    sa.Column("live", sa.Integer, nullable=False, default=0),  # memories that are not deleted
    sa.Column("churn", sa.Integer, nullable=False, default=0),  # changes since the index was built
    sa.Column("collection", sa.Text),  # its collection in the vector index; NULL: scanned exactly
)

activities = sa.Table(
    "activities",
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("namespace_pk", sa.ForeignKey("namespaces.pk"), nullable=False),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("digest", sa.Text),  # of the content that came with the idempotency key
    sa.UniqueConstraint("namespace_pk", "idempotency_key"),
    sa.Index("activities_by_time", "at"),
)

cubes = sa.Table(
    "cubes",
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("namespace_pk", sa.ForeignKey("namespaces.pk"), nullable=False),
    sa.Column("head_pk", sa.Integer, nullable=False),  # the current row of versions
    sa.Column("deleted_by", sa.ForeignKey("activities.pk")),
    # What the gate asks of every hit stands in a narrow row. The state is kept here and not in a
    # version: a memory that is archived or used has not changed its words.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("quarantined", sa.Text),  # why it is kept out of every search; NULL: it is not
    sa.Index("cubes_by_namespace", "namespace_pk", "id"),
    sa.Index("cubes_by_deletion", "deleted_by", sqlite_where=sa.text("deleted_by IS NOT NULL")),
)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("activity_pk", sa.ForeignKey("activities.pk"), nullable=False),
    # What filters may ask for stands in columns; the cube itself in `body`.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("memory_type", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("event_time", sa.BigInteger),
    sa.Column("said_at", sa.BigInteger),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("role", sa.Text),
    sa.Column("speaker", sa.Text),
    sa.Column("source", sa.Text),
    sa.Column("semantic_type", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("access", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("frozen", sa.Boolean, nullable=False),
    sa.Column("context_fingerprint", sa.Text),
    sa.Column("body", sa.Text, nullable=False),  # JSON of the MemCube
    sa.UniqueConstraint("cube_pk", "version"),
    sa.Index("versions_by_activity", "activity_pk"),
)

edges = sa.Table(
    "edges",
    metadata,
    sa.Column("subject_pk", sa.ForeignKey("versions.pk"), primary_key=True),
    sa.Column("object_pk", sa.ForeignKey("versions.pk"), primary_key=True),
    sa.Column("relation", sa.Text, primary_key=True),  # wasRevisionOf, wasDerivedFrom
    # Later things come from earlier ones: with this the graph cannot have a cycle.
    sa.CheckConstraint("object_pk < subject_pk", name="edges_point_to_the_past"),
    sa.Index("edges_by_object", "object_pk"),
)

links = sa.Table(
    "links",  # what memories have to do with each other, besides where they came from
    metadata,
    sa.Column("subject_pk", sa.ForeignKey("versions.pk"), primary_key=True),
    sa.Column("object_pk", sa.ForeignKey("versions.pk"), primary_key=True),
    sa.Column("relation", sa.Text, primary_key=True),  # duplicate, supersedes, elaborates, ...
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("activity_pk", sa.ForeignKey("activities.pk"), nullable=False),
    sa.CheckConstraint("object_pk < subject_pk", name="links_point_to_the_past"),
    sa.Index("links_by_object", "object_pk"),
)

jobs = sa.Table(
    "jobs",  # what the scheduler decided, and what came of it
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("target", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),  # waiting, done, skipped, failed
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("finished_at", sa.BigInteger),
    sa.Index("jobs_by_status", "status"),
    sa.Index("jobs_by_cube", "cube_pk"),
)

transitions = sa.Table(
    "transitions",  # every change of state, oldest first
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), nullable=False),
    sa.Column("activity_pk", sa.ForeignKey("activities.pk"), nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("after", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("transitions_by_cube", "cube_pk", "activity_pk"),
    sa.Index("transitions_by_activity", "activity_pk"),
)

past = sa.Table(
    "past",  # what memories were found by before they changed or were deleted
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), nullable=False),
    sa.Column("namespace_pk", sa.ForeignKey("namespaces.pk"), nullable=False),
    sa.Column("since_pk", sa.ForeignKey("activities.pk"), nullable=False),
    sa.Column("until_pk", sa.ForeignKey("activities.pk"), nullable=False),  # not valid in it
    sa.Column("vector", sa.LargeBinary),  # NULL after a reindex: found by its words alone
    sa.Index("past_by_cube", "cube_pk", "until_pk"),
    sa.Index("past_by_namespace", "namespace_pk", "until_pk"),
)

moments = sa.Table(
    "moments",  # named snapshots: nothing is copied, since no history is rewritten
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("namespace_pk", sa.ForeignKey("namespaces.pk"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("activity_pk", sa.Integer, nullable=False),  # the last one that belongs to it
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("namespace_pk", "name"),
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), primary_key=True),
    sa.Column("uses", sa.Integer, nullable=False),
    sa.Column("last_used_at", sa.BigInteger, nullable=False),
    sa.Column("heat", sa.Float, nullable=False),
)

embeddings = sa.Table(
    "embeddings",
    metadata,
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), primary_key=True),
    sa.Column("namespace_pk", sa.ForeignKey("namespaces.pk"), nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),  # float32, little-endian, unit length
    sa.Index("embeddings_by_namespace", "namespace_pk"),
)

facets = sa.Table(
    "facets",  # the further vectors of a memory that is found by several parts of its text
    metadata,
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True),  # from 1: the first part is in embeddings
    sa.Column("namespace_pk", sa.ForeignKey("namespaces.pk"), nullable=False),
    sa.Column("start", sa.Integer, nullable=False),  # the part is text[start:stop]
    sa.Column("stop", sa.Integer, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Index("facets_by_namespace", "namespace_pk"),
)

keys = sa.Table(
    "keys",  # memories that are known by a name
    metadata,
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), primary_key=True),
    sa.Column("namespace_pk", sa.ForeignKey("namespaces.pk"), nullable=False),
    sa.Column("shelf", sa.Text, nullable=False),  # whose names: a store's, a chat history's
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("ttl", sa.BigInteger),  # microseconds that a use prolongs its life by
    sa.UniqueConstraint("namespace_pk", "shelf", "key"),
)

placements = sa.Table(
    "placements",  # which memory stood in which prompt, and where
    metadata,
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), primary_key=True),
    sa.Column("prompt", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

staged_embeddings = sa.Table(
    "staged_embeddings",  # a reindex in progress; empty otherwise
    metadata,
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True),  # 0 goes to embeddings, the others to facets
    sa.Column("version_pk", sa.Integer, nullable=False),
    sa.Column("embedder", sa.Text, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)

outbox = sa.Table(
    "outbox",  # cubes whose entry in the vector index is out of date
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("namespace_pk", sa.ForeignKey("namespaces.pk"), nullable=False),
    sa.Column("cube_pk", sa.Integer, nullable=False),  # may be one that only the index knows
    sa.Index("outbox_by_namespace", "namespace_pk", "cube_pk"),
)

grants = sa.Table(
    "grants",  # who may do what; a row is never changed but to end it
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("principal", sa.Text),  # either a principal or a role
    sa.Column("role", sa.Text),
    sa.Column("rights", sa.Text, nullable=False),  # JSON list
    sa.Column("path", sa.Text, nullable=False),  # JSON list: this namespace and all below it
    sa.Column("tag", sa.Text),  # only memories with it, of this type, or this one
    sa.Column("semantic_type", sa.Text),
    sa.Column("cube_id", sa.Text),
    sa.Column("purpose", sa.Text),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("granted_by", sa.Text, nullable=False),
    sa.Column("via", sa.Text),  # the grant that allowed this one; it ends with that
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("revoked_by", sa.Text),
    sa.Column("revoked_at", sa.BigInteger),
    sa.CheckConstraint("(principal IS NULL) != (role IS NULL)", name="grants_name_one"),
)

retention = sa.Table(
    "retention",  # how long memories live, and which must not go
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("path", sa.Text, nullable=False),  # JSON list: this namespace and all below it
    sa.Column("semantic_type", sa.Text),
    sa.Column("cube_id", sa.Text),
    sa.Column("kind", sa.Text, nullable=False),  # ttl, decay, hold
    sa.Column("seconds", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("set_by", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("lifted_by", sa.Text),
    sa.Column("lifted_at", sa.BigInteger),
)

audit = sa.Table(
    "audit",  # each entry holds the hash of the one before it
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("entry", sa.Text, nullable=False),  # canonical JSON: ids and HMACs, no words
    sa.Column("hash", sa.LargeBinary, nullable=False),  # SHA-256
)

sealed = sa.Table(
    "sealed",  # what was taken out of a text and is kept encrypted
    metadata,
    sa.Column("version_pk", sa.ForeignKey("versions.pk"), primary_key=True),
    sa.Column("place", sa.Text, primary_key=True),  # what stands in the text instead
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),  # nonce and ciphertext
)

exports = sa.Table(
    "exports",  # which memories have left the store, and in what
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("cube_id", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("archive", sa.Text, nullable=False),  # id of the archive or package
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Index("exports_by_cube", "cube_id"),
)

erasures = sa.Table(
    "erasures",  # the receipts, without a word of what went
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),  # NULL: to be finished at the next opening
    sa.Column("receipt", sa.Text, nullable=False),  # JSON
)

tombstones = sa.Table(
    "tombstones",  # memories that were erased
    metadata,
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), primary_key=True),
    sa.Column("erasure_pk", sa.ForeignKey("erasures.pk"), nullable=False),
)

subscriptions = sa.Table(
    "subscriptions",  # packages of memories that others published
    metadata,
    sa.Column("pk", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("namespace_pk", sa.ForeignKey("namespaces.pk"), nullable=False),
    sa.Column("package", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("body", sa.Text, nullable=False),  # JSON: its manifest
)

subscribed = sa.Table(
    "subscribed",  # which memories came with a package
    metadata,
    sa.Column("cube_pk", sa.ForeignKey("cubes.pk"), primary_key=True),
    sa.Column("subscription_pk", sa.ForeignKey("subscriptions.pk"), nullable=False),
    sa.Index("subscribed_by_subscription", "subscription_pk"),
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_micros(moment: datetime) -> int:
    """An aware datetime as microseconds since 1970 UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The inverse of :func:`to_micros`."""
    return _EPOCH + timedelta(microseconds=micros)
