"""Compiled decoding: what a plain forward says, or a reason; hit and miss the same bits."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from memos_integrations.errors import KVCacheWarning
from memos_integrations.langchain import ChatMemOS
from memos_integrations.llama_index import MemOSLLM
from memos_integrations.memories.activation import compiled as compiled_module
from memos_integrations.memories.activation.compiled import Compiled
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.activation.through import Through
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.models.causal import CausalModel
from tests.activation.asked import model_of
from tests.activation.tiny import CONFIGS, REFUSED, prompt_of

GREEDY = Sampling(max_new_tokens=64)
LENGTHS = (30, 230)
"""Shorter than any sliding window, so that it fills while the answer grows; and longer, so that the
answer outgrows its room."""
SOME = ("llama", "gemma3", "gpt2", "mixtral")


class Counting:
    """Runs what was traced as it is, without the C++ that a compiler would write."""

    def __init__(self) -> None:
        self.programs = self.runs = 0

    def __call__(self, graph: Callable[..., Any], _: Any) -> Callable[..., Any]:
        self.programs += 1

        def run(*given: Any) -> Any:
            self.runs += 1
            return graph(*given)

        return run


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(compiled_module, "BACKEND", counting)
    return counting


def said(engine: ActivationEngine, prompt: Prompt, sampling: Sampling = GREEDY) -> list[int]:
    found = list(engine.generate(prompt, sampling))
    assert nothing_is_leased(engine)
    return found


def nothing_is_leased(engine: ActivationEngine) -> bool:
    return not any(node.leases for node in engine.tree.nodes())


def plainly(name: str, prompt: Prompt, sampling: Sampling = GREEDY) -> list[int]:
    return list(ActivationEngine(model_of(name)).generate(prompt, sampling))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_words_are_those_of_a_plain_forward(name: str, backend: Counting) -> None:
    engine = ActivationEngine(model_of(name), compiled=True)
    for seed, length in enumerate(LENGTHS):
        for _ in ("miss", "hit"):
            before = backend.runs
            prompt = prompt_of(seed, length)
            assert said(engine, prompt) == plainly(name, prompt)
            assert backend.runs - before >= GREEDY.max_new_tokens - 1, "each step ran a program"
    assert engine.why_not_compiled() == ""
    assert engine.stats()[0].compiled_requests == 2 * len(LENGTHS)


def steps(engine: ActivationEngine, prompt: Prompt) -> list[torch.Tensor]:
    """Logits of forty steps behind a prompt, the tokens given."""
    decoding = engine._behind(engine.prefill(prompt))
    so_far, found = list(prompt.tokens), []
    for token in range(1, 41):
        so_far.append(token)
        found.append(decoding.next(so_far))
    decoding.close()
    assert engine.why_not_compiled() in ("", "it was not asked for")
    return found


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("length", LENGTHS)
def test_the_logits_are_within_rounding(name: str, length: int, backend: Counting) -> None:
    prompt = prompt_of(1, length)
    plain = steps(ActivationEngine(model_of(name)), prompt)
    assert backend.runs == 0
    fast = steps(ActivationEngine(model_of(name), compiled=True), prompt)
    assert backend.runs >= 40
    for one, other in zip(plain, fast, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("name", SOME)
def test_a_hit_is_the_miss_bit_for_bit(name: str, tmp_path: Path, backend: Counting) -> None:
    prompt, tier = prompt_of(2, 230), FolderTier(tmp_path)
    engine = ActivationEngine(model_of(name), tier=tier, compiled=True)
    miss = steps(engine, prompt)
    said(engine, prompt_of(3, 600))  # other rooms, other programs
    tier.flush()
    assert len(tier.catalogue) > 0
    from_disk = ActivationEngine(model_of(name), tier=tier, compiled=True)
    for again in (engine, from_disk):
        before = backend.runs
        assert all(map(torch.equal, miss, steps(again, prompt)))
        assert backend.runs - before >= 40
    tier.close()


def test_one_program_for_rooms_of_one_size_whoever_has_them(backend: Counting) -> None:
    engine = ActivationEngine(model_of("gemma3"), compiled=True)
    asked = [prompt_of(seed, 40 + 20 * seed) for seed in range(6)]
    alone = [plainly("gemma3", one) for one in asked]
    assert engine.why_not_compiled() == ""
    made = backend.programs
    begun = [engine.generate(one, GREEDY) for one in asked]
    together = [list(one) for one in zip(*begun, strict=True)]  # a token of each in turn
    assert [list(one) for one in zip(*together, strict=True)] == alone
    with ThreadPoolExecutor(len(asked)) as pool:
        assert list(pool.map(lambda one: list(engine.generate(one, GREEDY)), asked)) == alone
    assert backend.programs == made
    assert engine.stats()[0].compiled_requests == 2 * len(asked)
    assert nothing_is_leased(engine)


def test_an_answer_that_outgrows_its_room_goes_on_in_a_larger_one(backend: Counting) -> None:
    engine, prompt = ActivationEngine(model_of("phi3"), compiled=True), prompt_of(1, 250)
    assert engine.why_not_compiled() == ""
    made = backend.programs
    assert said(engine, prompt) == plainly("phi3", prompt)
    assert sorted(one.size for one in rooms(engine)) == [256, 512]
    assert backend.programs == 2 * made, "as many for each size"
    assert engine.stats()[0].compiled_requests == 1


def test_nothing_of_a_request_stays_and_its_room_is_used_again() -> None:
    engine = ActivationEngine(model_of("llama"), compiled=True)
    said(engine, prompt_of(1, 150))
    [room] = rooms(engine)
    assert is_empty(room)
    said(engine, prompt_of(2, 130))
    assert rooms(engine) == [room]
    begun = engine.generate(prompt_of(3, 600), GREEDY)  # and of one that is left
    next(begun), next(begun)
    assert not is_empty(begun_in(engine, begun))
    begun.close()  # type: ignore[attr-defined]
    assert sorted(one.size for one in rooms(engine)) == [256, 1024]
    assert all(map(is_empty, rooms(engine)))
    assert nothing_is_leased(engine)


def rooms(engine: ActivationEngine) -> list[Any]:
    assert engine._compiled is not None
    return list(engine._compiled._free.values())


def is_empty(room: Any) -> bool:
    layers = room.cache.layers
    return not any(one.any() for layer in layers for one in (layer.keys, layer.values))


def begun_in(engine: ActivationEngine, answer: Any) -> Any:
    return answer.gi_frame.f_locals["decoding"]._room


def test_the_first_token_waits_for_nothing(backend: Counting) -> None:
    engine, usage = ActivationEngine(model_of("llama"), compiled=True), Usage()
    answer = engine.generate(prompt_of(1, 100), GREEDY, usage)
    next(answer)
    assert usage.first_token_seconds > 0 and backend.programs == 0
    next(answer)
    assert backend.programs > 0
    answer.close()  # type: ignore[attr-defined]
    said(engine, prompt_of(2, 100), Sampling(max_new_tokens=1))
    assert engine.stats()[0].compiled_requests == 1


def test_who_loses_patience_with_the_compiler_frees_what_he_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Compiled, "why_not", interrupted)
    engine = ActivationEngine(model_of("llama"), compiled=True)
    with pytest.raises(KeyboardInterrupt):
        list(engine.generate(prompt_of(1, 230), GREEDY))
    assert len(engine.tree.nodes()) > 0 and nothing_is_leased(engine)


def test_an_answer_that_is_collected_amid_the_compiler_blocks_nobody() -> None:
    class Holder:
        answer: Any
        me: Any

    engine = ActivationEngine(model_of("llama"), compiled=True)
    holder = Holder()
    holder.answer, holder.me = engine.generate(prompt_of(1, 230), GREEDY), holder
    next(holder.answer), next(holder.answer)
    gc.disable()
    try:
        del holder
        assert engine._compiled is not None
        engine._compiled._worker.submit(gc.collect).result(timeout=60)
    finally:
        gc.enable()
    assert nothing_is_leased(engine)
    assert all(map(is_empty, rooms(engine)))


def failing_at(nth: int, error: Exception, patch: pytest.MonkeyPatch) -> list[Any]:
    step, taken = Compiled.step, []

    def fails(self: Compiled, *given: Any) -> Any:
        taken.append(given)
        if len(taken) == nth:
            raise error
        return step(self, *given)

    patch.setattr(Compiled, "step", fails)
    return taken


def test_what_fails_in_the_middle_goes_on_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, prompt = ActivationEngine(model_of("gemma3"), compiled=True), prompt_of(4, 150)
    assert engine.why_not_compiled() == ""
    taken = failing_at(5, RuntimeError("no such kernel\nand a long trace"), monkeypatch)
    usage = Usage()
    with pytest.warns(KVCacheWarning, match="no such kernel"):
        assert list(engine.generate(prompt, GREEDY, usage)) == plainly("gemma3", prompt)
    assert engine.why_not_compiled() == "compiled, it failed (no such kernel)"
    assert (engine.stats()[0].requests, usage.output_tokens) == (1, GREEDY.max_new_tokens)
    said(engine, prompt)
    assert len(taken) == 5, "not tried again"
    assert rooms(engine) == []


def test_one_that_finds_no_memory_goes_on_as_ever_and_the_next_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, prompt = ActivationEngine(model_of("gemma3"), compiled=True), prompt_of(4, 150)
    assert engine.why_not_compiled() == ""
    taken = failing_at(1, torch.OutOfMemoryError("no room"), monkeypatch)
    with pytest.warns(KVCacheWarning, match="out of memory"):
        assert said(engine, prompt) == plainly("gemma3", prompt)
    assert len(taken) == 1 and engine.why_not_compiled() == ""
    assert said(engine, prompt) == plainly("gemma3", prompt)
    assert len(taken) == GREEDY.max_new_tokens


@pytest.mark.parametrize(
    ("error", "said_of_it"),
    [(RuntimeError("no compiler here\ntrace"), "no compiler here"), (NotImplementedError(), "Not")],
)
def test_what_cannot_be_compiled_says_why(
    error: Exception, said_of_it: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(torch, "compile", broken)
    engine, prompt = ActivationEngine(model_of("llama"), compiled=True), prompt_of(5, 100)
    assert said(engine, prompt) == plainly("llama", prompt)
    assert said_of_it in engine.why_not_compiled() and "trace" not in engine.why_not_compiled()
    assert engine.stats()[0].compiled_requests == 0


def test_what_says_something_else_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Compiled.step
    monkeypatch.setattr(Compiled, "step", lambda *given: step(*given).flip(0))
    engine, prompt = ActivationEngine(model_of("llama"), compiled=True), prompt_of(6, 100)
    assert said(engine, prompt) == plainly("llama", prompt)
    assert engine.why_not_compiled() == "compiled, its answers are others"


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_cache_of_ours_runs_as_ever(name: str) -> None:
    engine, prompt = ActivationEngine(model_of(name), compiled=True), prompt_of(7, 60)
    few = Sampling(max_new_tokens=4)
    assert said(engine, prompt, few) == plainly(name, prompt, few)
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
    plain = steps(ActivationEngine(model_of("gemma3")), prompt_of(0, 30))
    fast = steps(engine, prompt_of(0, 30))
    assert all(torch.allclose(*both, atol=1e-4) for both in zip(plain, fast, strict=True))
    assert all(map(torch.equal, fast, steps(engine, prompt_of(0, 30))))
    assert said(engine, prompt_of(0, 150)) == plainly("gemma3", prompt_of(0, 150))
    assert engine.why_not_compiled() == ""
    assert engine.stats()[0].compiled_requests == 3


@pytest.mark.parametrize("kind", [ChatMemOS, MemOSLLM])
def test_both_frameworks_take_it(kind: Any, backend: Counting) -> None:
    answers: list[str] = []
    loaded: CausalModel = model_of("llama")
    for wanted in (None, True):
        model = kind(None, loaded, compiled=wanted, max_tokens=8)
        asked = "w3 w9 w4"
        answers.append(
            model.invoke(asked).content if kind is ChatMemOS else model.complete(asked).text
        )
        assert (backend.runs > 0) is bool(wanted)
    assert answers[0] == answers[1]
    assert model.local.stats()["compiled_requests"] == 1
