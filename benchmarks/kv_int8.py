"""What keeping KV caches in eight bits costs and saves, against keeping them as computed.

``python benchmarks/kv_int8.py [--model ID_OR_FOLDER] [--cases 200]``. The prompts are those of
``benchmarks/composed.py``: 5 to 10 of 60 memories in random order, and a question. Each is read by
an engine that keeps its pieces in a folder, then by a new one that finds them there: *exact* as
computed, *int8* rounded. *load* is from a look-up to keys and values in memory, files in the page
cache; *first token* the whole prefill behind them. KL is from the next-token distribution of the
engine that found nothing, in nats; *same* the share of prompts with the same likeliest token.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import torch
from _report import save, show
from composed import cases

from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.models.causal import CausalModel

Kind = Literal["int8"] | None
KINDS: dict[str, Kind] = {"exact": None, "int8": "int8"}


def read(engine: ActivationEngine, prompt: Prompt) -> tuple[torch.Tensor, float, int]:
    """The next token's log-probabilities, seconds, and how many tokens were rounded."""
    began = time.perf_counter()
    got = engine.prefill(prompt)
    seconds = time.perf_counter() - began
    engine.tree.release(got.lease)
    return got.logits.double().log_softmax(-1), seconds, got.usage.approximate_tokens


def load(engine: ActivationEngine, prompt: Prompt) -> float:
    """Seconds to bring every cached layer of a prompt into memory."""
    began = time.perf_counter()
    lease = engine.tree.match(
        engine.root(prompt.salt), prompt.pieces()[:-1], find=engine._from_tier
    )
    for node in lease.nodes:
        for i in range(len(node.payload)):
            node.payload.layer(i)
    seconds = time.perf_counter() - began
    engine.tree.release(lease)
    return seconds


def measure(model: CausalModel, prompts: list[Prompt], folder: Path) -> dict[str, dict[str, Any]]:
    """Figures by kind; both kinds in turn, prompt by prompt."""
    tiers = {name: FolderTier(folder / name, dtype=kind) for name, kind in KINDS.items()}
    found: dict[str, dict[str, list[float]]] = {
        name: {"kl": [], "same": [], "load": [], "first": [], "rounded": []} for name in KINDS
    }
    for prompt in prompts:
        nothing, _, _ = read(ActivationEngine(model), prompt)
        for name, tier in tiers.items():
            if prompt.pieces()[:-1]:
                ActivationEngine(model, tier=tier).precompute(prompt)
                tier.flush()
            figures = found[name]
            figures["load"].append(load(ActivationEngine(model, tier=tier), prompt))
            says, seconds, rounded = read(ActivationEngine(model, tier=tier), prompt)
            figures["first"].append(seconds)
            figures["rounded"].append(rounded)
            figures["kl"].append(float((nothing.exp() * (nothing - says)).sum().clamp_min(0)))
            figures["same"].append(bool(nothing.argmax() == says.argmax()))
    rows = {name: _row(found[name], tiers[name]) for name in KINDS}
    for tier in tiers.values():
        tier.close()
    return rows


def _row(figures: dict[str, list[float]], tier: FolderTier) -> dict[str, Any]:
    return {
        "MB": tier.catalogue.bytes / 1e6,
        "load ms": 1e3 * statistics.median(figures["load"]),
        "first token ms": 1e3 * statistics.median(figures["first"]),
        "mean KL": statistics.fmean(figures["kl"]),
        "largest KL": max(figures["kl"]),
        "same": statistics.fmean(figures["same"]),
        "rounded": statistics.fmean(one > 0 for one in figures["rounded"]),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a hub id or a folder; by default the bundled model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kv_int8.json"))
    options = parser.parse_args()
    model = CausalModel.load(options.model, dtype=options.dtype, device=options.device)
    prompts = [case.prompt for case in cases(model, options.cases)]
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        rows = measure(model, prompts, Path(folder))
    exact, rounded = rows["exact"], rows["int8"]
    ratios = {name: rounded[name] / exact[name] for name in ("MB", "load ms", "first token ms")}
    columns = list(exact)
    show(
        f"{len(prompts)} prompts; {model.name} ({options.dtype}, {model.device})",
        ["", *columns],
        [
            *([name, *(f"{row[one]:.4g}" for one in columns)] for name, row in rows.items()),
            ["int8 / exact", *(f"{ratios[one]:.3f}" if one in ratios else "" for one in columns)],
        ],
    )
    about = {"model": model.name, "dtype": options.dtype, "device": str(model.device)}
    save(options.out, "kv_int8", {**about, "cases": len(prompts), "rows": rows, "ratios": ratios})


if __name__ == "__main__":
    main()
