"""Where a trained prefix begins: what surprises of a memory, turned to where it stands now."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from memos_integrations.errors import InvalidInputError, ModelError
from memos_integrations.memories.activation.tensors import Pair, fork
from memos_integrations.memories.parameter.condensing import condensed
from memos_integrations.memories.parameter.students import PrefixStudent
from memos_integrations.memories.parameter.targets import computed
from memos_integrations.models.causal import CausalModel

sys.path.insert(0, str(Path(__file__).parents[1] / "activation"))
from tiny import REFUSED, WORDS, build

TOKENS = tuple(random.Random(4).choices(range(WORDS), k=300))  # more than is read at once
POSITIONS = 20
ROTARY = ("llama", "mistral, sliding", "gemma3", "gpt_neox", "falcon", "olmo2")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def least_expected(model: CausalModel) -> list[int]:
    """The places of the tokens to be kept, from one plain forward over all."""
    with torch.no_grad():
        said = model.model(input_ids=torch.tensor([TOKENS])).logits[0].float().log_softmax(-1)
    losses = [-float(said[i, token]) for i, token in enumerate(TOKENS[1:])]
    best = sorted(range(len(losses)), key=lambda i: -losses[i])[: POSITIONS - 1]
    return [0, *sorted(1 + i for i in best)]


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ROTARY)
def test_what_surprises_is_kept_as_it_was_read_in_the_whole(name: str) -> None:
    model = build(name)
    places, whole = least_expected(model), computed(model, TOKENS)
    found = condensed(model, TOKENS, POSITIONS)
    assert [pair[0].shape[-2] for pair in found] == [POSITIONS] * len(whole)
    for (_, values), (_, before) in zip(found, whole, strict=True):
        assert close(values, before[..., places, :])


@pytest.mark.parametrize("name", ROTARY)
def test_keys_stand_where_they_are_now(name: str) -> None:
    """Those of the first layer know their token and its place alone: they are read there anew."""
    model = build(name)
    chosen = [TOKENS[i] for i in least_expected(model)]
    [here, *_] = condensed(model, TOKENS, POSITIONS)
    [there, *_] = computed(model, chosen)
    assert close(here[0], there[0])


def same(some: list[Pair], others: list[Pair]) -> bool:
    return all(
        torch.equal(one, other)
        for pair, another in zip(some, others, strict=True)
        for one, other in zip(pair, another, strict=True)
    )


@pytest.mark.parametrize("name", ["gpt2", "gptj"])  # the latter keeps no frequencies
def test_a_model_whose_keys_cannot_be_turned_takes_the_first_tokens(name: str) -> None:
    model = build(name)
    assert same(condensed(model, TOKENS, POSITIONS), computed(model, TOKENS[:POSITIONS]))


def test_a_short_memory_begins_again() -> None:
    model = build("llama")
    again = (*TOKENS[:8], *TOKENS[1:8], *TOKENS[1:6])
    assert same(condensed(model, TOKENS[:8], POSITIONS), computed(model, again))


def test_it_can_be_trained_and_the_model_is_as_it_was() -> None:
    model = build("llama")
    before = {name: one.clone() for name, one in model.model.state_dict().items()}
    student = PrefixStudent.beginning_as(model, condensed(model, TOKENS, POSITIONS))
    sum(keys.sum() for keys, _ in student.pairs()).backward()  # type: ignore[union-attr]
    assert all(one.grad is not None for key, one in student.weights.items() if key[0] == "k")
    assert all(torch.equal(one, before[name]) for name, one in model.model.state_dict().items())
    assert fork(model.model.config, []).get_seq_length() == 0


def test_more_than_the_model_reads() -> None:
    model = build("llama")
    with pytest.raises(InvalidInputError, match=r"2,100 tokens.* reads 2,048: distil .* parts"):
        condensed(model, TOKENS * 7, POSITIONS)


def test_a_model_whose_cache_cannot_be_forked() -> None:
    assert "qwen3_next" in REFUSED
    with pytest.raises(ModelError, match="reads no trained prefix"):
        condensed(build("qwen3_next"), TOKENS, POSITIONS)
