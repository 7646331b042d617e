"""A local chat in composed mode: trial, threshold, what stays exact, and what is forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation import compiled as compiled_module
from memos_integrations.memories.activation.composer_stats import Measured
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.mode import Composed
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.block import block
from memos_integrations.testing import WordEmbedder
from tests.activation.test_composed import REFUSED, make, model

LLAMA = model("llama")
FACTS = [f"fact {i} of a memory, told in the words number {i * i * 77}" for i in range(4)]
GREEDY = Sampling(max_new_tokens=6)
AT_ONCE = Composed(trial=0)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[MemOS]:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:
        yield memory


@pytest.fixture
def ann(memory: MemOS) -> MemorySession:
    return memory.session("ann")


@pytest.fixture
def cubes(ann: MemorySession) -> Sequence[MemCube]:
    return ann.add(FACTS)


def asked(chat: LocalChat, session: MemorySession, cubes: Sequence[MemCube]) -> Prompt:
    session.record_uses(cubes, prompt="asked")
    prompt = chat.read(f"Hello.\n{block(cubes)}\nQuestion: what?\nAnswer:")
    assert len(prompt.spans) == len(cubes)
    return prompt


def sources(chat: LocalChat) -> set[str]:
    return {source.cube_id for node in chat.engine.tree.nodes() for source in node.sources}


def alone(prompt: Prompt) -> str:
    """What the model says without any cache."""
    tokens = list(ActivationEngine(LLAMA, budget=0).generate(prompt, GREEDY))
    return LLAMA.decode(tokens)


# What it does ---------------------------------------------------------------------------------


def test_memories_in_any_order_are_read_from_the_cache(
    memory: MemOS, ann: MemorySession, cubes: Sequence[MemCube]
) -> None:
    chat = LocalChat(memory, LLAMA, mode=AT_ONCE)
    first = chat.answer(asked(chat, ann, cubes), GREEDY).usage
    again = chat.answer(asked(chat, ann, cubes[::-1]), GREEDY).usage
    assert first.cached_tokens == 0 < first.kept_tokens
    assert again.kept_tokens == 0 < again.cached_tokens
    assert 0 < again.approximate_tokens < again.cached_tokens
    found = chat.stats()
    assert found["approximate_requests"] == found["requests"] == 2
    assert found["composer"]["composed"] == 2 and found["composer"]["exact"] == {}
    json.dumps(found)
    chat.close()


def test_where_it_is_exact_it_is_not_called_approximate(
    ann: MemorySession, cubes: Sequence[MemCube]
) -> None:
    chat = LocalChat(ann, LLAMA, mode=Composed(trial=0, recompute=1.0))
    many, one = asked(chat, ann, cubes), asked(chat, ann, cubes[:1])
    for prompt in (many, one):
        answer = chat.answer(prompt, GREEDY)
        assert answer.usage.approximate_tokens == 0
        assert answer.text == alone(prompt)
    assert chat.stats()["composer"]["composed"] == 2
    chat.close()


@pytest.mark.parametrize("mode", ["exact", None])
def test_it_is_off_unless_asked_for(
    ann: MemorySession, cubes: Sequence[MemCube], mode: Any
) -> None:
    chat = LocalChat(ann, LLAMA, **({"mode": mode} if mode else {}))
    prompt = asked(chat, ann, cubes)
    assert chat.answer(prompt, GREEDY).usage.approximate_tokens == 0
    assert chat.composer is None and "composer" not in chat.stats()
    with pytest.raises(InvalidInputError, match="exact mode"):
        chat.measure([prompt])
    chat.close()


def test_compiled_answers_are_the_same(
    ann: MemorySession, cubes: Sequence[MemCube], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_module, "BACKEND", "eager")
    plain = LocalChat(None, LLAMA, mode=AT_ONCE)
    fast = LocalChat(None, LLAMA, mode=AT_ONCE, compiled=True)
    prompt = asked(LocalChat(ann, LLAMA), ann, cubes)
    assert plain.answer(prompt, GREEDY).text == fast.answer(prompt, GREEDY).text
    assert fast.stats()["compiled_requests"] == fast.stats()["composer"]["composed"] == 1


# The trial ------------------------------------------------------------------------------------


def test_the_first_prompts_are_answered_exactly_and_measured(
    ann: MemorySession, cubes: Sequence[MemCube]
) -> None:
    chat = LocalChat(ann, LLAMA, mode="composed")
    assert chat.composer is not None and chat.composer.trial == 8
    orders = [[*cubes[i:], *cubes[:i]] for i in range(4)] * 2
    for done, order in enumerate(orders, 1):
        prompt = asked(chat, ann, order)
        answer = chat.answer(prompt, GREEDY)
        assert (answer.text, answer.usage.approximate_tokens) == (alone(prompt), 0)
        assert chat.stats()["composer"]["deviation"]["prompts"] == done
    one = chat.answer(asked(chat, ann, cubes[:1]), GREEDY)  # nothing to be measured in it
    later = chat.answer(asked(chat, ann, cubes[::-1]), GREEDY)
    assert one.usage.approximate_tokens == 0 < later.usage.approximate_tokens
    found = chat.stats()
    assert found["requests"] == 10, "reading both ways is one request"
    found = found["composer"]
    assert found["exact"] == {"one of the first 8, which are read both ways": 8}
    assert found["composed"] == 2
    assert found["deviation"]["prompts"] == 8 and found["deviation"]["mean_kl"] > 1e-6
    chat.close()


def test_above_the_threshold_answers_stay_exact(
    ann: MemorySession, cubes: Sequence[MemCube]
) -> None:
    chat = LocalChat(ann, LLAMA, mode=Composed(trial=1, threshold=1e-6, recompute=0))
    for _ in range(3):
        prompt = asked(chat, ann, cubes[::-1])
        assert chat.answer(prompt, GREEDY).text == alone(prompt)
    reason = "the measured deviation is above 1e-06 nats"
    assert chat.composer is not None and chat.composer.why_exact(prompt) == reason
    assert chat.stats()["composer"]["exact"][reason] == 2
    assert chat.stats()["composer"]["composed"] == 0
    chat.close()


def test_measuring_ends_the_trial(ann: MemorySession, cubes: Sequence[MemCube]) -> None:
    chat = LocalChat(ann, LLAMA, mode=Composed(threshold=100.0))
    prompt = asked(chat, ann, cubes)
    deviation = chat.measure([prompt])
    assert deviation.prompts == 1 and deviation.mean_kl > 0
    assert chat.answer(prompt, GREEDY).usage.approximate_tokens > 0
    assert chat.stats()["composer"]["deviation"]["mean_kl"] == deviation.mean_kl
    assert chat.stats()["composer"]["composed"] == 1
    chat.close()


def test_what_is_no_number_is_not_below_a_threshold(
    ann: MemorySession, cubes: Sequence[MemCube], monkeypatch: pytest.MonkeyPatch
) -> None:
    sick = Measured()
    sick.add(torch.zeros(3), torch.tensor([0.0, float("nan"), 0.0]))
    sick.add(torch.zeros(3), torch.zeros(3))
    assert torch.isnan(torch.tensor([sick.result().mean_kl, sick.result().max_kl])).all()
    never = Measured()  # a word that cannot come is none that deviates
    never.add(torch.tensor([0.0, -torch.inf]), torch.tensor([0.0, -torch.inf]))
    assert never.result().mean_kl == never.result().max_kl == 0.0

    chat = LocalChat(ann, LLAMA, mode=Composed(trial=0, threshold=1.0))
    prompt = asked(chat, ann, cubes)
    assert chat.composer is not None and chat.composer.why_exact(prompt) == ""
    found = sick.result()
    monkeypatch.setattr(Measured, "result", lambda _: found)
    chat.measure([prompt])
    assert chat.composer.why_exact(prompt) == "the measured deviation is above 1 nats"
    chat.close()


# What stays exact -----------------------------------------------------------------------------


def test_batches_and_refused_models_stay_exact(
    ann: MemorySession, cubes: Sequence[MemCube]
) -> None:
    chat = LocalChat(ann, LLAMA, mode=AT_ONCE)
    prompts = [asked(chat, ann, cubes), asked(chat, ann, cubes[::-1])]
    answers = chat.answer_batch(prompts, GREEDY)
    assert [one.usage.approximate_tokens for one in answers] == [0, 0]
    assert [one.text for one in answers] == [alone(one) for one in prompts]
    assert chat.stats()["composer"]["exact"] == {"it is asked for in a batch": 2}
    chat.close()

    config, reason = REFUSED["window"]
    windowed = LocalChat(ann, make(config()), mode=AT_ONCE)
    assert windowed.composer is not None and reason in windowed.composer.refused
    assert windowed.answer(prompts[0], GREEDY).usage.approximate_tokens == 0
    found = windowed.stats()["composer"]
    assert found["refused"] == windowed.composer.refused
    assert found["exact"] == {windowed.composer.refused: 1} and found["composed"] == 0
    windowed.close()


def test_a_window_that_fits_is_served_where_that_is_wanted(
    ann: MemorySession, cubes: Sequence[MemCube]
) -> None:
    chat = LocalChat(ann, make(REFUSED["window"][0]()), mode=Composed(trial=0, within_window=True))
    short, long = asked(chat, ann, cubes[:1]), asked(chat, ann, cubes)
    chat.answer(short, GREEDY)
    chat.answer(long, GREEDY)
    found = chat.stats()["composer"]
    assert found["composed"] == 1
    assert found["exact"] == {"the prompt is longer than the sliding window of 256 tokens": 1}
    chat.close()


# Computing ahead, and forgetting --------------------------------------------------------------


@pytest.mark.parametrize("background", [False, True])
def test_what_is_computed_ahead_is_what_is_composed(
    ann: MemorySession, cubes: Sequence[MemCube], background: bool
) -> None:
    chat = LocalChat(ann, LLAMA, mode=AT_ONCE)
    prompt = asked(chat, ann, cubes)
    ahead = chat.precompute(prompt, background=background)
    assert ahead == sum(span.end - span.start for span in prompt.spans) + prompt.spans[0].start
    assert chat.precompute(prompt) == 0
    assert chat.answer(asked(chat, ann, cubes[::-1]), GREEDY).usage.kept_tokens == 0
    assert all(node.leases == 0 for node in chat.engine.tree.nodes())
    chat.close()


@pytest.mark.parametrize("way", ["forget", "delete", "update"])
def test_what_is_erased_is_not_served(
    memory: MemOS, ann: MemorySession, cubes: Sequence[MemCube], way: str, tmp_path: Path
) -> None:
    chat = LocalChat(memory, LLAMA, mode=Composed(trial=0, recompute=0))
    prompt = asked(chat, ann, cubes)
    chat.answer(prompt, GREEDY)
    warm = chat.answer(prompt, GREEDY).usage
    assert warm.kept_tokens == 0
    chat.close()
    gone = cubes[1].id
    assert files_with(tmp_path, gone)

    if way == "forget":
        assert ann.forget(gone).finished
    elif way == "delete":
        ann.delete(gone)
    else:
        ann.update(gone, "what is true now, in other words")
    assert gone not in sources(chat) and not files_with(tmp_path, gone)

    [span] = [one for one in prompt.spans if one.source.cube_id == gone]
    for _ in range(2):  # a prompt that was written before, again and again
        usage = chat.answer(prompt, GREEDY).usage
        assert warm.cached_tokens - usage.cached_tokens == span.end - span.start
        assert usage.kept_tokens == 0
        assert gone not in sources(chat)
    chat.close()
    assert not files_with(tmp_path, gone)


def test_after_a_restart_the_rest_is_there_and_the_erased_is_not(
    ann: MemorySession, cubes: Sequence[MemCube]
) -> None:
    def opened() -> LocalChat:
        return LocalChat(ann, LLAMA, mode=Composed(trial=0, recompute=0))

    chat = opened()
    prompt = asked(chat, ann, cubes)
    chat.answer(prompt, GREEDY)
    chat.close()
    ann.forget(cubes[1].id)
    chat = opened()
    usage = chat.answer(prompt, GREEDY).usage
    sizes = [span.end - span.start for span in prompt.spans]
    assert usage.cached_tokens == sum(sizes) - sizes[1]
    assert usage.kept_tokens == prompt.spans[0].start  # the header has no memory: never on disk
    assert cubes[1].id not in sources(chat)
    chat.close()


def test_a_grant_that_ended_serves_no_segment(
    memory: MemOS, ann: MemorySession, cubes: Sequence[MemCube]
) -> None:
    memory.govern("root", homes=[("{principal}",)])
    grant = ann.grant("carol", "read")
    carol = memory.session("carol", namespace=ann.namespace)
    chat = LocalChat(carol, LLAMA, mode=Composed(trial=0, recompute=0))
    prompt = asked(chat, ann, cubes)
    chat.answer(prompt, GREEDY)
    assert chat.answer(prompt, GREEDY).usage.cached_tokens > prompt.spans[0].start
    ann.revoke(grant)
    usage = chat.answer(prompt, GREEDY).usage
    assert usage.cached_tokens == prompt.spans[0].start, "the header, and no memory"
    assert usage.kept_tokens == 0 and sources(chat) == set()
    chat.close()


def files_with(folder: Path, cube_id: str) -> list[Path]:
    files = (folder / "store" / "kv").rglob("*")
    return [path for path in files if path.is_file() and cube_id.encode() in path.read_bytes()]


# Options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recompute": 1.5}, "share"),
        ({"recompute": float("nan")}, "share"),
        ({"recompute": "half"}, "share"),
        ({"recompute": True}, "share"),
        ({"choose": "last"}, "choose"),
        ({"threshold": -0.1}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": "low"}, "threshold"),
        ({"within_window": "yes"}, "within_window"),
        ({"trial": -1}, "trial"),
        ({"trial": 1.5}, "trial"),
        ({"trial": True}, "trial"),
    ],
)
def test_options_that_make_no_sense(options: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Composed(**options)


@pytest.mark.parametrize("mode", ["approximate", None, 1, True])
def test_modes_that_are_none(mode: Any) -> None:
    with pytest.raises(InvalidInputError, match="mode is 'exact', 'composed' or a Composed"):
        LocalChat(None, LLAMA, mode=mode)
