"""What memories were found by before they changed: their former vectors and words.

A form of a memory is valid from the activity ``since_pk`` up to, not including, ``until_pk``. The
present form stands in ``embeddings`` and ``lexicon``; when it goes, it is kept here.
"""

from __future__ import annotations

import sqlalchemy as sa

from memos_integrations.infrastructure.driver import hot

_SINCE = (
    "SELECT coalesce((SELECT max(until_pk) FROM past WHERE cube_pk = ?), "
    "(SELECT min(activity_pk) FROM versions WHERE cube_pk = ?)), "
    "(SELECT coalesce(max(pk), 0) FROM past)"
)
_FIRST = (
    "INSERT INTO past (pk, cube_pk, namespace_pk, since_pk, until_pk, vector) "
    "SELECT ?, cube_pk, namespace_pk, ?, ?, vector FROM embeddings WHERE cube_pk = ?"
)
_FURTHER = (
    "INSERT INTO past (cube_pk, namespace_pk, since_pk, until_pk, vector) "
    "SELECT cube_pk, namespace_pk, ?, ?, vector FROM facets WHERE cube_pk = ?"
)
_WORDS = (
    "INSERT INTO past_lexicon (rowid, namespace, words) "
    "SELECT ?, namespace, words FROM lexicon WHERE rowid = ?"
)


def keep(tx: sa.Connection, cube_pk: int, until_pk: int) -> None:
    """Keep the present form of a cube, which ends with the activity ``until_pk``."""
    [(since_pk, last)] = hot(tx, _SINCE, cube_pk, cube_pk)
    if since_pk is None or since_pk >= until_pk:
        return  # it was never there at the end of an activity
    hot(tx, _FIRST, last + 1, since_pk, until_pk, cube_pk)
    hot(tx, _FURTHER, since_pk, until_pk, cube_pk)
    hot(tx, _WORDS, last + 1, cube_pk)
