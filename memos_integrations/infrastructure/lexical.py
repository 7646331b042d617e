"""Lexical search: SQLite FTS5 with BM25 (Robertson and Zaragoza, 2009) over stemmed words.

One table holds every namespace. The namespace is itself a token of the row, so FTS5 walks
only the rows of that namespace; word statistics are those of the whole store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import sqlalchemy as sa

from memos_integrations.infrastructure.driver import hot

MAX_TERMS = 64
"""A question longer than this is searched by its first distinct words."""

# Words that say nothing about which memory is meant. Ranking would give them almost no
# weight; leaving them out saves reading their long posting lists.
_FUNCTION_WORDS = frozenset(
    """
    a about am an and any are as at be been but by can could did do does for from had has have
    he her him his how i if in into is it its me my of on or our she so some than that the their
    them then there these they this those to up us was we were what when where which who whom
    why will with would you your
    """.split()  # noqa: SIM905 - a paragraph is easier to read than 80 quoted words
)

_INSERT = sa.text("INSERT INTO lexicon (rowid, namespace, words) VALUES (:pk, :namespace, :words)")
_DELETE = sa.text("DELETE FROM lexicon WHERE rowid = :pk")
_MATCH = (
    "SELECT rowid, -bm25(lexicon, 0.0, 1.0) FROM lexicon WHERE lexicon MATCH ? "
    "ORDER BY bm25(lexicon, 0.0, 1.0) LIMIT ?"
)
_MATCH_UPTO = _MATCH.replace("MATCH ?", "MATCH ? AND rowid <= ?")
_MATCH_PAST = _MATCH.replace("MATCH ?", "MATCH ? AND rowid >= ?").replace("lexicon", "past_lexicon")


def insert(tx: sa.Connection, namespace_pk: int, rows: Iterable[tuple[int, str]]) -> None:
    """Index ``(cube_pk, text)`` rows."""
    values = [{"pk": pk, "namespace": f"ns{namespace_pk}", "words": text} for pk, text in rows]
    if values:
        tx.execute(_INSERT, values)


def delete(tx: sa.Connection, cube_pks: Iterable[int]) -> None:
    """Remove rows from the index."""
    values = [{"pk": pk} for pk in cube_pks]
    if values:
        tx.execute(_DELETE, values)


def telling_words(text: str) -> list[str]:
    """The distinct words of ``text`` in order, without function words (unless it has no other).

    "Maya's" is the word "maya": the index has no use for the "s".
    """
    spoken = re.sub(r"['’](s|m|d|t|ve|re|ll)\b", " ", text.lower())
    words = list(dict.fromkeys(re.findall(r"\w+", spoken)))
    return [word for word in words if word not in _FUNCTION_WORDS] or words


def tells(text: str) -> bool:
    """Whether ``text`` has a word that says which memory is meant."""
    return not _FUNCTION_WORDS.issuperset(telling_words(text))


_OPENED = "SELECT rowid FROM lexicon WHERE lexicon MATCH ? LIMIT ?"


def opened_by(tx: sa.Connection, namespace_pk: int, word: str, limit: int) -> list[int]:
    """Up to ``limit`` cubes whose indexed words begin with ``word``: a speaker stands first."""
    terms = re.findall(r"\w+", word.lower())
    if not terms:
        return []
    query = f'{{namespace}}: ns{namespace_pk} AND {{words}}: ^ "{terms[0]}"'
    return [pk for (pk,) in hot(tx, _OPENED, query, limit)]


def match_expression(namespace_pk: int, text: str) -> str | None:
    """The FTS5 query for any of the telling words in ``text``; ``None`` if it has no word."""
    terms = telling_words(text)
    if not terms:
        return None
    either = " OR ".join(f'"{term}"' for term in terms[:MAX_TERMS])
    return f"{{namespace}}: ns{namespace_pk} AND {{words}}: ({either})"


def search(
    tx: sa.Connection,
    namespace_pk: int,
    text: str,
    limit: int,
    among: sa.Select[tuple[int]] | None = None,
    upto: int | None = None,
) -> list[tuple[int, float]]:
    """The best ``(cube_pk, BM25)`` by the words of ``text``, best first.

    ``among`` restricts the rows before ranking is cut (a query that selects cube keys), and so
    does ``upto``, without looking at the others: no key above it.
    """
    query = match_expression(namespace_pk, text)
    if query is None:
        return []
    if among is None and upto is not None:
        return hot(tx, _MATCH_UPTO, query, upto, limit)
    if among is None:
        return [(pk, score) for pk, score in hot(tx, _MATCH, query, limit)]
    # All matches first: asked for the rows of a set, FTS5 would search once for each of them.
    lexicon = sa.table("lexicon", sa.column("rowid"))
    rank: sa.ColumnElement[float] = sa.literal_column("bm25(lexicon, 0.0, 1.0)")
    matching = (
        sa.select(lexicon.c.rowid.label("pk"), rank.label("rank"))
        .where(sa.text("lexicon MATCH :query").bindparams(query=query))
        .cte("matching")
        .prefix_with("MATERIALIZED")
    )
    rows = tx.execute(
        sa.select(matching.c.pk, -matching.c.rank)
        .where(matching.c.pk.in_(among))
        .order_by(matching.c.rank)
        .limit(limit)
    )
    return [(int(pk), float(score)) for pk, score in rows]


def search_past(
    tx: sa.Connection, namespace_pk: int, text: str, limit: int, first_pk: int
) -> list[tuple[int, float]]:
    """The best ``(past.pk, BM25)`` of the former forms from the key ``first_pk`` on."""
    query = match_expression(namespace_pk, text)
    return [] if query is None else hot(tx, _MATCH_PAST, query, first_pk, limit)


def forget_deleted(tx: sa.Connection) -> None:
    """Leave no word in the index that only deleted rows had.

    FTS5 notes a deletion beside the words; they go when the pieces of the index become one.
    """
    for name in ("lexicon", "past_lexicon"):
        tx.exec_driver_sql(f"INSERT INTO {name} ({name}) VALUES ('optimize')")
