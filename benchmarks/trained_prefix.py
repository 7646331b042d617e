"""A trained prefix of 128 positions in the place of a memory of 1,500 tokens.

``python benchmarks/trained_prefix.py [--model ID_OR_FOLDER] [--positions 128]``. Invented facts, as
many as 1,500 tokens hold, and two questions about each that are held out of training. They are
asked of the bare model; of the model with all facts in its prompt (the full cache); with their
first 128 tokens alone (plain truncation); with what the prefix begins as, before any training; and
behind the trained prefix. *MB* are the keys and values that stand in front of the question; *first
token* is the prefill of the question behind them, the cache warm, the ways in turn. *drift* is KL
from the bare model on unrelated texts, nats a token, and *perplexity* is that of these texts; the
gate of this command lets them be.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from _facts import FACTS, MORE
from _report import save, show

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.tensors import Piece
from memos_integrations.memories.activation.through import Through
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.memories.block import block
from memos_integrations.memories.parameter.condensing import condensed
from memos_integrations.memories.parameter.distilling import Distillation
from memos_integrations.memories.parameter.gate import Examination, GatePolicy
from memos_integrations.memories.parameter.probing import Moved
from memos_integrations.memories.parameter.students import PrefixStudent
from memos_integrations.memories.parameter.targets import computed
from memos_integrations.memories.parameter.texts import Probe
from memos_integrations.memories.parameter.training import Schedule
from memos_integrations.models.causal import CausalModel
from memos_integrations.testing import WordEmbedder

LONG = 1_500
"""Tokens of the memory."""
TRUNCATED = "its first tokens"
"""The memory cut after as many tokens as the prefix has: their own keys and values."""
FREE = GatePolicy(recall=0.0, gain=-1.0, drift=100.0)


def enough(model: CausalModel, cubes: Sequence[MemCube]) -> int:
    """So many facts make a long memory, or all that there are."""
    sizes = (len(model.encode(block(cubes[:n]), special=False)) for n in count(1))
    return next(
        n
        for n, size in zip(range(1, len(cubes) + 1), sizes, strict=False)
        if size >= LONG or n == len(cubes)
    )


def untrained(
    model: CausalModel, examination: Examination, cubes: Sequence[MemCube], positions: int
) -> dict[str, tuple[float, float, float, float]]:
    """Accuracy, probability, drift and perplexity of what takes no training."""
    tokens = model.encode(block(cubes))
    ways = {
        TRUNCATED: computed(model, tokens[:positions]),
        "what the prefix begins as": condensed(model, tokens, positions),
    }
    found = {}
    for name, pairs in ways.items():
        student = PrefixStudent.beginning_as(model, pairs)
        known = examination.of(student)
        other = examination.moved(student)
        found[name] = known.accuracy, known.probability, other.drift, other.perplexity
    return found


def moved_by_the_prompt(
    model: CausalModel, examination: Examination, cubes: Sequence[MemCube]
) -> Moved:
    """How all facts in front of unrelated texts move them: no training, the same KL."""
    pairs = computed(model, model.encode(block(cubes)))
    return examination.moved(PrefixStudent.beginning_as(model, pairs))


def first_tokens(
    session: MemorySession,
    model: CausalModel,
    cubes: Sequence[MemCube],
    positions: int,
    rounds: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Median milliseconds of a question's prefill behind each way's warm cache, and their MB."""
    chat = LocalChat(session, model, parameter_memory=True)
    asked = {"role": "user", "content": FACTS[0][2][0]}
    short = chat.prompt([asked])
    session.record_uses(cubes, prompt="asked")  # as recalled: what is read of them is kept
    long = chat.prompt([{"role": "system", "content": block(cubes)}, asked])
    full, behind = ActivationEngine(model), chat._engine_now(Usage())
    full.precompute(long)
    assert full.cached(long) >= long.spans[-1].end, "all of the memories"
    ways = {"bare model": (ActivationEngine(model), short), "all in the prompt": (full, long)}
    ways["trained prefix"] = behind, short
    first = Piece(computed(model, model.encode(block(cubes))[:positions]))
    ways[TRUNCATED] = _behind(model, first), short
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, (engine, prompt) in ways.items():
            began = time.perf_counter()
            engine.tree.release(engine.prefill(prompt).lease)
            taken[name].append((time.perf_counter() - began) * 1_000)
    assert behind._through is not None and behind._through.prefix is not None
    sizes = {"bare model": 0.0, "all in the prompt": full.stats()[1].bytes / 1e6}
    sizes["trained prefix"] = behind._through.prefix.nbytes / 1e6
    sizes[TRUNCATED] = first.nbytes / 1e6
    return {name: statistics.median(some[1:]) for name, some in taken.items()}, sizes


def _behind(model: CausalModel, prefix: Piece) -> ActivationEngine:
    """An engine with these keys and values in front of every prompt."""
    return ActivationEngine(model).through(Through(model, TRUNCATED, frozenset(), prefix))


def main() -> None:
    """Run, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a hub id or a folder; by default the bundled one")
    parser.add_argument("--positions", type=int, default=128)
    parser.add_argument("--training-rounds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15, help="of first tokens")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/trained_prefix.json"))
    given = parser.parse_args()
    model = CausalModel.load(given.model)
    with tempfile.TemporaryDirectory() as folder:
        store = MemOS.open(folder, embedder=WordEmbedder())
        session = store.session("maya")
        all_facts = (*FACTS, *MORE)
        cubes = session.add([fact for fact, _, _ in all_facts])
        cubes = cubes[: enough(model, cubes)]
        asked = tuple(
            Probe(one, answer) for _, answer, some in all_facts[: len(cubes)] for one in some[:2]
        )
        examination = Examination(model, cubes, asked)
        before = untrained(model, examination, cubes, given.positions)
        moved = moved_by_the_prompt(model, examination, cubes)
        how = Distillation(
            kind="prefix",
            positions=given.positions,
            schedule=Schedule(rounds=given.training_rounds, other_weight=0.3, enough=0.0),
            gate=FREE,
            held_out=asked,
        )
        cube = session.distill(
            cubes, model=model, how=how, progress=lambda *step: print(*step, flush=True)
        )
        report: dict[str, Any] = cube.metadata["report"]
        times, sizes = first_tokens(session, model, cubes, given.positions, given.rounds)
        store.close()
    known = {
        "bare model": (report["bare"], report["bare_probability"], 0.0, moved.bare_perplexity),
        "all in the prompt": (
            report["in_context"],
            report["in_context_probability"],
            moved.drift,
            moved.perplexity,
        ),
        **before,
        "trained prefix": (
            report["adapted"],
            report["adapted_probability"],
            report["drift"],
            report["perplexity"],
        ),
    }
    show(
        f"{len(cubes)} facts, {report['prompt_tokens_saved']} tokens, in {given.positions} "
        f"positions: {report['questions']} held-out questions; {report['steps']} steps, "
        f"{report['seconds']:.0f} s",
        ["", "accuracy", "probability", "drift", "perplexity", "MB", "first token ms"],
        [
            [
                name,
                *row,
                sizes.get(name, ""),
                times.get(name, ""),
            ]
            for name, row in known.items()
        ],
    )
    save(given.out, "trained_prefix", {"report": report, "known": known, "ms": times, "MB": sizes})


if __name__ == "__main__":
    main()
