"""Texts through a model in batches: the logits behind each token that is learned.

A batch is padded on the left and read by the model's body; of a small model the head is the larger
half, so it sees only the places that count, and in training only some columns (:class:`Columns`).
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from memos_integrations.memories.activation.tensors import Pair, Piece, fork
from memos_integrations.models.causal import CausalModel

Pick = Callable[[torch.Tensor], torch.Tensor]
"""From the scores of the next token, ``(texts, vocabulary)``, one token of each text."""
Done = Callable[[Sequence[int]], bool]
"""Whether an answer is whole."""


@dataclass(frozen=True)
class Read:
    """A text as tokens; those from ``start`` on are learned, each from all before it."""

    tokens: tuple[int, ...]
    start: int

    @property
    def learned(self) -> int:
        """How many."""
        return len(self.tokens) - self.start


@dataclass(frozen=True)
class Columns:
    """Tokens of the vocabulary for which logits are wanted, and what is added to each.

    Those that targets name are there as they are; a sample stands for all others, each for as many
    as its addend says. So the sum of all exponentials is estimated without bias, at a thirtieth of
    the work (importance sampling).
    """

    ids: torch.Tensor
    addends: torch.Tensor


def logits(
    model: CausalModel,
    texts: Sequence[Read],
    before: Sequence[Pair] | None = None,
    columns: Columns | None = None,
) -> list[torch.Tensor]:
    """For each text the logits of its learned tokens, ``(learned, vocabulary)``, float32.

    ``before``: keys and values in front of each, by layer, ``(1, heads, positions, dim)``.
    """
    longest = max(len(one.tokens) for one in texts)
    given = _inputs(model, texts, longest, before)
    rows = torch.cat([torch.full((one.learned,), i) for i, one in enumerate(texts)])
    ends = [longest - 1 - one.learned for one in texts]
    places = torch.cat(
        [torch.arange(end, end + one.learned) for end, one in zip(ends, texts, strict=True)]
    )
    found = _at(model.model, given, rows, places, columns)
    return list(torch.split(found.float(), [one.learned for one in texts]))


@dataclass(frozen=True, eq=False)
class Mind:
    """A model, or a view of it, that has something in front of each text."""

    model: CausalModel
    before: Sequence[Pair] | None = None
    """Keys and values by layer, ``(1, heads, positions, dim)``."""
    cut: int = 0
    """The first so many tokens of each text that ``before`` stands for."""

    def logits(self, texts: Sequence[Read]) -> list[torch.Tensor]:
        """See :func:`logits`."""
        return logits(self.model, self._rest(texts), self.before)

    def answers(
        self, texts: Sequence[Read], most: int, pick: Pick | None = None, done: Done | None = None
    ) -> list[list[int]]:
        """How it goes on behind the tokens before each text's ``start``; see :func:`continued`."""
        heads = [one.tokens[: one.start] for one in self._rest(texts)]
        return continued(self.model, heads, most, before=self.before, pick=pick, done=done)

    def _rest(self, texts: Sequence[Read]) -> list[Read]:
        return [Read(one.tokens[self.cut :], one.start - self.cut) for one in texts]


def continued(
    model: CausalModel,
    heads: Sequence[Sequence[int]],
    most: int,
    *,
    before: Sequence[Pair] | None = None,
    pick: Pick | None = None,
    done: Done | None = None,
) -> list[list[int]]:
    """Up to ``most`` tokens behind each head, all at once; the likeliest ones, or those picked.

    ``done`` says of what was written whether it is an answer; what follows is left out.
    """
    reads = [Read(tuple(head), len(head)) for head in heads]
    given = _inputs(model, reads, max(map(len, heads)), before, keep=True)
    said: list[list[int]] = [[] for _ in heads]
    open_rows = set(range(len(heads)))
    with torch.inference_mode():
        for _ in range(most):
            scores = model.model(**given).logits[:, -1].float()
            tokens = (pick or _likeliest)(scores)
            for row, token in enumerate(tokens.tolist()):
                if row in open_rows:
                    said[row].append(token)
                    if token in model.eos_ids or (done is not None and done(said[row])):
                        open_rows.discard(row)
            if not open_rows:
                break
            given = _next(given, tokens)
    return said


def _likeliest(scores: torch.Tensor) -> torch.Tensor:
    return scores.argmax(-1)


def _next(given: dict[str, Any], tokens: torch.Tensor) -> dict[str, Any]:
    """What the model reads after it has read ``given`` and said ``tokens``."""
    mask = given["attention_mask"]
    after = given | {
        "input_ids": tokens[:, None],
        "attention_mask": torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1),
    }
    if "position_ids" in given:
        after["position_ids"] = given["position_ids"][:, -1:] + 1
    return after


def batches(texts: Sequence[Read], size: int) -> list[list[int]]:
    """Numbers of texts, those of like length together."""
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i].tokens), i))
    return [order[at : at + size] for at in range(0, len(order), size)]


def _inputs(
    model: CausalModel,
    texts: Sequence[Read],
    longest: int,
    before: Sequence[Pair] | None,
    *,
    keep: bool = False,
) -> dict[str, Any]:
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros(len(texts), longest, dtype=torch.long)
    for row, one in enumerate(texts):
        ids[row, longest - len(one.tokens) :] = torch.tensor(one.tokens)
        mask[row, longest - len(one.tokens) :] = 1
    given: dict[str, Any] = {"use_cache": keep}
    if keep:
        given["past_key_values"] = fork(model.model.config, [])
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    if before is not None:
        count = len(texts)
        piece = Piece(
            [(k.expand(count, -1, -1, -1), v.expand(count, -1, -1, -1)) for k, v in before]
        )
        given = {"use_cache": True, "past_key_values": fork(model.model.config, [piece])}
        mask = torch.cat([torch.ones(count, piece.tokens, dtype=torch.long), mask], dim=1)
        places = places + piece.tokens
    given |= {"input_ids": ids, "attention_mask": mask}
    if "position_ids" in inspect.signature(model.model.forward).parameters:
        given["position_ids"] = places
    return {k: v.to(model.device) if torch.is_tensor(v) else v for k, v in given.items()}


def _at(
    model: Any,
    given: dict[str, Any],
    rows: torch.Tensor,
    places: torch.Tensor,
    columns: Columns | None,
) -> torch.Tensor:
    """Logits of some places of a batch, ``(places, columns)``."""
    if not _plain_head(model):
        whole: torch.Tensor = model(**given).logits[rows, places]
        return whole if columns is None else whole[:, columns.ids] + columns.addends
    hidden = model.base_model(**given).last_hidden_state[rows, places]
    head = model.get_output_embeddings()
    if columns is None:
        return _capped(model, head(hidden))
    bias = None if head.bias is None else head.bias[columns.ids]
    found = _capped(model, linear(hidden, head.weight[columns.ids], bias))
    return found + columns.addends


_plain: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def _plain_head(model: Any) -> bool:
    """Whether the logits are the head of the body's output, and nothing else; tried once."""
    if model not in _plain:
        with torch.inference_mode():
            ids = torch.tensor([[1, 2, 3]], device=model.device)
            whole = model(input_ids=ids, use_cache=False).logits
            body = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            own = _capped(model, model.get_output_embeddings()(body))
        _plain[model] = bool(torch.allclose(whole.float(), own.float(), rtol=1e-3, atol=1e-3))
    return _plain[model]


def _capped(model: Any, found: torch.Tensor) -> torch.Tensor:
    cap = getattr(model.config.get_text_config(decoder=True), "final_logit_softcapping", None)
    capped: torch.Tensor = found if cap is None else torch.tanh(found / cap) * cap
    return capped
