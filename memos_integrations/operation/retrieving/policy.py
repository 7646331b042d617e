"""SearchPolicy: how search weighs what it knows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from memos_integrations.errors import InvalidInputError


@dataclass(frozen=True)
class SearchPolicy:
    """How search weighs what it knows. A weight of 0 turns its part off.

    ``dense`` and ``lexical`` share a likeness from 0 to 1; the other weights are relative to it.
    """

    dense: float = 1.0
    """Weight of meaning: cosine between the question and the memory, against the best one."""
    lexical: float = 1.0
    """Weight of words: BM25, against the best one."""
    neighbours: float = 0.15
    """Weight of the turns around: what stands beside turns that fit, threefold after a question."""
    talk: float = 0.5
    """Weight of the talk: what was said in one with a turn that fits."""
    speaker: float = 0.5
    """Weight of being said by the one whom the question names, where it names one."""
    event_time: float = 0.7
    """Weight of falling into the time that the question speaks of ("last May")."""
    dated: float = 0.15
    """Weight of having a time of its own, where the question asks when."""
    question: float = 0.0
    """What a turn that is itself a question loses."""
    brief: float = 0.0
    """What the briefest turns lose; those of forty words and more nothing."""
    recency: float = 0.0
    """Weight of newness: halves every ``half_life_days`` since the event (or the writing)."""
    half_life_days: float = 30.0
    candidates: int = 50
    """How many of each source are looked at, at least."""
    links: float = 0.0
    """Weight of being linked to what the other sources found first (see ``organise``)."""
    two_parts: float = 0.0
    """Where a question asks two things, what the scores of its parts are multiplied with; 0: it is
    searched as it stands."""
    superseded: float = 1.0
    """0: leave what was replaced where it is; else what replaced it comes first."""
    untrusted: float = 0.6
    """What the scores of memories of low trust (tools, documents, imports) are multiplied with,
    where a user's or the assistant's are found beside them: 0.6 is about ten places; 1: none."""
    diverse: float = 0.0
    """What a memory loses for being like one that is listed before it; its score stays."""
    reranked: int = 100
    """How many of the best a reranker puts into another order, where there is one."""
    same_words: float = 0.97
    """Cosine from which two memories with mostly the same words count as one in a result."""

    def __post_init__(self) -> None:
        numbers = vars(self).values()
        if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
            raise InvalidInputError(f"every part of a search policy is a number: {self}")
        weights = [n for name, n in vars(self).items() if name not in _NO_WEIGHTS]
        if not all(math.isfinite(w) and w >= 0 for w in weights):
            raise InvalidInputError("search weights must be finite and not negative")
        if self.dense + self.lexical == 0:
            raise InvalidInputError("dense and lexical are both 0: nothing would be searched")
        if not self.half_life_days > 0:
            raise InvalidInputError("half_life_days must be positive")
        for name in ("candidates", "reranked"):
            count = getattr(self, name)
            if not isinstance(count, int) or count < 1:
                raise InvalidInputError(f"{name} is {count}: give a whole number, from 1 on")
        if self.two_parts > 1:
            raise InvalidInputError(f"two_parts is {self.two_parts}: give a number from 0 to 1")
        if not 0 < self.untrusted <= 1:
            raise InvalidInputError(f"untrusted is {self.untrusted}: give a number over 0, up to 1")


_NO_WEIGHTS = ("half_life_days", "candidates", "superseded", "untrusted", "same_words", "reranked")
