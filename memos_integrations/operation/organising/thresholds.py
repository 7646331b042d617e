"""From which likeness on two memories count as the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Defaults were chosen on the dev half of ``benchmarks/data/organising_pairs.jsonl``."""

    duplicate_cosine: float = 0.80
    """Least cosine of a near duplicate."""
    duplicate_overlap: float = 0.75
    """Least share of common content words (Jaccard) of a near duplicate."""
    replaced_cosine: float = 0.93
    """Least cosine of a near duplicate where each has a content word that the other lacks."""
    reworded_cosine: float = 0.40
    """Least cosine where both say the same of the same attribute in other words."""
    contradiction_cosine: float = 0.15
    """Least cosine of a contradiction: below, the rules have more likely misread."""
    elaboration_cosine: float = 0.55
    """Least cosine where all content words of the old stand in the new."""
    entity_cosine: float = 0.30
    """Least cosine of two memories about one entity."""


DEFAULT = Thresholds()
