"""Which models are cached: found by trying, once, and never an error for who asks."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import transformers as hf

from memos_integrations.memories.activation import forking as forking_module
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.activation.usage import EngineStats
from memos_integrations.models.causal import CausalModel
from tests.activation.tiny import CONFIGS, OLD, SHAPE, WORDS, build, model_from, prompt_of

ODD: dict[str, tuple[Callable[[], Any], str]] = {
    "openai-gpt": (lambda: hf.OpenAIGPTConfig(**OLD), "keeps no keys and values"),
    "rwkv": (
        lambda: hf.RwkvConfig(
            vocab_size=WORDS,
            hidden_size=32,
            num_hidden_layers=3,
            attention_hidden_size=32,
            intermediate_size=48,
            bos_token_id=None,
            eos_token_id=None,
        ),
        "keeps no keys and values",
    ),
    "xlm": (
        lambda: hf.XLMConfig(
            vocab_size=WORDS,
            emb_dim=32,
            n_layers=3,
            n_heads=4,
            causal=True,
            n_langs=1,
            mask_token_id=5,
            pad_index=0,
            lang_id=0,
            embed_init_std=0.3,
            init_std=0.3,
        ),
        "keeps no keys and values",
    ),
    "cpmant": (
        lambda: hf.CpmAntConfig(
            vocab_size=WORDS,
            hidden_size=32,
            num_attention_heads=4,
            dim_head=8,
            dim_ff=48,
            num_hidden_layers=3,
            prompt_length=4,
            segment_types=4,
            init_std=0.3,
        ),
        "does not read a forked cache (RuntimeError: ",
    ),
    "llama, window": (
        lambda: hf.LlamaConfig(**SHAPE, sliding_window=40),
        "its code does not know its window",
    ),
    "llama, long window": (
        lambda: hf.LlamaConfig(**SHAPE, sliding_window=1_000),
        "its code does not know its window",
    ),
    "olmo, window": (
        lambda: hf.OlmoConfig(**SHAPE, sliding_window=40),
        "its code does not know its window",
    ),
}


def odd(name: str, dtype: torch.dtype = torch.float32) -> CausalModel:
    return model_from(ODD[name][0](), name, dtype)


def uncached(model: CausalModel, tokens: tuple[int, ...], new: int) -> list[int]:
    """Greedy, by transformers itself."""
    with torch.inference_mode():
        whole = model.model.generate(
            torch.tensor([tokens]),
            attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
            max_new_tokens=new,
            do_sample=False,
            use_cache=False,
        )
    said: list[int] = whole[0].tolist()[len(tokens) :]
    return said


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[CausalModel]:
    """Each model that is tried."""
    seen: list[CausalModel] = []
    real = forking_module._try

    def watched(model: CausalModel) -> Any:
        seen.append(model)
        return real(model)

    monkeypatch.setattr(forking_module, "_try", watched)
    return seen


@pytest.mark.parametrize("name", ODD)
def test_a_model_that_cannot_be_forked_says_what_it_says_uncached(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = odd(name)
    engine = ActivationEngine(model)
    assert ODD[name][1] in engine.refused
    assert f"{name} runs without a KV cache of memories: {engine.refused}" in caplog.text
    prompt = prompt_of(1, length=120)
    right = uncached(model, prompt.tokens, 24)
    assert len(set(right)) > 1
    for _ in range(2):
        assert list(engine.generate(prompt, Sampling(max_new_tokens=24))) == right
    assert (
        engine.generate_batch([prompt] * 2, Sampling(max_new_tokens=5)).answers() == [right[:5]] * 2
    )
    assert engine.precompute(prompt) == engine.cached(prompt) == len(engine.tree.nodes()) == 0
    assert engine.stats()[0].uncached_requests == 4


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_what_was_cached_is_cached(name: str, dtype: torch.dtype) -> None:
    engine = ActivationEngine(build(name, dtype))
    assert engine.refused == ""
    for _ in range(2):
        list(engine.generate(prompt_of(1), Sampling(max_new_tokens=1)))
    assert engine.stats()[0].hits == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_window_that_is_ignored_shows(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the code seems to know of windows, or its source is not there."""
    monkeypatch.setattr(forking_module, "_knows_windows", lambda model: True)
    assert "something else" in ActivationEngine(odd("llama, window", dtype)).refused
    assert ActivationEngine(odd("llama, long window", dtype)).refused == "", "it does not reach"
    monkeypatch.undo()
    monkeypatch.setattr(forking_module, "_code", lambda kind: "sliding_window")
    assert "something else" in ActivationEngine(odd("llama, long window", dtype)).refused
    for name in ("mistral, sliding", "gemma3"):
        assert ActivationEngine(build(name, dtype)).refused == ""


