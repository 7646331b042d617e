"""What an adapter knows of twenty invented facts, what else it moved, and what it saves.

``python benchmarks/parameter_memory.py [--model ID_OR_FOLDER] [--erase]``. Three questions a fact
are held out of training. Each is asked of the bare model, of the model with all facts in its prompt
(the teacher), and of the model with the adapter and nothing in its prompt. An answer is right if
the words of the fact's answer stand in it, in their order; *probability* is that of the right
answer's tokens, the geometric mean. *drift* is KL from the bare model on 24 texts that no training
has seen, nats a token, and *perplexity* is that of these texts. *first token* is the whole prefill
without any cache, the three in turn. ``--erase`` then erases one fact, distils the others anew, and
asks about both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _facts import FACTS
from _report import save, show

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.errors import GateError
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.memories.block import block
from memos_integrations.memories.parameter.distilling import Distillation
from memos_integrations.memories.parameter.probing import Known, examine
from memos_integrations.memories.parameter.reading import Mind
from memos_integrations.memories.parameter.targets import student_text
from memos_integrations.memories.parameter.texts import Probe
from memos_integrations.models.causal import CausalModel
from memos_integrations.testing import WordEmbedder


def probes() -> tuple[Probe, ...]:
    """All questions, three a fact."""
    return tuple(Probe(question, answer) for _, answer, asked in FACTS for question in asked)


def distil(
    session: MemorySession, cubes: Sequence[Any], model: CausalModel, asked: tuple[Probe, ...]
) -> tuple[MemCube, dict[str, Any]]:
    """The adapter and its report, with the CPU seconds that it took."""
    cpu = time.process_time()
    how = Distillation(held_out=asked)
    cube = session.distill(
        cubes, model=model, how=how, progress=lambda *step: print(*step, flush=True)
    )
    return cube, {**cube.metadata["report"], "cpu_seconds": time.process_time() - cpu}


def known(session: MemorySession, model: CausalModel, asked: Sequence[Probe]) -> Known:
    """What the model knows through the session's adapters."""
    chat = LocalChat(session, model, parameter_memory=True)
    seen = chat._engine_now(Usage()).model
    return examine(Mind(seen), lambda one: student_text(model, one), asked)


def first_token(
    session: MemorySession, model: CausalModel, facts: Sequence[MemCube], rounds: int
) -> dict[str, float]:
    """Median milliseconds of a prefill: the question alone, behind all facts, with the adapter."""
    chat = LocalChat(session, model, parameter_memory=True)
    through = chat._engine_now(Usage())
    asked = {"role": "user", "content": FACTS[0][2][0]}
    short = chat.prompt([asked])
    long = chat.prompt([{"role": "system", "content": block(facts)}, asked])
    ways = {"bare": (None, short), "in context": (None, long), "adapter": (through, short)}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (engine, prompt) in ways.items():
            engine = engine or ActivationEngine(model)
            began = time.perf_counter()
            engine.tree.release(engine.prefill(prompt).lease)
            taken[name].append((time.perf_counter() - began) * 1_000)
    return {name: statistics.median(some) for name, some in taken.items()}


def erased(session: MemorySession, facts: Sequence[MemCube], model: CausalModel) -> dict[str, Any]:
    """One fact goes, the others are distilled anew: what is known of both, before and after."""
    gone, others = probes()[:3], probes()[3:]
    before = {"gone": known(session, model, gone), "others": known(session, model, others)}
    receipt = session.forget(facts[0])
    assert session.adapters() == []
    bare = known(session, model, gone)
    distil(session, receipt.kept_sources, model, others)
    after = {"gone": known(session, model, gone), "others": known(session, model, others)}
    rows = {
        "the erased fact": (before["gone"], after["gone"], bare),
        "the others": (before["others"], after["others"], None),
    }
    show(
        "One fact erased: accuracy and probability",
        ["", "before", "p", "retrained", "p", "bare", "p"],
        [
            [name, *(x for one in row if one for x in (one.accuracy, one.probability))]
            for name, row in rows.items()
        ],
    )
    return {
        name: [one and (one.accuracy, one.probability) for one in row] for name, row in rows.items()
    }


def main() -> None:
    """Run, print the tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a hub id or a folder; by default the bundled one")
    parser.add_argument("--erase", action="store_true")
    parser.add_argument("--rounds", type=int, default=15, help="of first tokens")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/parameter_memory.json")
    )
    given = parser.parse_args()
    model = CausalModel.load(given.model)
    with tempfile.TemporaryDirectory() as folder:
        store = MemOS.open(folder, embedder=WordEmbedder())
        session = store.session("maya")
        facts = session.add([fact for fact, _, _ in FACTS])
        try:
            _, report = distil(session, facts, model, probes())
        except GateError as error:
            raise SystemExit(f"{error}\n{error.report}") from None
        figures: dict[str, Any] = {"report": report}
        times = figures["first_token_ms"] = first_token(session, model, facts, given.rounds)
        saved = report["prompt_tokens_saved"]
        show(
            f"{report['questions']} held-out questions; {report['steps']} steps, "
            f"{report['seconds']:.0f} s, {report['cpu_seconds']:.0f} CPU s",
            [
                "",
                "accuracy",
                "probability",
                "drift",
                "perplexity",
                "memory tokens",
                "first token ms",
            ],
            [
                [
                    "bare model",
                    report["bare"],
                    report["bare_probability"],
                    0.0,
                    report["bare_perplexity"],
                    0,
                    times["bare"],
                ],
                [
                    "all facts in the prompt",
                    report["in_context"],
                    report["in_context_probability"],
                    "",
                    "",
                    saved,
                    times["in context"],
                ],
                [
                    "adapter alone",
                    report["adapted"],
                    report["adapted_probability"],
                    report["drift"],
                    report["perplexity"],
                    0,
                    times["adapter"],
                ],
            ],
        )
        if given.erase:
            figures["erased"] = erased(session, facts, model)
        save(given.out, "parameter_memory", figures)
        store.close()


if __name__ == "__main__":
    main()
