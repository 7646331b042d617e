"""The same judgement by a language model, given as a plain function from a prompt to its answer.

The prompt stands in ``prompts/relate_v1.txt``. Memories go into it as JSON strings. An answer that
is not exactly what was asked for counts as malformed, and the rules decide in its place.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from importlib.resources import files
from string import Template
from typing import Any

from memos_integrations.operation.organising.relations import (
    DEFAULT,
    Found,
    Memo,
    Relation,
    Thresholds,
    relate,
)

_log = logging.getLogger(__name__)

PROMPT_VERSION = "relate_v1"
LONGEST_TEXT = 4_000
"""Characters of each memory that the model sees."""
LONGEST_ANSWER = 2_000
_FIELDS = {"relation", "score", "because"}


class ModelJudge:
    """Call it as :func:`.relations.relate`. What ``ask`` raises is the caller's to handle."""

    def __init__(
        self,
        ask: Callable[[str], str],
        *,
        thresholds: Thresholds = DEFAULT,
        least_cosine: float = 0.3,
    ) -> None:
        """``ask`` answers a prompt; pairs below ``least_cosine`` are left to the rules."""
        self._ask, self._thresholds, self._least = ask, thresholds, least_cosine
        self._prompt = Template(_prompt())
        self.asked = 0
        """How often the model was asked."""
        self.malformed = 0
        """How many of its answers could not be used."""

    def __call__(self, new: Memo, old: Memo, cosine: float) -> Found | None:
        """The relation of ``new`` to ``old``; None if they are unrelated."""
        found = relate(new, old, cosine, self._thresholds)
        exact = found is not None and found.relation is Relation.DUPLICATE and found.score == 1.0
        if exact or cosine < self._least:
            return found
        self.asked += 1
        try:
            return _answer(self._ask(self.prompt(new, old)))
        except ValueError as error:
            self.malformed += 1
            _log.warning("answer %d cannot be used (%s): rules decide", self.asked, error)
            return found

    def prompt(self, new: Memo, old: Memo) -> str:
        """What the model is asked."""
        return self._prompt.substitute(
            new=_quoted(new.text),
            old=_quoted(old.text),
            speaker_new=_quoted(new.speaker or "unknown"),
            speaker_old=_quoted(old.speaker or "unknown"),
        )


def _prompt() -> str:
    package = files("memos_integrations.operation.organising")
    return (package / "prompts" / f"{PROMPT_VERSION}.txt").read_text(encoding="utf-8")


def _quoted(text: str) -> str:
    """One line of JSON: no text can end its own quotation."""
    return json.dumps(text[:LONGEST_TEXT], ensure_ascii=True)


def _answer(said: object) -> Found | None:
    """Read the model's answer; :class:`ValueError` says what is wrong, without its words."""
    if not isinstance(said, str) or len(said) > LONGEST_ANSWER:
        raise ValueError("no short text")
    try:
        read: Any = json.loads(said)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(read, dict) or set(read) != _FIELDS:
        raise ValueError("other fields than relation, score, because")
    relation, score, because = read["relation"], read["score"], read["because"]
    if not isinstance(relation, str) or relation not in {"none", *Relation}:
        raise ValueError("an unknown relation")
    number = isinstance(score, int | float) and not isinstance(score, bool)
    if not number or not math.isfinite(score) or not 0 <= score <= 1:
        raise ValueError("a score outside 0 to 1")
    if not isinstance(because, str):
        raise ValueError("a reason that is no text")
    if relation == "none":
        return None
    return Found(Relation(relation), float(score), "model: " + " ".join(because.split())[:200])