def test_code_without_its_source_may_do_anything() -> None:
    unknown = type("Unknown", (), {"__module__": "of.nobody"})
    assert forking_module._code(unknown) == "sliding_window"
    assert "def odd(" in forking_module._code(type("Known", (), {"__module__": __name__}))


def test_a_window_that_no_prompt_reaches_does_not_matter() -> None:
    model = model_from(hf.LlamaConfig(**SHAPE, sliding_window=SHAPE["max_position_embeddings"]), "")
    assert ActivationEngine(model).refused == ""


def test_a_model_is_tried_once(tried: list[CausalModel]) -> None:
    first, second = build("llama"), build("llama")
    again = CausalModel(first.model, first.tokenizer)
    for model in (first, first, again, second, first):
        assert ActivationEngine(model).refused == ""
    assert tried == [first, second]
    held = len(forking_module._found)
    tried.clear()
    del first, second, again, model
    gc.collect()
    assert len(forking_module._found) <= held - 2, "nothing is kept of models that are gone"


def test_threads_try_a_model_once(tried: list[CausalModel]) -> None:
    model = build("gemma3")
    with ThreadPoolExecutor(4) as threads:
        engines = list(threads.map(ActivationEngine, [model] * 4))
    assert tried == [model] and {engine.refused for engine in engines} == {""}


def test_trying_leaves_nothing_behind() -> None:
    model = build("gemma3")
    before = {name: one.clone() for name, one in model.model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)

    def draws(module: Any, given: Any) -> None:
        torch.rand(1)

    with torch.enable_grad():
        hook = model.model.register_forward_pre_hook(draws)
        engine = ActivationEngine(model)
        hook.remove()
        assert torch.is_grad_enabled()
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one, before[name]) for name, one in model.model.state_dict().items())
    assert not engine.tree.nodes() and engine.tree.stats().bytes == 0
    assert engine.stats()[0] == EngineStats() and not engine.rates().measured
    loss = model.model(input_ids=torch.tensor([[1, 2, 3]])).logits.sum()
    loss.backward()  # nothing that was made while it was tried stands in the way


def test_errors_of_a_models_code_are_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")

    def broken(*_: Any, **options: Any) -> Any:
        raise KeyError("past" if options.get("use_cache") else "alone")

    with monkeypatch.context() as patch:
        patch.setattr(model.model.base_model, "forward", broken)
        engine = ActivationEngine(model)
    assert engine.refused == "it does not read a forked cache (KeyError: 'alone')"
    right = uncached(model, (5, 6, 7), 6)
    assert list(engine.generate(Prompt((5, 6, 7)), Sampling(max_new_tokens=6))) == right


def test_its_own_cache_is_used_where_it_can_be_relied_on() -> None:
    """One token a forward then; else all of them."""
    for name, keeps in (("rwkv", True), ("openai-gpt", False), ("llama, window", False)):
        model = odd(name)
        lengths: list[int] = []
        engine = ActivationEngine(model)

        def watch(module: Any, given: Any, options: Any, seen: list[int] = lengths) -> None:
            seen.append(options["input_ids"].shape[1])

        model.model.register_forward_pre_hook(watch, with_kwargs=True)
        list(engine.generate(prompt_of(1, length=60), Sampling(max_new_tokens=4)))
        rest = [1, 1, 1] if keeps else [61, 62, 63]
        assert lengths == [60, *rest]
