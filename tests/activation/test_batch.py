"""Several at a time, decoded together: what each would be told alone, and nothing held after."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from memos_integrations.errors import InvalidInputError, KVCacheWarning
from memos_integrations.memories.activation import batch as batches_module
from memos_integrations.memories.activation import engine as engine_module
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.rows import Row, joined
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt, Source
from memos_integrations.memories.activation.tensors import Piece
from memos_integrations.memories.activation.through import Through
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.memories.activation.together import step
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.memories.activation.writing import Writing
from memos_integrations.models.causal import CausalModel
from tests.activation.asked import batches, files, held, model_of, place
from tests.activation.tiny import CONFIGS, OLD, PLAIN, REFUSED, SHAPE, build, prompt_of

GREEDY = 64
SOME = 16
bounded = settings(max_examples=3, derandomize=True, deadline=None)
once = settings(max_examples=1, derandomize=True, deadline=None)
anywhere = st.sampled_from(("memory", "folder", "elsewhere"))


class Recording(Writing):
    """Keeps the logits that it was given."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[torch.Tensor] = []

    def next(self, logits: torch.Tensor) -> int | None:
        self.seen.append(logits.clone())
        return super().next(logits)


@contextmanager
def recording() -> Iterator[list[Recording]]:
    """Answers begun meanwhile, in order."""
    begun: list[Recording] = []

    def begin(*args: Any, **options: Any) -> Recording:
        begun.append(Recording(*args, **options))
        return begun[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches_module, "Writing", begin)
        patch.setattr(engine_module, "Writing", begin)
        yield begun


def answers(
    engine: ActivationEngine, asked: Sequence[Prompt], new: int = GREEDY, most: int = 8
) -> list[list[int]]:
    found = engine.generate_batch(asked, Sampling(max_new_tokens=new), max_batch=most).answers()
    assert nothing_is_leased(engine)
    return found


def heard(
    engine: ActivationEngine, asked: Sequence[Prompt], new: int
) -> tuple[list[list[int]], list[torch.Tensor]]:
    """Tokens, and the logits of each answer: ``(tokens, vocabulary)``."""
    with recording() as begun:
        found = answers(engine, asked, new)
    return found, [torch.stack(one.seen) for one in begun]


def alone(engine: ActivationEngine, prompt: Prompt, new: int = GREEDY) -> list[int]:
    return list(engine.generate(prompt, Sampling(max_new_tokens=new)))


def at_once(model: CausalModel, prompt: Prompt, answer: Sequence[int]) -> torch.Tensor:
    """Logits for each token of an answer, of the bare model that reads everything at once."""
    with torch.inference_mode():
        logits: torch.Tensor = model.model(torch.tensor([[*prompt.tokens, *answer]])).logits[0]
    return logits[len(prompt.tokens) - 1 : -1]


def nothing_is_leased(engine: ActivationEngine) -> bool:
    return not any(node.leases for node in engine.tree.nodes())


def flush(engine: ActivationEngine) -> None:
    if engine.tier is not None:
        engine.tier.flush()  # type: ignore[attr-defined]


# The same words -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
@bounded
@given(asked=batches(smallest=1), where=anywhere, most=st.integers(2, 5))
def test_each_is_told_what_the_bare_model_says(
    name: str, asked: list[Prompt], where: str, most: int
) -> None:
    """All 64 tokens, and logits within 1e-4 of one forward over everything, without a cache."""
    model = model_of(name, torch.float32)
    with place(where) as opened:
        first = ActivationEngine(model, tier=opened())
        assert first.why_in_turn() == ""
        computed = answers(first, asked, new=SOME, most=most)
        flush(first)
        engine = ActivationEngine(model, tier=opened()) if where != "memory" else first
        said, logits = heard(engine, asked, GREEDY)
        for prompt, answer, got in zip(asked, said, logits, strict=True):
            right = at_once(model, prompt, answer)
            assert len(answer) == GREEDY and answer == right.argmax(-1).tolist()
            assert (got - right).abs().max() <= 1e-4
        assert [one[:SOME] for one in said] == computed, "nothing was cached, and fewer at a time"
        assert said[-1][:SOME] == alone(engine, asked[-1], SOME)
        assert engine.stats()[0].hits > 0


