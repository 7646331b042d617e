"""Composed prompts: what is joined is right where it must be, refused where it cannot be right."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from memos_integrations.errors import InvalidInputError, KVCacheWarning
from memos_integrations.memories.activation.composed import Composer
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.rotary import Turner, rotations
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.models.causal import CausalModel

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
HEADS = {**GROUPED, "head_dim": 16}
WINDOW = {**HEADS, "sliding_window": 128, "query_pre_attn_scalar": 16}


def rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 10_000.0, **more}


YARN = rope("yarn", factor=4.0, original_max_position_embeddings=1024)
LLAMA3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=1024,
)
CONFIGS = {
    "llama": lambda: tf.LlamaConfig(**GROUPED),
    "qwen2": lambda: tf.Qwen2Config(**GROUPED),
    "qwen3": lambda: tf.Qwen3Config(**HEADS),
    "gpt-neox, a quarter": lambda: tf.GPTNeoXConfig(**SIZES, rotary_pct=0.25),
    "phi, half": lambda: tf.PhiConfig(**SIZES, partial_rotary_factor=0.5),
    "phi3": lambda: tf.Phi3Config(**GROUPED),
    "cohere, neighbours": lambda: tf.CohereConfig(**GROUPED),
    "glm, half, neighbours": lambda: tf.GlmConfig(**HEADS),
    "smollm3, a layer without": lambda: tf.SmolLM3Config(
        **GROUPED, no_rope_layers=[1, 0, 1], use_sliding_window=False
    ),
    "llama, yarn": lambda: tf.LlamaConfig(**GROUPED, rope_parameters=YARN),
    "llama, llama3": lambda: tf.LlamaConfig(**GROUPED, rope_parameters=LLAMA3),
    "gemma3, two thetas": lambda: tf.Gemma3TextConfig(
        **WINDOW, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    ),
}
everyone = pytest.mark.parametrize("name", CONFIGS)


def tokenizer() -> tf.PreTrainedTokenizerFast:
    """Bytes, and the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    found = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    return tf.PreTrainedTokenizerFast(tokenizer_object=found, bos_token="<s>", eos_token="</s>")


def make(config: Any, dtype: torch.dtype = torch.float32) -> CausalModel:
    torch.manual_seed(0)
    return CausalModel(
        tf.AutoModelForCausalLM.from_config(config).to(dtype), tokenizer(), name="tiny"
    )


@cache
def model(name: str) -> CausalModel:
    return make(CONFIGS[name]())


def words(seed: int, count: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(256), k=count))


MEMORIES = {f"m{i}": words(i, size) for i, size in enumerate((9, 14, 5, 11, 8, 1))}


def prompt_of(
    shown: Sequence[str] = ("m0", "m1", "m2"),
    *,
    header: int = 7,
    gap: int = 0,
    suffix: int = 6,
    salt: str = "maya",
    memories: dict[str, tuple[int, ...]] = MEMORIES,
    **more: Any,
) -> Prompt:
    tokens = [*words(100, header)]
    spans = []
    for number, name in enumerate(shown):
        if number:
            tokens += words(101, gap)
        spans.append(Span(len(tokens), len(tokens) + len(memories[name]), Source(name, 1)))
        tokens += memories[name]
    return Prompt((*tokens, *words(102, suffix)), tuple(spans), salt=salt, **more)


def exact(of: CausalModel, prompt: Prompt) -> torch.Tensor:
    with torch.inference_mode():
        return of.model(torch.tensor([prompt.tokens])).logits[0, -1].float()


def logits(composer: Composer, prompt: Prompt) -> torch.Tensor:
    read = composer.prefill(prompt)
    composer.engine.tree.release(read.lease)
    return read.logits


def close(one: torch.Tensor, other: torch.Tensor, by: float = 1e-4) -> bool:
    return bool(torch.allclose(one, other, rtol=0, atol=by))


def composer_of(name: str = "llama", **options: Any) -> Composer:
    """Over an engine of its own."""
    return Composer(ActivationEngine(model(name)), within_window=True, **options)


# Turning --------------------------------------------------------------------------------------


