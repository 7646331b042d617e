"""MemGovernance: the rules of access in SQL, and the check that every write passes.

Decisions are made from the rules in memory (``access``); a change of the rules is in force when
its transaction is committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube
from memos_integrations.errors import AccessDeniedError
from memos_integrations.infrastructure.access import AccessRules, Asker, Grant, Sight
from memos_integrations.infrastructure.schema import (
    cubes,
    from_micros,
    grants,
    namespaces,
    settings,
    to_micros,
    transitions,
    versions,
)
from memos_integrations.infrastructure.spaces import Spaces

NO_SPACES = Spaces()
_KEY = "governance"
_NOTED = "asked"
_before = versions.alias("before")


def read_rules(tx: sa.Connection) -> AccessRules:
    """The rules as they stand; of the grants, those that are not revoked."""
    written = tx.execute(sa.select(settings.c.value).where(settings.c.key == _KEY)).scalar()
    rows = tx.execute(
        sa.select(grants).where(grants.c.revoked_at.is_(None)).order_by(grants.c.pk)
    ).all()
    about = json.loads(written) if written else {}
    return AccessRules(
        enforced=bool(about),
        administrators=frozenset(about.get("administrators", ())),
        homes=tuple(tuple(home) for home in about.get("homes", ())),
        grants=tuple(map(_grant, rows)),
    )


def write_policy(tx: sa.Connection, rules: AccessRules) -> None:
    """Whether the rules are asked, who administers the store, and whose homes are where."""
    about = {"administrators": sorted(rules.administrators), "homes": [*rules.homes]}
    tx.execute(sa.delete(settings).where(settings.c.key == _KEY))
    if rules.enforced:
        tx.execute(sa.insert(settings).values(key=_KEY, value=json.dumps(about)))


def insert_grant(tx: sa.Connection, grant: Grant) -> None:
    """Write a grant down."""
    tx.execute(
        sa.insert(grants).values(
            id=grant.id,
            principal=grant.principal,
            role=grant.role,
            rights=json.dumps(sorted(grant.rights)),
            path=json.dumps(grant.namespace),
            tag=grant.tag,
            semantic_type=grant.semantic_type,
            cube_id=grant.memory_id,
            purpose=grant.purpose,
            expires_at=None if grant.expires_at is None else to_micros(grant.expires_at),
            granted_by=grant.granted_by,
            via=grant.via,
            at=to_micros(grant.at),
        )
    )


def end_grant(tx: sa.Connection, grant_id: str, by: str, at: datetime) -> None:
    """Revoke a grant; the row stays and says who did it, and when."""
    tx.execute(
        sa.update(grants)
        .where(grants.c.id == grant_id, grants.c.revoked_at.is_(None))
        .values(revoked_by=by, revoked_at=to_micros(at))
    )


def read_grants(tx: sa.Connection) -> list[Grant]:
    """Every grant there ever was, oldest first."""
    return [_grant(row) for row in tx.execute(sa.select(grants).order_by(grants.c.pk))]


def loaded_grant(said: Mapping[str, Any]) -> Grant:
    """A grant as an archive has it, which was checked."""
    end = said["expires_at"]
    return Grant(
        id=said["id"],
        rights=frozenset(said["rights"]),
        namespace=tuple(json.loads(said["path"])),
        granted_by=said["granted_by"],
        at=from_micros(said["at"]),
        principal=said["principal"],
        role=said["role"],
        tag=said["tag"],
        semantic_type=said["semantic_type"],
        memory_id=said["memory"],
        purpose=said["purpose"],
        expires_at=None if end is None else from_micros(end),
        via=said["via"],
    )


def _grant(row: sa.Row[Any]) -> Grant:
    return Grant(
        id=row.id,
        rights=frozenset(json.loads(row.rights)),
        namespace=tuple(json.loads(row.path)),
        granted_by=row.granted_by,
        via=row.via,
        at=from_micros(row.at),
        principal=row.principal,
        role=row.role,
        tag=row.tag,
        semantic_type=row.semantic_type,
        memory_id=row.cube_id,
        purpose=row.purpose,
        expires_at=None if row.expires_at is None else from_micros(row.expires_at),
        revoked_by=row.revoked_by,
        revoked_at=None if row.revoked_at is None else from_micros(row.revoked_at),
    )


# Writes ----------------------------------------------------------------------------------------


def begin(tx: sa.Connection) -> None:
    """A unit of work begins: nobody has asked for anything in it yet."""
    tx.info[_NOTED] = []


def note(tx: sa.Connection, activity_pk: int, namespace_pk: int, verb: str, asker: Asker) -> None:
    """An activity is somebody's: its changes are looked at by :func:`check`."""
    tx.info.setdefault(_NOTED, []).append((activity_pk, namespace_pk, verb, asker))


def check(tx: sa.Connection, rules: AccessRules, now: datetime, spaces: Spaces = NO_SPACES) -> None:
    """Refuse a unit of work that changed what its principals may not change.

    A changed memory must be theirs to write as it was and as it is now. What is about a namespace
    and no single memory, such as naming a snapshot, takes the right to write all of it. What is
    in a curated space takes the right to administer it.
    """
    for activity_pk, namespace_pk, verb, asker in tx.info.pop(_NOTED, ()):
        scope = Sight(rules, asker, now).everywhere("write")
        if scope.everything:
            continue
        touched = _touched(tx, activity_pk)
        if not touched:
            path = _path(tx, namespace_pk)
            if not rules.scope(asker, "write", path, now).whole:
                raise denied(asker, f"{verb} in", path)
        full = Sight(rules, asker, now).everywhere("administer")
        for cube in touched:
            right = full if spaces.curated(cube.namespace) else scope
            if right.why(cube) is None:
                raise denied(asker, f"{verb} this in", cube.namespace)


def denied(asker: Asker, verb: str, path: Namespace) -> AccessDeniedError:
    """Says who may not do what where; not which memory it was about."""
    meant = f" for the purpose {asker.purpose!r}" if asker.purpose else ""
    return AccessDeniedError(
        f"{asker.principal.id!r} may not {verb} {'/'.join(path)}{meant}: "
        "ask who administers it for a grant"
    )


def _path(tx: sa.Connection, namespace_pk: int) -> Namespace:
    query = sa.select(namespaces.c.path).where(namespaces.c.pk == namespace_pk)
    return tuple(json.loads(tx.execute(query).scalar_one()))


def _touched(tx: sa.Connection, activity_pk: int) -> Sequence[MemCube]:
    """What an activity wrote, what stood there before, and what it moved or deleted."""
    wrote = versions.c.activity_pk == activity_pk
    former = sa.and_(
        _before.c.cube_pk == versions.c.cube_pk, _before.c.version == versions.c.version - 1
    )
    at_head = versions.c.pk == cubes.c.head_pk
    moved = sa.select(transitions.c.cube_pk).where(transitions.c.activity_pk == activity_pk)
    asked = (
        sa.select(versions.c.body).where(wrote),
        sa.select(_before.c.body).join(versions, former).where(wrote),
        sa.select(versions.c.body).join(cubes, at_head).where(cubes.c.pk.in_(moved)),
        sa.select(versions.c.body).join(cubes, at_head).where(cubes.c.deleted_by == activity_pk),
    )
    found = [body for query in asked for body in tx.execute(query).scalars()]
    return [MemCube.model_validate_json(body) for body in found]
