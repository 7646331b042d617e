"""Compiled decoding: what a plain forward says, or a reason; hit and miss the same bits."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from memos_integrations.langchain import ChatMemOS
from memos_integrations.llama_index import MemOSLLM
from memos_integrations.memories.activation import compiled as compiled_module
from memos_integrations.memories.activation.compiled import Compiled
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.activation.through import Through
from memos_integrations.memories.activation.tiers import FolderTier
from tests.activation.asked import model_of
from tests.activation.tiny import CONFIGS, REFUSED, prompt_of

GREEDY = Sampling(max_new_tokens=64)
LENGTHS = (30, 230)
"""Shorter than any sliding window, so that it fills while the answer grows; and longer."""
SOME = ("llama", "gemma3", "gpt2", "mixtral")


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and cut as by the compiler, and run without the C++ that it would write."""
    torch._dynamo.reset()
    monkeypatch.setattr(compiled_module, "BACKEND", "eager")


def said(engine: ActivationEngine, prompt: Prompt, sampling: Sampling = GREEDY) -> list[int]:
    found = list(engine.generate(prompt, sampling))
    assert not any(node.leases for node in engine.tree.nodes())
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_the_words_are_those_of_a_plain_forward(name: str) -> None:
    model = model_of(name)
    plain, fast = ActivationEngine(model), ActivationEngine(model, compiled=True)
    for seed, length in enumerate(LENGTHS):
        for _ in ("miss", "hit"):
            assert said(fast, prompt_of(seed, length)) == said(plain, prompt_of(seed, length))
    assert fast.why_not_compiled() == ""
    assert fast.stats()[0].compiled_requests == 2 * len(LENGTHS)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("length", LENGTHS)
def test_the_logits_are_within_rounding(name: str, length: int) -> None:
    model, prompt = model_of(name), prompt_of(1, length)
    plain, fast = steps(model_of(name), prompt, False), steps(model, prompt, True)
    for one, other in zip(plain, fast, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def steps(model: Any, prompt: Prompt, compiled: bool, tier: Any = None) -> list[torch.Tensor]:
    """Logits of thirty steps behind a prompt, the tokens given."""
    engine = ActivationEngine(model, tier=tier, compiled=compiled)
    read = engine.prefill(prompt)
    decoding = engine._behind(read, prompt, 30)
    so_far, found = list(prompt.tokens), []
    for token in range(1, 31):
        so_far.append(token)
        found.append(decoding.next(so_far))
    decoding.close()
    return found


@pytest.mark.parametrize("name", SOME)
def test_a_hit_is_the_miss_bit_for_bit(name: str, tmp_path: Path) -> None:
    prompt, tier = prompt_of(2, 230), FolderTier(tmp_path)
    miss = steps(model_of(name), prompt, True, tier)
    tier.flush()
    assert len(tier.catalogue) > 0
    hit = steps(model_of(name), prompt, True, tier)
    assert all(map(torch.equal, miss, hit))
    tier.close()


def test_several_at_once_say_what_each_says_alone() -> None:
    engine = ActivationEngine(model_of("gemma3"), compiled=True)
    asked = [prompt_of(seed, 40 + 60 * seed) for seed in range(6)]
    alone = [said(ActivationEngine(model_of("gemma3")), one) for one in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda one: list(engine.generate(one, GREEDY)), asked))
    assert together == alone
    assert engine.stats()[0].compiled_requests == len(asked)


def test_nothing_of_a_request_stays_and_its_room_is_used_again() -> None:
    engine = ActivationEngine(model_of("llama"), compiled=True)
    said(engine, prompt_of(1, 200))
    (room,) = kept(engine)
    assert not any(one.any() for layer in room.cache.layers for one in (layer.keys, layer.values))
    said(engine, prompt_of(2, 240))
    assert kept(engine) == [room]
    begun = engine.generate(prompt_of(3, 600), GREEDY)  # and of one that is left
    next(begun), next(begun)
    begun.close()  # type: ignore[attr-defined]
    assert sorted(one.size for one in kept(engine)) == [512, 1024]
    assert not any(one.cache.layers[0].keys.any() for one in kept(engine))
    assert not any(node.leases for node in engine.tree.nodes())


def kept(engine: ActivationEngine) -> list[Any]:
    assert engine._compiled is not None
    return list(engine._compiled._free.values())


def test_what_fails_in_the_middle_goes_on_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, prompt = ActivationEngine(model_of("gemma3"), compiled=True), prompt_of(4, 150)
    assert engine.why_not_compiled() == ""
    step, taken = Compiled.step, []

    def failing(self: Compiled, *given: Any) -> Any:
        taken.append(given)
        if len(taken) == 5:
            raise RuntimeError("no such kernel")
        return step(self, *given)

    monkeypatch.setattr(Compiled, "step", failing)
    assert said(engine, prompt) == said(ActivationEngine(model_of("gemma3")), prompt)
    assert "no such kernel" in engine.why_not_compiled()
    assert len(taken) == 5
    assert said(engine, prompt) and len(taken) == 5  # not tried again


def test_what_cannot_be_compiled_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", broken)
    engine, prompt = ActivationEngine(model_of("llama"), compiled=True), prompt_of(5, 100)
    assert said(engine, prompt) == said(ActivationEngine(model_of("llama")), prompt)
    assert "no compiler here" in engine.why_not_compiled()
    assert engine.stats()[0].compiled_requests == 0


def test_what_says_something_else_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Compiled.step
    monkeypatch.setattr(Compiled, "step", lambda *given: step(*given).flip(0))
    engine, prompt = ActivationEngine(model_of("llama"), compiled=True), prompt_of(6, 100)
    assert said(engine, prompt) == said(ActivationEngine(model_of("llama")), prompt)
    assert engine.why_not_compiled() == "compiled, its answers are others"


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_cache_of_ours_runs_as_ever(name: str) -> None:
    engine, prompt = ActivationEngine(model_of(name), compiled=True), prompt_of(7, 60)
    few = Sampling(max_new_tokens=4)
    assert said(engine, prompt, few) == said(ActivationEngine(model_of(name)), prompt, few)
    assert engine.why_not_compiled() == engine.refused != ""


def test_adapters_and_those_who_did_not_ask_have_a_reason() -> None:
    engine = ActivationEngine(model_of("llama"))
    assert engine.why_not_compiled() == "it was not asked for"
    through = Through(model_of("llama"), "key", frozenset())
    seen = ActivationEngine(model_of("llama"), compiled=True).through(through)
    assert seen.why_not_compiled() == "it is read through adapters"
    assert len(said(seen, prompt_of(8, 60))) == GREEDY.max_new_tokens


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++ on a CPU")
def test_with_the_compiler_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_module, "BACKEND", "inductor")
    engine = ActivationEngine(model_of("gemma3"), compiled=True)
    assert engine.why_not_compiled() == ""
    for seed, length in enumerate(LENGTHS):
        prompt = prompt_of(seed, length)
        assert said(engine, prompt) == said(ActivationEngine(model_of("gemma3")), prompt)


@pytest.mark.parametrize("kind", [ChatMemOS, MemOSLLM])
def test_both_frameworks_take_it(kind: Any) -> None:
    answers: list[str] = []
    for wanted in (None, True):
        model = kind(None, model_of("llama"), compiled=wanted, max_tokens=8)
        asked: Sequence[Any] = ("w3 w9 w4",)
        answers.append(
            model.invoke(*asked).content if kind is ChatMemOS else model.complete(*asked).text
        )
    assert answers[0] == answers[1]
    assert model.local.stats()["compiled_requests"] == 1
