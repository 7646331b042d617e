"""``memcube log``: who did what, when, to which memory."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from memos_integrations.cli.cards import minute
from memos_integrations.cli.desk import serve
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
        with open_session(path, user, namespace) as session:
            entries = session.log(
                memory_id=memory, principal=principal, verb=verb, limit=limit, after=after
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
