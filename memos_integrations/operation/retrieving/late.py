"""What a ranker learns of a hit token by token: late interaction (ColBERT, arXiv:2004.12832).

Each telling token of the question is compared with every token of the memory, as both stand in
their sentences; its best cosine counts. A vector of the whole memory cannot tell which of its words
the question is near to. Each is a part of the hit (:data:`TOKENS`):

- ``token_mean``, ``token_rare``: the mean over the question, plain and with rare tokens counting
  more; ``token_least``: the worst; ``token_best``: the mean of the best three;
- ``token_back``: the mean over the memory's tokens of what they are near to in the question;
- ``token_frame``: of the tokens in front of both;
- ``token_beside``, ``token_most``: the rare mean and the best, in deviations from the other hits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from memos_integrations.infrastructure.lexical import telling_words
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.checked import embed_tokens_checked
from memos_integrations.models.ranking.features import TOKENS
from memos_integrations.operation.retrieving.kept_tokens import KeptTokens
from memos_integrations.protocols import TokenEmbedder, TokenVectors
from memos_integrations.query import Hit

Numbers = npt.NDArray[np.float64]

_BEST = 3


def with_tokens(
    embedder: TokenEmbedder, kept: KeptTokens, question: str, found: Sequence[tuple[int, Hit]]
) -> list[tuple[int, Hit]]:
    """The same hits with these parts."""
    if not found:
        return []
    [asked] = embed_tokens_checked(embedder, [question])
    said = kept.of(embedder, [embedding_text(hit.cube) for _, hit in found])
    parts = token_parts(asked, said)
    return [
        (pk, replace(hit, parts={**hit.parts, **dict(zip(TOKENS, row, strict=True))}))
        for (pk, hit), row in zip(found, parts.tolist(), strict=True)
    ]


def token_parts(asked: TokenVectors, said: Sequence[TokenVectors]) -> Numbers:
    """One row a text, in the order of :data:`TOKENS`; zeros where there are no tokens."""
    telling = _telling(asked.pieces)
    if not telling.any() or not all(len(one.pieces) for one in said):
        return np.zeros((len(said), len(TOKENS)))
    near = [asked.vectors[telling] @ one.vectors.T for one in said]
    best: Numbers = np.array([one.max(axis=1) for one in near], dtype=np.float64)
    weight = _rareness([p for p, kept in zip(asked.pieces, telling, strict=True) if kept], said)
    beside = (best - best.mean(axis=0)) / (best.std(axis=0) + 1e-6)
    columns = (
        best.mean(axis=1),
        best @ weight,
        best.min(axis=1),
        np.sort(best, axis=1)[:, -_BEST:].mean(axis=1),
        np.array([one.max(axis=0).mean() for one in near]),
        np.array([asked.frame @ one.frame for one in said]),
        beside @ weight,
        beside.max(axis=1),
    )
    rows: Numbers = np.stack(columns, axis=1)
    return rows


def _telling(pieces: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which tokens are no function words and no signs; all, if none is."""
    words = [any(map(str.isalnum, one)) for one in pieces]
    known = set(telling_words(" ".join(one for one in pieces if not one.startswith("##"))))
    found = [
        word and (one.startswith("##") or one in known)
        for one, word in zip(pieces, words, strict=True)
    ]
    return np.array(found if any(found) else words, dtype=np.bool_)


def _rareness(pieces: Sequence[str], said: Sequence[TokenVectors]) -> Numbers:
    """The share of each token of the question, by how few of the texts have it."""
    known = Counter(piece for one in said for piece in set(one.pieces))
    rare = np.array([math.log((len(said) + 1) / (known[one] + 0.5)) for one in pieces])
    rare = np.maximum(rare, 1e-3)  # one that all have counts next to nothing
    shares: Numbers = rare / rare.sum()
    return shares