@pytest.mark.parametrize("name", CONFIGS)
@once
@given(asked=batches(), where=anywhere)
def test_a_hit_is_the_miss_bit_for_bit_in_bfloat16(
    name: str, asked: list[Prompt], where: str
) -> None:
    model = model_of(name, torch.bfloat16)
    with place(where) as opened:
        miss = ActivationEngine(model, tier=opened())
        assert miss.why_in_turn() == ""
        said, logits = heard(miss, asked, 6)
        flush(miss)
        hit = miss if where == "memory" else ActivationEngine(model, tier=opened())
        again, bits = heard(hit, asked, 6)
        assert again == said and all(map(torch.equal, bits, logits))


@pytest.mark.parametrize("name", ["mistral, sliding", "gemma2", "gemma3"])
def test_windows_that_are_shorter_than_some_of_the_prompts(name: str) -> None:
    model = model_of(name, torch.float32)
    lengths = (1, 3, 38, 39, 40, 41, 46, 47, 48, 49, 50, 200)
    asked = [prompt_of(n, length) for n, length in enumerate(lengths)]
    said = answers(ActivationEngine(model), asked, new=60, most=12)
    for prompt, answer in zip(asked, said, strict=True):
        assert answer == at_once(model, prompt, answer).argmax(-1).tolist()


def test_one_alone_is_the_request_alone_bit_for_bit() -> None:
    model = model_of("gemma3", torch.bfloat16)
    said, logits = heard(ActivationEngine(model), [prompt_of(3)], 20)
    with recording() as begun:
        assert alone(ActivationEngine(model), prompt_of(3), 20) == said[0]
    assert torch.equal(torch.stack(begun[0].seen), logits[0])


def test_each_is_sampled_as_it_would_be_alone() -> None:
    model = model_of("qwen2", torch.float32)
    asked = [prompt_of(n, 100 + 30 * n) for n in range(4)]
    how = [
        Sampling(max_new_tokens=20, temperature=0.8, top_k=20, seed=5),
        Sampling(max_new_tokens=9, temperature=1.5, top_p=0.9, seed=5),
        Sampling(max_new_tokens=14, repetition_penalty=1.3),
        Sampling(max_new_tokens=1),
    ]
    right = [list(ActivationEngine(model).generate(*one)) for one in zip(asked, how, strict=True)]
    assert [len(one) for one in right] == [20, 9, 14, 1]
    assert ActivationEngine(model).generate_batch(asked, how).answers() == right


# Who comes, who goes --------------------------------------------------------------------------


def test_no_more_at_a_time_than_was_said_and_the_next_enters_when_one_ends() -> None:
    model = model_of("llama", torch.float32)
    engine, asked = ActivationEngine(model), [prompt_of(n, 90 + 20 * n) for n in range(7)]
    how = [Sampling(max_new_tokens=new) for new in (5, 9, 3, 12, 4, 6, 8)]
    rows, heads = [], engine._heads

    def counted(given: dict[str, Any]) -> torch.Tensor:
        rows.append(given["input_ids"].shape)
        return heads(given)

    assert engine.why_in_turn() == ""
    engine._heads = counted
    said = engine.generate_batch(asked, how, max_batch=3).answers()
    right = [list(ActivationEngine(model).generate(*one)) for one in zip(asked, how, strict=True)]
    assert said == right
    steps = [count for count, tokens in rows if (count, tokens) == (count, 1)]
    assert max(steps) == 3 and steps.count(3) > len(steps) / 2


def test_together_they_take_no_more_than_the_budget() -> None:
    """Beside what is kept; those that find no room wait, and one always goes on."""
    model = model_of("llama", torch.float32)
    asked = [prompt_of(n, 200) for n in range(4)]
    right = answers(ActivationEngine(model), asked, new=10)
    each = 3 * 2 * 2 * 8 * 4 * (200 + 10)  # layers, keys and values, heads, their size, bytes
    for budget, most in ((each - 1, 1), (2 * each, 2), (4 * each, 4)):
        engine, rows = ActivationEngine(model, budget=budget), []
        assert engine.why_in_turn() == ""
        heads = engine._heads

        def counted(given: dict[str, Any], heads: Any = heads, rows: Any = rows) -> torch.Tensor:
            rows.append(given["input_ids"].shape[0])
            result: torch.Tensor = heads(given)
            return result

        engine._heads = counted
        assert answers(engine, asked, new=10) == right
        assert max(rows) == most


