"""How many tokens a second several requests get, one after the other and decoded together.

``python benchmarks/batch.py [--model ID_OR_FOLDER] [--dtype float32] [--new 64] [--repeats 3]``.
1, 2, 4 and 8 requests with prompts of different lengths whose beginnings are cached, ``--new``
tokens each, the end token passed over. One interleaved run: each round serves the same requests
*serially* (one after the other), by *threads* (one each, taking turns) and *batched* (one forward a
step); best of the rounds. *first*: seconds until the last of them has its first token. *gap*: how
far the logits of the batch are from those of each request alone at most, while they say the same.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from _report import save, show
from first_token import words

from memos_integrations.memories.activation import batch as batch_module
from memos_integrations.memories.activation import engine as engine_module
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.memories.activation.writing import Writing
from memos_integrations.models.causal import CausalModel

REQUESTS = (1, 2, 4, 8)
Serve = Callable[[ActivationEngine, list[Prompt], Sampling, list[Usage]], list[list[int]]]


def prompts_of(model: CausalModel, count: int, shortest: int) -> list[Prompt]:
    """Each a little longer than the one before, with memories of sixty tokens, of one user each."""
    found = []
    for n in range(count):
        length = shortest + 48 * n
        starts = range(16, length, 60)
        spans = tuple(Span(s, min(s + 60, length), Source(f"m{n}-{s}", 1)) for s in starts)
        tokens = words(model, length, 1_000 * n) + words(model, 24, 7_000 + n)
        found.append(Prompt(tokens, spans, salt=str(n)))
    return found


def serially(
    engine: ActivationEngine, prompts: list[Prompt], how: Sampling, usages: list[Usage]
) -> list[list[int]]:
    """One after the other; a first token waits for all before it."""
    began = time.perf_counter()
    found = []
    for prompt, usage in zip(prompts, usages, strict=True):
        waited = time.perf_counter() - began
        found.append(list(engine.generate(prompt, how, usage)))
        usage.first_token_seconds += waited
    return found


def in_threads(
    engine: ActivationEngine, prompts: list[Prompt], how: Sampling, usages: list[Usage]
) -> list[list[int]]:
    """A thread each; forwards take turns."""
    with ThreadPoolExecutor(len(prompts)) as threads:
        asked = zip(prompts, usages, strict=True)
        return list(threads.map(lambda one: list(engine.generate(one[0], how, one[1])), asked))


def together(
    engine: ActivationEngine, prompts: list[Prompt], how: Sampling, usages: list[Usage]
) -> list[list[int]]:
    """One forward a step."""
    return engine.generate_batch(prompts, how, usages, max_batch=len(prompts)).answers()


WAYS: dict[str, Serve] = {"serially": serially, "threads": in_threads, "batched": together}


def measure(
    engine: ActivationEngine, prompts: list[Prompt], new: int, repeats: int
) -> dict[str, Any]:
    """One row of the table."""
    how = Sampling(max_new_tokens=new)
    for prompt in prompts:
        engine.precompute(prompt)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    first: dict[str, list[float]] = {name: [] for name in WAYS}
    said: dict[str, list[list[int]]] = {}
    for _ in range(repeats):
        for name, serve in WAYS.items():
            usages = [Usage() for _ in prompts]
            began = time.perf_counter()
            said[name] = serve(engine, prompts, how, usages)
            seconds[name].append(time.perf_counter() - began)
            first[name].append(max(usage.first_token_seconds for usage in usages))
    tokens = len(prompts) * new
    rates = {name: tokens / min(took) for name, took in seconds.items()}
    return {
        "requests": len(prompts),
        "prompt tokens": [len(prompt.tokens) for prompt in prompts],
        "tokens a second": rates,
        "batched / serially": rates["batched"] / rates["serially"],
        "first": {name: min(took) for name, took in first.items()},
        "seconds": seconds,
        "same tokens": sum(a == b for a, b in zip(said["batched"], said["serially"], strict=True)),
        "gap": gap(engine, prompts, how),
    }


def gap(engine: ActivationEngine, prompts: list[Prompt], how: Sampling) -> float:
    """The largest difference of logits between the batch and each alone, up to where words part."""
    begun: list[Any] = []

    class Listening(Writing):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.seen: list[torch.Tensor] = []
            begun.append(self)

        def next(self, logits: torch.Tensor) -> int | None:
            self.seen.append(logits.cpu())
            return super().next(logits)

    modules: list[Any] = [batch_module, engine_module]
    for module in modules:
        module.Writing = Listening
    try:
        together(engine, prompts, how, [Usage() for _ in prompts])
        serially(engine, prompts, how, [Usage() for _ in prompts])
    finally:
        for module in modules:
            module.Writing = Writing
    largest = 0.0
    for one, other in zip(begun[: len(prompts)], begun[len(prompts) :], strict=True):
        start = len(one.so_far) - how.max_new_tokens
        for at, (a, b) in enumerate(zip(one.seen, other.seen, strict=True)):
            if one.so_far[: start + at] != other.so_far[: start + at]:
                break
            largest = max(largest, float((a - b).abs().max()))
    return largest


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a hub id or a folder; by default the bundled model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device")
    parser.add_argument("--shortest", type=int, default=256, help="tokens of the first prompt")
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/batch.json"))
    options = parser.parse_args()
    model = CausalModel.load(options.model, dtype=options.dtype, device=options.device)
    model.__dict__["eos_ids"] = frozenset()  # all go on to the end, so that all ways do one work
    engine = ActivationEngine(model)
    if reason := engine.why_in_turn():
        raise SystemExit(f"{model.name} answers in turn: {reason}")
    load = os.getloadavg()[0]
    rows = [
        measure(engine, prompts_of(model, count, options.shortest), options.new, options.repeats)
        for count in REQUESTS
    ]
    columns = [*(f"{name}, tokens/s" for name in WAYS), "batched / serially"]
    columns += [*(f"first, {name}, s" for name in WAYS), "same", "gap"]
    show(
        f"{options.new} tokens each; {model.name} ({options.dtype}, {model.device})",
        ["requests", *columns],
        [
            [
                row["requests"],
                *(f"{row['tokens a second'][name]:.1f}" for name in WAYS),
                f"{row['batched / serially']:.2f}",
                *(f"{row['first'][name]:.2f}" for name in WAYS),
                f"{row['same tokens']} of {row['requests']}",
                f"{row['gap']:.1e}",
            ]
            for row in rows
        ],
    )
    about = {"model": model.name, "dtype": options.dtype, "device": str(model.device)}
    loads = {"load before": load, "load after": os.getloadavg()[0]}
    settings = {"new": options.new, "shortest": options.shortest, "repeats": options.repeats}
    save(options.out, "batch", {**about, **loads, **settings, "rows": rows})


if __name__ == "__main__":
    main()
