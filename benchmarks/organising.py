"""Relations between two memories on labelled pairs, beside two simple ways to find duplicates.

``python benchmarks/organising.py``. The pairs stand in ``benchmarks/data/organising_pairs.jsonl``:
``dev`` for tuning, ``test`` from the same batch for judging, ``unseen`` written after the rules and
never tuned on. Precision, recall and F1 of each relation; an answer "same entity" or "same event"
counts as none. Baselines answer "duplicate" from a cosine, or from a share of common words, on;
each threshold is the best for F1 on dev. Embedder: the bundled one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _report import save, show

from memos_integrations.models.minilm import MiniLMEmbedder
from memos_integrations.operation.organising.relations import Memo, relate
from memos_integrations.operation.organising.sameness import overlap

RELATIONS = ("duplicate", "supersedes", "elaborates")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Pair:
    """Two memories, the cosine between them, and what stands between them."""

    new: Memo
    old: Memo
    cosine: float
    relation: str
    split: str


Judge = Callable[[Pair], str]
"""A pair to the name of a relation, or "none"."""


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE / "data" / "organising_pairs.jsonl")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "organising.json")
    parser.add_argument("--mistakes", action="store_true", help="print the wrong answers on dev")
    options = parser.parse_args()
    pairs = load(options.data)
    dev = [pair for pair in pairs if pair.split == "dev"]
    rows = [
        {"judge": name, "split": split, "relation": relation, **score}
        for name, judge in judges(dev).items()
        for split in ("dev", "test", "unseen")
        for relation, score in scores(judge, [p for p in pairs if p.split == split]).items()
        if relation == "duplicate" or name == "rules"
    ]
    show("Relations", list(rows[0]), [list(row.values()) for row in rows])
    speed = microseconds(pairs)
    show("Microseconds a call", list(speed), [list(speed.values())])
    if options.mistakes:
        print(*mistakes(dev), sep="\n")
    save(options.out, "organising", {"pairs": len(pairs), "rows": rows, "microseconds": speed})


def load(path: Path) -> list[Pair]:
    """Read the file and embed its texts."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    embedder = MiniLMEmbedder()
    new = embedder.embed_documents([row["new"] for row in rows])
    old = embedder.embed_documents([row["old"] for row in rows])
    return [
        Pair(
            Memo(row["new"], row["speaker_new"]),
            Memo(row["old"], row["speaker_old"]),
            float(cosine),
            row["relation"],
            row["split"],
        )
        for row, cosine in zip(rows, (new * old).sum(axis=1), strict=True)
    ]


def rules(pair: Pair) -> str:
    """The organiser's answer."""
    found = relate(pair.new, pair.old, pair.cosine)
    return found.relation.value if found and found.relation.value in RELATIONS else "none"


def judges(dev: list[Pair]) -> dict[str, Judge]:
    """The rules and the baselines, each baseline with its best threshold on dev."""
    return {
        "rules": rules,
        "cosine alone": best(dev, lambda pair: pair.cosine),
        "words alone": best(dev, lambda pair: overlap(pair.new, pair.old)),
    }


def best(dev: list[Pair], likeness: Callable[[Pair], float]) -> Judge:
    """Answer "duplicate" from the likeness on that gives the best F1 on dev."""

    def judge_from(least: float) -> Judge:
        return lambda pair: "duplicate" if likeness(pair) >= least else "none"

    return max(
        (judge_from(float(least)) for least in np.arange(0.3, 1.001, 0.01)),
        key=lambda judge: scores(judge, dev)["duplicate"]["f1"],
    )


def scores(judge: Judge, pairs: list[Pair]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of each relation, and how many pairs have it."""
    answers = [(judge(pair), pair.relation) for pair in pairs]
    table = {}
    for relation in RELATIONS:
        right = sum(said == relation == truth for said, truth in answers)
        said = sum(answer == relation for answer, _ in answers)
        there = sum(truth == relation for _, truth in answers)
        precision, recall = right / max(1, said), right / max(1, there)
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        table[relation] = {"precision": precision, "recall": recall, "f1": f1, "pairs": there}
    return table


def mistakes(pairs: list[Pair]) -> list[str]:
    """What the rules answered wrongly, for tuning."""
    return [
        f"{pair.relation} -> {rules(pair)} ({pair.cosine:.2f}): {pair.new.text} | {pair.old.text}"
        for pair in pairs
        if rules(pair) != pair.relation
    ]


def microseconds(pairs: list[Pair]) -> dict[str, Any]:
    """Mean time of one call: both memories unread, and both read before."""
    fresh = [(Memo(p.new.text, p.new.speaker), Memo(p.old.text, p.old.speaker)) for p in pairs]
    taken = {}
    for name in ("first", "again"):
        start = time.perf_counter()
        for (new, old), pair in zip(fresh, pairs, strict=True):
            relate(new, old, pair.cosine)
        taken[name] = round(1e6 * (time.perf_counter() - start) / len(pairs), 1)
    return taken


if __name__ == "__main__":
    main()
