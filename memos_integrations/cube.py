"""The MemCube: one memory, its header and its payload (MemOS, arXiv 2507.03724, section 5.1).

A cube is immutable. A change is a new version of the same id, so two people who hold
``(id, version)`` hold the same words.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from memos_integrations.checks import (
    Namespace,
    check_id,
    check_namespace,
    check_text,
    check_time,
    freeze_json,
)
from memos_integrations.errors import InvalidInputError


class State(StrEnum):
    """Where a memory stands in its life."""

    GENERATED = "generated"
    ACTIVATED = "activated"
    MERGED = "merged"
    ARCHIVED = "archived"
    EXPIRED = "expired"
    FROZEN = "frozen"


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(check_text(value, what="tag", max_bytes=256) for value in values))


UtcTime = Annotated[datetime, AfterValidator(check_time)]
Labels = Annotated[tuple[str, ...], AfterValidator(_unique)]
Metadata = Annotated[dict[str, Any], AfterValidator(freeze_json)]
Text = Annotated[str, AfterValidator(check_text)]
Access = Literal["private", "shared", "read_only"]
Trust = Literal["high", "medium", "low"]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


LEVELS: tuple[Trust, ...] = get_args(Trust)
"""Highest first."""

TRUSTED: Mapping[str, Trust] = {"user": "high", "system": "high", "assistant": "medium"}
"""How far origins are believed; all others little."""


def trust_in(origin: str, given: Trust | None = None) -> Trust:
    """How far something is believed: as was said of it, else by where it came from.

    What users and the system say is trusted more than what the assistant says, and that more than
    tools, documents, imports, and what was derived of anything.
    """
    return given or TRUSTED.get(origin, "low")


def check_trust(value: object) -> Trust | None:
    """Return a level of trust, or ``None`` for that of the origin."""
    if value is None or value in LEVELS:
        return value
    raise InvalidInputError(f"trust is {value!r}: use one of {', '.join(LEVELS)}")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Descriptive(_Value):
    """What the memory is: the paper's descriptive identifiers."""

    created_at: UtcTime = Field(description="when this version was learned")
    event_time: UtcTime | None = Field(None, description="when it was so, as far as known")
    said_at: UtcTime | None = Field(None, description="when the message was sent")
    origin: Word = Field("user", description="user, assistant, system, tool, document or derived")
    role: Word | None = Field(None, description="the message's role in its conversation")
    speaker: Text | None = Field(None, description="who said it, by name")
    source: Text | None = Field(None, description="a message id, file name or address it came from")
    semantic_type: Word = Field("fact", description="fact, preference, event, task, question, ...")
    tags: Labels = ()
    metadata: Metadata = Field(default_factory=dict)


class Governance(_Value):
    """Who may do what with it, and for how long: the paper's governance attributes."""

    owner: Text = Field(description="the principal who wrote it")
    access: Access = Field(
        "private",
        description="private: who has a grant; shared: all under the same root, too, may read it; "
        "read_only: only its owner changes it",
    )
    expires_at: UtcTime | None = Field(None, description="end of its lifespan; None: no end")
    priority: int = Field(5, ge=0, le=9, description="0 may go first, 9 last")
    sensitivity: Labels = ()
    trust: Trust | None = Field(
        None, description="high, medium or low, where it is not what its origin says"
    )
    frozen: bool = False


class Behaviour(_Value):
    """How it is used: the paper's behavioural indicators, as they stood when the cube was read.

    The counters are kept beside the version, so reading never makes a version.
    """

    uses: int = Field(0, ge=0)
    last_used_at: UtcTime | None = None
    heat: float = Field(0.0, ge=0.0, allow_inf_nan=False, description="uses, halved every week")
    context_fingerprint: str | None = Field(None, description="equal for equal words")
    previous_version: int | None = Field(None, description="the version chain's link to the past")


class Header(_Value):
    """The three groups of the MemCube header."""

    descriptive: Descriptive
    governance: Governance
    behaviour: Behaviour = Field(default_factory=Behaviour)


class Plaintext(_Value):
    """A memory in words."""

    type: Literal["plaintext"] = "plaintext"
    text: Text


class _Blob(_Value):
    blob: str = Field(pattern=r"^[0-9a-f]{64}$", description="sha256 of the safetensors file")
    size: int = Field(ge=0, description="bytes of the blob")
    model: Text = Field(description="fingerprint of the model it was made with")


