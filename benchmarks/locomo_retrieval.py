"""Evidence recall on LoCoMo and the like, ours and others' memories side by side.

``python benchmarks/locomo_retrieval.py --data locomo10.json [--ablation] [--peers]
[--keep FOLDER] [--only NAME] [--ranker] [--report FOLDER]``. One namespace a conversation, one
memory a turn; every row uses the same embedder, and its work is not in the milliseconds. Recall@k
is the mean over questions of the share of their evidence among the first k. See
``memos_integrations.evaluation``.

``--ranker``: also a ranker that is learned on the other conversations, for each conversation.
``--leave-one-out``: instead of these rows, for each conversation the weights that a small search
chooses on the others, beside a plain hybrid and the default.

``--peers``: also Chroma, LlamaIndex, LangGraph, langmem, bm25s and mem0, as far as they are
installed. mem0 cannot stand beside the versions that this project pins: ``benchmarks/mem0.txt``
says how to run it in an environment of its own. ``--keep`` joins both in one table.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from _kept import kept
from _peers import peers
from _report import save, show

from memos_integrations.evaluation.held_out import leave_one_out
from memos_integrations.evaluation.labelled import Labelled
from memos_integrations.evaluation.loading import load
from memos_integrations.evaluation.pictures import write_report
from memos_integrations.evaluation.ranking import left_out
from memos_integrations.evaluation.remembering import RememberingEmbedder
from memos_integrations.evaluation.report import Report
from memos_integrations.evaluation.rows import ablation, any_policy, ours, policies
from memos_integrations.evaluation.running import evaluate
from memos_integrations.evaluation.scoring import Count
from memos_integrations.evaluation.tables import by_conversation, held_out, tables
from memos_integrations.evaluation.tokens import counter
from memos_integrations.models.minilm import MiniLMEmbedder
from memos_integrations.operation.retrieving.policy import SearchPolicy


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ablation", action="store_true", help="each part off in turn")
    parser.add_argument("--peers", action="store_true", help="others' memories, too")
    parser.add_argument("--ranker", action="store_true", help="also learned, one left out")
    parser.add_argument("--leave-one-out", action="store_true", help="weights chosen on others")
    parser.add_argument("--only", help="rows whose names hold this, beside the default")
    parser.add_argument("--keep", type=Path, help="a folder for the answers of the others")
    parser.add_argument("--report", type=Path, help="a folder for report.html and recall.png")
    out = Path("benchmarks/results/locomo_retrieval.json")
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args()
    labelled = load(options.data)
    embedder = RememberingEmbedder(MiniLMEmbedder())
    count, counted = counter()
    if options.leave_one_out:
        _leave_one_out(labelled, embedder, count, options.out)
        return
    policy = {**policies(), **(ablation() if options.ablation else {})}
    others, missing = peers(embedder) if options.peers else ({}, {})
    if options.keep is not None:
        others = kept(others, options.keep, elsewhere=missing)
        missing = {name: why for name, why in missing.items() if name not in others}
    learned = left_out(labelled) if options.ranker else None
    with ours(embedder, policy, learned) as rows:
        rows = {**rows, **others}
        if options.only:
            rows = {
                name: row for name, row in rows.items() if options.only in name or name == "default"
            }
        report = evaluate(labelled, rows, count=count, embedder=embedder)
    for table in [*tables(report), by_conversation(report, "recall@10")]:
        show(*table)
    for name, reason in missing.items():
        print(f"{name}: left out, {reason}")
    _write(report, options, counted, missing)


def _leave_one_out(
    labelled: Labelled, embedder: RememberingEmbedder, count: Count, out: Path
) -> None:
    with any_policy(embedder) as row_of:
        folds = leave_one_out(labelled, row_of, count, SearchPolicy())
    for table in held_out(folds):
        show(*table)
    save(out, "locomo_left_out", {"folds": [asdict(one) for one in folds]})


def _write(
    report: Report, options: argparse.Namespace, counted: str, missing: dict[str, str]
) -> None:
    if options.report is not None:
        write_report(report, options.report, counted)
    figures = {**report.plain(), "counted": counted, "left out": missing}
    save(options.out, "locomo_retrieval", figures)


if __name__ == "__main__":
    main()
