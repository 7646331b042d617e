"""The provenance graph, in the words of W3C PROV: versions are entities, verbs activities,
principals agents.

The edges live in SQL, where each points from a later version to an earlier one, so the graph
has no cycle. A closure is a networkx view of it that can be made anew at any time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import networkx as nx
import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.schema import (
    activities,
    cubes,
    edges,
    from_micros,
    versions,
)

Direction = Literal["sources", "derived", "both"]

_EVERYTHING = 1_000_000_000


def closure(
    tx: sa.Connection, cube_pk: int, direction: Direction, depth: int | None
) -> nx.DiGraph[str]:
    """The graph of all that the versions of a cube came from, or that came from them.

    Nodes: ``<cube id>@<version>`` (``kind="entity"``, ``text``, ``version``, ``state``, ``at``),
    ``activity:<id>`` (``kind="activity"``, ``verb``, ``at``), ``agent:<principal>``
    (``kind="agent"``). An edge leads from the later thing to what it came from and carries its
    PROV ``relation``. Only the closure is read, by a recursive query; ``depth`` counts
    revisions and derivations from the cube.
    """
    start = set(tx.execute(sa.select(versions.c.pk).where(versions.c.cube_pk == cube_pk)).scalars())
    found = set(start)
    if direction in ("sources", "both"):
        found |= _walk(tx, start, edges.c.subject_pk, edges.c.object_pk, depth)
    if direction in ("derived", "both"):
        found |= _walk(tx, start, edges.c.object_pk, edges.c.subject_pk, depth)
    return _graph(tx, found)


def _walk(
    tx: sa.Connection,
    start: Iterable[int],
    near: sa.Column[Any],
    far: sa.Column[Any],
    depth: int | None,
) -> set[int]:
    """Versions reachable from ``start`` along the edges from ``near`` to ``far``."""
    seed = sa.select(versions.c.pk.label("pk"), sa.literal(0).label("steps")).where(
        versions.c.pk.in_(list(start))
    )
    reached = seed.cte("reached", recursive=True)
    # Without a limit the step count must not make equal rows differ, or diamonds explode.
    steps = reached.c.steps if depth is None else reached.c.steps + 1
    further = (
        sa.select(far, steps)
        .join(reached, near == reached.c.pk)
        .where(reached.c.steps < (_EVERYTHING if depth is None else depth))
    )
    return set(tx.execute(sa.select(reached.union(further).c.pk)).scalars())


def _graph(tx: sa.Connection, pks: set[int]) -> nx.DiGraph[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    rows = tx.execute(
        sa.select(
            versions.c.pk,
            versions.c.body,
            versions.c.activity_pk,
            cubes.c.deleted_by,
            cubes.c.head_pk,
        )
        .join(cubes, cubes.c.pk == versions.c.cube_pk)
        .where(versions.c.pk.in_(pks))
        .order_by(versions.c.pk)
    ).all()
    names: dict[int, str] = {}
    for row in rows:
        cube = MemCube.model_validate_json(row.body)
        names[row.pk] = f"{cube.id}@{cube.version}"
        graph.add_node(
            names[row.pk],
            kind="entity",
            text=cube.text,
            version=cube.version,
            state=cube.state.value,
            at=cube.created_at,
        )
    verbs = _add_activities(
        tx,
        graph,
        {pk for row in rows for pk in (row.activity_pk, row.deleted_by) if pk is not None},
    )
    for row in rows:
        graph.add_edge(names[row.pk], verbs[row.activity_pk], relation="wasGeneratedBy")
        if row.deleted_by is not None and row.pk == row.head_pk:
            graph.add_edge(names[row.pk], verbs[row.deleted_by], relation="wasInvalidatedBy")
    between = tx.execute(
        sa.select(edges.c.subject_pk, edges.c.object_pk, edges.c.relation, versions.c.activity_pk)
        .join(versions, versions.c.pk == edges.c.subject_pk)
        .where(edges.c.subject_pk.in_(pks), edges.c.object_pk.in_(pks))
    )
    for later, earlier, relation, activity_pk in between:
        graph.add_edge(names[later], names[earlier], relation=relation)
        graph.add_edge(verbs[activity_pk], names[earlier], relation="used")
    return graph


def _add_activities(tx: sa.Connection, graph: nx.DiGraph[str], pks: set[int]) -> dict[int, str]:
    names: dict[int, str] = {}
    for row in tx.execute(sa.select(activities).where(activities.c.pk.in_(pks))):
        names[row.pk] = f"activity:{row.id}"
        agent = f"agent:{row.principal}"
        graph.add_node(names[row.pk], kind="activity", verb=row.verb, at=from_micros(row.at))
        graph.add_node(agent, kind="agent", name=row.principal)
        graph.add_edge(names[row.pk], agent, relation="wasAssociatedWith")
    return names
