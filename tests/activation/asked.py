"""What is asked in tests of exactness, and where caches lie: both drawn at random."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

import torch
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import strategies as st

from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.remote import RemoteTier
from memos_integrations.memories.activation.remote_folder import RemoteFolder
from memos_integrations.memories.activation.segments import LONGEST, SHORTEST, Prompt, Source, Span
from memos_integrations.memories.activation.tier import Tier
from memos_integrations.memories.activation.tiers import FolderTier
from tests.activation.tiny import WORDS, build, prompt_of

HEADER = 40
"""Tokens that all prompts begin with, at least."""

model_of = cache(build)


@st.composite
def batches(draw: st.DrawFn, *, smallest: int = 2, long: bool = False) -> list[Prompt]:
    """Up to five prompts of one user; each begins like the first, and goes on on its own.

    The first has two pieces to keep, at least. ``long``: it has 1,000 to 1,200 tokens and a memory
    that is cut after 512 of its own.
    """
    length = draw(st.integers(1_000, 1_200) if long else st.integers(280, 400))
    first = draw(prompts(draw(st.integers(0, 2**20)), length, long=long))
    others = draw(st.integers(smallest - 1, 2 if long else 4))
    return [first, *(draw(branches(first)) for _ in range(others))]


@st.composite
def prompts(draw: st.DrawFn, seed: int, length: int, *, long: bool = False) -> Prompt:
    """Random words, with memories of random lengths in them; the first two are pieces."""
    tokens = prompt_of(seed, length, memories=0).tokens
    gaps = st.sampled_from((0, 1, 20))
    pieces = st.tuples(gaps, st.integers(SHORTEST, 90))
    huge = st.tuples(gaps, st.integers(LONGEST + 1, LONGEST + 100))
    sizes = st.tuples(gaps, st.one_of(st.integers(30, 120), st.just(1)))
    drawn = [draw(pieces), draw(huge if long else pieces), *draw(st.lists(sizes, max_size=6))]
    spans, at = [], draw(st.integers(0, HEADER))
    for i, (gap, size) in enumerate(drawn):
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