def test_one_ends_early_and_the_others_go_on() -> None:
    model = build("qwen3")
    asked = [prompt_of(n, 60 + 50 * n) for n in range(3)]
    long = answers(ActivationEngine(model), asked, new=30)
    end = next(token for token in long[1][5:] if token not in long[1][:5])
    model.__dict__["eos_ids"] = frozenset({end})
    usages = [Usage() for _ in asked]
    engine = ActivationEngine(model)
    batch = engine.generate_batch(asked, Sampling(max_new_tokens=30), usages)
    pairs = list(batch)
    said = [[token for which, token in pairs if which == n] for n in range(3)]
    for answer, whole, usage in zip(said, long, usages, strict=True):
        right = whole[: whole.index(end)] if end in whole else whole
        assert answer == [*right, None], "and that it is over, once"
        assert usage.output_tokens == len(right)
        assert usage.finish_reason == ("stop" if end in whole else "length")
    assert 5 <= usages[1].output_tokens < 30 in [one.output_tokens for one in usages]


def test_usage_is_that_of_each() -> None:
    engine = ActivationEngine(model_of("llama", torch.float32))
    known, new = prompt_of(1), prompt_of(2, length=300)
    engine.precompute(known)
    batch = engine.generate_batch([known, new], Sampling(max_new_tokens=4))
    batch.answers()
    for prompt, usage, cached, kept in (
        (known, batch.usages[0], known.ends[-2], 0),
        (new, batch.usages[1], 0, new.ends[-2]),
    ):
        assert usage.prompt_tokens == len(prompt.tokens)
        assert (usage.cached_tokens, usage.kept_tokens) == (cached, kept)
        assert (usage.output_tokens, usage.finish_reason) == (4, "length")
    assert 0 < batch.usages[0].first_token_seconds <= batch.usages[1].first_token_seconds
    stats, _ = engine.stats()
    assert (stats.requests, stats.hits) == (2, 1)
    assert (stats.batched_requests, stats.unbatched_requests) == (2, 0)
    assert len(stats.first_token_seconds) == 2


def test_first_tokens_come_before_the_others_are_read() -> None:
    engine = ActivationEngine(model_of("llama", torch.float32))
    batch = engine.generate_batch([prompt_of(1), prompt_of(2)], Sampling(max_new_tokens=3))
    assert next(batch)[0] == 0
    assert batch.usages[1].prompt_tokens == 0
    assert [which for which, _ in batch] == [1, 0, 1, 0, 0, 1, 1]


def test_one_is_stopped_by_who_listens() -> None:
    model = model_of("llama", torch.float32)
    asked = [prompt_of(n) for n in range(3)]
    right = answers(ActivationEngine(model), asked, new=9)
    engine = ActivationEngine(model)
    batch = engine.generate_batch(asked, Sampling(max_new_tokens=9), max_batch=2)
    said: list[list[int | None]] = [[], [], []]
    for which, token in batch:
        said[which].append(token)
        if which == 0 and len(said[0]) == 4:
            batch.stop(0)
            batch.usages[0].finish_reason = "stop"
    assert said == [right[0][:4], [*right[1], None], [*right[2], None]]
    assert batch.usages[0].finish_reason == "stop"
    batch = engine.generate_batch(asked, Sampling(max_new_tokens=9))
    batch.stop(1)
    assert batch.answers() == [right[0], [], right[2]]
    assert batch.usages[1] == Usage()
    assert nothing_is_leased(engine)


# Nothing is held, nothing is changed ----------------------------------------------------------


def test_who_leaves_early_frees_what_all_of_them_held() -> None:
    engine = ActivationEngine(model_of("gemma3", torch.float32))
    batch = engine.generate_batch([prompt_of(1), prompt_of(2), prompt_of(1)])
    for _ in range(7):
        next(batch)
    assert any(node.leases for node in engine.tree.nodes())
    batch.close()
    assert nothing_is_leased(engine)
    assert {one.finish_reason for one in batch.usages} == {"cancelled"}
    assert list(batch) == []


@pytest.mark.parametrize("forward", [3, 5, 8])
def test_what_fails_frees_what_all_of_them_held(forward: int) -> None:
    """While the second is read, and while all are decoded."""
    engine = ActivationEngine(model_of("llama", torch.float32))
    assert engine.why_in_turn() == ""
    heads, calls = engine._heads, []

    def breaks(given: dict[str, Any]) -> torch.Tensor:
        calls.append(1)
        if len(calls) == forward:
            raise MemoryError("no room")
        return heads(given)

    engine._heads = breaks
    batch = engine.generate_batch([prompt_of(n) for n in range(4)])
    with pytest.raises(MemoryError, match="no room"):
        batch.answers()
    assert len(calls) == forward and nothing_is_leased(engine)
    engine._heads = heads
    answers(engine, [prompt_of(n) for n in range(4)], new=3)