class Activation(_Blob):
    """A memory as a KV cache: a blob and the fingerprint of the model that made it."""

    type: Literal["activation"] = "activation"
    tokens: int = Field(ge=1, description="positions in the cache")


class Parameter(_Blob):
    """A memory as weights: a LoRA adapter or a trained prefix."""

    type: Literal["parameter"] = "parameter"
    kind: Literal["lora", "prefix"] = "lora"


class Erased(_Value):
    """What stands in a memory's place after its content was erased: nothing."""

    type: Literal["erased"] = "erased"


Payload = Annotated[Plaintext | Activation | Parameter | Erased, Field(discriminator="type")]


class MemCube(_Value):
    """One version of one memory: header + payload.

    Equal by value; ``MemCube.model_validate_json(cube.model_dump_json()) == cube``.
    """

    id: Annotated[str, AfterValidator(check_id)]
    version: int = Field(ge=1)
    namespace: Annotated[Namespace, AfterValidator(check_namespace)]
    state: State = State.GENERATED
    header: Header
    payload: Payload

    @property
    def text(self) -> str:
        """The words of a plaintext memory; empty for the others."""
        return self.payload.text if isinstance(self.payload, Plaintext) else ""

    @property
    def memory_type(self) -> str:
        """``plaintext``, ``activation`` or ``parameter``; ``erased`` for a tombstone."""
        return self.payload.type

    @property
    def created_at(self) -> datetime:
        """When this version was learned (UTC)."""
        return self.header.descriptive.created_at

    @property
    def event_time(self) -> datetime | None:
        """When it was so (UTC), as far as known."""
        return self.header.descriptive.event_time

    @property
    def trust(self) -> Trust:
        """How far it is believed: ``high``, ``medium`` or ``low``; see :func:`trust_in`."""
        return trust_in(self.header.descriptive.origin, self.header.governance.trust)

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags, in the order given."""
        return self.header.descriptive.tags

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the caller attached; read-only."""
        return self.header.descriptive.metadata

    def __hash__(self) -> int:
        return hash((self.id, self.version))

    def __repr__(self) -> str:
        words = repr(self.text[:61])  # cut again: one character may be written as ten
        words = words if len(words) <= 62 else f"{words[:58]}...{words[0]}"
        shown = words if self.text else self.memory_type
        return f"MemCube({self.id[:8]}…{self.id[-4:]} v{self.version} {self.state} {shown})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        about, rules, use = self.header.descriptive, self.header.governance, self.header.behaviour
        rows = {
            "id": f"{self.id} · version {self.version} · {self.state}",
            "namespace": " / ".join(self.namespace),
            "said": " · ".join(filter(None, [about.speaker, about.role, _day(about.said_at)])),
            "event time": _day(about.event_time),
            "type": f"{self.memory_type} · {about.semantic_type} · from {about.origin}"
            f" · {self.trust} trust",
            "tags": ", ".join(about.tags),
            "owner": f"{rules.owner} · {rules.access}" + (" · frozen" if rules.frozen else ""),
            "uses": f"{use.uses}"
            + (f", last {_day(use.last_used_at)}" if use.last_used_at else ""),
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td>{html.escape(value)}</td></tr>"
            for name, value in rows.items()
            if value
        )
        words = html.escape(self.text or f"{self.memory_type} memory")
        return f"<div><blockquote>{words}</blockquote><table>{cells}</table></div>"


def _day(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC") if moment else ""


class Principal(_Value):
    """Who is asking: a user, an agent or a service."""

    id: Annotated[
        str, AfterValidator(lambda value: check_text(value, what="principal id", max_bytes=256))
    ]
    kind: Literal["user", "agent", "service"] = "user"
    roles: Labels = ()


class Draft(_Value):
    """A memory that is not written yet: what a reader makes of a message or a document."""

    payload: Payload
    event_time: UtcTime | None = None
    said_at: UtcTime | None = None
    origin: Word = "user"
    role: Word | None = None
    speaker: Text | None = None
    source: Text | None = None
    semantic_type: Word = "fact"
    tags: Labels = ()
    metadata: Metadata = Field(default_factory=dict)
    expires_at: UtcTime | None = None
    priority: int = Field(5, ge=0, le=9)
    access: Access | None = Field(None, description="None: as the space that it is added to says")
    sensitivity: Labels = ()
    trust: Trust | None = None
