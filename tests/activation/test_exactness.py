"""Whatever is asked, by however many at a time, from wherever: cached is uncached.

Random prompts that begin alike, cut at random places, served from memory, from a folder and from a
store elsewhere, some at a time; for every architecture, also those that run without a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import LONGEST, Prompt
from memos_integrations.memories.activation.tensors import SharedWindowLayer, _last, fork
from tests.activation.asked import batches, files, held, model_of, place
from tests.activation.tiny import CONFIGS, REFUSED, logits, prompt_of

ALL = [*CONFIGS, *REFUSED]
BELOW = ("elsewhere", "folder")
"""Memory is always asked first, and so tried each time."""
GREEDY = 64
bounded = settings(max_examples=3, derandomize=True, deadline=None)
twice = settings(max_examples=2, derandomize=True, deadline=None)
T = TypeVar("T")


def at_once(work: Callable[[Prompt], T], asked: Sequence[Prompt]) -> list[T]:
    with ThreadPoolExecutor(len(asked)) as threads:
        return list(threads.map(work, asked))


def served(engine: ActivationEngine, asked: Sequence[Prompt]) -> list[torch.Tensor]:
    """To all of them at a time; what was kept is written and sent after that."""
    found = at_once(lambda prompt: logits(engine, prompt)[0], asked)
    if engine.tier is not None:
        engine.tier.flush()  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", CONFIGS)
@bounded
@given(batch=batches(), where=st.sampled_from(BELOW))
def test_a_hit_is_the_miss_bit_for_bit(
    name: str, dtype: torch.dtype, batch: list[Prompt], where: str
) -> None:
    model = model_of(name, dtype)
    alone = [logits(ActivationEngine(model), prompt)[0] for prompt in batch]
    with place(where) as opened:
        engine = ActivationEngine(model, tier=opened())
        for _ in range(2):
            assert all(map(torch.equal, served(engine, batch), alone))
        engine = ActivationEngine(model, tier=opened())
        assert all(map(torch.equal, served(engine, batch), alone)), "read from below"
        for prompt in batch:
            assert engine.cached(prompt) == (prompt.ends[-2] if len(prompt.ends) > 1 else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", CONFIGS)
@twice
@given(batch=batches(long=True))
def test_long_prompts_too(name: str, dtype: torch.dtype, batch: list[Prompt]) -> None:
    """More than 512 tokens go through the model in turn; all of them at once say the same."""
    model, engine = model_of(name, dtype), ActivationEngine(model_of(name, dtype))
    first = batch[0]
    assert len(first.ends) > 3 and any(b - a == LONGEST for a, b in pairwise((0, *first.ends)))
    alone = [logits(ActivationEngine(model), prompt)[0] for prompt in batch]
    for _ in range(2):
        assert all(map(torch.equal, served(engine, batch), alone))
    assert engine.cached(first) == first.ends[-2] > LONGEST
    if dtype == torch.float32:
        with torch.inference_mode():
            whole = model.model(torch.tensor([first.tokens])).logits[0, -1]
        assert (alone[0] - whole).abs().max() <= 1e-4


def test_of_a_prompt_only_the_last_place_goes_through_the_head() -> None:
    for name in ("llama", "gemma3", "gpt2"):
        model = model_of(name, torch.float32)
        seen: list[tuple[int, ...]] = []

        def watch(head: Any, given: Any, seen: list[tuple[int, ...]] = seen) -> None:
            seen.append(tuple(given[0].shape[:-1]))

        hook = model.model.get_output_embeddings().register_forward_pre_hook(watch)
        try:
            engine, prompt = ActivationEngine(model), prompt_of(2, length=300)
            seen.clear()  # of the trial
            for _ in range(2):  # a miss, and a hit
                logits(engine, prompt)
            assert seen == [(1, 1)] * 2 and len(prompt.ends) > 2
        finally:
            hook.remove()


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_fork_copies_nothing(name: str) -> None:
    """Its layers are handed the kept tensors themselves, or a view of the end of one."""
    model = model_of(name, torch.float32)
    engine, prompt = ActivationEngine(model), prompt_of(2, length=300)
    logits(engine, prompt)
    nodes = engine.tree.nodes()
    assert len(nodes) > 1
    cache = fork(model.model.config, [node.payload for node in nodes])
    for i, layer in enumerate(cache.layers):
        given = layer._before()
        kept = [node.payload.layer(i) for node in nodes][-len(given) :]
        assert given and all(
            one.data_ptr() == other.data_ptr() and one.shape == other.shape
            for pair, own in zip(given, kept, strict=True)
            for one, other in zip(pair, own or (), strict=True)
        )
        if isinstance(layer, SharedWindowLayer):
            ends = _last(given, layer.sliding_window - 1)
            assert [one.untyped_storage().data_ptr() for pair in ends for one in pair] == [
                one.untyped_storage().data_ptr() for pair in given[-len(ends) :] for one in pair
            ]


@pytest.mark.parametrize("name", ALL)
@bounded
@given(batch=batches(), where=st.sampled_from(BELOW))
def test_cached_is_read_at_once(name: str, batch: list[Prompt], where: str) -> None:
    """Logits within 1e-4, none relative; and the same 64 tokens. No cache, where there is none."""
    model = model_of(name, torch.float32)
    batch = batch[:2]
    once, whole = [], []
    for prompt in batch:
        ids = torch.tensor([prompt.tokens])
        with torch.inference_mode():
            once.append(model.model(ids).logits[0, -1])
            said = model.model.generate(ids, max_new_tokens=GREEDY, do_sample=False)
        whole.append(said[0].tolist()[len(prompt.tokens) :])
    with place(where) as opened:
        served(ActivationEngine(model, tier=opened()), batch)
        engine = ActivationEngine(model, tier=opened())
        for _ in range(2):
            for got, right in zip(served(engine, batch), once, strict=True):
                assert (got - right).abs().max() <= 1e-4
        sampling = Sampling(max_new_tokens=GREEDY)
        assert at_once(lambda prompt: list(engine.generate(prompt, sampling)), batch) == whole
        assert not engine.refused or engine.stats()[0].hits == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["llama", "gemma3", "mixtral"])
def test_with_several_threads_to_a_forward(name: str, dtype: torch.dtype) -> None:
    torch.set_num_threads(2)
    try:
        model, prompt = model_of(name, dtype), prompt_of(4, length=700, memories=8)
        engine = ActivationEngine(model)
        miss, _ = logits(engine, prompt)
        hit, cached = logits(engine, prompt)
        assert cached == prompt.ends[-2] and torch.equal(hit, miss)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("where", ["memory", *BELOW])
def test_what_is_kept_is_the_same_after_a_hundred_requests(where: str) -> None:
    """Each byte: of the tensors in memory, of the files here, of those in the store elsewhere."""
    model = model_of("gemma3", torch.float32)
    asked = [prompt_of(seed, length=190 + n) for seed in (3, 4) for n in range(50)]
    with place(where) as opened:
        first = ActivationEngine(model, tier=opened())
        served(first, [prompt_of(seed, length=300) for seed in (3, 4)])
        engine = first if where == "memory" else ActivationEngine(model, tier=opened())
        served(engine, [prompt_of(seed, length=300) for seed in (3, 4)])
        before = held(engine) | files(engine)
        assert len(before) > 10
        three = Sampling(max_new_tokens=3)
        for at in range(0, 100, 10):
            at_once(lambda prompt: list(engine.generate(prompt, three)), asked[at : at + 10])
        assert engine.stats()[0].hits >= 100
        assert before.items() <= (held(engine) | files(engine)).items()