@everyone
@pytest.mark.parametrize(("old", "new"), [(0, 900), (40, 41), (700, 12)])
def test_turned_keys_are_those_of_the_other_place(name: str, old: int, new: int) -> None:
    tokens = torch.tensor([words(3, 20)])
    there = torch.arange(20)

    def read(start: int) -> list[torch.Tensor]:
        found: Any = tf.DynamicCache()
        with torch.inference_mode():
            model(name).model.base_model(
                input_ids=tokens,
                position_ids=(there + start)[None],
                past_key_values=found,
                use_cache=True,
            )
        return [layer.keys for layer in found.layers]

    turn = Turner(there + old, there + new)
    layers = zip(rotations(model(name).model, words(4, 10)), read(old), read(new), strict=True)
    for number, (rotation, before, after) in enumerate(layers):
        size = float(after.abs().max())
        assert close(turn(before, rotation), after, (1e-5 if number == 0 else 1e-3) * max(1, size))


def test_each_layer_has_its_own_frequencies() -> None:
    found = composer_of("gemma3, two thetas")._rotations
    assert not torch.equal(found[0].frequencies, found[1].frequencies)
    assert torch.equal(found[0].frequencies, found[2].frequencies)
    assert [len(one.frequencies) for one in composer_of("gpt-neox, a quarter")._rotations] == [
        2
    ] * 3
    assert [len(one.frequencies) for one in composer_of("smollm3, a layer without")._rotations] == [
        8,
        0,
        8,
    ]
    assert all(one.interleaved for one in composer_of("cohere, neighbours")._rotations)


# Where it is exact ----------------------------------------------------------------------------


@everyone
def test_one_memory_behind_the_header_is_exact(name: str) -> None:
    composer = composer_of(name, recompute=0)
    for _ in range(2):  # computed, and from the cache
        prompt = prompt_of(["m1"])
        assert close(logits(composer, prompt), exact(model(name), prompt))
    assert composer.stats.composed == 2


@everyone
def test_all_read_again_is_exact_in_any_order(name: str) -> None:
    composer = composer_of(name, recompute=1.0)
    for shown in (("m0", "m1", "m2"), ("m2", "m0", "m1"), ("m1", "m1", "m3", "m0")):
        for gap in (0, 3):
            prompt = prompt_of(shown, gap=gap)
            assert close(logits(composer, prompt), exact(model(name), prompt))
    assert composer.stats.composed == 6


def test_what_is_not_read_again_is_approximate() -> None:
    prompt = prompt_of(["m3", "m0", "m1"])
    assert not close(logits(composer_of(recompute=0), prompt), exact(model("llama"), prompt))


@given(
    shown=st.lists(st.sampled_from(sorted(MEMORIES)), min_size=1, max_size=6),
    header=st.sampled_from([0, 1, 7]),
    gap=st.sampled_from([0, 2]),
    suffix=st.sampled_from([0, 1, 6]),
    choose=st.sampled_from(["first", "deviating"]),
)
@settings(max_examples=30, deadline=None)
def test_any_set_in_any_order(
    shown: list[str], header: int, gap: int, suffix: int, choose: Any
) -> None:
    prompt = prompt_of(shown, header=header, gap=gap, suffix=suffix)
    engine = shared_engine()
    kept = [(node, snapshot(node.payload)) for node in engine.tree.nodes()]
    right = exact(model("llama"), prompt)
    assert close(logits(Composer(engine, recompute=1.0), prompt), right)
    some = Composer(engine, recompute=0.3, choose=choose)
    found = logits(some, prompt)
    assert torch.equal(found, logits(some, prompt))
    assert len(shown) > 1 or close(found, right)
    for node, before in kept:
        assert same(before, snapshot(node.payload))


@cache
def shared_engine() -> ActivationEngine:
    return ActivationEngine(model("llama"))


def snapshot(piece: Any) -> list[torch.Tensor]:
    return [one.clone() for i in range(len(piece)) for one in piece.layer(i)]


