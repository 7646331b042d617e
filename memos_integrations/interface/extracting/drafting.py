"""From what a model said to drafts: each with its sources, its words, its time, and no more rights
than they have. What cannot be held against the turns is refused, one statement at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from memos_integrations.checks import check_text, fingerprint
from memos_integrations.cube import LEVELS, Draft, MemCube, Plaintext, Trust
from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.dates import scan_times
from memos_integrations.interface.extracting import times
from memos_integrations.interface.extracting.grounding import Ground
from memos_integrations.interface.extracting.schema import FIELDS, Said, checked
from memos_integrations.interface.extraction import Refused
from memos_integrations.interface.semantic_types import semantic_type
from memos_integrations.operation.facts import NewFact

MOST_TRUSTED: Trust = "medium"
"""A fact is a model's wording of what was said: it is believed as what the assistant says is."""


@dataclass
class Sifted:
    """What became of the entries of one answer."""

    found: list[NewFact] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    """Fields that nobody asked for, by name."""


def sift(items: Iterable[Any], turns: Sequence[MemCube], left: int = 0) -> Sifted:
    """Hold the entries of an answer against the turns; ``left``: how many were not looked at."""
    sifted, ground, seen = Sifted(), Ground(turns), set[tuple[str, str]]()
    for item in items:
        try:
            found = _found(item, turns, ground, sifted.ignored)
            words = found.sources[0].id, fingerprint(found.text)
            if words in seen:
                raise ValueError("it is said twice")
            seen.add(words)
            sifted.found.append(found)
        except ValueError as error:  # InvalidInputError, too
            sifted.refused.append(Refused(_beginning(item), plain(str(error))[:300]))
    if left:
        sifted.refused.append(Refused("", f"{left} more entries than are read of one answer"))
    return sifted


def _found(item: Any, turns: Sequence[MemCube], ground: Ground, ignored: dict[str, int]) -> NewFact:
    if not isinstance(item, Mapping):
        raise ValueError("it is no JSON object")
    _note_others(item, ignored)
    said = checked(item)
    text = check_text(" ".join(said.text.split()), max_bytes=4_000)
    place, span = _cited(said, ground)
    turn = turns[place]
    dated = times.date(turn, span, said.when)
    if strange := ground.unsupported(text, (dated.moment, times.reference_of(turn))):
        raise ValueError(f"no turn says {strange[:60]!r}")
    sources = (turn, *(turns[one] for one in ground.contributors(text, place)))
    about = _about(turn, span, dated, corrected=said.turn != place + 1)
    return NewFact(_draft(text, said, sources, dated), sources, about)


def _note_others(item: Mapping[Any, Any], ignored: dict[str, int]) -> None:
    """Count the fields that nobody asked for; of many, the first."""
    for name in [plain(str(name)[:40]) for name in item if name not in FIELDS][:20]:
        if name in ignored or len(ignored) < 20:
            ignored[name] = ignored.get(name, 0) + 1


def _about(
    turn: MemCube, span: tuple[int, int], dated: times.Dated, *, corrected: bool
) -> dict[str, Any]:
    row = {"memory": turn.id, "version": turn.version, "start": span[0], "stop": span[1]}
    return {
        "spans": [row],
        **({"time": dated.basis} if dated.basis else {}),
        **({"phrase": dated.phrase} if dated.phrase else {}),
        **({"corrected": True} if corrected else {}),
    }


def _cited(said: Said, ground: Ground) -> tuple[int, tuple[int, int]]:
    """The turn that has the quoted words, and where: the one that was named, else the nearest."""
    texts = ground.texts
    if not 1 <= said.turn <= len(texts):
        raise ValueError(f"turn {said.turn} was not given")
    named = said.turn - 1
    for place in sorted(range(len(texts)), key=lambda one: (abs(one - named), one)):
        span = texts[place].find(said.quote)
        if span is not None:
            return place, span
    raise ValueError("no turn has the words that it quotes")


def _draft(text: str, said: Said, sources: Sequence[MemCube], dated: times.Dated) -> Draft:
    """Under the rules of its sources: the lowest trust, every label, the earliest end."""
    about, rules = sources[0].header.descriptive, [one.header.governance for one in sources]
    ends = [one.expires_at for one in rules if one.expires_at is not None]
    trust = max([MOST_TRUSTED, *(one.trust for one in sources)], key=LEVELS.index)
    try:
        return Draft(
            payload=Plaintext(text=text),
            event_time=dated.moment,
            said_at=about.said_at,
            origin="derived",
            speaker=about.speaker,
            source=about.source,
            semantic_type=_type(text, said),
            tags=tuple(dict.fromkeys(tag for one in sources for tag in one.tags)),
            priority=max(one.priority for one in rules),
            expires_at=min(ends, default=None),
            access=rules[0].access,
            sensitivity=tuple(dict.fromkeys(label for one in rules for label in one.sensitivity)),
            trust=trust,
        )
    except ValidationError as error:
        raise InvalidInputError(error.errors(include_url=False)[0]["msg"]) from None


def _type(text: str, said: Said) -> str:
    """What the model says of it; what it calls a fact may be more than that by the rules."""
    if said.kind != "fact":
        return said.kind
    phrase = next((found.group() for found, _ in scan_times(text, None)), "")
    ruled = semantic_type(text, phrase=phrase)
    return ruled if ruled in ("preference", "event", "task") else "fact"


def _beginning(item: Any) -> str:
    said = item.get("text") if isinstance(item, Mapping) else item
    shown = said if isinstance(said, str) else type(said).__name__
    return plain(" ".join(shown[:200].split()))[:80]


def plain(text: str) -> str:
    """Without what a terminal or a file could choke on."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
