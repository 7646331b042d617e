"""The engine: the same words with a cache and without, whoever asks at the same time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from memos_integrations.errors import InvalidInputError, KVCacheWarning
from memos_integrations.memories.activation.admission import Rates
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.memories.activation.usage import Usage
from tests.activation.tiny import CONFIGS, REFUSED, build, logits, prompt_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_hit_is_the_miss_bit_for_bit(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = build(name, dtype)
    tier = FolderTier(tmp_path)
    writes = ActivationEngine(model, tier=tier)
    for seed in range(3):
        prompt = prompt_of(seed, length=200 + 60 * seed)
        miss, none = logits(writes, prompt)
        hit, some = logits(writes, prompt)
        assert (none, some) == (0, prompt.ends[-2])
        assert torch.equal(miss, hit)
        longer = prompt_of(seed, length=200 + 60 * seed + 33)
        alone, _ = logits(ActivationEngine(model), longer)
        behind, cached = logits(writes, longer)
        assert cached > 0 and torch.equal(alone, behind), "another prompt that begins alike"
        tier.flush()
        reads = ActivationEngine(model, tier=tier)
        disk, cached = logits(reads, prompt)
        assert cached == some and torch.equal(miss, disk)
    tier.close()


@pytest.mark.parametrize("name", CONFIGS)
def test_it_says_what_the_model_says(name: str) -> None:
    model = build(name)
    engine = ActivationEngine(model)
    assert engine.refused == ""
    for seed in range(2):
        prompt = prompt_of(seed)
        ids = torch.tensor([prompt.tokens])
        with torch.inference_mode():
            once = model.model(ids).logits[0, -1]
            whole = model.model.generate(ids, max_new_tokens=64, do_sample=False)[0].tolist()
        for _ in range(2):
            got, _ = logits(engine, prompt)
            assert (got - once).abs().max() <= 1e-4
            said = list(engine.generate(prompt, Sampling(max_new_tokens=64)))
            assert said == whole[len(prompt.tokens) :]
    assert engine.stats()[0].hits == 6


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exact_runs_uncached(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model = build(name)
    with pytest.warns(KVCacheWarning, match="runs without a KV cache"):
        engine = ActivationEngine(model)
    assert engine.refused and "runs without a KV cache" in caplog.text
    prompt = prompt_of(1, length=120)
    with torch.inference_mode():
        ids = torch.tensor([prompt.tokens])
        whole = model.model.generate(ids, max_new_tokens=24, do_sample=False)[0].tolist()
    for _ in range(2):
        usage = Usage()
        assert list(engine.generate(prompt, Sampling(max_new_tokens=24), usage)) == whole[120:]
        assert usage.cached_tokens == usage.kept_tokens == 0
    assert engine.precompute(prompt) == engine.cached(prompt) == 0
    assert engine.stats()[0].uncached_requests == 2


def test_twenty_at_a_time_say_what_they_say_alone() -> None:
    """Five users with four questions each behind the same memories, all streaming; some leave.

    There is room for the memories of three: what is shared is read by several, what is not used is
    evicted, and nothing stays leased.
    """
    model, budget, new, early = build("gemma3"), 260_000, 8, 3
    rounds = ("work", "work", "travel")
    asked = {about: [_question(about, n % 5, n // 5) for n in range(20)] for about in rounds}
    alone = {
        prompt: list(ActivationEngine(model).generate(prompt, Sampling(max_new_tokens=new)))
        for prompts in asked.values()
        for prompt in prompts
    }
    assert len(set(map(tuple, alone.values()))) > 20
    engine = ActivationEngine(model, budget=budget)
    together = threading.Barrier(20)
    readers, sizes = [], []

    def run(prompt: Prompt, leaves: bool) -> list[int]:
        stream = engine.generate(prompt, Sampling(max_new_tokens=new))
        said = [next(stream)]
        together.wait(60)  # everybody has read their prompt, and nobody is done
        readers.append(max(node.leases for node in engine.tree.nodes()))
        together.wait(60)
        for token in stream:
            said.append(token)
            sizes.append(engine.tree.stats().bytes)
            if leaves and len(said) == early:
                stream.close()  # type: ignore[attr-defined]
        return said

    with ThreadPoolExecutor(20) as clients:
        for number, about in enumerate(rounds):
            leave = [(n + number) % 3 == 0 for n in range(20)]
            before = engine.tree.stats()
            for prompt, leaves, said in zip(
                asked[about], leave, clients.map(run, asked[about], leave), strict=True
            ):
                assert said == alone[prompt][: early if leaves else new]
            after = engine.tree.stats()
            if number == 1:
                assert after.hits > before.hits
            if number == 2:
                assert after.evicted > before.evicted
            assert all(node.leases == 0 for node in engine.tree.nodes())
    assert max(readers) == 4 and max(sizes) <= budget
    assert engine.stats()[0].hits > 0 and engine.stats()[0].requests == 60


def _question(about: str, user: int, which: int) -> Prompt:
    """One user's: the same memories, then a question of its own."""
    first = prompt_of(100 * len(about) + user, length=240, memories=6)
    question = prompt_of(1_000 + 10 * user + which, length=12 + which, memories=0)
    return Prompt(first.tokens + question.tokens, first.spans, salt=f"user {user}")


