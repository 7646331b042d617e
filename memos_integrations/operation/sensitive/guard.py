"""The guard: what is sensitive in a draft is labelled, masked, sealed or refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from memos_integrations.checks import Namespace, thaw_json
from memos_integrations.cube import Draft, Plaintext
from memos_integrations.errors import InvalidInputError, SensitiveContentError
from memos_integrations.infrastructure.sealed import Piece, Sealer
from memos_integrations.operation.sensitive.finding import Finding, joined
from memos_integrations.operation.sensitive.policy import SensitivePolicy

NAMES = frozenset({"conversation"})
"""Metadata that is a name by which something is found, and no content."""

_MASK = re.compile(r"\[([a-z][a-z0-9_]{0,63})(?::[a-z]{9})?\]")


@dataclass(frozen=True)
class Edit:
    """``text[start:stop]`` is replaced."""

    start: int
    stop: int
    mask: str


@dataclass
class Pass:
    """What was found in one draft so far."""

    space: Namespace
    labels: dict[str, None] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    """Of the text."""


@dataclass(frozen=True)
class Guard:
    """A policy at work in one store. Thread-safe."""

    policy: SensitivePolicy
    sealer: Sealer | None

    def admit(self, drafts: Sequence[Draft], space: Namespace) -> list[tuple[Draft, Pass]]:
        """Drafts as they may be written, with what is to be sealed."""
        done: list[tuple[Draft, Pass]] = []
        for group in _texts(drafts):
            whole = "".join(map(_text, group))
            found, at = self.find(whole), 0
            for draft in group:
                done.append(self._admit(draft, space, whole, found, at))
                at += len(_text(draft))
        return done

    def find(self, text: str) -> list[Finding]:
        """What the detectors find; what is only labelled does not swallow what is masked."""
        found = [one for detect in self.policy.detectors for one in detect(text)]
        kept = [one for one in found if self.policy.action(one.label) == "keep"]
        taken = joined(one for one in found if self.policy.action(one.label) != "keep")
        return [*joined(kept), *taken]

    def mask(self, value: Any, seen: Pass, where: str) -> Any:
        """A text, or the texts inside of JSON data, as they may be written."""
        if isinstance(value, str):
            masked, _ = self._masked(value, self.find(value), seen, where)
            return masked
        if isinstance(value, Mapping):
            return {name: self.mask(one, seen, f"{where}.{name}") for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.mask(one, seen, f"{where}[{i}]") for i, one in enumerate(value)]
        return value

    def metadata(self, given: Mapping[str, Any], seen: Pass) -> dict[str, Any]:
        """Metadata as it may be written."""
        plain = thaw_json(given)
        return {
            name: one if name in NAMES else self.mask(one, seen, f"metadata.{name}")
            for name, one in plain.items()
        }

    def labels(self, text: str, seen: Pass, others: Iterable[str]) -> tuple[str, ...]:
        """The labels of a memory: those of others, of what was found, of masks in its text."""
        masks = [label for label in _MASK.findall(text) if label in self.policy.actions]
        return tuple(dict.fromkeys([*others, *seen.labels, *masks]))

    def _admit(
        self, draft: Draft, space: Namespace, whole: str, found: Sequence[Finding], at: int
    ) -> tuple[Draft, Pass]:
        seen, text = Pass(space), _text(draft)
        changes: dict[str, Any] = {}
        if text:
            masked, seen.edits = self._masked(text, found, seen, "text", whole, at)
            changes["payload"] = {"type": "plaintext", "text": masked}
            text = masked
        if draft.speaker is not None:
            changes["speaker"] = self.mask(draft.speaker, seen, "speaker")
        changes["tags"] = tuple(dict.fromkeys(self.mask(draft.tags, seen, "tags")))
        changes["metadata"] = self.metadata(draft.metadata, seen)
        changes["sensitivity"] = self.labels(text, seen, draft.sensitivity)
        try:
            return Draft.model_validate({**dict(draft), **changes}), seen
        except ValidationError as error:  # masks are longer than what they stand for
            said = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise InvalidInputError(f"with masks: {said.removeprefix('Value error, ')}") from None

    def _masked(
        self,
        text: str,
        found: Sequence[Finding],
        seen: Pass,
        where: str,
        whole: str | None = None,
        at: int = 0,
    ) -> tuple[str, list[Edit]]:
        """``text`` is ``whole[at:]``, cut; what crosses its beginning was sealed before it."""
        edits: list[Edit] = []
        for one in found:
            start, stop = one.start - at, min(one.stop - at, len(text))
            if stop <= 0 or start >= len(text):
                continue
            seen.labels[one.label] = None
            action = self.policy.action(one.label)
            if action == "refuse":
                raise SensitiveContentError(one.label, f"{where}, characters {start} to {stop}")
            if action != "keep":
                content = None if start < 0 else (whole or text)[one.start : one.stop]
                edits.append(Edit(max(start, 0), stop, self._mask(one.label, content, seen)))
        for edit in reversed(edits):
            text = text[: edit.start] + edit.mask + text[edit.stop :]
        return text, edits

    def _mask(self, label: str, content: str | None, seen: Pass) -> str:
        if self.policy.action(label) == "mask" or content is None or self.sealer is None:
            return f"[{label}]"
        place = self.sealer.place(seen.space, label, content)
        seen.pieces.append(Piece(place, label, content))
        return place


def guard_of(policy: SensitivePolicy, store_id: str) -> Guard:
    """A policy at work in a store."""
    key = policy.sealing
    return Guard(policy, None if key is None else Sealer(store_id, policy.keys, key))


def moved(spans: Iterable[tuple[int, int]], edits: Sequence[Edit]) -> list[tuple[int, int]]:
    """Where pieces of a text stand after it was masked; none becomes empty."""
    placed = [(_moved(start, edits, 0), _moved(stop, edits, 1)) for start, stop in spans]
    return [(start, stop) for start, stop in placed if start < stop]


def _moved(position: int, edits: Sequence[Edit], end: int) -> int:
    shift = 0
    for edit in edits:
        if edit.stop <= position:
            shift += len(edit.mask) - (edit.stop - edit.start)
        elif edit.start < position:
            return edit.start + shift + end * len(edit.mask)
    return position + shift


def _text(draft: Draft) -> str:
    return draft.payload.text if isinstance(draft.payload, Plaintext) else ""


def _texts(drafts: Sequence[Draft]) -> list[list[Draft]]:
    """Drafts by the text that they are pieces of: a number may stand across a cut."""
    groups: list[list[Draft]] = []
    for draft in drafts:
        if groups and draft.metadata.get("chunk", 0) and draft.source == groups[-1][-1].source:
            groups[-1].append(draft)
        else:
            groups.append([draft])
    return groups
