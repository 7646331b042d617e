"""The provenance graph, in the words of W3C PROV: versions are entities, verbs activities,
principals agents.

The edges live in SQL, where each points from a later version to an earlier one, so the graph
has no cycle. A closure is a networkx view of it that can be made anew at any time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import networkx as nx
import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.schema import (
    activities,
    cubes,
    edges,
    from_micros,
    transitions,
    versions,
)
from memos_integrations.infrastructure.transitions import DELETED

Direction = Literal["sources", "derived", "both"]

_EVERYTHING = 1_000_000_000
_Rows = Sequence[sa.Row[*tuple[Any, ...]]]
_Names = Mapping[int, str]
"""What the graph calls a version or an activity, by its key."""


def closure(
    tx: sa.Connection,
    cube_pk: int,
    direction: Direction,
    depth: int | None,
    *,
    until: int | None = None,
) -> nx.DiGraph[str]:
    """The graph of all that the versions of a cube came from, or that came from them.

    Nodes: ``<cube id>@<version>`` (``kind="entity"``, ``text``, ``version``, ``state``, ``at``,
    and where known ``speaker``, ``source``, ``said_at``; ``erased`` if it was),
    ``activity:<id>`` (``kind="activity"``, ``verb``, ``at``), ``agent:<principal>``
    (``kind="agent"``). An edge leads from the later
    thing to what it came from and carries its PROV ``relation``; where an activity changed the
    state of a version that it ``used``, also ``before``, ``after`` and ``reason``.

    Only the closure is read, by a recursive query; ``depth`` counts revisions and derivations
    from the cube. ``until``: the last activity (its key) that has happened yet.
    """
    last = _EVERYTHING if until is None else until
    of_cube = versions.c.cube_pk == cube_pk, versions.c.activity_pk <= last
    found = set(tx.execute(sa.select(versions.c.pk).where(*of_cube)).scalars())
    if direction in ("sources", "both"):
        found |= _walk(tx, of_cube, edges.c.subject_pk, edges.c.object_pk, depth)
    if direction in ("derived", "both"):
        found |= _walk(tx, of_cube, edges.c.object_pk, edges.c.subject_pk, depth)
    return _graph(tx, found, last)


def _walk(
    tx: sa.Connection,
    start: Sequence[sa.ColumnElement[bool]],
    near: sa.Column[Any],
    far: sa.Column[Any],
    depth: int | None,
) -> set[int]:
    """Versions reachable from those of ``start`` along the edges from ``near`` to ``far``."""
    seed = sa.select(versions.c.pk.label("pk"), sa.literal(0).label("steps")).where(*start)
    reached = seed.cte("reached", recursive=True)
    # Without a limit the step count must not make equal rows differ, or diamonds explode.
    steps = reached.c.steps if depth is None else reached.c.steps + 1
    further = (
        sa.select(far, steps)
        .join(reached, near == reached.c.pk)
        .where(reached.c.steps < (_EVERYTHING if depth is None else depth))
    )
    return set(tx.execute(sa.select(reached.union(further).c.pk)).scalars())


def _among(pks: Collection[int]) -> sa.Select[Any]:
    """These keys as one JSON parameter: SQLite takes no more than 32,766 single ones."""
    listed = sa.func.json_each(json.dumps(sorted(pks))).table_valued("value")
    return sa.select(listed.c.value)


def _graph(tx: sa.Connection, pks: Collection[int], last: int) -> nx.DiGraph[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    made = _made(tx, pks, last)
    between = _between(tx, made)
    passages = _passages(tx, made, last)
    names = _add_versions(graph, made)
    acts = {row.activity_pk for row in (*made, *passages)} | {row.deleted_by for row in made}
    verbs = _add_activities(tx, graph, {pk for pk in acts if pk is not None and pk <= last})
    for row in made:
        graph.add_edge(names[row.pk], verbs[row.activity_pk], relation="wasGeneratedBy")
    for later, earlier, relation, activity_pk in between:
        graph.add_edge(names[later], names[earlier], relation=relation)
        if not graph.has_edge(names[earlier], verbs[activity_pk]):  # it made that itself
            graph.add_edge(verbs[activity_pk], names[earlier], relation="used")
    _add_passages(graph, passages, names, verbs)
    _add_endings(graph, _endings(made, passages, last), names, verbs)
    return graph


def _made(tx: sa.Connection, pks: Collection[int], last: int) -> _Rows:
    """These versions, as far as they had been made, each with what its cube says now."""
    wanted = (
        sa.select(
            versions.c.pk,
            versions.c.body,
            versions.c.activity_pk,
            cubes.c.deleted_by,
            cubes.c.head_pk,
        )
        .join(cubes, cubes.c.pk == versions.c.cube_pk)
        .where(versions.c.pk.in_(_among(pks)), versions.c.activity_pk <= last)
        .order_by(versions.c.pk)
    )
    return tx.execute(wanted).all()


def _between(tx: sa.Connection, made: _Rows) -> _Rows:
    """The edges from one of these versions to another: later, earlier, relation, activity."""
    inside = {row.pk for row in made}
    rows = tx.execute(
        sa.select(edges.c.subject_pk, edges.c.object_pk, edges.c.relation, versions.c.activity_pk)
        .join(versions, versions.c.pk == edges.c.subject_pk)
        .where(edges.c.subject_pk.in_(_among(inside)))
        .order_by(edges.c.subject_pk, edges.c.object_pk)
    )
    # The other end is looked at here: SQLite would read the list again for each edge.
    return [row for row in rows if row.object_pk in inside]


def _passages(tx: sa.Connection, made: _Rows, last: int) -> _Rows:
    """The changes of state of these versions, oldest first.

    A change happened to the version that was the newest before its activity: what the activity
    itself made, such as a rollback's new version, it cannot have used.
    """
    of = versions.alias("of")
    was = (
        sa.select(sa.func.max(of.c.pk))
        .where(of.c.cube_pk == transitions.c.cube_pk, of.c.activity_pk < transitions.c.activity_pk)
        .scalar_subquery()
    )
    pks = _among([row.pk for row in made])
    whose = sa.select(versions.c.cube_pk).where(versions.c.pk.in_(pks))
    rows = tx.execute(
        sa.select(
            was.label("version_pk"),
            transitions.c.activity_pk,
            transitions.c.before,
            transitions.c.after,
            transitions.c.reason,
        )
        .where(transitions.c.cube_pk.in_(whose), transitions.c.activity_pk <= last)
        .order_by(transitions.c.activity_pk, transitions.c.pk)
    )
    inside = {row.pk for row in made}
    return [row for row in rows if row.version_pk in inside]


def _endings(made: _Rows, passages: _Rows, last: int) -> list[tuple[int, int]]:
    """Which activity deleted which version, oldest first; also of what was brought back since."""
    found = {(row.activity_pk, row.version_pk) for row in passages if row.after == DELETED}
    found |= {
        (row.deleted_by, row.pk)
        for row in made
        if row.deleted_by is not None and row.deleted_by <= last and row.pk == row.head_pk
    }
    return sorted(found)


def _add_versions(graph: nx.DiGraph[str], made: _Rows) -> dict[int, str]:
    names: dict[int, str] = {}
    for row in made:
        cube = MemCube.model_validate_json(row.body)
        names[row.pk] = f"{cube.id}@{cube.version}"
        about = cube.header.descriptive
        said = {"speaker": about.speaker, "source": about.source, "said_at": about.said_at}
        gone = {"erased": True} if cube.memory_type == "erased" else {}
        graph.add_node(
            names[row.pk],
            kind="entity",
            text=cube.text,
            version=cube.version,
            state=cube.state.value,
            at=cube.created_at,
            **{name: value for name, value in said.items() if value is not None},
            **gone,
        )
    return names


def _add_activities(
    tx: sa.Connection, graph: nx.DiGraph[str], pks: Collection[int]
) -> dict[int, str]:
    names: dict[int, str] = {}
    wanted = sa.select(activities).where(activities.c.pk.in_(_among(pks)))
    for row in tx.execute(wanted.order_by(activities.c.pk)):
        names[row.pk] = f"activity:{row.id}"
        agent = f"agent:{row.principal}"
        graph.add_node(names[row.pk], kind="activity", verb=row.verb, at=from_micros(row.at))
        graph.add_node(agent, kind="agent", name=row.principal)
        graph.add_edge(names[row.pk], agent, relation="wasAssociatedWith")
    return names


def _add_passages(graph: nx.DiGraph[str], passages: _Rows, names: _Names, verbs: _Names) -> None:
    """An activity used the version whose state it changed; a deletion ends it instead."""
    for row in passages:
        if DELETED not in (row.before, row.after):
            about = {"before": row.before, "after": row.after, "reason": row.reason}
            ends = verbs[row.activity_pk], names[row.version_pk]
            graph.add_edge(*ends, relation="used", **about)


def _add_endings(
    graph: nx.DiGraph[str], endings: Sequence[tuple[int, int]], names: _Names, verbs: _Names
) -> None:
    """The deletions: the one PROV arrow that leads from an earlier thing to a later one.

    Where it would close a circle (an activity that deletes what its own sources came from), or the
    activity itself made it, the version carries ``ended``, ``ended_by`` and ``ended_at`` instead.
    """
    for activity_pk, version_pk in endings:
        activity, version = verbs[activity_pk], names[version_pk]
        made_it = graph.has_edge(version, activity)
        if not made_it and not nx.has_path(graph, activity, version):
            graph.add_edge(version, activity, relation="wasInvalidatedBy")
            continue
        about = graph.nodes[activity]
        agents = [n for n in graph.successors(activity) if graph.nodes[n]["kind"] == "agent"]
        by = ", ".join(str(graph.nodes[one]["name"]) for one in agents)
        graph.nodes[version].update(ended=about["verb"], ended_by=by, ended_at=about["at"])