def test_who_leaves_early_frees_what_they_held() -> None:
    engine = ActivationEngine(build("llama"))
    usage = Usage()
    stream = engine.generate(prompt_of(1), Sampling(max_new_tokens=50), usage)
    next(stream)
    assert any(node.leases for node in engine.tree.nodes())
    stream.close()  # type: ignore[attr-defined]
    assert not any(node.leases for node in engine.tree.nodes())
    assert usage.finish_reason == "cancelled" and usage.output_tokens == 1


def test_nothing_is_shared_between_salts() -> None:
    engine = ActivationEngine(build("llama"))
    engine.precompute(prompt_of(1, salt="ann"))
    assert engine.cached(prompt_of(1, salt="ann")) > 0
    assert engine.cached(prompt_of(1, salt="bob")) == 0


def test_behind_unknown_words_nothing_is_kept() -> None:
    engine = ActivationEngine(build("llama"))
    known = prompt_of(1)
    prompt = Prompt(known.tokens, known.spans, foreign=known.spans[1].start)
    logits(engine, prompt)
    assert max((node.length for node in engine.tree.nodes()), default=0) <= known.spans[1].start


def test_a_forbidden_memory_is_not_served() -> None:
    gone: set[Source] = set()
    engine = ActivationEngine(build("llama"), gate=lambda sources: gone.intersection(sources))
    prompt = prompt_of(2, length=400, memories=6)
    full, _ = logits(engine, prompt)
    gone.add(prompt.spans[2].source)
    again, cached = logits(engine, prompt)
    assert cached <= prompt.spans[2].start
    assert torch.equal(full, again)
    assert not any(prompt.spans[2].source in node.sources for node in engine.tree.nodes())
    assert engine.stats()[0].invalidated > 0


def test_the_background_gives_way() -> None:
    """A request that comes while memories are precomputed waits for one piece at most."""
    engine = ActivationEngine(build("llama"))
    order: list[str] = []
    forward = engine._forward

    def watched(*args: Any, background: bool = False, **kwargs: Any) -> Any:
        result = forward(*args, background=background, **kwargs)
        order.append("back" if background else "front")
        return result

    engine._forward = watched  # type: ignore[method-assign]
    with engine._turns.foreground():
        thread = threading.Thread(
            target=engine.precompute, args=(prompt_of(5),), kwargs={"background": True}
        )
        thread.start()
        thread.join(0.2)
        assert order == [], "it waits while a request has the model"
    thread.join()
    assert order and set(order) == {"back"}


def test_sampling_repeats_with_a_seed() -> None:
    engine = ActivationEngine(build("qwen2"))
    how = Sampling(max_new_tokens=20, temperature=0.8, top_k=20, top_p=0.9, seed=5)
    first, second = (list(engine.generate(prompt_of(1), how)) for _ in range(2))
    other = list(
        engine.generate(prompt_of(1), Sampling(max_new_tokens=20, temperature=5.0, seed=6))
    )
    assert first == second != other


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_k": 0},
        {"repetition_penalty": 0.0},
    ],
)
def test_sampling_that_makes_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Sampling(**options)


def test_prompts_that_make_no_sense() -> None:
    engine = ActivationEngine(build("llama"))
    with pytest.raises(InvalidInputError, match=r"2,100 tokens, llama reads 2,048"):
        engine.prefill(Prompt((1,) * 2_100))
    with pytest.raises(InvalidInputError, match="empty"):
        Prompt(())
    with pytest.raises(InvalidInputError, match="does not lie behind"):
        Prompt((1, 2, 3), (Span(1, 3, Source("a", 1)), Span(2, 3, Source("b", 1))))


def test_the_load_rate_is_measured_where_pieces_are_read(tmp_path: Path) -> None:
    """Not where they are in memory; and of a rounded piece it is that of what is restored."""
    model, prompt = build("llama"), prompt_of(1, length=300)
    for dtype in (None, "int8"):
        tier = FolderTier(tmp_path / str(dtype), dtype=dtype)  # type: ignore[arg-type]
        writes = ActivationEngine(model, tier=tier)
        for _ in range(2):
            logits(writes, prompt)
        rates = writes.rates()
        assert rates.measured and not rates.load_measured
        assert rates.load_bytes_per_second == Rates().load_bytes_per_second
        tier.flush()
        reads = ActivationEngine(model, tier=tier)
        started = time.perf_counter()
        _, cached = logits(reads, prompt)
        seconds = time.perf_counter() - started
        measured = reads.rates()
        assert measured.load_measured and not measured.measured, "it has computed next to nothing"
        assert measured.load_bytes_per_second > cached * rates.bytes_per_token / seconds
        tier.close()
