"""``memcube eval``: how much is found in labelled conversations, yours or a benchmark's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from memos_integrations.cli.desk import serve
from memos_integrations.cli.options import DebugOption, JsonOption


def eval_(
    data: Annotated[
        Path, typer.Option("--data", help="LoCoMo, LongMemEval or your own (docs/evaluation.md).")
    ],
    parts: Annotated[
        bool, typer.Option("--ablation", help="Also the default without each of its parts.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="A folder for report.html and recall.png.")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Search labelled conversations in a store of their own, and count what is found."""
    with serve(as_json=as_json, debug=debug) as desk:
        from memos_integrations import memos
        from memos_integrations.evaluation.loading import load
        from memos_integrations.evaluation.pictures import write_report
        from memos_integrations.evaluation.remembering import RememberingEmbedder
        from memos_integrations.evaluation.rows import ablation, ours, policies
        from memos_integrations.evaluation.running import evaluate
        from memos_integrations.evaluation.tables import tables
        from memos_integrations.evaluation.tokens import counter

        labelled = load(data)
        embedder = RememberingEmbedder(memos.default_embedder())
        count, counted = counter()
        rows = {**policies(), **(ablation() if parts else {})}
        with ours(embedder, rows) as searches:
            found = evaluate(labelled, searches, count=count, embedder=embedder)
        written = [] if report is None else write_report(found, report, counted)
        document = {**found.plain(), "counted": counted, "written": list(map(str, written))}
        desk.tell(document, lambda out: print_tables(out, tables(found), written))


def print_tables(out: Any, tables: Sequence[Any], written: Sequence[Path] = ()) -> None:
    """The tables of an evaluation, and where a report of it stands."""
    from rich.table import Table

    for one in tables:
        shown = Table(title=one.title)
        for index, column in enumerate(one.columns):
            shown.add_column(column, justify="left" if index == 0 else "right")
        for row in one.rows:
            shown.add_row(*(cell if isinstance(cell, str) else f"{cell:.3f}" for cell in row))
        out.print(shown)
    for path in written:
        out.print(f"written to {path}", soft_wrap=True)
