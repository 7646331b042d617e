"""``memcube lineage``: what a memory came from and what came of it, in many formats."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from memos_integrations.cli.desk import serve
from memos_integrations.cli.options import (
    DEFAULT_PATH,
    DebugOption,
    IdArgument,
    JsonOption,
    NamespaceOption,
    PathOption,
    UserOption,
    open_session,
)
from memos_integrations.infrastructure.prov_export.formats import Format, format_of

if TYPE_CHECKING:
    import networkx as nx


def lineage(
    id: IdArgument,
    format: Annotated[
        Format | None,
        typer.Option("--format", help="How.", show_default="by FILE's ending, else text"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write it there.")
    ] = None,
    direction: Annotated[
        Literal["sources", "derived", "both"],
        typer.Option(help="What it came from, what came from it, or both."),
    ] = "both",
    depth: Annotated[
        int | None, typer.Option(help="At most so many steps away.", show_default="all")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Draw activities and agents as boxes of their own, too.")
    ] = False,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell what a memory came from and what came of it; also of a deleted one."""
    from memos_integrations.infrastructure.prov_export.saving import content, save

    with serve(as_json=as_json, debug=debug) as desk:
        chosen = format_of(format, output)
        with open_session(path, user, namespace) as session:
            graph = session.lineage(id, direction=direction, depth=depth)
        document = _document(id, chosen, graph)
        if output is not None:
            document["output"] = str(save(graph, output, format=chosen, full=full))
            desk.tell(document, lambda out: typer.echo(f"lineage written: {output}"))
        else:
            document["content"] = content(graph, chosen, full=full)
            desk.tell(document, lambda out: typer.echo(document["content"], nl=False))


def _document(cube_id: str, chosen: Format, graph: nx.DiGraph[str]) -> dict[str, Any]:
    from memos_integrations.infrastructure.prov_export.questions import describe

    counts = asdict(describe(graph))
    for name in ("first", "last"):
        counts[name] = counts[name].isoformat() if counts[name] else None
    return {"id": cube_id, "format": chosen, "counts": counts, "output": None, "content": None}