@pytest.mark.parametrize("where", ["memory", "folder", "elsewhere"])
def test_what_is_kept_is_the_same_after_all_of_them(where: str) -> None:
    """Each byte: of the tensors in memory, of the files here, of those in the store elsewhere."""
    model = model_of("gemma3", torch.float32)
    asked = [prompt_of(seed, length=190 + 5 * n) for seed in (3, 4) for n in range(8)]
    with place(where) as opened:
        first = ActivationEngine(model, tier=opened())
        answers(first, [prompt_of(seed, length=300) for seed in (3, 4)], new=2)
        flush(first)
        engine = first if where == "memory" else ActivationEngine(model, tier=opened())
        answers(engine, [prompt_of(seed, length=300) for seed in (3, 4)], new=2)
        before = held(engine) | files(engine)
        assert len(before) > 10
        answers(engine, asked, new=5, most=5)
        flush(engine)
        assert engine.stats()[0].hits >= 16
        assert before.items() <= (held(engine) | files(engine)).items()


def test_what_rows_were_copied_from_is_let_go() -> None:
    engine = ActivationEngine(model_of("gemma3", torch.float32))
    reads = [engine.prefill(prompt_of(n, 50 + n)) for n in range(3)]
    rows = [Row(read.cache, 50 + n) for n, read in enumerate(reads)]
    first = [weakref.ref(read.cache.layers[0].keys) for read in reads]
    for read in reads:
        engine.tree.release(read.lease)
    del reads, read
    config = engine.model.model.config
    joined(config, rows)
    step(engine, rows, [1, 2, 3])
    gc.collect()
    assert all(one() is None for one in first)
    both = weakref.ref(rows[0].cache)
    joined(config, rows[:2])
    step(engine, rows[:2], [4, 5])
    del rows[2]
    gc.collect()
    assert both() is None
    assert [row.length for row in rows] == [52, 53]


def test_a_damaged_file_is_a_miss_here_too(tmp_path: Path, caplog: Any) -> None:
    model, asked = model_of("gemma3", torch.float32), [prompt_of(n, 300) for n in range(3)]
    tier = FolderTier(tmp_path)
    right = answers(ActivationEngine(model, tier=tier), asked, new=8)
    tier.flush()
    for path in sorted(tmp_path.glob("??/*"))[::2]:
        content = bytearray(path.read_bytes())
        content[-200] ^= 1
        path.write_bytes(content)
    engine = ActivationEngine(model, tier=tier)
    with pytest.warns(KVCacheWarning, match="not what was written"):
        again = answers(engine, asked, new=8)
    assert again == right and "not what was written" in caplog.text
    tier.close()


def test_a_forbidden_memory_is_not_served() -> None:
    gone: set[Source] = set()
    model = model_of("llama", torch.float32)
    engine = ActivationEngine(model, gate=lambda sources: gone.intersection(sources))
    asked = [prompt_of(2, length=400, memories=6), prompt_of(3, length=200)]
    right = answers(engine, asked, new=8)
    gone.add(asked[0].spans[2].source)
    usages = [Usage(), Usage()]
    batch = engine.generate_batch(asked, Sampling(max_new_tokens=8), usages)
    assert batch.answers() == right
    assert usages[0].cached_tokens <= asked[0].spans[2].start < usages[1].prompt_tokens
    assert not any(asked[0].spans[2].source in node.sources for node in engine.tree.nodes())


def test_beside_other_requests_and_another_batch() -> None:
    model = model_of("gemma3", torch.float32)
    engine = ActivationEngine(model, budget=600_000)
    asked = [[prompt_of(n % 3, 120 + 9 * n + k) for n in range(4)] for k in range(2)]
    right = [[alone(ActivationEngine(model), one, 12) for one in some] for some in asked]
    with ThreadPoolExecutor(4) as threads:
        together = [
            threads.submit(
                lambda some: engine.generate_batch(some, Sampling(max_new_tokens=12)).answers(),
                some,
            )
            for some in asked
        ]
        single = [threads.submit(alone, engine, one, 12) for one in asked[0]]
        assert [one.result() for one in together] == right
        assert [one.result() for one in single] == right[0]
    assert nothing_is_leased(engine) and engine.tree.stats().bytes <= 600_000


