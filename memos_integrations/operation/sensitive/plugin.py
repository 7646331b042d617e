"""Microsoft Presidio as a detector: for names and places, which rules cannot know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from memos_integrations.operation.sensitive.finding import Detector, Finding

KINDS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "national_id",
    "UK_NINO": "national_id",
    "ES_NIF": "national_id",
    "IT_FISCAL_CODE": "national_id",
    "PERSON": "name",
    "LOCATION": "address",
}
"""Presidio's entities, and the labels that they get here. Others are left out."""


class Analyzer(Protocol):
    """What is used of a ``presidio_analyzer.AnalyzerEngine``."""

    def analyze(self, text: str, language: str, **options: Any) -> list[Any]:
        """Results with ``entity_type``, ``start``, ``end`` and ``score``."""


def presidio(
    analyzer: Analyzer,
    *,
    language: str = "en",
    kinds: Mapping[str, str] = KINDS,
    min_score: float = 0.5,
) -> Detector:
    """A detector that asks an analyzer that the caller has set up.

    ``SensitivePolicy(detectors=(rules(), presidio(AnalyzerEngine())))`` asks both.
    """

    def detect(text: str) -> Iterator[Finding]:
        for one in analyzer.analyze(text=text, language=language, entities=list(kinds)):
            if one.entity_type in kinds and one.score >= min_score:
                yield Finding(one.start, one.end, kinds[one.entity_type])

    return detect
