"""Ranker: the order that users' own feedback has taught. No model, no torch, milliseconds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from memos_integrations.errors import RankerCorruptError, RankerMismatchError
from memos_integrations.models.ranking.features import (
    NAMES,
    TOKENS,
    VERSION,
    Features,
    features,
)
from memos_integrations.models.ranking.judged import Judged
from memos_integrations.models.ranking.network import HIDDEN, Member, Network
from memos_integrations.models.ranking.training import train
from memos_integrations.query import Hit

FORMAT = "memos_integrations ranker"
_RELEASE = 1
"""Of the file."""
_LARGEST = 16 * 2**20
"""Bytes; a ranker takes about a hundredth of it."""


@dataclass(frozen=True)
class Ranker:
    """A :class:`~memos_integrations.protocols.Reranker` learned from feedback.

    ``Ranker.train(session.judge(feedback)).save(path)``, then
    ``session.search(question, reranker=Ranker.load(path))``. The file holds numbers alone: no word
    of a question or a memory, and nothing that is run.
    """

    network: Network
    questions: int
    """How many it was learned from."""

    @classmethod
    def train(cls, feedback: Sequence[Judged]) -> Self:
        """From what :meth:`MemorySession.judge` gives, of one namespace or of several together.

        Takes seconds for hundreds of questions. Raises :class:`FeedbackError` if fewer than
        twenty of them teach something, and :class:`MissingExtraError` without scipy.
        """
        return cls(train(feedback), sum(one.teaches for one in feedback))

    @property
    def reads_tokens(self) -> bool:
        """Whether it was learned on hits with the vectors of their tokens, and so needs them."""
        return bool(self.network.mean[[NAMES.index(name) for name in TOKENS]].any())

    def rerank(self, question: str, hits: Sequence[Hit]) -> list[float]:
        """One score a hit; scores of two questions cannot be compared."""
        return self.judge(features(question, hits)) if hits else []

    def judge(self, rows: Features) -> list[float]:
        """The same from features, ``(hits, features)``."""
        scores: list[float] = self.network.score(rows).tolist()
        return scores

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, whole or not at all."""
        target = Path(path)
        made = target.with_name(f"{target.name}.part")
        made.write_text(json.dumps(_sealed(self._plain())), encoding="utf-8")
        made.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Raises :class:`RankerCorruptError`, and :class:`RankerMismatchError` for one of another
        release's features; ``OSError`` if there is no such file."""
        source = Path(path)
        if source.stat().st_size > _LARGEST:
            raise RankerCorruptError(f"{source} is too large for a ranker")
        try:
            raw = json.loads(source.read_bytes())
        except (ValueError, RecursionError):  # bytes, or brackets without an end
            raise RankerCorruptError(f"{source} is no JSON: train the ranker anew") from None
        return cls._read(raw, str(source))

    @classmethod
    def _read(cls, raw: Any, where: str) -> Self:
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise RankerCorruptError(f"{where} is no ranker")
        if raw.get("release") != _RELEASE or raw.get("features") != _features():
            raise RankerMismatchError(
                f"{where} was learned by another release, with other features: train it anew"
            )
        try:
            file = _File.model_validate(raw)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise RankerCorruptError(f"{where}: {place}: {first['msg']}") from None
        if _sealed(raw)["sha256"] != file.sha256:
            raise RankerCorruptError(f"{where} was changed since it was written: train it anew")
        return cls(file.network(), file.questions)

    def _plain(self) -> dict[str, Any]:
        members = [
            {name: getattr(one, name).tolist() for name in ("line", "inner", "bias", "outer")}
            for one in self.network.members
        ]
        return {
            "format": FORMAT,
            "release": _RELEASE,
            "features": _features(),
            "questions": self.questions,
            "mean": self.network.mean.tolist(),
            "scale": self.network.scale.tolist(),
            "members": members,
        }


def _features() -> dict[str, Any]:
    return {"version": VERSION, "names": list(NAMES)}


def _sealed(plain: dict[str, Any]) -> dict[str, Any]:
    """With the hash of all else."""
    rest = {name: value for name, value in plain.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True)
    return {**rest, "sha256": hashlib.sha256(text.encode()).hexdigest()}


_Row = Annotated[list[FiniteFloat], Field(min_length=len(NAMES), max_length=len(NAMES))]
_Units = Annotated[list[FiniteFloat], Field(min_length=HIDDEN, max_length=HIDDEN)]
_Scale = Annotated[FiniteFloat, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Member(_Strict):
    line: _Row
    inner: Annotated[list[_Row], Field(min_length=HIDDEN, max_length=HIDDEN)]
    bias: _Units
    outer: _Units

    def member(self) -> Member:
        return Member(*map(np.array, (self.line, self.inner, self.bias, self.outer)))


class _File(_Strict):
    format: str
    release: int
    features: dict[str, Any]
    questions: Annotated[int, Field(ge=1)]
    mean: _Row
    scale: Annotated[list[_Scale], Field(min_length=len(NAMES), max_length=len(NAMES))]
    members: Annotated[list[_Member], Field(min_length=1, max_length=64)]
    sha256: str

    def network(self) -> Network:
        members = [one.member() for one in self.members]
        return Network(np.array(self.mean), np.array(self.scale), members)
