"""Whatever is asked, by however many at a time, from wherever: cached is uncached.

Random prompts that begin alike, cut at random places, served from memory, from a folder and from a
store elsewhere, some at a time; for every architecture, also those that run without a cache.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.remote import RemoteTier
from memos_integrations.memories.activation.remote_folder import RemoteFolder
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.memories.activation.tier import Tier
from memos_integrations.memories.activation.tiers import FolderTier
from tests.activation.tiny import CONFIGS, REFUSED, WORDS, build, logits, prompt_of

ALL = [*CONFIGS, *REFUSED]
BELOW = ("elsewhere", "folder")
"""Memory is always asked first, and so tried each time."""
GREEDY = 64
HEADER = 40
"""Tokens that all prompts begin with, at least."""
bounded = settings(max_examples=3, derandomize=True, deadline=None)
T = TypeVar("T")

model_of = cache(build)


@st.composite
def batches(draw: st.DrawFn) -> list[Prompt]:
    """Two to five prompts of one user; each begins like the first, and goes on on its own."""
    first = draw(prompts(draw(st.integers(0, 2**20)), draw(st.integers(160, 400))))
    others = draw(st.integers(1, 4))
    return [first, *(draw(branches(first)) for _ in range(others))]


@st.composite
def prompts(draw: st.DrawFn, seed: int, length: int) -> Prompt:
    """Random words, with memories of random lengths in them."""
    tokens = prompt_of(seed, length, memories=0).tokens
    sizes = st.tuples(st.sampled_from((0, 1, 20)), st.one_of(st.integers(30, 120), st.just(1)))
    spans, at = [], draw(st.integers(0, HEADER))
    for i, (gap, size) in enumerate(draw(st.lists(sizes, min_size=2, max_size=8))):
        if at + gap + size >= length:
            break
        spans.append(Span(at + gap, at + gap + size, Source(f"m{seed}-{i}", 1)))
        at += gap + size
    return Prompt(tokens, tuple(spans))


@st.composite
def branches(draw: st.DrawFn, first: Prompt) -> Prompt:
    """The same beginning with the same memories, then other words, or none."""
    at = draw(st.integers(HEADER + 60, len(first.tokens)))
    more = draw(st.lists(st.integers(1, WORDS - 1), min_size=1, max_size=40))
    kept = tuple(span for span in first.spans if span.end <= at)
    return Prompt((*first.tokens[:at], *more), kept)


@contextmanager
def place(where: str) -> Iterator[Callable[[], Tier | None]]:
    """Opens machines, one after the other, that share what one of them has kept."""
    with tempfile.TemporaryDirectory() as root:
        opened: list[FolderTier | RemoteTier] = []

        def open_() -> Tier | None:
            if where == "memory":
                return None
            own = f"here{len(opened)}" if where == "elsewhere" else "here"
            folder = FolderTier(Path(root) / own)
            far = RemoteFolder("memory://exactness", "id")
            opened.append(
                RemoteTier(folder, far, gate=lambda asked: (), patience=60)
                if where == "elsewhere"
                else folder
            )
            opened[-1].flush()
            return opened[-1]

        try:
            yield open_
        finally:
            for one in opened:
                one.close()
            MemoryFileSystem.store.clear()


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


def held(engine: ActivationEngine) -> dict[str, str]:
    """Hashes of what is in memory."""
    return {
        f"{node.digest} {i} {which}": _hash(tensor.contiguous().view(torch.uint8).numpy().tobytes())
        for node in engine.tree.nodes()
        for i in range(len(node.payload))
        for which, tensor in enumerate(node.payload.layer(i) or ())
    }


def files(engine: ActivationEngine) -> dict[str, str]:
    """Hashes of all files, here and in the store elsewhere."""
    if engine.tier is None:
        return {}
    folder = engine.tier if isinstance(engine.tier, FolderTier) else engine.tier.folder  # type: ignore[attr-defined]
    here = ((str(path), path.read_bytes()) for path in folder.catalogue.folder.glob("??/*"))
    store = MemoryFileSystem.store.items()
    return {
        path: _hash(content)
        for path, content in chain(here, ((path, one.getvalue()) for path, one in store))
    }


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
