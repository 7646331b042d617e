"""How many tokens a second one request gets from a plain forward, and from a compiled one.

``python benchmarks/compiled.py [--model ID_OR_FOLDER] [--device cuda] [--new 64] [--repeats 5]``.
Prompts of ``--contexts`` tokens whose beginnings are cached, ``--new`` tokens each, the end token
passed over. One interleaved run: each round decodes the same prompt both ways; best and median of
the rounds. The prefill is left out, the copying into a room is not. *compiler*: seconds that the
first compiled request waits for it. *gap*: how far the logits of the steps are apart at most, the
same tokens given. A model that cannot be compiled ends the command with the reason.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _report import save, show
from first_token import words

from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.models.causal import CausalModel

CONTEXTS = (256, 1_024, 2_048)


def prompt_of(model: CausalModel, length: int) -> Prompt:
    """Memories of sixty tokens and a question of 32."""
    spans = tuple(
        Span(start, min(start + 60, length), Source(f"m{start}", 1))
        for start in range(16, length, 60)
    )
    return Prompt(words(model, length, 0) + words(model, 32, 7_000), spans, salt="bench")


def decode(
    engine: ActivationEngine, prompt: Prompt, new: int, given: Sequence[int] = ()
) -> tuple[float, list[int], list[torch.Tensor]]:
    """Seconds of ``new`` steps, their greedy tokens (or those given), and the logits."""
    read = engine.prefill(prompt)
    logits, decoding = read.logits, engine._behind(read)
    so_far, seen = list(prompt.tokens), []
    _wait()
    try:
        began = time.perf_counter()
        for step in range(new):
            so_far.append(given[step] if given else int(logits.argmax()))
            logits = decoding.next(so_far)
            seen.append(logits)
        _wait()
        seconds = time.perf_counter() - began
    finally:
        decoding.close()
    return seconds, so_far[len(prompt.tokens) :], seen


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(
    plain: ActivationEngine, compiled: ActivationEngine, prompt: Prompt, new: int, repeats: int
) -> dict[str, Any]:
    """One row of the table."""
    engines = {"plain": plain, "compiled": compiled}
    for engine in engines.values():
        engine.precompute(prompt)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    said: dict[str, list[int]] = {}
    for round_ in range(repeats + 1):
        for name, engine in engines.items():
            took, said[name], _ = decode(engine, prompt, new)
            if round_:  # a cache of a new size is compiled for in the first
                seconds[name].append(took)
    logits = [decode(engine, prompt, new, said["plain"])[2] for engine in engines.values()]
    pairs = zip(*logits, strict=True)
    best = {name: new / min(some) for name, some in seconds.items()}
    return {
        "context": len(prompt.tokens),
        "best": best,
        "median": {name: new / statistics.median(some) for name, some in seconds.items()},
        "ratio": best["compiled"] / best["plain"],
        "same": said["plain"] == said["compiled"],
        "gap": max(float((one - other).abs().max()) for one, other in pairs),
        "seconds": seconds,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a hub id or a folder; by default the bundled model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device")
    parser.add_argument("--contexts", type=int, nargs="*", default=CONTEXTS)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/compiled.json"))
    options = parser.parse_args()
    model = CausalModel.load(options.model, dtype=options.dtype, device=options.device)
    plain, compiled = ActivationEngine(model), ActivationEngine(model, compiled=True)
    load, began = os.getloadavg()[0], time.perf_counter()
    if reason := compiled.why_not_compiled():
        raise SystemExit(f"{model.name} is not compiled: {reason}")
    waited = time.perf_counter() - began
    rows = [
        measure(plain, compiled, prompt_of(model, length), options.new, options.repeats)
        for length in options.contexts
    ]
    if reason := compiled.why_not_compiled():
        raise SystemExit(f"{model.name} was compiled and is not any more: {reason}")
    show(
        f"Tokens a second behind the prompt, best of {options.repeats}; {options.new} tokens, "
        f"{model.name} ({options.dtype}, {model.device}); compiler {waited:.0f} s",
        ["prompt", "plain", "compiled", "compiled / plain", "same words", "gap"],
        [
            [
                f"{row['context']:,}",
                f"{row['best']['plain']:.1f}",
                f"{row['best']['compiled']:.1f}",
                f"{row['ratio']:.2f}",
                "yes" if row["same"] else "no",
                f"{row['gap']:.1e}",
            ]
            for row in rows
        ],
    )
    about = {"model": model.name, "dtype": options.dtype, "device": str(model.device)}
    loads = {"load before": load, "load after": os.getloadavg()[0]}
    save(options.out, "compiled", {**about, **loads, "compiler s": waited, "rows": rows})


if __name__ == "__main__":
    main()
