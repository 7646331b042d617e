"""The commands on memories: add, search, show, history."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memos_integrations.cli.desk import Fate, serve
from memos_integrations.cli.inputs import read_content, read_filters, read_time, read_window
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

    from memos_integrations.cube import MemCube
    from memos_integrations.session import MemorySession


def add(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Each one a memory; - reads standard input."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            help="A document (.txt, .md), or messages or documents (.json, .jsonl).",
        ),
    ] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Repeat for more.")] = None,
    event_time: Annotated[
        str | None, typer.Option(help="When it was so, ISO.", show_default="as the text says")
    ] = None,
    semantic_type: Annotated[
        str | None, typer.Option("--type", help="fact, preference, event, task, question, ...")
    ] = None,
    speaker: Annotated[str | None, typer.Option(help="Who said it.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="A repeated call with the same key writes nothing.")
    ] = None,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Remember words, messages or documents: all of them, or none."""
    with serve(as_json=as_json, debug=debug) as desk:
        content = read_content(texts or [], file)
        when = None if event_time is None else read_time(event_time, "--event-time")
        with (
            open_session(path, user, namespace, create=True) as session,
            desk.progress("remembering") as progress,
        ):
            cubes = session.add(
                content,
                event_time=when,
                tags=tags or (),
                semantic_type=semantic_type,
                speaker=speaker,
                idempotency_key=idempotency_key,
                progress=progress,
            )
        from memos_integrations.cli.cards import print_added

        document = {"memories": [cube.model_dump(mode="json") for cube in cubes]}
        desk.tell(document, lambda out: print_added(out, cubes))


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question, or words.")],
    limit: Annotated[int, typer.Option(help="At most so many.")] = 10,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="FIELD=VALUE",
            help="Also with !=, >, >=, < or <=; the value is JSON, an ISO time, or plain words. "
            'Repeat for more; any of several is FIELD=["a","b"].',
        ),
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only of this time or later, ISO.")] = None,
    until: Annotated[str | None, typer.Option(help="Only of before this time, ISO.")] = None,
    min_score: Annotated[float, typer.Option(help="Leave out what scores less (0 to 1).")] = 0.0,
    why: Annotated[
        bool, typer.Option("--why", help="Show what each score is made of, too.")
    ] = False,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find the memories that answer a question. Exit code 1: there is none."""
    with serve(as_json=as_json, debug=debug) as desk:
        conditions, window = read_filters(filters or ()), read_window(since, until)
        with open_session(path, user, namespace) as session:
            hits = session.search(
                query, limit=limit, filters=conditions, window=window, min_score=min_score
            )
        from memos_integrations.cli.cards import print_hits

        document = {
            "query": query,
            "hits": [
                {
                    "score": hit.score,
                    "parts": dict(hit.parts),
                    "why": hit.why,
                    "cube": hit.cube.model_dump(mode="json"),
                }
                for hit in hits
            ],
        }
        if not hits:
            desk.tell(document, lambda out: out.print("nothing found", style="dim"))
            raise typer.Exit(Fate.NOTHING)
        desk.tell(document, lambda out: print_hits(out, hits, parts=why))


def show(
    id: IdArgument,
    version: Annotated[
        int | None, typer.Option(help="An older version.", show_default="the current one")
    ] = None,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show one memory in full. Exit code 1: there is none with this id."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            cube = session.get(id, version=version)
        from memos_integrations.cli.cards import print_card

        desk.tell({"cube": cube.model_dump(mode="json")}, lambda out: print_card(out, cube))


def history(
    id: IdArgument,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw the lineage into this .svg or .png file.")
    ] = None,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show every version of a memory and what changed; also of a deleted one."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            versions, graph = _past(session, id)
        document = history_document(versions, graph)
        if picture is not None:
            document["picture"] = str(_draw(graph, picture))
        from memos_integrations.cli.history_view import print_history

        desk.tell(document, lambda out: print_history(out, document))


def _past(session: MemorySession, cube_id: str) -> tuple[list[MemCube], nx.DiGraph[str]]:
    return session.history(cube_id), session.lineage(cube_id)


def history_document(versions: list[MemCube], graph: nx.DiGraph[str]) -> dict[str, Any]:
    """All versions with who made them, how, and what they changed; and who deleted the memory."""
    from memos_integrations.cli.cards import changes

    steps = []
    for before, cube in zip([None, *versions], versions, strict=False):
        verb = _activity(graph, f"{cube.id}@{cube.version}", "wasGeneratedBy")
        changed = changes(before, cube) if before else {}
        steps.append({**(verb or {}), "changes": changed, "cube": cube.model_dump(mode="json")})
    last = versions[-1]
    gone = _activity(graph, f"{last.id}@{last.version}", "wasInvalidatedBy")
    return {"id": last.id, "versions": steps, "deleted": gone, "picture": None}


def _activity(graph: nx.DiGraph[str], node: str, relation: str) -> dict[str, Any] | None:
    """The verb, time and principal at the end of an edge."""
    for activity in graph.successors(node):
        if graph.edges[node, activity].get("relation") == relation:
            about = graph.nodes[activity]
            at: datetime = about["at"]
            agents = (graph.nodes[n] for n in graph.successors(activity))
            who = next((a["name"] for a in agents if a["kind"] == "agent"), None)
            return {"verb": about["verb"], "at": at.isoformat(), "by": who}
    return None


def _draw(graph: nx.DiGraph[str], picture: Path) -> Path:
    from memos_integrations.infrastructure.pictures.lineage import draw_lineage

    try:
        return draw_lineage(graph, picture)
    except OSError as error:
        raise InvalidInputError(f"{picture} cannot be written: {error.strerror}") from None
