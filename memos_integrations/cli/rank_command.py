"""``memcube rank``: a ranker learned from labelled conversations, and what it brings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memos_integrations.cli.desk import EXIT_CODES, serve
from memos_integrations.cli.eval_command import print_tables
from memos_integrations.cli.options import DebugOption, JsonOption

rank = typer.Typer(
    name="rank",
    no_args_is_help=True,
    help="A ranker learned from feedback: train it, or see what it would bring.",
    epilog=EXIT_CODES,
)

DataOption = Annotated[
    Path, typer.Option("--data", help="LoCoMo, LongMemEval or your own (docs/evaluation.md).")
]


@rank.command(epilog=EXIT_CODES)
def train(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="The file of the ranker (JSON).")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Learn a ranker from all questions, for searches with `reranker=Ranker.load(file)`."""
    with serve(as_json=as_json, debug=debug) as desk:
        from memos_integrations import memos
        from memos_integrations.evaluation.loading import load
        from memos_integrations.evaluation.ranking import learn
        from memos_integrations.evaluation.remembering import RememberingEmbedder
        from memos_integrations.evaluation.rows import store

        labelled = load(data)
        with store(RememberingEmbedder(memos.default_embedder())) as fill:
            ranker = learn(labelled, fill)
        ranker.save(out)
        found = {"written": str(out), "questions": ranker.questions}
        text = f"learned from {ranker.questions} questions, written to {out}"
        desk.tell(found, lambda console: console.print(text, soft_wrap=True, markup=False))


@rank.command(epilog=EXIT_CODES)
def check(
    data: DataOption,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Learn from all conversations but one, search that one, each in turn; and without a ranker."""
    with serve(as_json=as_json, debug=debug) as desk:
        from memos_integrations import SearchPolicy, memos
        from memos_integrations.evaluation.loading import load
        from memos_integrations.evaluation.ranking import left_out
        from memos_integrations.evaluation.remembering import RememberingEmbedder
        from memos_integrations.evaluation.rows import DEFAULT, ours
        from memos_integrations.evaluation.running import evaluate
        from memos_integrations.evaluation.tables import by_conversation, tables
        from memos_integrations.evaluation.tokens import counter

        labelled = load(data)
        embedder = RememberingEmbedder(memos.default_embedder())
        count, counted = counter()
        with ours(embedder, {DEFAULT: SearchPolicy()}, left_out(labelled)) as rows:
            found = evaluate(labelled, rows, count=count, embedder=embedder)
        shown = [*tables(found), by_conversation(found, "recall@10")]
        desk.tell({**found.plain(), "counted": counted}, lambda out: print_tables(out, shown))