def same(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_long_headers_memories_and_questions() -> None:
    long = {"m0": words(1, 30), "m1": words(2, 700), "m2": words(3, 20)}
    prompt = prompt_of(header=600, suffix=550, memories=long)
    for choose in ("first", "deviating"):
        composer = composer_of(recompute=1.0, choose=choose)
        assert close(logits(composer, prompt), exact(model("llama"), prompt), 5e-4)
        composer.recompute = 0.5
        assert torch.isfinite(logits(composer, prompt)).all()


def test_sixteen_bits() -> None:
    small = make(CONFIGS["llama"](), torch.bfloat16)
    composer = Composer(ActivationEngine(small), recompute=1.0)
    assert composer.refused == ""
    assert composer.measure([prompt_of(["m1", "m0"])]).mean_kl < 0.1


# What it reads, and what it keeps ----------------------------------------------------------------


def test_a_memory_is_computed_once() -> None:
    composer = composer_of(recompute=0)
    first, again, new = Usage(), Usage(), Usage()
    composer.prefill(prompt_of(["m0", "m1", "m2"]), first)
    composer.prefill(prompt_of(["m2", "m0", "m1"]), again)
    composer.prefill(prompt_of(["m3", "m2"]), new)
    assert (first.cached_tokens, first.kept_tokens) == (0, 7 + 9 + 14 + 5)
    assert (again.cached_tokens, again.kept_tokens) == (7 + 9 + 14 + 5, 0)
    assert (new.cached_tokens, new.kept_tokens) == (7 + 5, 11)


@pytest.mark.parametrize("choose", ["first", "deviating"])
def test_how_much_is_read_again(choose: Any) -> None:
    composer = composer_of(recompute=0.5, choose=choose)
    usage = Usage()
    composer.prefill(prompt_of(["m2", "m0", "m1"]))
    composer.prefill(prompt_of(["m2", "m0", "m1"]), usage)
    again = 5 + 7 if choose == "first" else 12  # of m0's 9 and m1's 14; m2 stands where it stood
    assert usage.cached_tokens == 7 + 5 + 9 + 14 - again
    assert composer.stats.recomputed_tokens == 2 * again


def test_hits_and_misses_give_the_same_bits() -> None:
    composer, fresh = composer_of(), composer_of()
    composer.prefill(prompt_of(["m1", "m0", "m3"]))
    prompt = prompt_of(["m3", "m2", "m0"])
    assert torch.equal(logits(composer, prompt), logits(fresh, prompt))


def test_nothing_is_shared_with_exact_prompts_or_other_salts() -> None:
    composer = composer_of()
    prompt = prompt_of(["m0"])
    composer.prefill(prompt)
    assert composer.engine.cached(prompt) == 0
    usage = Usage()
    composer.prefill(prompt_of(["m0"], salt="jonas"), usage)
    assert usage.cached_tokens == 0


def test_other_headers_have_their_own_segments() -> None:
    composer = composer_of()
    composer.prefill(prompt_of(["m0"]))
    usage = Usage()
    composer.prefill(prompt_of(["m0"], header=8), usage)
    assert usage.cached_tokens == 0


def test_no_lease_is_left() -> None:
    composer = composer_of()
    read = composer.prefill(prompt_of())
    assert read.lease.nodes == []
    assert all(node.leases == 0 for node in composer.engine.tree.nodes())


def test_without_room_it_is_right_all_the_same() -> None:
    composer = Composer(ActivationEngine(model("llama"), budget=0))
    usage = Usage()
    for _ in range(2):
        assert torch.equal(
            composer.prefill(prompt_of(), usage).logits, logits(composer_of(), prompt_of())
        )
    assert (usage.cached_tokens, usage.kept_tokens) == (0, 0)


def test_behind_foreign_words_nothing_is_kept() -> None:
    composer = composer_of()
    usage = Usage()
    composer.prefill(prompt_of(["m0", "m1"], foreign=7 + 9), usage)
    assert usage.kept_tokens == 7 + 9


def test_many_at_a_time() -> None:
    composer = composer_of()
    prompts = [prompt_of(random.Random(i).sample(sorted(MEMORIES), 3)) for i in range(12)]
    right = [logits(composer_of(), prompt) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: logits(composer, one), prompts))
    assert same(right, found)


