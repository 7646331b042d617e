"""``memcube lineage``: what a memory came from and what came of it, in many formats."""

from __future__ import annotations

from collections.abc import Callable
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
from memos_integrations.errors import InvalidInputError

if TYPE_CHECKING:
    import networkx as nx

Format = Literal["text", "prov-json", "graphml", "mermaid", "svg", "png", "html"]

_BY_ENDING: dict[str, Format] = {
    ".txt": "text",
    ".json": "prov-json",
    ".graphml": "graphml",
    ".mmd": "mermaid",
    ".svg": "svg",
    ".png": "png",
    ".html": "html",
}


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
    with serve(as_json=as_json, debug=debug) as desk:
        chosen = _format(format, output)
        with open_session(path, user, namespace) as session:
            graph = session.lineage(id, direction=direction, depth=depth)
        document = _document(id, chosen, graph)
        if output is not None:
            document["output"] = str(_write(graph, chosen, output, full=full))
            desk.tell(document, lambda out: typer.echo(f"lineage written: {output}"))
        else:
            document["content"] = _content(graph, chosen, full=full)
            desk.tell(document, lambda out: typer.echo(document["content"], nl=False))


def _format(format: Format | None, output: Path | None) -> Format:
    """What was asked for, or what the file's ending says."""
    ending = output.suffix.lower() if output is not None else ".txt"
    chosen = format or _BY_ENDING.get(ending)
    if chosen is None:
        raise InvalidInputError(
            f"the ending of {output} names no format: give --format, or one of "
            f"{', '.join(_BY_ENDING)}"
        )
    if chosen == "png" and output is None:
        raise InvalidInputError("a png is no text: give --output FILE.png")
    if chosen in ("svg", "png") and output is not None and ending != f".{chosen}":
        raise InvalidInputError(f"{output} is no {chosen} file: end it in .{chosen}")
    return chosen


def _document(cube_id: str, chosen: Format, graph: nx.DiGraph[str]) -> dict[str, Any]:
    from memos_integrations.infrastructure.prov_export.questions import describe

    counts = asdict(describe(graph))
    for name in ("first", "last"):
        counts[name] = counts[name].isoformat() if counts[name] else None
    return {"id": cube_id, "format": chosen, "counts": counts, "output": None, "content": None}


def _write(graph: nx.DiGraph[str], chosen: Format, output: Path, *, full: bool) -> Path:
    from memos_integrations.infrastructure.prov_export.picture import picture

    try:
        if chosen in ("svg", "png"):
            return picture(graph, output, full=full)
        output.write_text(_content(graph, chosen, full=full), encoding="utf-8", newline="")
    except OSError as error:
        raise InvalidInputError(f"{output} cannot be written: {error.strerror}") from None
    return output


def _content(graph: nx.DiGraph[str], chosen: Format, *, full: bool) -> str:
    """The lineage in a format that is text."""
    from memos_integrations.infrastructure.prov_export.graphml import graphml
    from memos_integrations.infrastructure.prov_export.mermaid import mermaid
    from memos_integrations.infrastructure.prov_export.page import page
    from memos_integrations.infrastructure.prov_export.picture import svg
    from memos_integrations.infrastructure.prov_export.prov_json import prov_json_text
    from memos_integrations.infrastructure.prov_export.timeline import timeline

    writers: dict[str, Callable[[], str]] = {
        "text": lambda: timeline(graph),
        "prov-json": lambda: prov_json_text(graph),
        "graphml": lambda: graphml(graph),
        "mermaid": lambda: mermaid(graph, full=full),
        "svg": lambda: svg(graph, full=full),
        "html": lambda: page(graph),
    }
    return writers[chosen]()