# Through adapters -----------------------------------------------------------------------------


def test_behind_a_trained_prefix() -> None:
    model = model_of("gemma3", torch.float32)
    torch.manual_seed(1)
    pairs = [(torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)) for _ in range(3)]
    through = Through(model, "a prefix", frozenset({Source("adapter", 1)}), Piece(pairs))
    plain, asked = ActivationEngine(model), [prompt_of(n, 60 + 70 * n) for n in range(3)]
    bare = answers(plain, asked, new=20)
    right = [alone(ActivationEngine(model).through(through), one, 20) for one in asked]
    assert right != bare
    for _ in range(2):
        assert answers(plain.through(through), asked, new=20) == right
        assert answers(plain, asked, new=20) == bare
    assert plain._together is plain.through(through)._together


# Never wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_run_uncached_answer_in_turn(name: str) -> None:
    model = model_of(name, torch.float32)
    engine, asked = ActivationEngine(model), [prompt_of(n, 60 + 20 * n) for n in range(3)]
    assert engine.why_in_turn() == engine.refused != ""
    right = [alone(ActivationEngine(model), one, 10) for one in asked]
    assert answers(engine, asked, new=10) == right
    stats, _ = engine.stats()
    assert (stats.batched_requests, stats.unbatched_requests) == (0, 3)
    assert stats.uncached_requests == 3


class Deaf(hf.GPT2LMHeadModel):
    """Counts by itself where tokens stand, and so counts what stands in front of the shorter."""

    def forward(  # type: ignore[override]
        self,
        input_ids: Any = None,
        past_key_values: Any = None,
        attention_mask: Any = None,
        use_cache: Any = None,
    ) -> Any:
        return super().forward(
            input_ids=input_ids,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            use_cache=use_cache,
        )


class Single(hf.LlamaForCausalLM):
    """Reads one at a time."""

    def forward(self, input_ids: Any = None, **given: Any) -> Any:
        if input_ids is not None and input_ids.shape[0] > 1:
            raise ValueError("one at a time, please")
        return super().forward(input_ids=input_ids, **given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        (Deaf, lambda: hf.GPT2Config(**OLD), "depend on the requests beside them"),
        (hf.RobertaForCausalLM, lambda: hf.RobertaConfig(**PLAIN, is_decoder=True), "depend on"),
        (Single, lambda: hf.LlamaConfig(**SHAPE), "one at a time, please"),
    ],
    ids=["deaf", "roberta", "single"],
)
def test_models_that_cannot_go_on_with_several_answer_in_turn(
    kind: Any, config: Any, reason: str, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(7)
    model = CausalModel(kind(config()).to(dtype), build("llama").tokenizer, name="special")
    engine, asked = ActivationEngine(model), [prompt_of(n, 60 + 40 * n) for n in range(3)]
    right = [alone(ActivationEngine(model), one, 10) for one in asked]
    with pytest.warns(KVCacheWarning, match="answers the requests of a batch in turn"):
        assert answers(engine, asked, new=10) == right
    assert reason in engine.why_in_turn()
    assert caplog.text.count("special answers the requests of a batch in turn") == 1
    assert engine.stats()[0].unbatched_requests == 3 and engine.stats()[0].hits == 0


# Asked wrongly --------------------------------------------------------------------------------


def test_batches_that_make_no_sense() -> None:
    engine, prompt = ActivationEngine(model_of("llama", torch.float32)), prompt_of(1)
    with pytest.raises(InvalidInputError, match="2 prompts, and 1 in sampling"):
        engine.generate_batch([prompt, prompt], [Sampling()])
    with pytest.raises(InvalidInputError, match="1 prompts, and 2 in usages"):
        engine.generate_batch([prompt], None, [Usage(), Usage()])
    for most in (0, -1, True, 1.5, "2"):
        with pytest.raises(InvalidInputError, match="max_batch is"):
            engine.generate_batch([prompt], max_batch=most)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"2,100 tokens, llama reads 2,048"):
        engine.generate_batch([prompt, Prompt((1,) * 2_100)])
    assert engine.generate_batch([]).answers() == []
    assert engine.stats()[0].requests == 0
