"""The commands on a store as a whole: stats, doctor, reindex."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from memos_integrations.cli.desk import Fate, serve
from memos_integrations.cli.options import (
    DEFAULT_PATH,
    DebugOption,
    JsonOption,
    NamespaceOption,
    PathOption,
    UserOption,
    existing,
    open_session,
    open_store,
)

if TYPE_CHECKING:
    from memos_integrations.infrastructure.doctor import Finding


def stats(
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the use of a namespace (.png, .svg)."),
    ] = None,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Count what is in the store, say how the index stands; --plot: who did what, what is used."""
    with serve(as_json=as_json, debug=debug) as desk:
        if plot is not None:
            from memos_integrations.infrastructure.pictures.activity import draw_activity

            with open_session(path, user, namespace) as session:
                summary = session.summary()
            drawn = draw_activity(summary, plot)
            desk.tell({"plot": str(drawn), **summary}, lambda out: out.print(f"drawn: {drawn}"))
            return
        with open_store(path) as memory:
            found = memory.stats()
        desk.tell(found, lambda out: _print_mapping(out, found))


def doctor(
    mend: Annotated[
        bool, typer.Option("--mend/--no-mend", help="Repair what can be repaired.")
    ] = True,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Examine the store: versions, lock, integrity, index against records. Exit code 3: ill."""
    with serve(as_json=as_json, debug=debug) as desk:
        from memos_integrations.infrastructure.doctor import examine

        folder = existing(path)
        if desk.err.is_terminal:
            with desk.err.status("examining the store"):
                findings = examine(folder, mend=mend)
        else:
            findings = examine(folder, mend=mend)
        healthy = all(finding.ok or finding.mended for finding in findings)
        document = {"ok": healthy, "findings": [_as_dict(finding) for finding in findings]}
        desk.tell(document, lambda out: _print_findings(out, findings))
        if not healthy:
            raise typer.Exit(Fate.STORE)


def reindex(
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Embed every memory anew with the bundled embedder."""
    with serve(as_json=as_json, debug=debug) as desk:
        from memos_integrations.memos import MemOS

        folder = existing(path)
        with desk.progress("embedding anew") as progress:
            done = MemOS.reindex(folder, progress=progress)
        noun = "memory" if done == 1 else "memories"
        desk.tell({"reindexed": done}, lambda out: out.print(f"embedded {done} {noun} anew"))


def _as_dict(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "ok": finding.ok,
        "detail": finding.detail,
        "mended": finding.mended,
    }


def _print_findings(out: Console, findings: list[Finding]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(ratio=1)
    for finding in findings:
        if finding.mended:
            mark = Text("✓ mended", style="yellow")
        else:
            mark = Text("✓", style="green") if finding.ok else Text("✗", style="bold red")
        table.add_row(mark, finding.name, Text(finding.detail))
    out.print(table)


def _print_mapping(out: Console, found: Mapping[str, Any], indent: int = 0) -> None:
    """Nested counts as an indented list; a list of rows as a table."""
    for name, value in found.items():
        label = Text(" " * indent + name.replace("_", " "), style="green")
        if isinstance(value, Mapping):
            out.print(label)
            sized = name == "bytes"
            rows = {key: decimal(size) for key, size in value.items()} if sized else value
            _print_mapping(out, rows, indent + 2)
        elif isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            out.print(label)
            out.print(Padding(_table(value), (0, 0, 0, indent + 2)))
        else:
            out.print(label.append(f"  {_cell(value)}", style="default"), soft_wrap=True)


def _table(rows: list[Mapping[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in names:
        numeric = all(isinstance(row.get(name), int) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in names))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value is None else str(value)
