"""What comes from another program, and how it becomes memories with stable ids.

An id is made of where the memory came from and of where it goes: the same export, imported again,
names the same memories, and may be imported into several namespaces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memos_integrations.checks import check_text, fingerprint, freeze_json, thaw_json
from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.schema import to_micros
from memos_integrations.infrastructure.transfer.stable_ids import LONG_AGO, stable_id
from memos_integrations.infrastructure.transfer.staging import Staged
from memos_integrations.infrastructure.transfer.trusting import IMPORTED


@dataclass(frozen=True)
class Said:
    """One version: the words, and when they were written, as far as known."""

    text: str
    at: datetime | None = None


@dataclass(frozen=True)
class Arrival:
    """One memory of another program, with its versions, oldest first."""

    id: str
    """As that program calls it."""
    versions: Sequence[Said]
    namespace: tuple[str, ...] = ()
    """Below that of the session."""
    born: datetime | None = None
    """When that program made it: a part of its id here, so it must not change there."""
    role: str | None = None
    speaker: str | None = None
    said_at: datetime | None = None
    event_time: datetime | None = None
    expires_at: datetime | None = None
    semantic_type: str = "fact"
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    key: Mapping[str, Any] | None = None
    """Shelf, key and time to live, if it is known by a name."""


def stage(
    kind: str,
    arrivals: Sequence[Arrival],
    staged: Staged,
    *,
    owner: str,
    now: datetime,
    trust: bool,
) -> None:
    """Stage all of them, what was written first before what was written later."""
    made = [_Memory(kind, staged.root, one, owner, now, trust) for one in arrivals]
    twice = {one.id for one in made}
    if len(twice) != len(made):
        raise InvalidInputError(f"two memories of this {kind} source have the same id")
    steps = sorted(
        ((at, place, n) for place, one in enumerate(made) for n, at in enumerate(one.times)),
    )
    for memory in made:
        staged.memory(memory.row)
    for at, place, n in steps:
        activity = made[place].activity(n, at)
        staged.activity(activity)
        staged.version(made[place].version(n, at, activity["id"]))
        if n:
            cube_id = made[place].id
            ends = {"s": [cube_id, n + 1], "o": [cube_id, n], "relation": "wasRevisionOf"}
            staged.edge(ends)
    staged.check()


class _Memory:
    """One arrival on its way."""

    def __init__(
        self,
        kind: str,
        root: Sequence[str],
        arrival: Arrival,
        owner: str,
        now: datetime,
        trust: bool,
    ) -> None:
        self.kind, self.root, self.arrival, self.owner = kind, root, arrival, owner
        self.origin = (arrival.role or "user") if trust else IMPORTED
        names = [kind, *root, *arrival.namespace, arrival.id]
        self.id = stable_id(names, arrival.born or LONG_AGO)
        self.times: list[datetime] = []
        for one in arrival.versions:  # a version is not older than the one before it
            earliest = self.times[-1] if self.times else LONG_AGO
            self.times.append(max(one.at or now, earliest))

    @property
    def row(self) -> dict[str, Any]:
        """As an archive has it."""
        end = self.arrival.expires_at
        return {
            "id": self.id,
            "namespace": list(self.arrival.namespace),
            "state": "generated",
            "expires_at": None if end is None else to_micros(end),
            "quarantined": None,
            "key": self.arrival.key,
            "searched": True,
            "parts": [],
        }

    def activity(self, n: int, at: datetime) -> dict[str, Any]:
        """Who did it, as far as we know: the other program."""
        text = self.arrival.versions[n].text
        return {
            "id": stable_id(["activity", self.id, n, text, at.isoformat()], at),
            "namespace": list(self.arrival.namespace),
            "verb": "update" if n else "import",
            "principal": f"{IMPORTED}:{self.kind}",
            "at": to_micros(at),
        }

    def version(self, n: int, at: datetime, activity: str) -> dict[str, Any]:
        """As an archive has it."""
        one = self.arrival
        text = check_text(one.versions[n].text, what=f"the text of {self.kind} memory {one.id!r}")
        return {
            "id": self.id,
            "version": n + 1,
            "state": "generated",
            "activity": activity,
            "payload": {"type": "plaintext", "text": text},
            "header": {
                "descriptive": {
                    "created_at": at,
                    "event_time": one.event_time,
                    "said_at": one.said_at,
                    "origin": self.origin,
                    "role": one.role,
                    "speaker": one.speaker,
                    "source": f"{self.kind}:{one.id}"[:1000],
                    "semantic_type": one.semantic_type,
                    "tags": list(one.tags),
                    "metadata": thaw_json(freeze_json(dict(one.metadata))),
                },
                "governance": {"owner": self.owner, "expires_at": one.expires_at},
                "behaviour": {
                    "previous_version": n or None,
                    "context_fingerprint": fingerprint(text),
                },
            },
        }


def parsed(source: Any, what: str) -> Any:
    """What a path leads to, as JSON; anything else as it is."""
    if not isinstance(source, str | Path):
        return source
    try:
        return json.loads(Path(source).expanduser().read_text("utf-8-sig"))
    except OSError as error:
        raise InvalidInputError(f"{source} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{source} is no JSON, {what} was expected: {error}") from None


def moment(value: Any, what: str) -> datetime | None:
    """A time as programs write it; UTC where no zone is given."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInputError(f"{what} is {value!r:.60}: no time in ISO form") from None
    if not isinstance(value, datetime):
        raise InvalidInputError(f"{what} is {value!r:.60}: no time")
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def word(value: Any) -> str | None:
    """A role, where it is one word that we know how to keep."""
    known = {"user", "assistant", "system", "tool"}
    said = str(getattr(value, "value", value) or "").lower()
    return said if said in known else None