def test_generating_goes_on_from_it() -> None:
    composer = composer_of(recompute=1.0)
    greedy = Sampling(max_new_tokens=12)
    usage = Usage()
    answer = list(composer.generate(prompt_of(), greedy, usage))
    assert answer == list(ActivationEngine(model("llama")).generate(prompt_of(), greedy))
    assert usage.output_tokens == len(answer) > 0


# What may not be served ---------------------------------------------------------------------------


def sources(engine: ActivationEngine) -> set[str]:
    return {source.cube_id for node in engine.tree.nodes() for source in node.sources}


def test_dropped_memories_are_gone() -> None:
    composer = composer_of()
    composer.prefill(prompt_of(["m0", "m1", "m2"], also=frozenset({Source("alike", 3)})))
    assert sources(composer.engine) == {"m0", "m1", "m2", "alike"}
    assert composer.engine.drop_cubes(["m1"]) == 1
    assert sources(composer.engine) == {"m0", "m2", "alike"}
    usage = Usage()
    composer.prefill(prompt_of(["m0", "m1", "m2"]), usage)
    assert usage.kept_tokens == 14
    assert composer.engine.drop_cubes(["alike"]) == 2  # m1 was kept again without it
    assert sources(composer.engine) == {"m1"}


def test_what_the_gate_forbids_is_dropped_and_not_kept() -> None:
    forbidden: set[Source] = set()

    def gate(of: Collection[Source]) -> Collection[Source]:
        return forbidden & set(of)

    composer = Composer(ActivationEngine(model("llama"), gate=gate))
    prompt = prompt_of(["m0", "m1"])
    before = logits(composer, prompt)
    forbidden.add(Source("m0", 1))
    usage = Usage()
    assert torch.equal(composer.prefill(prompt, usage).logits, before)
    assert usage.kept_tokens == 0
    assert sources(composer.engine) == {"m1"}
    assert composer.engine.stats()[0].invalidated == 1


def test_segments_outlive_the_process_and_are_dropped_below(tmp_path: Path) -> None:
    prompt = prompt_of(["m0", "m1", "m2"])

    def opened() -> tuple[Composer, FolderTier]:
        tier = FolderTier(tmp_path)
        return Composer(ActivationEngine(model("llama"), tier=tier), recompute=0), tier

    composer, tier = opened()
    before = logits(composer, prompt)
    tier.close()

    composer, tier = opened()
    usage = Usage()
    assert torch.equal(composer.prefill(prompt, usage).logits, before)
    assert usage.kept_tokens == 7  # the header has no memory: it is not written
    assert composer.engine.drop_cubes(["m1"]) == 1
    tier.close()

    composer, tier = opened()
    composer.prefill(prompt, usage := Usage())
    assert usage.kept_tokens == 7 + 14
    tier.flush()
    for path in tmp_path.rglob("*.safetensors"):  # the last bytes are of some tensor
        path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    composer.engine.clear()
    assert torch.equal(composer.prefill(prompt, usage := Usage()).logits, before)
    assert usage.kept_tokens == 7 + 9 + 14 + 5
    assert tier.damaged == 3
    tier.close()


# Refusals -----------------------------------------------------------------------------------------

