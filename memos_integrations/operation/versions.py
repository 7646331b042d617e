"""What the versions of a memory are made of: the first, the next, one in another's place.

Nothing is written here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from memos_integrations.checks import Namespace, fingerprint
from memos_integrations.cube import (
    Behaviour,
    Descriptive,
    Draft,
    Governance,
    Header,
    MemCube,
    Plaintext,
    Principal,
    State,
)
from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.spaces import Spaces

_GOVERNANCE = frozenset(Governance.model_fields)


def first(
    draft: Draft, activity: Activity, *, id: str, path: Namespace, who: Principal, spaces: Spaces
) -> MemCube:
    """A draft as a new memory."""
    return MemCube(
        id=id,
        version=1,
        namespace=path,
        header=Header(
            descriptive=Descriptive(
                created_at=activity.at,
                event_time=draft.event_time,
                said_at=draft.said_at,
                origin=draft.origin,
                role=draft.role,
                speaker=draft.speaker,
                source=draft.source,
                semantic_type=draft.semantic_type,
                tags=draft.tags,
                metadata=draft.metadata,
            ),
            governance=Governance(
                owner=who.id,
                access=draft.access or spaces.access(path),
                expires_at=draft.expires_at,
                priority=draft.priority,
                sensitivity=(*draft.sensitivity, *spaces.labels(path)),
                trust=draft.trust,
            ),
            behaviour=Behaviour(context_fingerprint=_fingerprint(draft)),
        ),
        payload=draft.payload,
    )


def following(before: MemCube, changes: Mapping[str, Any], activity: Activity) -> MemCube:
    """The next version of ``before``; validated like a new one."""
    raw = before.model_dump()
    for field, value in changes.items():
        if field == "text":
            raw["payload"]["text"] = value
        else:
            group = "governance" if field in _GOVERNANCE else "descriptive"
            raw["header"][group][field] = value
    raw["version"] = before.version + 1
    raw["header"]["descriptive"]["created_at"] = activity.at
    raw["header"]["behaviour"] = {"previous_version": before.version}
    try:
        after = MemCube.model_validate(raw)
    except ValidationError as error:
        raise readable_error(error) from None
    behaviour = Behaviour(
        previous_version=before.version, context_fingerprint=fingerprint(after.text)
    )
    header = after.header.model_copy(update={"behaviour": behaviour})
    return after.model_copy(update={"header": header})


def replacing(before: MemCube, fresh: MemCube) -> MemCube:
    """A memory that takes the place of another: its next version, of the same owner."""
    governance = fresh.header.governance.model_copy(
        update={"owner": before.header.governance.owner}
    )
    header = Header(
        descriptive=fresh.header.descriptive,
        governance=governance,
        behaviour=Behaviour(
            previous_version=before.version,
            context_fingerprint=fresh.header.behaviour.context_fingerprint,
        ),
    )
    return fresh.model_copy(
        update={"id": before.id, "version": before.version + 1, "header": header}
    )


def is_frozen(cube: MemCube) -> bool:
    """Whether a memory may be read and not changed."""
    return cube.state is State.FROZEN or cube.header.governance.frozen


def readable_error(error: ValidationError) -> InvalidInputError:
    """The first thing that is wrong, in one line."""
    wrong = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in wrong["loc"] if part not in ("header", "payload"))
    return InvalidInputError(f"{where}: {wrong['msg'].removeprefix('Value error, ')}")


def digest(drafts: Sequence[Draft]) -> str:
    """Equal for equal content: what was said by whom, not when it was read."""
    said = [
        (d.payload.model_dump_json(), d.role, d.speaker, d.source, list(d.tags)) for d in drafts
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _fingerprint(draft: Draft) -> str | None:
    return fingerprint(draft.payload.text) if isinstance(draft.payload, Plaintext) else None
