"""What changed between two versions of a memory: words and header fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from memos_integrations.checks import thaw_json
from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.prov_export.reading import plain, shortened
from memos_integrations.infrastructure.prov_export.word_matching import matches, words_and_spaces

Kind = Literal["kept", "removed", "added"]

_MARKS: Mapping[Kind, str] = {"removed": "-", "added": "+"}
_MOST = 80
_OF_EVERY_VERSION = {"created_at"}
"""It differs between any two versions, and says nothing."""


@dataclass(frozen=True)
class Part:
    """A piece of text that was kept, removed or added."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Comparison:
    """Two versions of one memory side by side; as a string, a line for each change."""

    memory_id: str
    before: int
    after: int
    parts: tuple[Part, ...]
    """In order: what was kept and removed is the earlier text, kept and added the later one."""
    header: Mapping[str, tuple[Any, Any]]
    """The changed fields by name: old and new value."""

    def __str__(self) -> str:
        lines = [f"{self.memory_id}: version {self.before} to {self.after}"]
        for part in self.parts:
            if part.kind in _MARKS:
                lines.append(f"{_MARKS[part.kind]} {_line(part.text)}")
        for name, (old, new) in self.header.items():
            lines.append(f"{name}: {_line(plain(old))} -> {_line(plain(new))}")
        return "\n".join(lines if len(lines) > 1 else [f"{lines[0]}: nothing changed"])


def compare(before: MemCube, after: MemCube) -> Comparison:
    """What is different in ``after``. Counters of use and the time of writing are left out."""
    old, new = _fields(before), _fields(after)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return Comparison(
        memory_id=after.id,
        before=before.version,
        after=after.version,
        parts=_parts(before.text, after.text),
        header={name: (old.get(name), new.get(name)) for name in names},
    )


def _fields(cube: MemCube) -> dict[str, Any]:
    """The header as plain values, and of a payload without words, what it is."""
    groups = cube.header.descriptive, cube.header.governance
    fields = {name: thaw_json(value) for group in groups for name, value in group}
    fields |= {"memory_type": cube.memory_type}
    if not cube.text:
        fields |= {f"payload.{name}": value for name, value in cube.payload if name != "type"}
    return {name: value for name, value in fields.items() if name not in _OF_EVERY_VERSION}


def _parts(before: str, after: str) -> tuple[Part, ...]:
    one, other = words_and_spaces(before), words_and_spaces(after)
    changes: list[Part] = []
    at, beside = 0, 0
    for start, begin, length in [*matches(one, other), (len(one), len(other), 0)]:
        changes += _change(one[at:start], other[beside:begin])
        kept = "".join(one[start : start + length])
        at, beside = start + length, begin + length
        between = changes and (at, beside) != (len(one), len(other))
        if kept.isspace() and between:  # two words were changed, and not the space between them
            changes += [Part("removed", kept), Part("added", kept)]
        elif kept:
            changes.append(Part("kept", kept))
    return tuple(_joined(changes))


def _change(removed: Sequence[str], added: Sequence[str]) -> Iterable[Part]:
    if removed:
        yield Part("removed", "".join(removed))
    if added:
        yield Part("added", "".join(added))


def _joined(parts: Iterable[Part]) -> Iterable[Part]:
    """Neighbours of one kind as one part; between two kept ones, what was removed comes first."""
    for kept, group in groupby(parts, key=lambda part: part.kind == "kept"):
        run = list(group)
        for kind in ("kept",) if kept else ("removed", "added"):
            text = "".join(part.text for part in run if part.kind == kind)
            if text:
                yield Part(kind, text)  # type: ignore[arg-type]


def _line(text: str) -> str:
    return shortened(text, _MOST) or repr(text)