SMALL = {"vocab_size": 300, "bos_token_id": 256, "eos_token_id": 257}
LONGROPE = rope(
    "longrope",
    short_factor=[1.0] * 8,
    long_factor=[2.0] * 8,
    original_max_position_embeddings=1024,
    factor=4.0,
)
REFUSED = {
    "no rotary positions": (
        lambda: tf.GPT2Config(n_embd=32, n_layer=2, n_head=4, **SMALL),
        "no rotary positions",
    ),
    "alibi": (
        lambda: tf.BloomConfig(hidden_size=32, n_layer=2, n_head=4, **SMALL),
        "cannot be told where a token stands",
    ),
    "dynamic": (
        lambda: tf.LlamaConfig(**GROUPED, rope_parameters=rope("dynamic", factor=4.0)),
        "dynamic",
    ),
    "longrope": (lambda: tf.Phi3Config(**GROUPED, rope_parameters=LONGROPE), "longrope"),
    "window": (
        lambda: tf.MistralConfig(**GROUPED, sliding_window=256),
        "a sliding window of 256 tokens",
    ),
    "latent": (
        lambda: tf.DeepseekV3Config(
            **{**SIZES, "num_hidden_layers": 2, "num_key_value_heads": 4},
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            q_lora_rank=16,
            kv_lora_rank=16,
            qk_rope_head_dim=8,
            qk_nope_head_dim=8,
            v_head_dim=16,
            moe_intermediate_size=32,
        ),
        "the values of layer 0 change",
    ),
    "recurrent": (
        lambda: tf.MambaConfig(hidden_size=32, num_hidden_layers=2, pad_token_id=0, **SMALL),
        "layers of another kind",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_models_run_exactly(name: str) -> None:
    config, reason = REFUSED[name]
    of = make(config())
    engine = ActivationEngine(of)
    with pytest.warns(KVCacheWarning, match="prompts are not composed"):
        composer = Composer(engine)
    assert reason in composer.refused
    prompt = prompt_of()
    assert close(logits(composer, prompt), exact(of, prompt))
    assert composer.stats.exact == {composer.refused: 1}
    assert composer.stats.composed == 0
    with pytest.raises(InvalidInputError, match="no prompt can be measured"):
        composer.measure([prompt])


def test_attention_without_masks_is_refused() -> None:
    of = make(CONFIGS["llama"]())
    engine = ActivationEngine(of)  # tried with the attention that is installed
    of.model.config._attn_implementation = "flash_attention_2"
    assert "flash_attention_2" in Composer(engine).refused


def test_longer_than_the_window_runs_exactly() -> None:
    name = "gemma3, two thetas"
    composer = composer_of(name, recompute=1.0)
    long = {"m0": words(1, 60), "m1": words(2, 60)}
    too_long, fits = (
        prompt_of(["m0", "m1"], memories=long),
        prompt_of(["m0", "m1"], memories=long, header=2),
    )
    assert (
        composer.why_exact(too_long) == "the prompt is longer than the sliding window of 128 tokens"
    )
    for prompt in (too_long, fits):
        assert close(logits(composer, prompt), exact(model(name), prompt))
    assert composer.stats.composed == 1


def test_generating_past_the_window() -> None:
    name = "gemma3, two thetas"
    prompt = prompt_of(["m0", "m1"], memories={"m0": words(1, 50), "m1": words(2, 60)})
    greedy = Sampling(max_new_tokens=20)
    answer = list(composer_of(name, recompute=1.0).generate(prompt, greedy))
    assert answer == list(ActivationEngine(model(name)).generate(prompt, greedy))


def test_without_memories_it_runs_exactly() -> None:
    composer = composer_of()
    prompt = Prompt(words(1, 9))
    assert composer.why_exact(prompt) == "the prompt has no memories"
    assert close(logits(composer, prompt), exact(model("llama"), prompt))


def test_longer_than_the_model_reads() -> None:
    composer = composer_of()
    with pytest.raises(InvalidInputError, match="4,096"):
        composer.prefill(prompt_of(suffix=4100))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(InvalidInputError, match="share"):
        composer_of(recompute=share)


# Measuring ----------------------------------------------------------------------------------------


def test_deviation_is_measured() -> None:
    prompts = [prompt_of(["m0", "m1", "m2"]), prompt_of(["m2", "m3"]), Prompt(words(1, 9))]
    none = composer_of(recompute=1.0).measure(prompts)
    assert none.prompts == 2 and none.agreement == 1 and none.max_kl < 1e-6
    composer = composer_of(recompute=0)
    some = composer.measure(prompts)
    assert 1e-6 < some.mean_kl <= some.max_kl and 0 <= some.agreement <= 1
    assert composer.stats.deviation == some


def test_above_the_threshold_it_falls_back_to_exact() -> None:
    composer = composer_of(recompute=0, threshold=1e-6)
    prompt = prompt_of(["m3", "m0", "m1"])
    assert composer.why_exact(prompt) == ""  # nothing is measured yet
    composer.measure([prompt])
    assert composer.why_exact(prompt) == "the measured deviation is above 1e-06 nats"
    assert close(logits(composer, prompt), exact(model("llama"), prompt))
    composer.recompute = 1.0
    composer.measure([prompt])
    assert composer.why_exact(prompt) == ""
