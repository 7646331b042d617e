"""Named places where a process may die; fault tests kill it at each of them.

In production every call is a no-op. A test's child process replaces :data:`hook`.
"""

from __future__ import annotations

from collections.abc import Callable

NAMES = (
    "folder-locked",
    "schema-created",
    "write-begun",
    "cubes-written",
    "versions-written",
    "embeddings-written",
    "audit-written",
    "before-commit",
    "after-commit",
    "index-batch-read",
    "index-batch-applied",
    "index-batch-recorded",
    "index-sealed",
    "index-rebuild-begun",
    "index-old-removed",
    "usage-flushed",
    "blob-half-written",
    "jobs-decided",
    "jobs-written",
    "job-done",
    "kept-file-noted",
    "kept-file-written",
    "erasure-committed",
    "erasure-index-gone",
    "erasure-words-gone",
    "erasure-compacted",
    "cache-piece-erased-elsewhere",
    "erasure-elsewhere-gone",
    "page-resealed",
    "archive-half-written",
    "archive-written",
)


def _nothing(name: str) -> None:
    """Production: go on."""


hook: Callable[[str], None] = _nothing


def reach(name: str) -> None:
    """Tell a test that execution got to ``name``."""
    hook(name)
