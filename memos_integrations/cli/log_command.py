"""``memcube log``: who did what, when, to which memory."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from memos_integrations.cli.cards import minute
from memos_integrations.cli.desk import serve
from memos_integrations.cli.inputs import read_window
from memos_integrations.cli.options import (
    DEFAULT_PATH,
    DebugOption,
    JsonOption,
    NamespaceOption,
    PathOption,
    UserOption,
    open_session,
)


def log(
    memory: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what touched this memory.")
    ] = None,
    principal: Annotated[
        list[str] | None, typer.Option(help="Only by this one; may be given again.")
    ] = None,
    verb: Annotated[
        list[str] | None, typer.Option(help="Such as add, update, delete; may be given again.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="At this time or later (ISO, or a day).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")] = None,
    semantic_type: Annotated[
        list[str] | None,
        typer.Option("--type", help="Touching memories of this type; may be given again."),
    ] = None,
    below: Annotated[
        bool, typer.Option("--below", help="Also in the namespaces below this one.")
    ] = False,
    limit: Annotated[int, typer.Option(help="The most entries.")] = 20,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="The last entry of the page before.")
    ] = None,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show who did what, newest first."""
    with serve(as_json=as_json, debug=debug) as desk:
        window = read_window(since, until)
        with open_session(path, user, namespace) as session:
            entries = session.log(
                since=None if window is None else window.start,
                until=None if window is None else window.end,
                memory_id=memory,
                principal=principal,
                verb=verb,
                semantic_type=semantic_type,
                below=below,
                limit=limit,
                after=after,
            )
        document = {
            "entries": [
                {
                    **vars(entry),
                    "at": entry.at.isoformat(),
                    "memories": [{"id": id, "version": n} for id, n in entry.memories],
                }
                for entry in entries
            ]
        }
        desk.tell(document, lambda out: _print(out, entries))


def _print(out: Console, entries: Any) -> None:
    if not entries:
        out.print("nothing has been done here yet")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("when", "verb", "by", "memories"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        touched = [id if n is None else f"{id} v{n}" for id, n in entry.memories]
        more = f" and {len(touched) - 3} more" if len(touched) > 3 else ""
        table.add_row(minute(entry.at), entry.verb, entry.principal, ", ".join(touched[:3]) + more)
    out.print(table)
